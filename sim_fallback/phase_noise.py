"""Phase noise of a synthesizer: what its loop leaves of the oscillator's noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from sim_fallback.streams import BLOCK, Key, white_noise

FloatArray = npt.NDArray[np.float32]

MEMORY = 18  # time constants after which a start is forgotten to float32: e^-18 = 1.5e-8


@dataclass(frozen=True)
class PhaseNoise:
    """Gaussian phase with the spectrum of a first-order loop: flat, then -20 dB a decade.

    An Ornstein-Uhlenbeck process, sampled exactly: theta[n+1] = a theta[n] + rms sqrt(1 - a^2) w[n]
    with a = exp(-2 pi corner_hz / sample_rate_hz), so its autocorrelation is
    rms^2 exp(-2 pi corner_hz |tau|) (Demir, Mehrotra and Roychowdhury, "Phase noise in
    oscillators: a unifying theory", 2000, on why a free oscillator wanders; a loop pulls it back).

    Attributes:
        rms_deg: standard deviation in degrees; 0 for none.
        corner_hz: bandwidth of the loop.
    """

    rms_deg: float
    corner_hz: float = 50e3

    def __post_init__(self) -> None:
        if not 0 <= self.rms_deg < math.inf:
            raise ValueError(f"rms_deg must be finite and >= 0, not {self.rms_deg}")
        if not 0 < self.corner_hz < math.inf:
            raise ValueError(f"corner_hz must be positive and finite, not {self.corner_hz}")

    def theta(self, rng_key: Key, first_sample: int, n: int, sample_rate_hz: float) -> FloatArray:
        """The phase at samples first_sample .. first_sample + n - 1.

        Args:
            rng_key: names the synthesizer: a seed and numbers that divide it further.
            first_sample: may be negative.
            n: how many samples.
            sample_rate_hz: at which the process is sampled.

        Returns:
            radians, float32 [n], the same however the samples are cut into calls.
        """
        if self.rms_deg == 0:
            return np.zeros(n, np.float32)
        decay = 2 * math.pi * self.corner_hz / sample_rate_hz
        # A block forgets what lies before the block before it.
        size = BLOCK * math.ceil(MEMORY / decay / BLOCK)
        theta = np.empty(n, np.float32)
        for block in range(first_sample // size, -(-(first_sample + n) // size)):
            start = block * size
            low, high = max(start, first_sample), min(start + size, first_sample + n)
            piece = _unit_block(rng_key, decay, size, block)[low - start : high - start]
            theta[low - first_sample : high - first_sample] = piece
        theta *= np.float32(math.radians(self.rms_deg))
        return theta


@lru_cache(maxsize=64)
def _unit_block(rng_key: Key, decay: float, size: int, block: int) -> FloatArray:
    """One block of the process with variance 1, float32 [size]. Read-only.

    It starts from what the filter holds after the end of the block before, started from rest
    there: the block before as it was given out started from elsewhere, but by its end differs by
    less than float32 resolves.
    """
    pole = math.exp(-decay)
    gain, feedback = [math.sqrt(-math.expm1(-2 * decay))], [1.0, -pole]
    memory = min(size, math.ceil(MEMORY / decay))
    before = white_noise(rng_key, "phase noise", block * size - memory, memory)
    held = lfilter(gain, feedback, before)[-1:] * pole
    white = white_noise(rng_key, "phase noise", block * size, size)
    theta: FloatArray = lfilter(gain, feedback, white, zi=held)[0].astype(np.float32)
    theta.flags.writeable = False
    return theta
