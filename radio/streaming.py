"""Two gapless streams that give a radio without time stamps a clock: what is counted is the time.

As long as no sample is lost, sample k of the received stream and sample k of the sent one lie a
fixed time apart. Both ends here are fed by threads of a driver and used by its caller.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Sequence
from itertools import islice

import numpy as np

from radio.api import IQ, RadioError


class SendStream:
    """Samples to send, counted from the start of the stream: zeros but for posted bursts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bursts: list[tuple[int, IQ]] = []
        self._position = 0

    @property
    def position(self) -> int:
        """First sample that has not been handed out yet."""
        return self._position

    def post(self, iq: IQ, at: int | None) -> int:
        """Send a burst from sample `at` of the stream on, or behind all others; where it begins.

        Raises:
            RadioError: that part of the stream was handed out already, or holds another burst.
        """
        with self._lock:
            start = self._free_from() if at is None else at
            if start < self._position:
                raise RadioError(
                    f"a burst came {self._position - start} samples too late for the stream; "
                    "leave the radio its turnaround"
                )
            for begin, other in self._bursts:
                if start < begin + other.size and begin < start + iq.size:
                    raise RadioError(
                        f"the {other.size} samples of another burst begin "
                        f"{begin - start} samples from there: both would overlap"
                    )
            self._bursts.append((start, iq))
            return start

    def take(self, n: int) -> IQ:
        """The next n samples, complex64 [n]."""
        with self._lock:
            first, end = self._position, self._position + n
            taken = np.zeros(n, np.complex64)
            for start, iq in self._bursts:
                low, high = max(start, first), min(start + iq.size, end)
                if low < high:
                    taken[low - first : high - first] = iq[low - start : high - start]
            self._position = end
            self._bursts = [(start, iq) for start, iq in self._bursts if start + iq.size > end]
            return taken

    def clear(self) -> None:
        """Send nothing that was posted."""
        with self._lock:
            self._bursts.clear()

    def _free_from(self) -> int:
        return max([self._position, *(start + iq.size for start, iq in self._bursts)])


class HeardStream:
    """What was received, counted from the start of the stream, as far back as it is kept."""

    def __init__(self, name: str, history: int) -> None:
        """Of a radio of this name, for messages; keep so many samples at least."""
        self._name, self._history = name, history
        self._changed = threading.Condition()
        self._pieces: deque[tuple[int, IQ]] = deque()
        self._end = 0
        self._wanted: int | None = None  # from where on somebody waits for more
        self._fault: str | None = None

    @property
    def end(self) -> int:
        """Samples received so far."""
        return self._end

    @property
    def oldest(self) -> int:
        """First sample that is still kept."""
        with self._changed:
            return self._pieces[0][0] if self._pieces else self._end

    @property
    def fault(self) -> str | None:
        """Why the count no longer holds."""
        return self._fault

    def append(self, iq: IQ) -> None:
        """The next samples came in."""
        with self._changed:
            self._pieces.append((self._end, iq))
            self._end += iq.size
            kept = self._end - self._history
            kept = kept if self._wanted is None else min(kept, self._wanted)
            while self._pieces[0][0] + self._pieces[0][1].size <= kept:
                self._pieces.popleft()
            self._changed.notify_all()

    def fail(self, reason: str) -> None:
        """The stream broke; whoever waits for it is told. The first reason counts."""
        with self._changed:
            self._fault = self._fault or f"{self._name}: {reason}"
            self._changed.notify_all()

    def read(self, first: int, n: int, timeout_s: float) -> IQ:
        """Samples [first, first + n), once they have come in.

        Args:
            first: kept still, or to come.
            n: samples.
            timeout_s: without any new sample, after which the stream counts as dead.

        Raises:
            RadioError: they are kept no longer, the stream broke, or nothing comes.
        """
        with self._changed:
            self._wanted = first  # a capture may be longer than what is kept for nobody
            try:
                self._await(first + n, timeout_s)
            finally:
                self._wanted = None
            if not self._pieces or first < self._pieces[0][0]:
                raise RadioError(f"{self._name}: sample {first} has passed, and is kept no longer")
            heard = np.empty(n, np.complex64)
            for begin, iq in self._pieces:
                low, high = max(begin, first), min(begin + iq.size, first + n)
                if low < high:
                    heard[low - first : high - first] = iq[low - begin : high - begin]
            return heard

    def _await(self, end: int, timeout_s: float) -> None:
        while self._end < end:
            if self._fault is not None:
                raise RadioError(self._fault)
            if not self._changed.wait(timeout_s):
                raise RadioError(f"{self._name}: no samples came in for {timeout_s:g} s")


