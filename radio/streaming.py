"""Two gapless streams that give a radio without time stamps a clock: what is counted is the time.

As long as no sample is lost, sample k of the received stream and sample k of the sent one lie a
fixed time apart. Both ends here are fed by threads of a driver and used by its caller.
"""

from __future__ import annotations

import threading
from collections import deque

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

    def __init__(self, history: int) -> None:
        """Keep this many samples at least."""
        self._history = history
        self._changed = threading.Condition()
        self._pieces: deque[tuple[int, IQ]] = deque()
        self._end = 0
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
            while self._pieces[0][0] + self._pieces[0][1].size <= self._end - self._history:
                self._pieces.popleft()
            self._changed.notify_all()

    def fail(self, reason: str) -> None:
        """The stream broke; whoever waits for it is told."""
        with self._changed:
            self._fault = self._fault or reason
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
            while self._end < first + n:
                if self._fault is not None:
                    raise RadioError(self._fault)
                if not self._changed.wait(timeout_s):
                    raise RadioError(f"no samples came in for {timeout_s:g} s")
            if not self._pieces or first < self._pieces[0][0]:
                raise RadioError(f"sample {first} has passed, and is kept no longer")
            heard = np.empty(n, np.complex64)
            for begin, iq in self._pieces:
                low, high = max(begin, first), min(begin + iq.size, first + n)
                if low < high:
                    heard[low - first : high - first] = iq[low - begin : high - begin]
            return heard
