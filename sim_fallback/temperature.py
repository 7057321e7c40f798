"""The temperature of a radio, over true time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

REFERENCE_C = 34.0
"""At which a radio is as its settings say; the chip of a PlutoSDR that was just switched on."""


@dataclass(frozen=True)
class Temperature:
    """Straight lines between points in time; constant before the first and after the last.

    The value at a time follows from that time alone. Warmth is the temperature less `REFERENCE_C`.

    Attributes:
        times_s: true times of the points: 0, and what ascends from there.
        celsius: the temperatures there.
    """

    times_s: tuple[float, ...] = (0.0,)
    celsius: tuple[float, ...] = (REFERENCE_C,)
    _lines: FloatArray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        times, celsius = self.times_s, self.celsius
        if len(times) != len(celsius) or not times or times[0] != 0:
            raise ValueError(
                f"a temperature has a value for each of its times, of which the first is 0: not "
                f"{len(celsius)} values and the times {times}"
            )
        if not all(one < other < math.inf for one, other in pairwise(times)):
            raise ValueError(f"times_s should ascend and be finite, got {times}")
        if not all(-273.15 <= value < 1000 for value in celsius):
            raise ValueError(f"celsius should be temperatures, -273.15 to 1000, got {celsius}")
        warmth = np.array(celsius) - REFERENCE_C
        durations = np.diff(times)
        slopes = np.diff(warmth) / durations
        areas = np.cumsum(durations * (warmth[:-1] + warmth[1:]) / 2)
        # Of each line, the one before time 0 first: where it starts, its warmth and area there,
        # and its slope.
        lines = np.array(
            [
                [0.0, *times],
                [warmth[0], *warmth],
                [0.0, 0.0, *areas],
                [0.0, *slopes, 0.0],
            ]
        )
        object.__setattr__(self, "_lines", lines)

    @classmethod
    def ramp(cls, by_k: float, over_s: float, start_c: float = REFERENCE_C) -> Temperature:
        """From a temperature at time 0 to one that is `by_k` higher, after `over_s`.

        Raises:
            ValueError: it takes no time, or one of the temperatures is none.
        """
        return cls((0.0, over_s), (start_c, start_c + by_k))

    @property
    def reach_k(self) -> float:
        """The largest warmth there is, or its opposite."""
        return max(abs(value - REFERENCE_C) for value in self.celsius)

    def at(self, t_s: npt.ArrayLike) -> FloatArray:
        """In degrees Celsius at true times in seconds, float64 of their shape."""
        return REFERENCE_C + self.warmth_k(t_s)

    def warmth_k(self, t_s: npt.ArrayLike) -> FloatArray:
        """How far above the reference it is, float64 of the shape of t_s."""
        (_, start, _, slope), since = self._line_at(t_s)
        warmth: FloatArray = start + slope * since
        return warmth

    def area_k_s(self, t_s: npt.ArrayLike) -> FloatArray:
        """The integral of `warmth_k` from time 0 on, in K s, float64 of the shape of t_s."""
        (_, start, before, slope), since = self._line_at(t_s)
        area: FloatArray = before + since * (start + slope * since / 2)
        return area

    def _line_at(self, t_s: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """The lines that hold at times, [4, ...], and how long they have held by then."""
        times = np.asarray(t_s, np.float64)
        line: FloatArray = self._lines[:, np.searchsorted(self._lines[0, 1:], times, side="right")]
        return line, times - line[0]


WARMING_UP = Temperature(
    (0.0, 30.0, 60.0, 120.0, 180.0, 240.0, 360.0, 480.0, 720.0),
    (34.0, 35.8, 37.1, 39.1, 40.2, 40.9, 41.6, 41.9, 42.0),
)
"""The chip of a PlutoSDR after it was switched on: within minutes, by 8 K."""
