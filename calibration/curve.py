"""A measured curve: a number over a setting of a radio, with uncertainty and linear range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.estimate import Estimate
from radio.api import Range

RealArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Values at ascending settings, straight lines in between.

    Attributes:
        settings: where it was measured, [n >= 2], ascending.
        values: there, [n].
        uncertainties: standard ones, [n].
        unit: of values and uncertainties.
        linear: settings between which the curve can be relied on to be a straight line. Within
            `measured`, and more than a point.
    """

    settings: tuple[float, ...]
    values: tuple[float, ...]
    uncertainties: tuple[float, ...]
    unit: str
    linear: Range

    def __post_init__(self) -> None:
        x, y, error = self._columns()
        if not x.size == y.size == error.size >= 2:
            raise ValueError(
                f"{x.size} settings, {y.size} values and {error.size} uncertainties; a curve takes "
                "at least 2, and as many of each"
            )
        if not (np.isfinite(x).all() and np.isfinite(y).all() and np.isfinite(error).all()):
            raise ValueError("a curve takes finite numbers")
        if np.any(np.diff(x) <= 0):
            raise ValueError(f"settings should ascend, not {list(self.settings)}")
        if np.any(error < 0):
            raise ValueError(f"uncertainties should be 0 or more, not {float(error.min())}")
        if not x[0] <= self.linear.low < self.linear.high <= x[-1]:
            raise ValueError(
                f"linear = {self.linear} should go up within the measured {self.measured}"
            )

    @classmethod
    def through(cls, settings: Sequence[float], values: Sequence[Estimate]) -> Curve:
        """What was measured at ascending settings, linear all over; ValueError for fewer than 2."""
        if len(values) < 2:
            raise ValueError(f"a curve takes at least 2 values, not {len(values)}")
        return cls(
            tuple(settings),
            tuple(one.value for one in values),
            tuple(one.uncertainty for one in values),
            values[0].unit,
            Range(settings[0], settings[-1]),
        )

    @property
    def measured(self) -> Range:
        """Settings between which it was measured."""
        return Range(self.settings[0], self.settings[-1])

    @property
    def reach(self) -> Range:
        """Values at the ends of the linear range."""
        return Range(self.at(self.linear.low).value, self.at(self.linear.high).value)

    def at(self, setting: float) -> Estimate:
        """The value at a setting.

        Raises:
            ValueError: nothing was measured there.
        """
        if setting not in self.measured:
            raise ValueError(f"{setting:g} is outside the measured settings, {self.measured}")
        x, y, error = self._columns()
        value, uncertainty = np.interp(setting, x, y), np.interp(setting, x, error)
        return Estimate(float(value), float(uncertainty), self.unit)

    def setting_for(self, value: float) -> float:
        """The setting within the linear range that makes this value.

        Raises:
            ValueError: none does, or values do not ascend there, so that there may be several.
        """
        x, y = self._linear_part()
        if np.any(np.diff(y) <= 0):
            raise ValueError(
                f"values do not ascend over the linear settings {self.linear}, so that none of "
                f"them stands for {value:.6g} {self.unit}; measure with longer steps or more "
                "samples"
            )
        if value not in self.reach:
            raise ValueError(
                f"{value:.6g} {self.unit} is outside {self.reach} {self.unit}, which the linear "
                f"settings {self.linear} make"
            )
        return float(np.interp(value, y, x))

    def slope(self) -> float:
        """Of the straight line through the linear range: 1 where a dB makes a dB."""
        return float(np.polyfit(*self._linear_part(), 1)[0])

    def _linear_part(self) -> tuple[RealArray, RealArray]:
        """Settings and values of the linear range, its ends among them."""
        x, y, _ = self._columns()
        ends = np.array([self.linear.low, self.linear.high])
        inside = x[(x > ends[0]) & (x < ends[1])]
        settings = np.concatenate([ends[:1], inside, ends[1:]])
        return settings, np.interp(settings, x, y)

    def _columns(self) -> tuple[RealArray, RealArray, RealArray]:
        return np.array(self.settings), np.array(self.values), np.array(self.uncertainties)
