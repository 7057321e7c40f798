"""Codes of 16 bits that a virtual radio's converter makes of samples, and of nothing but noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from sim_fallback.front_end import FrontEnd
from sim_fallback.render import TILE
from sim_fallback.streams import Key, stream

Samples = npt.NDArray[np.int16]
"""I and Q, [n, 2]."""

UNIFORMS = 1 << 16


@dataclass(frozen=True)
class Codes:
    """How samples in units of full scale become codes.

    Attributes:
        full_scale: code of a sample of magnitude 1, if there is one.
        levels: codes are -levels to levels - 1.
    """

    full_scale: float
    levels: int

    def of(self, parts: npt.NDArray[np.float32]) -> Samples:
        """The codes of samples, float32 [n, 2] to int16."""
        codes = parts * np.float32(self.full_scale)
        np.rint(codes, out=codes)
        np.clip(codes, -self.levels, self.levels - 1, out=codes)
        return np.asarray(codes, np.int16)

    def of_silence(
        self, front_end: FrontEnd, key: Key, index: int, rate_hz: float, gain_db: float
    ) -> Samples:
        """A tile of nothing but the receiver's own noise, int16 [TILE, 2].

        It has the distribution that the front end gives to silence, but for the imbalance of the
        mixers (-54 dB of noise), at a tenth of the cost: each code is looked up by 16 random bits,
        so that the noise ends at 4.3 standard deviations.

        Args:
            front_end: of the radio.
            key: of the radio.
            index: of the tile.
            rate_hz: of the samples.
            gain_db: that raises the noise.
        """
        deviation = math.sqrt(front_end.noise_var(rate_hz, gain_db) / 2)
        offset = complex(front_end.rx_dc)
        bits = stream(key, "noise floor", 2 * index if index >= 0 else -2 * index - 1).bit_generator
        uniforms = bits.random_raw(2 * TILE // 4).view(np.uint16).reshape(2, TILE)
        tile = np.empty((TILE, 2), np.int16)
        tile[:, 0] = _by_uniform(self, front_end.adc_bits, deviation, offset.real)[uniforms[0]]
        tile[:, 1] = _by_uniform(self, front_end.adc_bits, deviation, offset.imag)[uniforms[1]]
        return tile


@lru_cache(maxsize=64)
def _by_uniform(
    codes: Codes, adc_bits: int | None, deviation: float, offset: float
) -> npt.NDArray[np.int16]:
    """Codes of a normal, by uniform numbers of 16 bits: int16 [65536]."""
    normals = ndtri((np.arange(UNIFORMS) + 0.5) / UNIFORMS)
    parts = deviation * normals + offset
    if adc_bits is not None:
        steps = 2.0 ** (adc_bits - 1)
        parts = np.clip(np.rint(parts * steps), -steps, steps - 1) / steps
    return codes.of(parts.astype(np.float32))
