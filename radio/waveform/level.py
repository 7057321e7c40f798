"""Levels against full scale 1.0: back-off, crest of the waveform, and clipping as a DAC does it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from radio.waveform.numerology import Numerology

ComplexArray = npt.NDArray[np.complex64]


def papr_db(iq: ComplexArray) -> float:
    """Peak-to-average power ratio of samples of any shape.

    Raises:
        ValueError: no samples, or none with power.
    """
    power = np.abs(iq).astype(np.float64) ** 2
    if power.size == 0 or not power.any():
        raise ValueError("the peak-to-average ratio is of samples with power; there are none")
    return 10 * math.log10(power.max() / power.mean())


def clip(iq: ComplexArray, limit: float = 1.0) -> tuple[ComplexArray, int]:
    """Samples with I and Q cut off separately at +-limit, and how many samples were beyond.

    Raises:
        ValueError: `limit` is not positive.
    """
    if not limit > 0:
        raise ValueError(f"limit should be positive, not {limit}")
    parts = np.ascontiguousarray(iq, np.complex64).view(np.float32).reshape(*iq.shape, 2)
    beyond = np.abs(parts) > limit
    clipped = np.clip(parts, -limit, limit).view(np.complex64)[..., 0]
    return clipped, int(beyond.any(axis=-1).sum())


def amplitude_for_backoff(backoff_db: float, numerology: Numerology) -> float:
    """Factor that brings `ofdm.modulate` of values of mean power 1 to a mean sample power.

    The power is 10^(-backoff_db/10) of full scale, where full scale is |sample| = 1.
    """
    occupied = numerology.used_carriers / numerology.fft_size
    return math.sqrt(10 ** (-backoff_db / 10) / occupied)
