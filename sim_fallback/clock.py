"""The time of an air: one that goes on only when asked, and one that keeps pace with the world."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

BUFFER_S = 0.25
"""What a radio in wall-clock time keeps of what it heard while nobody asked."""


@dataclass(frozen=True)
class Start:
    """Where a capture starts that was not given a time.

    Attributes:
        sample: its first.
        lost: samples since the last capture that nobody can have any more.
    """

    sample: int
    lost: int


class Clock(Protocol):
    """What an `Air` asks of time. Samples are of the clock of the radio that captures."""

    @property
    def latency_s(self) -> float:
        """How far ahead of the present a burst must be posted."""

    def present_s(self) -> float:
        """True time."""

    def wait_until(self, t_s: float) -> None:
        """Return once the present is t_s or later."""

    def earliest(self, last_end: int, present: int) -> int:
        """First sample from which a capture may be asked for.

        Args:
            last_end: where the radio's last capture ended.
            present: where its clock stands.
        """

    def resume(self, last_end: int, present: int, sample_rate_hz: float) -> Start:
        """Where a capture goes on that was not given a time; arguments as for `earliest`."""


class VirtualClock:
    """Stands still until somebody waits; deterministic. Threads may share it.

    A capture stands for one that was armed in advance, so a radio may go back to where its own last
    capture ended although others have moved the present on.
    """

    latency_s = 0.0

    def __init__(self) -> None:
        self._present_s = 0.0
        self._lock = threading.Lock()

    def present_s(self) -> float:
        """True time: the latest that anybody waited for."""
        return self._present_s

    def wait_until(self, t_s: float) -> None:
        """Go on to t_s at once."""
        with self._lock:
            self._present_s = max(self._present_s, t_s)

    def earliest(self, last_end: int, present: int) -> int:
        """The end of the radio's last capture."""
        return min(last_end, present)

    def resume(self, last_end: int, present: int, sample_rate_hz: float) -> Start:
        """The present; a capture without a time is nobody's loss."""
        return Start(max(last_end, present), 0)


class WallClock:
    """Keeps pace with a monotonic clock: late is late, and what nobody reads in time is lost."""

    def __init__(
        self,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
        buffer_s: float = BUFFER_S,
        latency_s: float = 0.0,
    ) -> None:
        """True time 0 is now.

        Args:
            monotonic: time in seconds, such as `time.monotonic`.
            sleep: waits for some seconds, such as `time.sleep`.
            buffer_s: what a radio keeps of what it heard while nobody asked.
            latency_s: how far ahead a burst must be posted.
        """
        if not buffer_s >= 0 or not latency_s >= 0:
            raise ValueError(f"buffer_s and latency_s must be >= 0, not {buffer_s}, {latency_s}")
        self.latency_s = latency_s
        self._buffer_s = buffer_s
        self._monotonic, self._sleep = monotonic, sleep
        self._started = monotonic()

    @classmethod
    def paced(
        cls, pace: float, monotonic: Callable[[], float], sleep: Callable[[float], None]
    ) -> WallClock:
        """A clock of which `pace` seconds pass in a second; 0.1 is ten times slower than the world.

        Raises:
            ValueError: time would not go on.
        """
        if not pace > 0:
            raise ValueError(f"pace must be positive, not {pace}")
        return cls(lambda: pace * monotonic(), lambda s: sleep(s / pace))

    def present_s(self) -> float:
        """True time: seconds since the clock was made."""
        return self._monotonic() - self._started

    def wait_until(self, t_s: float) -> None:
        """Sleep until t_s, to a nanosecond: a clock that reads hours resolves little less."""
        while (left := t_s - self.present_s()) > 1e-9:
            self._sleep(left)

    def earliest(self, last_end: int, present: int) -> int:
        """The present."""
        return present

    def resume(self, last_end: int, present: int, sample_rate_hz: float) -> Start:
        """Where the last capture ended, or the present where that is no longer in the buffer."""
        lost = present - last_end
        return (
            Start(last_end, 0) if lost <= self._buffer_s * sample_rate_hz else Start(present, lost)
        )
