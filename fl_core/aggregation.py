"""How far the sum on the air is from the wanted mean, and the power control that makes it least.

The server wants the mean of r updates with symbols s_i and gets, from weights w_i <= 1 of the
superposition, the scale c and the divisor eta, (1/eta) (sum w_i s_i + z/c). For updates without
correlation the squared error of the M symbols is

    J = sum_i ||s_i||^2 (w_i/eta - 1/r)^2 + M sigma^2 / (c eta)^2.

Its parts are the misalignment of those that send, the missing share ||s_i||^2/r^2 of those that are
silent, and noise. What updates have in common adds no error as long as the weights add up to eta,
so that J errs on the side of caution. The recovery by OAMP comes after: it turns the noise of
symbols into less noise of entries, and leaves the other parts as they are.

By its power limit a device has w_i <= u_i/c, with u_i = sqrt(P M) |h_i| / ||s_i||.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RealArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AggregationError:
    """J by its parts, in units of ||s||^2.

    Attributes:
        misalignment: of the weights of those that send.
        missing: share of those that are silent.
        noise: of the receiver.
    """

    misalignment: float
    missing: float
    noise: float

    @property
    def total(self) -> float:
        """J."""
        return self.misalignment + self.missing + self.noise


def aggregation_error(
    weights: RealArray, energies: RealArray, normaliser: float, noise_energy: float
) -> AggregationError:
    """The error of the mean that the server steps with.

    Args:
        weights: w_i, [r]; 0 for a silent device.
        energies: ||s_i||^2, [r].
        normaliser: eta > 0, what the server divides by.
        noise_energy: M sigma^2 / c^2.
    """
    off = energies * (weights / normaliser - 1 / weights.size) ** 2
    sends = weights > 0
    return AggregationError(
        float(off[sends].sum()), float(off[~sends].sum()), noise_energy / normaliser**2
    )


def least_error_threshold(
    amplitudes: RealArray, energies: RealArray, noise_to_limit: float
) -> float:
    """The threshold of a truncated inversion with the least J in a round.

    With the a strongest devices active, weights 1 and eta = a, the scale is as large as the weakest
    of them permits, c^2 = P M / max ||s_i||^2/|h_i|^2 (J falls with c, and nothing else limits it).
    Then

        J(a) = E/r^2 - (2/r - 1/a) E_a/a + (sigma^2/P) max_{i<=a} (||s_i||^2/|h_i|^2) / a^2

    where E is the energy of all and E_a that of the active. Only r thresholds differ in effect, so
    that all are tried. For equal energies no other choice of active devices is better either.

    Args:
        amplitudes: |h_i|, [r].
        energies: ||s_i||^2, [r].
        noise_to_limit: sigma^2/P.

    Returns:
        The largest amplitude that is silent: 0 if none is but dead channels. At least one device
        stays active where any channel lives; of equals the lower threshold is returned.
    """
    order = np.argsort(-amplitudes, kind="stable")
    order = order[amplitudes[order] > 0]
    if order.size == 0:
        return 0.0
    strength, energy = amplitudes[order], energies[order]
    count = np.arange(1, order.size + 1)
    with np.errstate(over="ignore"):
        loudest = np.maximum.accumulate((np.sqrt(energy) / strength) ** 2)
    # J less what does not depend on a.
    error = noise_to_limit * loudest / count**2
    error -= (2 / amplitudes.size - 1 / count) * np.cumsum(energy) / count
    below = np.append(strength[1:], 0.0)
    error[below == strength] = np.inf  # no threshold lies between equals
    best = order.size - 1 - int(np.argmin(error[::-1]))
    return float(below[best])


def least_error_scale(
    amplitudes: RealArray, energies: RealArray, budget: float, noise_energy: float
) -> float:
    """The scale c with the least J where weak devices send with all they have, w_i = min(1, u_i/c).

    With eta = r, J r^2 = sum ||s_i||^2 max(0, 1 - u_i/c)^2 + M sigma^2/c^2 is convex in 1/c. Where
    the k devices of least u are below 1 its derivative vanishes at

        c_k = (P M sum_{i<=k} |h_i|^2 + M sigma^2) / (sqrt(P M) sum_{i<=k} |h_i| ||s_i||),

    and since adding a device that is above 1 only raises the derivative, c = min_k c_k. No other
    weights, not even with devices silent or another divisor, have a smaller J (Cao, Zhu, Xu and
    Huang, "Optimized Power Control for Over-the-Air Computation in Fading Channels", IEEE TWC 2020,
    for equal energies).

    Args:
        amplitudes: |h_i|, [r].
        energies: ||s_i||^2, [r].
        budget: P M > 0.
        noise_energy: M sigma^2.

    Returns:
        c > 0, or 0 where no device with a living channel has anything to send.
    """
    sends = (amplitudes > 0) & (energies > 0)
    if not sends.any():
        return 0.0
    strength, size = amplitudes[sends], np.sqrt(energies[sends])
    order = np.argsort(strength / size)
    received = budget * np.cumsum(strength[order] ** 2) + noise_energy
    return float(np.min(received / np.cumsum((strength * size)[order]))) / math.sqrt(budget)
