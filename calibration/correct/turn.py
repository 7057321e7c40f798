"""A constant frequency, whose phase goes on with a radio's sample index."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from radio.api import IQ

CYCLE = 1 << 64  # parts of a turn: phases are whole numbers and stay exact for any index
BLOCK = 4096  # samples worked on at once, aligned to the index


@dataclass(frozen=True)
class Turn:
    """Turns samples by exp(2 pi j frequency index).

    The phase of a sample depends on nothing but its index, so bursts and captures are turned the
    same however they are cut, and keep their phases to each other over days.

    Attributes:
        cycles: frequency over the sample rate, below a half.
    """

    cycles: float

    def __post_init__(self) -> None:
        if not abs(self.cycles) < 0.5:
            raise ValueError(
                "a carrier offset should be below half the sample rate, not "
                f"{abs(self.cycles):g} of it"
            )

    def apply(self, iq: IQ, first_sample: int) -> None:
        """Turn complex64 [n] in place.

        Args:
            iq: samples.
            first_sample: index of iq[0] on the radio's own clock.
        """
        if not self.cycles:
            return
        start = 0
        while start < iq.size:
            block, skipped = divmod(first_sample + start, BLOCK)
            piece = iq[start : start + BLOCK - skipped]
            whole_turns = self._step * block * BLOCK % CYCLE / CYCLE
            base = np.complex64(np.exp(2j * np.pi * whole_turns))
            _multiply(piece, (base * self._table)[skipped : skipped + piece.size])
            start += piece.size

    @cached_property
    def _step(self) -> int:
        return round(self.cycles * CYCLE) % CYCLE

    @cached_property
    def _table(self) -> IQ:
        # Unsigned integers wrap around where a turn does.
        turns = np.arange(BLOCK, dtype=np.uint64) * np.uint64(self._step) / CYCLE
        table: IQ = np.exp(2j * np.pi * turns).astype(np.complex64)
        return table


def _multiply(iq: IQ, turns: IQ) -> None:
    """In place, by real numbers: complex ones are rounded otherwise at the end of an array."""
    in_phase = iq.real * turns.real - iq.imag * turns.imag
    iq.imag = iq.real * turns.imag + iq.imag * turns.real
    iq.real = in_phase
