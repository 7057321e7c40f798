"""Start jitter of a host: how late bursts leave that were asked for at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from calibration.estimate import COVERAGE, Estimate, mean_of

RealArray = npt.NDArray[np.float64]

LEAST = 20  # starts


@dataclass(frozen=True)
class StartJitter:
    """Lateness of starts, in the unit in which it was measured.

    Attributes:
        mean: of the lateness.
        deviation: standard deviation.
        latest: the lateness that 90 % of the starts stay below: what a capture has to allow for.
        worst: the largest that was seen.
    """

    mean: Estimate
    deviation: Estimate
    latest: Estimate
    worst: float


def start_jitter(lateness: npt.ArrayLike, unit: str = "s", share: float = 0.9) -> StartJitter:
    """Statistics of starts, whatever their distribution: hosts are late in no bell curve.

    The deviation's uncertainty takes the kurtosis from the data, around a trimmed mean, and counts
    on the logarithm (Bonett, "Approximate confidence interval for standard deviation of nonnormal
    distributions", Computational Statistics and Data Analysis 2006). The quantile's
    lies between order statistics (David and Nagaraja, "Order statistics", section 7.1).

    Args:
        lateness: from asking to the first sample on the air, independent starts, [n >= 20].
        unit: of it.
        share: of the starts that `latest` is about.

    Raises:
        ValueError: fewer starts, or no share between 0 and 1.
    """
    late = np.sort(np.asarray(lateness, np.float64))
    n = late.size
    if late.ndim != 1 or n < LEAST:
        raise ValueError(f"start jitter takes at least {LEAST} starts, not {list(late.shape)}")
    if not 0 < share < 1:
        raise ValueError(f"share should be between 0 and 1, not {share}")
    outside = float(stats.norm.sf(COVERAGE))
    ranks = stats.binom.ppf([outside, 1 - outside], n, share).astype(int)
    low, high = late[np.clip(ranks, 0, n - 1)]
    quantile = float(np.quantile(late, share))
    # The wider side, because an interval of an estimate is the same to both.
    reach = max(high - quantile, quantile - low) / COVERAGE
    return StartJitter(
        mean=mean_of(late, unit),
        deviation=_deviation(late, unit),
        latest=Estimate(quantile, float(reach), unit),
        worst=float(late[-1]),
    )


def _deviation(late: RealArray, unit: str) -> Estimate:
    """Standard deviation, its uncertainty that of the wider side."""
    n = late.size
    deviation = float(late.std(ddof=1))
    if deviation == 0:
        return Estimate(0.0, 0.0, unit)
    middle = float(stats.trim_mean(late, 1 / (2 * math.sqrt(n - 4))))
    squares = float(np.sum((late - late.mean()) ** 2))
    kurtosis = n * float(np.sum((late - middle) ** 4)) / squares**2
    error = math.sqrt(max(kurtosis - (n - 3) / n, 0.0) / (n - 1))  # of the variance, relative
    small = n / (n - COVERAGE)
    upper = deviation * math.sqrt(small * math.exp(COVERAGE * small * error))
    return Estimate(deviation, (upper - deviation) / COVERAGE, unit)
