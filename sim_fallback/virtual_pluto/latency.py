"""How late the host side of a PlutoSDR acts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class HostLatency:
    """From a command until samples flow: a fixed part and an exponential one.

    Attributes:
        least_s: fixed part.
        extra_s: mean of the exponential part.
    """

    least_s: float = 0.5e-3
    extra_s: float = 1e-3

    def __post_init__(self) -> None:
        if not (0 <= self.least_s < math.inf and 0 <= self.extra_s < math.inf):
            raise ValueError(f"latencies must be finite and >= 0: {self.least_s}, {self.extra_s}")

    def draw_s(self, rng: np.random.Generator) -> float:
        """One latency."""
        return self.least_s + self.extra_s * float(rng.exponential())
