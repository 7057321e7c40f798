"""What is wired to the reference and PPS inputs of USRPs: one distributor for all, or nothing."""

from __future__ import annotations

import math
import threading

from sim_fallback.clock import Clock
from sim_fallback.oscillator import Oscillator


class Reference:
    """A 10 MHz reference and a pulse at every whole second of it, by cables of equal length.

    Safe to use from several threads.
    """

    def __init__(
        self, clock: Clock, oscillator: Oscillator, locked: bool = True, pps: bool = True
    ) -> None:
        """A distributor.

        Args:
            clock: of true time.
            oscillator: that both come from.
            locked: whether radios can lock to the reference; False for a loose cable.
            pps: whether there are pulses.
        """
        self.oscillator = oscillator
        self.locked = locked
        self._clock = clock
        self._lock = threading.Lock()
        self._gaps: list[tuple[float, float]] = []  # without pulses, in true time
        if not pps:
            self._gaps.append((-math.inf, math.inf))

    @property
    def pps(self) -> bool:
        """Whether there are pulses now."""
        with self._lock:
            return not self._gaps or self._gaps[-1][1] < math.inf

    @pps.setter
    def pps(self, on: bool) -> None:
        now_s = self._clock.present_s()
        with self._lock:
            missing = bool(self._gaps) and self._gaps[-1][1] == math.inf
            if on and missing:
                self._gaps[-1] = (self._gaps[-1][0], now_s)
            elif not on and not missing:
                self._gaps.append((now_s, math.inf))

    def last_pulse_s(self, t_s: float) -> float | None:
        """True time of the last pulse at or before a true time; None where there was none."""
        with self._lock:
            gaps = list(reversed(self._gaps))
        second = self._second(t_s)
        for begin_s, end_s in gaps:
            if begin_s <= self._pulse_s(second) < end_s:
                if begin_s == -math.inf:
                    return None
                second = self._second(begin_s)
        return self._pulse_s(second) if second >= 1 else None

    def next_pulse_s(self, t_s: float) -> float:
        """True time of the first pulse after a true time; inf where none is in sight."""
        with self._lock:
            gaps = list(self._gaps)
        second = max(1, self._second(t_s) + 1)
        for begin_s, end_s in gaps:
            if begin_s <= self._pulse_s(second) < end_s:
                if end_s == math.inf:
                    return math.inf
                second = self._second(end_s) + 1
        return self._pulse_s(second)

    def _second(self, t_s: float) -> int:
        """The last whole second that it has counted, or reached but for rounding."""
        return math.floor(t_s + self.oscillator.time_error_at_s(t_s) + 1e-9)

    def _pulse_s(self, second: int) -> float:
        """True time of a pulse; every step brings the factor |dx/dt| < 1e-3."""
        t_s = float(second)
        for _ in range(4):
            t_s = second - self.oscillator.time_error_at_s(t_s)
        return t_s