class Cadence:
    """Whether both streams stay in step, seen from when their transfers end.

    The end of a transfer is noticed late, by a time that varies; but of many the earliest is hardly
    late at all. How far the received ones lag the sent ones of the same number, by the earliest of
    each, stays as it was. Where samples of one stream vanish, or slip in, and no flag says so, it
    moves, and stays there: a host that lags behind for a while, in contrast, catches up.
    """

    FEWEST, SPAN_S = 24, 0.2
    """Transfers of which the earliest counts, and time that they span, at least."""

    AHEAD = 8
    """Transfers by which one stream may be noticed before the other."""

    STEADY = 0.15
    """Of a transfer, by which a lag that stays varies."""

    def __init__(self, transfer_s: float) -> None:
        """Of streams whose transfers take so long, or longer."""
        self._window = max(self.FEWEST, math.ceil(self.SPAN_S / transfer_s))
        self._lock = threading.Lock()
        self._sent: deque[float] = deque(maxlen=4 * self._window)
        self._heard: deque[float] = deque(maxlen=self._window)
        self._first_heard: list[float] = []
        self._sends = self._heards = self._first = 0
        self._lags: deque[tuple[int, float]] = deque()
        self._period_s = self._usual_s = 0.0

    def sent(self, now_s: float) -> None:
        """A transfer of the sent stream ended."""
        with self._lock:
            self._sent.append(now_s)
            self._sends += 1

    def heard(self, now_s: float) -> None:
        """A transfer of the received stream ended."""
        with self._lock:
            if not self._heards:
                self._first = max(0, self._sends - self.AHEAD)
            self._heard.append(now_s)
            self._heards += 1
            if self._heards == self._window:
                self._first_heard = list(self._heard)

    def lag(self) -> float:
        """By how many transfers the received stream lags more than at first.

        To be asked again and again; 0 where that is not known, or changes.
        """
        with self._lock:
            now, lag = self._heards, self._present_lag()
            self._lags.append((now, lag))
            while len(self._lags) > 1 and self._lags[1][0] <= now - self._window:
                self._lags.popleft()
            lags = [lag for _, lag in self._lags]
            is_known = self._lags[0][0] <= now - self._window
            return lag if is_known and max(lags) - min(lags) < self.STEADY else 0.0

    def _present_lag(self) -> float:
        if self._heards < 3 * self._window:
            return 0.0
        # Where the sent ones that belong to those heard last begin, of those that are kept.
        place = self._first + self._heards - self._window - (self._sends - len(self._sent))
        sent = list(islice(self._sent, max(0, place), max(0, place + self._window)))
        if len(sent) < self._window:
            return float(self._window if place < 0 else -self._window)
        if not self._period_s:
            self._period_s = self._slope_s()
            self._usual_s = self._lag_s(sent)
        return (self._lag_s(sent) - self._usual_s) / self._period_s

    def _lag_s(self, sent: Sequence[float]) -> float:
        return _earliest(self._heard, self._period_s) - _earliest(sent, self._period_s)

    def _slope_s(self) -> float:
        """Of the line that lies right under the ends of all transfers: what one of them takes."""
        steps = self._heards - self._window
        slope_s = (self._heard[-1] - self._first_heard[-1]) / steps
        for _ in range(3):
            rise_s = _earliest(self._heard, slope_s) - _earliest(self._first_heard, slope_s)
            slope_s = rise_s / steps
        return slope_s


def _earliest(times_s: Sequence[float] | deque[float], period_s: float) -> float:
    """When the first of these periodic events was due, if the one least late was not late."""
    return float(np.min(np.array(times_s) - period_s * np.arange(len(times_s))))
