"""OFDM: values on carriers to samples and back, with a unitary transform both ways.

Values of mean power 1 on all K carriers give samples of mean power K/N, and noise of variance
sigma^2 per sample is noise of variance sigma^2 per carrier.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft

from radio.waveform.numerology import Numerology

ComplexArray = npt.NDArray[np.complex64]


def modulate(values: ComplexArray, numerology: Numerology) -> ComplexArray:
    """Samples of OFDM symbols, each behind its cyclic prefix.

    Args:
        values: [..., L, K], on the carriers in the order of `numerology.carriers`.
        numerology: of the waveform.

    Returns:
        complex64 [..., L (N + CP)].

    Raises:
        ValueError: not K values in the last axis, or no axis of symbols.
    """
    if values.ndim < 2 or values.shape[-1] != numerology.used_carriers:
        raise ValueError(
            f"values should have the shape [..., symbols, {numerology.used_carriers}], "
            f"not {list(values.shape)}"
        )
    half, size, prefix = (
        numerology.used_carriers // 2,
        numerology.fft_size,
        numerology.cyclic_prefix,
    )
    grid = np.zeros((*values.shape[:-1], size), np.complex64)
    grid[..., -half:] = values[..., :half]
    grid[..., 1 : half + 1] = values[..., half:]
    body = fft.ifft(grid, norm="ortho", overwrite_x=True, workers=1)
    iq = np.empty((*values.shape[:-1], prefix + size), np.complex64)
    iq[..., prefix:] = body
    iq[..., :prefix] = body[..., size - prefix :]
    return iq.reshape(*values.shape[:-2], values.shape[-2] * (prefix + size))


def demodulate(iq: ComplexArray, numerology: Numerology, advance: int = 0) -> ComplexArray:
    """Values on the used carriers.

    The FFT window starts `advance` samples before the end of the cyclic prefix, and the phase ramp
    over carriers that this causes is undone. Timing errors of both signs are then harmless: late by
    up to CP - advance, early by up to `advance`.

    Args:
        iq: [..., L (N + CP)], whole symbols.
        numerology: of the waveform.
        advance: 0 to CP.

    Returns:
        complex64 [..., L, K].

    Raises:
        ValueError: no whole number of symbols, or `advance` beyond the prefix.
    """
    spectrum = _spectrum(iq, numerology, advance)
    half = numerology.used_carriers // 2
    values = np.concatenate([spectrum[..., -half:], spectrum[..., 1 : half + 1]], axis=-1)
    if advance:
        turn = 2j * np.pi * advance / numerology.fft_size
        values *= np.exp(turn * numerology.carriers).astype(np.complex64)
    return values


def null_carriers(iq: ComplexArray, numerology: Numerology, advance: int = 0) -> ComplexArray:
    """Values on empty carriers away from the used ones and from DC, for measuring noise.

    Arguments and errors are those of `demodulate`; E|value|^2 is the noise variance per carrier.

    Returns:
        complex64 [..., L, len(numerology.null_bins)].
    """
    first, last = numerology.null_bins[0], numerology.null_bins[-1]
    return _spectrum(iq, numerology, advance)[..., first : last + 1]


def _spectrum(iq: ComplexArray, numerology: Numerology, advance: int) -> ComplexArray:
    if iq.ndim < 1 or iq.shape[-1] % numerology.symbol_length:
        raise ValueError(
            f"iq should hold whole symbols of {numerology.symbol_length} samples, "
            f"not {list(iq.shape)} samples"
        )
    if not 0 <= advance <= numerology.cyclic_prefix:
        raise ValueError(f"advance should be 0 to {numerology.cyclic_prefix}, not {advance}")
    symbols = iq.astype(np.complex64, copy=False).reshape(
        *iq.shape[:-1], iq.shape[-1] // numerology.symbol_length, numerology.symbol_length
    )
    first = numerology.cyclic_prefix - advance
    windows = symbols[..., first : first + numerology.fft_size]
    spectrum: ComplexArray = fft.fft(windows, norm="ortho", workers=1)
    return spectrum
