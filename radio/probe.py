"""A burst that finds one stream of samples in another: what is sent, in what comes back."""

from __future__ import annotations

import numpy as np

from radio.api import IQ

PROBE = 2048  # samples


def probe() -> IQ:
    """The burst, complex64 [PROBE], of half of full scale."""
    turns = np.random.default_rng(PROBE).integers(0, 4, PROBE)
    iq: IQ = (0.5 * np.exp(1j * np.pi * (turns / 2 + 0.25))).astype(np.complex64)
    return iq


def place_of_probe(heard: IQ) -> int | None:
    """Where the burst begins in what was heard, at no less than half its level; None without it."""
    sent = probe()
    size = 1 << heard.size.bit_length()
    match = np.fft.ifft(np.fft.fft(heard, size) * np.conj(np.fft.fft(sent, size)))
    found = np.abs(match[: heard.size - PROBE + 1])
    peak = int(np.argmax(found))
    return peak if found[peak] >= 0.5 * float(np.vdot(sent, sent).real) else None
