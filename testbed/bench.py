"""What an experiment's air is made of: numbers alone, or radios.

A bench is built with the experiment, which checks it, and opened with the run. `Bench.round` goes
around each round and keeps what the run folder should hold of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from fl_core.uplink import Uplink
from sim_fallback.symbol_uplink import SymbolUplink

Arrays = dict[str, npt.NDArray[Any]]


class Memory(Protocol):
    """What a bench carries from round to round, for the checkpoint."""

    def saved(self) -> Arrays:
        """By name."""

    def restore(self, load: Callable[[str], npt.NDArray[Any]]) -> None:
        """Go on from what was saved, loaded by name."""


class NoMemory:
    """Of a bench that carries nothing."""

    def saved(self) -> Arrays:
        """Nothing."""
        return {}

    def restore(self, load: Callable[[str], npt.NDArray[Any]]) -> None:
        """Nothing is needed."""


@dataclass(frozen=True)
class Bench:
    """An open bench.

    Attributes:
        uplink: the air.
        round: entered around the round of this index.
        memory: from round to round.
        calibration: SHA-256 of what its radios are calibrated with, by file; none where nothing is.
    """

    uplink: Uplink
    round: Callable[[int], AbstractContextManager[None]]
    memory: Memory = field(default_factory=NoMemory)
    calibration: Mapping[str, str] = field(default_factory=dict)


class ClosedBench(Protocol):
    """A bench that was checked and can be opened."""

    def open(self, folder: Path) -> AbstractContextManager[Bench]:
        """Open it for a run into this folder; leaving closes all radios."""


@dataclass(frozen=True)
class SymbolBench:
    """No radios: `uplink=symbol`."""

    uplink: SymbolUplink

    @contextmanager
    def open(self, folder: Path) -> Iterator[Bench]:
        """Nothing is opened, and nothing kept."""
        yield Bench(self.uplink, lambda index: nullcontext())
