"""A clock that is what passed through a flowgraph: as in a loop, or out of a file.

Nothing in such a flowgraph has a pace of its own. Samples go in only while as many are asked for,
so time stands still in between, and every run hears the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np

from flowgraphs.links import MESSAGE, Bursts, Entrance, Exit
from flowgraphs.tags import Tag
from radio.api import IQ, Capture, require_future


class Stepped:
    """Samples through a flowgraph of which as many come out as go in.

    Attributes:
        tags: of the last capture, on this clock.
    """

    def __init__(self, entrance: Entrance | None, exit_: Exit) -> None:
        """Out of a flowgraph, and into it where it has an entrance."""
        self._entrance, self._exit = entrance, exit_
        self._bursts = Bursts()
        self._now = 0
        self._waiting: deque[IQ] = deque()
        self._to_come: list[Tag] = []
        self.tags: list[Tag] = []

    def now(self) -> int:
        """The end of what came out."""
        return self._now

    def send(self, iq: IQ, at: int | None) -> int:
        """Post a burst, to go in when its time comes; where it begins."""
        return self._bursts.post(iq, at)

    def receive(self, n: int, at: int | None, patience_s: float) -> Capture:
        """Let time pass until `at`, and keep the n samples after that.

        Raises:
            RadioError: `at` has passed, nothing comes out for so long, or the flowgraph has ended.
        """
        first = self._now if at is None else int(at)
        require_future(first, self._now)
        for _ in self._pieces(first, patience_s):
            continue
        iq = np.concatenate(list(self._pieces(first + n, patience_s)))
        self.tags = [tag for tag in self._to_come if first <= tag.offset < self._now]
        self._to_come = [tag for tag in self._to_come if tag.offset >= self._now]
        return Capture(iq, first, 0)

    def close(self) -> None:
        """What was still to be sent is not."""
        self._bursts.clear()

    def _pieces(self, end: int, patience_s: float) -> Iterator[IQ]:
        """All samples up to this time, as they come out."""
        while self._now < end:
            entrance = self._entrance
            # It takes only so many before some have come out.
            while entrance and (missing := end - self._bursts.position) > 0 and entrance.takes():
                entrance.push(*self._bursts.take(min(missing, MESSAGE)))
            if not self._waiting:
                iq, tags = self._exit.pull(patience_s)
                self._waiting.append(iq)
                self._to_come += tags
            piece = self._waiting.popleft()
            if piece.size > end - self._now:
                self._waiting.appendleft(piece[end - self._now :])
                piece = piece[: end - self._now]
            self._now += piece.size
            yield piece
