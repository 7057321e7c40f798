"""Distortion of an amplifier over back-off, of so many symbols that chance has no part in it."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from benchmarks.calibration_air import NUMEROLOGY
from radio.waveform import ofdm
from radio.waveform.level import amplitude_for_backoff, clip
from sim_fallback.power_amplifier import PowerAmplifier

RealArray = npt.NDArray[np.float64]

AMPLIFIER = PowerAmplifier(1.0, 6.0)
BACKOFFS_DB = tuple(np.arange(0.0, 15.0, 1.5).tolist())


@lru_cache
def best(full_db: float) -> tuple[float, float]:
    """Where distortion and noise are least, and how much they are, of very many symbols."""
    backoffs, gain, distortion = _bent()
    total = 10 * np.log10(distortion + 10 ** (-full_db / 10) / gain)
    fine = np.linspace(backoffs[0], backoffs[-1], 10_001)
    values = CubicSpline(backoffs, total)(fine)
    k = int(np.argmin(values))
    return float(fine[k]), float(values[k])


@lru_cache
def _bent() -> tuple[RealArray, RealArray, RealArray]:
    """Back-offs, power of the signal behind the amplifier, and distortion over it."""
    rng = np.random.default_rng(5)
    values = rng.standard_normal((2000, NUMEROLOGY.used_carriers, 2)) @ (1, 1j)
    sent = (values / math.sqrt(2)).astype(np.complex64)
    backoffs = np.arange(BACKOFFS_DB[0], BACKOFFS_DB[-1] + 0.1, 0.5)
    gains, distortions = np.empty((2, backoffs.size))
    for k, backoff_db in enumerate(backoffs):
        amplitude = amplitude_for_backoff(float(backoff_db), NUMEROLOGY)
        iq, _ = clip(np.float32(amplitude) * ofdm.modulate(sent, NUMEROLOGY))
        AMPLIFIER.amplify(iq)
        heard = ofdm.demodulate(iq, NUMEROLOGY)
        gain = np.vdot(sent, heard) / np.vdot(sent, sent)
        gains[k] = abs(gain) ** 2
        distortions[k] = np.mean(np.abs(heard - gain * sent) ** 2) / gains[k]
    return backoffs, gains, distortions
