"""Truncated inversion under Rayleigh fading: its mean error, and a threshold to choose beforehand.

Where the gains of a round are known, `fl_core.aggregation` does better with each round's own.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import exp1
from scipy.stats import binom


def rayleigh_error(threshold: float, num_active: int, snr: float) -> float:
    """E[J] of a truncated inversion under Rayleigh fading, relative to the mean update's energy.

    For devices of equal energy and E|h|^2 = 1. The number a of active ones is binomial with
    e^(-threshold^2); the least |h|^2 of a active ones stands Exp(a) above threshold^2, so that
    E[1/min |h|^2] = a e^x E1(x) with x = a threshold^2, and

        r E[J] / ||s||^2 = P(0) + sum_{a>=1} P(a) (r/a - 1 + (r/a) e^x E1(x) / SNR).

    Args:
        threshold: of |h|, >= 0; at 0 the mean is infinite.
        num_active: r >= 1.
        snr: P/sigma^2, linear.
    """
    if threshold == 0:
        return math.inf
    count = np.arange(1, num_active + 1)
    silent, *chances = binom.pmf(range(num_active + 1), num_active, math.exp(-(threshold**2)))
    x = count * threshold**2
    # e^x E1(x), by its continued fraction where e^x would overflow.
    inverse = np.where(x < 600, np.exp(np.minimum(x, 600)) * exp1(x), 1 / (x + 1))
    return float(silent + chances @ (num_active / count * (1 + inverse / snr) - 1))


def rayleigh_threshold(num_active: int, snr: float) -> float:
    """The threshold that has the least `rayleigh_error`, for who has to choose it beforehand.

    Args:
        num_active: r >= 1.
        snr: P/sigma^2, linear, finite.
    """
    grid = np.geomspace(1e-4, 3, 60)
    best = int(np.argmin([rayleigh_error(t, num_active, snr) for t in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)])
    found = minimize_scalar(
        rayleigh_error, bounds=bounds, args=(num_active, snr), method="bounded",
        options={"xatol": 1e-6},
    )  # fmt: skip
    return float(found.x)
