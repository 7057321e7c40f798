"""Block fading of one narrowband path: a complex gain h with E|h|^2 = 1 that stays for a block."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy.special import ive

FadingKind = Literal["rayleigh", "rician", "awgn"]


@dataclass(frozen=True)
class Fading:
    """Rayleigh, Rician or no fading (Tse and Viswanath, "Fundamentals of Wireless Communication").

    A Rician gain is a constant amplitude with a phase uniform over the circle plus a circular
    Gaussian of 1/K its power: sqrt(K/(K+1)) e^{j phi} + CN(0, 1/(K+1)). K = 0 is Rayleigh.
    Without fading h = 1.

    Attributes:
        kind: the distribution.
        k_db: K of ``rician`` in dB, finite; the others ignore it.
    """

    kind: FadingKind = "rayleigh"
    k_db: float = 10.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(FadingKind):
            raise ValueError(
                f"no fading {self.kind!r}; there are {', '.join(get_args(FadingKind))}"
            )
        if not math.isfinite(self.k_db):
            raise ValueError(f"k_db must be finite, not {self.k_db}")

    def draw(self, rng: np.random.Generator) -> complex:
        """One gain h."""
        if self.kind == "awgn":
            return 1.0 + 0.0j
        re, im = rng.standard_normal(2)
        scattered = complex(re, im) / math.sqrt(2)
        if self.kind == "rayleigh":
            return scattered
        k = 10 ** (self.k_db / 10)
        phase = rng.uniform(0.0, 2 * math.pi)
        line_of_sight = complex(math.cos(phase), math.sin(phase))
        return (math.sqrt(k) * line_of_sight + scattered) / math.sqrt(k + 1)

    @property
    def mean_amplitude(self) -> float:
        """E|h| in closed form: sqrt(pi)/2, sqrt(pi/(4(K+1))) L_{1/2}(-K), or 1."""
        if self.kind == "awgn":
            return 1.0
        rayleigh = math.sqrt(math.pi) / 2
        if self.kind == "rayleigh":
            return rayleigh
        k = 10 ** (self.k_db / 10)
        # L_{1/2}(-K) = e^{-K/2} ((1 + K) I0(K/2) + K I1(K/2)); `ive` carries the exponential, so
        # that a large K does not overflow.
        laguerre = (1 + k) * float(ive(0, k / 2)) + k * float(ive(1, k / 2))
        return rayleigh / math.sqrt(k + 1) * laguerre
