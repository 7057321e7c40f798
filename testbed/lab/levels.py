"""How strong samples are against full scale 1.0, and which of them a converter cut off."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from radio.api import Capture


def dbfs(power: float) -> float | None:
    """Power in dB of full scale 1.0; None where there is none."""
    return 10 * math.log10(power) if power > 0 else None


def dbfs_text(power: float) -> str:
    """`−12.3 dBFS`."""
    level = dbfs(power)
    return "silence" if level is None else f"{level:.1f} dBFS".replace("-", "−")


class Levels:
    """Of captures that come one after the other.

    Attributes:
        samples: how many there were.
        clipped: how many of them stood at full scale in I or Q.
        lost: how many were missing before or between them.
    """

    def __init__(self, bits: int) -> None:
        """Nothing yet; the converter has so many bits, and full scale is its highest step."""
        self._highest = 1 - 2.0 ** (1 - bits)
        self.samples = self.clipped = self.lost = 0
        self._energy = 0.0
        self._sum = 0j
        self.peak_power = 0.0

    def add(self, capture: Capture) -> None:
        """The next capture."""
        parts = np.abs(np.ascontiguousarray(capture.iq).view(np.float32).reshape(-1, 2))
        power = np.square(parts, dtype=np.float64).sum(axis=1)
        self.samples += capture.iq.size
        self.clipped += int(np.count_nonzero((parts >= self._highest).any(axis=1)))
        self.lost += capture.overflows
        self._energy += float(power.sum())
        self._sum += complex(capture.iq.sum(dtype=np.complex128))
        self.peak_power = max(self.peak_power, float(power.max()))

    @property
    def mean_power(self) -> float:
        """Of the samples, 1.0 for a tone at full scale."""
        return self._energy / max(1, self.samples)

    @property
    def dc_power(self) -> float:
        """Of their mean."""
        return abs(self._sum / max(1, self.samples)) ** 2

    def as_dict(self) -> dict[str, Any]:
        """As printed for programs; levels in dBFS, None for silence."""
        return {
            "samples": self.samples,
            "rms_dbfs": dbfs(self.mean_power),
            "peak_dbfs": dbfs(self.peak_power),
            "dc_dbfs": dbfs(self.dc_power),
            "clipped": self.clipped,
            "lost": self.lost,
        }

    def __str__(self) -> str:
        return (
            f"rms {dbfs_text(self.mean_power)}, peak {dbfs_text(self.peak_power)}, "
            f"DC {dbfs_text(self.dc_power)}; {self.clipped:,} clipped, {self.lost:,} lost"
        )
