"""What a host tells a receive DSP of a USRP: which samples it wants, and from when on."""

from __future__ import annotations

from dataclasses import dataclass

NOW, CHAIN, RELOAD, STOP = 1 << 31, 1 << 30, 1 << 29, 1 << 28
COUNT = STOP - 1


@dataclass(frozen=True)
class Command:
    """One command of a stream.

    Attributes:
        count: samples.
        ticks: device time of the first one; None for as soon as possible.
        chained: whether another command goes on where this one ends.
        repeats: whether it goes on as long as there is no other.
        stops: whether it ends the one before, and nothing else.
        arrived_s: true time.
    """

    count: int
    ticks: int | None
    chained: bool
    repeats: bool
    stops: bool
    arrived_s: float

    @classmethod
    def of(cls, word: int, ticks: int, arrived_s: float) -> Command:
        """The command of a word, which has no time of its own where the word says `NOW`."""
        return cls(
            count=max(1, word & COUNT),
            ticks=None if word & NOW else ticks,
            chained=bool(word & CHAIN),
            repeats=bool(word & RELOAD),
            stops=bool(word & STOP),
            arrived_s=arrived_s,
        )
