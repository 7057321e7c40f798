"""The oscillator of a radio: the one source of its carrier and of its sample clock."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from sim_fallback.streams import Key, stream
from sim_fallback.temperature import WARMING_UP, Temperature

FloatArray = npt.NDArray[np.float64]

STEP_S = 1e-3
STEPS = 4096  # of the random walk in a chunk
ALLAN_TAU_S = 0.1


@dataclass(frozen=True)
class Oscillator:
    """A constant frequency offset plus a random walk of frequency, and what warmth adds.

    The fractional frequency is y(t) = offset + w(t), where w is a Wiener process from w(0) = 0 with
    variance D t, joined by straight lines between points 1 ms apart. The time error is its integral
    x(t), so the radio's clock reads t + x(t) and its carrier f_c has advanced by f_c (t + x(t))
    cycles. A random walk of frequency has the Allan variance D tau / 3 (Riley, "Handbook of
    Frequency Stability Analysis", NIST SP 1065). Before t = 0 nothing walks.

    The value at a time follows from the key and the time alone; parts of the walk are kept once
    they have been walked.

    Attributes:
        seed_key: a seed >= 0 and numbers >= 0 that divide it further.
        offset_ppm: constant offset; positive is a fast clock and a high carrier.
        allan_deviation: of the random walk at 0.1 s; 0 for none.
        ppm_per_k: what is added to the offset for each K of warmth.
        temperature: of the oscillator.
    """

    seed_key: Key
    offset_ppm: float
    allan_deviation: float
    ppm_per_k: float = 0.0
    temperature: Temperature = WARMING_UP
    _starts: dict[int, tuple[float, float]] = field(
        default_factory=lambda: {0: (0.0, 0.0)}, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not abs(self.offset_ppm) < 1e6:
            raise ValueError(f"offset_ppm must be a number below 1e6, not {self.offset_ppm}")
        if not 0 <= self.allan_deviation < math.inf:
            raise ValueError(f"allan_deviation must be finite and >= 0, not {self.allan_deviation}")
        if not abs(self.ppm_per_k) < 1e3:
            raise ValueError(f"ppm_per_k must be a number below 1e3, not {self.ppm_per_k}")

    @property
    def reach(self) -> float:
        """The most that warmth adds to the fractional frequency, or its opposite."""
        return abs(self.ppm_per_k) / 1e6 * self.temperature.reach_k

    def time_error_s(self, t: npt.ArrayLike) -> FloatArray:
        """x(t) in seconds, float64 of the shape of t (true time in seconds)."""
        return self._at(t)[1]

    def time_error_at_s(self, t: float) -> float:
        """As `time_error_s` for one time, to the bit, at a fiftieth of the cost."""
        return self._at_once(t)[1]

    def fractional_frequency(self, t: npt.ArrayLike) -> FloatArray:
        """y(t) = dx/dt including the offset, float64 of the shape of t (true time in seconds)."""
        return self._at(t)[0]

    def _at(self, t: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        y, x = self._cold(t)
        if self.ppm_per_k == 0:
            return y, x
        slope = self.ppm_per_k / 1e6
        return y + slope * self.temperature.warmth_k(t), x + slope * self.temperature.area_k_s(t)

    def _at_once(self, t: float) -> tuple[float, float]:
        """As `_at` for one time."""
        y, x = self._cold_once(t)
        if self.ppm_per_k == 0:
            return y, x
        slope = self.ppm_per_k / 1e6
        warmth, area = self.temperature.warmth_k(t), self.temperature.area_k_s(t)
        return y + slope * float(warmth), x + slope * float(area)

    def _cold(self, t: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Without what warmth adds."""
        times = np.asarray(t, np.float64)
        offset = self.offset_ppm / 1e6
        if self.allan_deviation == 0:
            return np.full(times.shape, offset)[()], offset * times
        drift = self._drift
        y, x = self._walked(np.maximum(times.ravel(), 0.0))
        y, x = y.reshape(times.shape), x.reshape(times.shape)
        return offset + drift * y, offset * times + drift * x

    def _cold_once(self, t: float) -> tuple[float, float]:
        """As `_cold` for one time."""
        offset = self.offset_ppm / 1e6
        if self.allan_deviation == 0:
            return offset, offset * t
        drift = self._drift
        y, x = self._walked_once(max(t, 0.0))
        return offset + drift * y, offset * t + drift * x

    @property
    def _drift(self) -> float:
        """sqrt(D)."""
        return math.sqrt(3 / ALLAN_TAU_S) * self.allan_deviation

    def _walked(self, times: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The Wiener process of D = 1 and its integral at times [n] >= 0."""
        y, x = np.empty_like(times), np.empty_like(times)
        points = (times / STEP_S).astype(np.int64)
        chunks = points // STEPS
        if len(chunks) and chunks.min() == chunks.max():
            return self._in_chunk(int(chunks[0]), points, times)
        for chunk in np.unique(chunks):
            here = chunks == chunk
            y[here], x[here] = self._in_chunk(int(chunk), points[here], times[here])
        return y, x

    def _in_chunk(
        self, chunk: int, points: npt.NDArray[np.int64], times: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """As `_walked`, of times behind these points, all in one chunk."""
        start_y, start_x = self._start(chunk)
        walk, area = _chunk(self.seed_key, chunk)
        point = points - chunk * STEPS
        in_chunk = times - chunk * (STEPS * STEP_S)
        since = in_chunk - point * STEP_S
        here = walk[point]
        slope = (walk[point + 1] - here) / STEP_S
        quadratic = area[point] + since * (here + slope * since / 2)
        return start_y + here + slope * since, start_x + start_y * in_chunk + quadratic

    def _walked_once(self, t: float) -> tuple[float, float]:
        """As `_walked` for one time, to the bit."""
        point = int(t / STEP_S)
        chunk = point // STEPS
        start_y, start_x = self._start(chunk)
        walk, area = _chunk(self.seed_key, chunk)
        point -= chunk * STEPS
        in_chunk = t - chunk * (STEPS * STEP_S)
        since = in_chunk - point * STEP_S
        here = walk.item(point)
        slope = (walk.item(point + 1) - here) / STEP_S
        quadratic = area.item(point) + since * (here + slope * since / 2)
        return start_y + here + slope * since, start_x + start_y * in_chunk + quadratic

    def _start(self, chunk: int) -> tuple[float, float]:
        """y and x of the unit walk where a chunk starts; summed in one order, whoever asks."""
        for k in range(len(self._starts) - 1, chunk):
            y, x = self._starts[k]
            walk, area = _chunk(self.seed_key, k)
            duration = STEPS * STEP_S
            self._starts[k + 1] = (y + float(walk[-1]), x + y * duration + float(area[-1]))
        return self._starts[chunk]


@lru_cache(maxsize=128)
def _chunk(seed_key: Key, chunk: int) -> tuple[FloatArray, FloatArray]:
    """A Wiener process of D = 1 from 0 and its integral at the points of a chunk, [STEPS + 1]."""
    steps = stream(seed_key, "random walk", chunk).standard_normal(STEPS) * math.sqrt(STEP_S)
    walk = np.concatenate([[0.0], np.cumsum(steps)])
    area = np.concatenate([[0.0], np.cumsum((walk[1:] + walk[:-1]) * (STEP_S / 2))])
    return walk, area
