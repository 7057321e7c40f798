"""What both ends of a link have agreed on before the first round."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radio.waveform.level import amplitude_for_backoff
from radio.waveform.numerology import Numerology

ComplexArray = npt.NDArray[np.complex64]

# The FFT window of the receiver starts this many samples early, so that neither a signal that is
# late nor one that is early leaves it. Soundings are only ever late: a device goes by a beacon that
# took its way already. Later it sends as much earlier.
ADVANCE = 16
SOUNDING_ADVANCE = 4


@dataclass(frozen=True)
class Link:
    """Settings of waveform and synchronisation.

    Attributes:
        numerology: of the waveform.
        carrier_hz: of all radios.
        backoff_db: mean power of a symbol of power 1, below full scale.
        max_offset_ppm: of any radio's oscillator.
        allan_deviation: at 0.1 s, what is expected of the oscillators; the tracker leans on it.
        shared_clock: whether all radios run from one reference: offsets are then pinned to zero,
            because an estimate would only add its error.
        equaliser_cap_db: limit of what a device adds on a carrier in a notch of its channel.
        reference_gain: received amplitude, full scale to full scale, that counts as |h| = 1: what
            a calibration of the levels yields. It sets the unit of gains, nothing else.
        sounding_life_s: how old a sounding may become; longer updates are sounded again.
        search: samples by which a device's first guess of the time may be off.
        lead: samples from planning a call to its beacon; meanwhile messages travel, and the
            receiver's radio is armed.
    """

    numerology: Numerology
    carrier_hz: float
    backoff_db: float = 10.0
    max_offset_ppm: float = 25.0
    allan_deviation: float = 1e-10
    shared_clock: bool = False
    equaliser_cap_db: float = 16.0
    reference_gain: float = 1.0
    sounding_life_s: float = 1.0
    search: int = 500
    lead: int = 1000

    @property
    def amplitude(self) -> float:
        """What a symbol of power 1 is multiplied with before the converter."""
        return amplitude_for_backoff(self.backoff_db, self.numerology)

    @property
    def max_cfo_hz(self) -> float:
        """Largest frequency difference of two radios."""
        return 0.0 if self.shared_clock else 2e-6 * self.max_offset_ppm * self.carrier_hz

    def equaliser(self, channel: ComplexArray) -> tuple[float, ComplexArray]:
        """Flattens a channel at the transmitter without changing the mean power sent.

        Args:
            channel: complex64 [K].

        Returns:
            (gain, equaliser [K]) with channel * equaliser = gain, except in notches deeper than
            the cap. A flat channel keeps its gain and loses its phase; no channel has gain 0.
        """
        power = np.abs(channel.astype(np.complex128)) ** 2
        if not power.any():
            return 0.0, np.zeros_like(channel)
        floor = power.mean() * 10 ** (-self.equaliser_cap_db / 10)
        inverse = np.conj(channel) / np.maximum(power, floor)
        gain = 1 / math.sqrt(np.mean(np.abs(inverse) ** 2))
        return gain, (gain * inverse).astype(np.complex64)


def delay_ramp(delay: npt.ArrayLike, numerology: Numerology) -> ComplexArray:
    """What a delay of so many samples does to the carriers, complex64 [..., K]."""
    turns = np.multiply.outer(np.asarray(delay, np.float64), numerology.carriers)
    ramp: ComplexArray = np.exp(-2j * np.pi * turns / numerology.fft_size).astype(np.complex64)
    return ramp
