"""The kernel buffers of a receive stream: a ring that fills whether anybody reads or not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Tuning = TypeVar("Tuning")


@dataclass(frozen=True)
class Span(Generic[Tuning]):
    """Samples in a row that were received in one way.

    Attributes:
        tuning: in which way.
        first: sample of the receive clock.
        count: how many.
    """

    tuning: Tuning
    first: int
    count: int


def at_once(_: object, sample: int) -> int | None:
    """A block may always begin."""
    return sample


class Ring(Generic[Tuning]):
    """Blocks that fill one after the other from the start on.

    One block is the client's while it reads it. While all others are full samples vanish, and
    nothing but `overflowed` tells. Nothing is computed before a block is read: a block only knows
    which samples it holds.
    """

    def __init__(
        self,
        count: int,
        size: int,
        tuning: Tuning,
        start: int,
        now: Callable[[Tuning], int],
        opens: Callable[[Tuning, int], int | None] = at_once,
    ) -> None:
        """An empty ring.

        Args:
            count: blocks.
            size: samples of each.
            tuning: how the radio receives.
            start: first sample, of the receive clock; may lie ahead.
            now: where the clock of a tuning stands.
            opens: from which sample on, that one or a later one, a block may begin; None where that
                is not known yet.
        """
        self.count, self.size = count, size
        self.overflowed = False
        self._now, self._opens = now, opens
        self._tuning = tuning
        self.restart(start)

    def restart(self, start: int) -> None:
        """Drop everything and fill from a sample on."""
        self._cursor = start
        self._free = self.count
        self._lent: list[Span[Tuning]] | None = None
        self._full: deque[list[Span[Tuning]]] = deque()
        self._filling: list[Span[Tuning]] = []
        self._missing = self.size

    @property
    def oldest(self) -> Span[Tuning]:
        """What was, or will be, received first of all that may still be read, or is being."""
        block = self._lent or (self._full[0] if self._full else self._filling)
        return block[0] if block else Span(self._tuning, self._cursor, 0)

    def advance(self) -> None:
        """Fill blocks up to the present."""
        present = self._now(self._tuning)
        while self._free and self._cursor < present:
            if self._missing == self.size:
                begins = self._opens(self._tuning, self._cursor)
                if begins is None or begins >= present:
                    break
                self._cursor = begins
            taken = min(self._missing, present - self._cursor)
            self._filling.append(Span(self._tuning, self._cursor, taken))
            self._cursor += taken
            self._missing -= taken
            if not self._missing:
                self._full.append(self._filling)
                self._filling, self._missing = [], self.size
                self._free -= 1
        if not self._free and self._cursor < present:
            self._cursor = present
            self.overflowed = True

    def skip(self) -> None:
        """A block that waits to begin does not begin before the present."""
        self.advance()
        if self._missing == self.size:
            self._cursor = max(self._cursor, self._now(self._tuning))

    def tune(self, tuning: Tuning, start: int | None = None) -> None:
        """Receive in another way from the present on.

        Args:
            tuning: the other way.
            start: where the clock counts otherwise now, or reception pauses: from which sample on.
        """
        self.advance()
        self._tuning = tuning
        self._cursor = self._cursor if start is None else start

    def release(self) -> None:
        """Give the block that was read back."""
        self.advance()
        if self._lent is not None:
            self._lent = None
            self._free += 1

    def take(self) -> list[Span[Tuning]] | None:
        """The next full block, lent until `release`; None where it is not full yet."""
        self.advance()
        if not self._full:
            return None
        self._lent = self._full.popleft()
        return self._lent

    def coming(self, decided: bool) -> list[Span[Tuning]]:
        """What the next block will hold if nothing changes; nothing where it is not `decided`.

        Args:
            decided: whether that holds for a block that is not full yet.
        """
        if self._full:
            return list(self._full[0])
        if not decided or not self._free:
            return []
        return [*self._filling, Span(self._tuning, self._cursor, self._missing)]

    @property
    def ready(self) -> tuple[Tuning, int] | None:
        """The tuning, and the sample of its clock at which the next block is full, where known."""
        begins: int | None = self._cursor
        if self._missing == self.size:
            begins = self._opens(self._tuning, self._cursor)
        return None if begins is None else (self._tuning, begins + self._missing)
