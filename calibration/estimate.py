"""A measured number: value, standard uncertainty and unit, and the few rules that combine them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

RealArray = npt.NDArray[np.float64]

COVERAGE = 2.0
"""Standard uncertainties to each side of an interval."""


class MeasurementError(Exception):
    """Samples do not hold what was to be measured: what is wrong, and what would be right."""


@dataclass(frozen=True)
class Estimate:
    """A value with its standard uncertainty.

    The uncertainty is one standard deviation as the interval `low` to `high`, two of them to each
    side, sees it: that interval covers the truth with a probability of about 95 %. Where it was
    learnt from the scatter of a few repeats, it is widened accordingly (Student's t), so that a
    reader need not know how many there were (BIPM, "Guide to the expression of uncertainty in
    measurement", annex G).

    Attributes:
        value: in `unit`.
        uncertainty: in `unit`, >= 0.
        unit: "dB", "dBm", "dBFS" (0 is a magnitude of 1), "Hz", "ppm", "samples", "s", "deg" or ""
            for a plain number.
    """

    value: float
    uncertainty: float
    unit: str

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"value should be finite, not {self.value}")
        if not 0 <= self.uncertainty < math.inf:
            raise ValueError(f"uncertainty should be finite and >= 0, not {self.uncertainty}")

    @property
    def low(self) -> float:
        """Two uncertainties below the value."""
        return self.value - COVERAGE * self.uncertainty

    @property
    def high(self) -> float:
        """Two uncertainties above the value."""
        return self.value + COVERAGE * self.uncertainty

    def covers(self, truth: float) -> bool:
        """Whether a value lies within `low` to `high`."""
        return self.low <= truth <= self.high

    def plus(self, other: Estimate, unit: str | None = None) -> Estimate:
        """The sum with an independent estimate, in this one's unit unless another is named."""
        uncertainty = math.hypot(self.uncertainty, other.uncertainty)
        return Estimate(self.value + other.value, uncertainty, self.unit if unit is None else unit)

    def minus(self, other: Estimate, unit: str | None = None) -> Estimate:
        """The difference from an independent estimate, in this one's unit or the one named."""
        return self.plus(Estimate(-other.value, other.uncertainty, other.unit), unit)

    def __str__(self) -> str:
        return f"{self.value:.6g} ± {self.uncertainty:.2g} {self.unit}".rstrip()


def widening(freedom: int) -> float:
    """Factor on an uncertainty that was learnt with so many degrees of freedom.

    Two widened uncertainties reach as far in Student's distribution as two standard deviations in
    the normal one.

    Raises:
        ValueError: less than one degree of freedom.
    """
    if freedom < 1:
        raise ValueError(f"a scatter takes at least one degree of freedom, not {freedom}")
    return float(special.stdtrit(freedom, special.ndtr(COVERAGE))) / COVERAGE


def mean_of(values: npt.ArrayLike, unit: str) -> Estimate:
    """Mean of independent repeats [n >= 2], with the uncertainty that their scatter shows."""
    repeats = np.asarray(values, np.float64)
    if repeats.ndim != 1 or repeats.size < 2:
        raise ValueError(f"a scatter takes at least 2 repeats, not {list(repeats.shape)}")
    error = float(repeats.std(ddof=1)) / math.sqrt(repeats.size) * widening(repeats.size - 1)
    return Estimate(float(repeats.mean()), error, unit)


def in_db(ratio: float, uncertainty: float, unit: str) -> Estimate:
    """10 log10 of a power, with the uncertainty of the power carried over.

    Raises:
        MeasurementError: the power is not positive: it is lost in noise.
    """
    if not ratio > 0:
        raise MeasurementError("there is no power above the noise")
    return Estimate(10 * math.log10(ratio), 10 / math.log(10) * uncertainty / ratio, unit)


def root_of(variance: float, uncertainty: float, unit: str) -> Estimate:
    """Standard deviation from a variance, which may be negative once noise was taken off it.

    Half the way from the root of the variance to the root of its upper limit stands for the
    uncertainty, which is right for large and for vanishing deviations.
    """
    value = math.sqrt(max(variance, 0.0))
    limit = math.sqrt(max(variance, 0.0) + COVERAGE * uncertainty)
    return Estimate(value, (limit - value) / COVERAGE, unit)


def jackknife(statistic: Callable[[RealArray], float], sums: RealArray, unit: str) -> Estimate:
    """A function of totals, with the uncertainty seen by leaving out one block at a time.

    Efron and Stein, "The jackknife estimate of variance", Annals of Statistics 1981. Blocks longer
    than the memory of a process are independent, whatever its spectrum.

    Args:
        statistic: of the sums of all blocks but maybe one, [...].
        sums: of each block, [blocks, ...], at least 3 of them.
        unit: of the statistic.

    Raises:
        ValueError: fewer than 3 blocks.
    """
    blocks = len(sums)
    if blocks < 3:
        raise ValueError(f"a jackknife takes at least 3 blocks, not {blocks}")
    total = sums.sum(axis=0)
    without = np.array([statistic(total - one) for one in sums])
    variance = (blocks - 1) / blocks * float(np.sum((without - without.mean()) ** 2))
    return Estimate(statistic(total), math.sqrt(variance) * widening(blocks - 1), unit)
