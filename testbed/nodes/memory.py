"""A device's long-term memory on disk, settled exactly once a round.

An update counts when the coordinator's checkpoint says so (docs/adr/0003). Until a device has heard
that, it keeps both outcomes: what it remembers if its update was applied, and if it was not.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fl_core.errors import InputError
from radio.whole_file import remove_unfinished, write_atomically
from testbed.run_folder import DAMAGED

Vector = npt.NDArray[np.float32]

NONE = -1  # in place of a round


@dataclass(frozen=True)
class Pending:
    """An update on its way.

    Attributes:
        round: that it was computed in.
        sparse: g, what is sent, float32 [d].
        left: what is remembered if it is applied, float32 [d]; sparse + left is all that is owed.
        loss: that was reported with it.
    """

    round: int
    sparse: Vector
    left: Vector
    loss: float


@dataclass(frozen=True)
class Owed:
    """What a device owes.

    Attributes:
        memory: m, float32 [d].
        settled: last round that is settled, -1 before the first.
        pending: the update of a later round, while nobody has said what became of it.
    """

    memory: Vector
    settled: int = NONE
    pending: Pending | None = None

    def sending(self, round_index: int, sparse: Vector, left: Vector, loss: float) -> Owed:
        """With an update under way.

        Raises:
            ValueError: the last update is not settled yet, or the round is not a later one.
        """
        if self.pending is not None:
            raise ValueError(f"round {self.pending.round} is to be settled first")
        if round_index <= self.settled:
            raise ValueError(f"round {round_index} is settled already")
        return Owed(self.memory, self.settled, Pending(round_index, sparse, left, loss))

    def settle(self, round_index: int, applied: bool) -> Owed:
        """Told what became of a round; the same again changes nothing.

        Raises:
            ValueError: a round that this device is not waiting for and never settled.
        """
        if round_index <= self.settled:
            return self
        if self.pending is None or self.pending.round != round_index:
            raise ValueError(f"round {round_index} is not under way")
        kept = self.pending.left if applied else self.pending.left + self.pending.sparse
        return Owed(kept, round_index)


class MemoryFile:
    """Where a device keeps what it owes; every change is one atomic replacement."""

    def __init__(self, path: Path, dim: int) -> None:
        """What is there, or nothing owed where no file is.

        Raises:
            InputError: the file is damaged, or of a model of another size.
        """
        self._path = path
        remove_unfinished(path)
        self.owed = _load(path, dim) if path.exists() else Owed(np.zeros(dim, np.float32))

    def replace(self, owed: Owed) -> None:
        """Keep this from now on; OSError, and nothing changed, where the disk refuses."""
        nothing = np.zeros(0, np.float32)
        pending = owed.pending or Pending(NONE, nothing, nothing, 0.0)
        buffer = io.BytesIO()
        np.savez(
            buffer,
            memory=owed.memory,
            settled=np.int64(owed.settled),
            pending=np.int64(pending.round),
            sparse=pending.sparse,
            left=pending.left,
            loss=np.float64(pending.loss),
        )
        write_atomically(self._path, buffer.getvalue())
        self.owed = owed


def _load(path: Path, dim: int) -> Owed:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            memory, settled = data["memory"], int(data["settled"])
            pending = Pending(
                int(data["pending"]), data["sparse"], data["left"], float(data["loss"])
            )
    except DAMAGED as error:
        raise InputError(
            f"{path}: the device's memory is damaged ({error}); delete it to forget what it owes"
        ) from error
    vectors = [memory] if pending.round == NONE else [memory, pending.sparse, pending.left]
    if any(v.shape != (dim,) or v.dtype != np.float32 for v in vectors):
        raise InputError(f"{path}: is the memory of another model; this one has {dim} parameters")
    return Owed(memory, settled, None if pending.round == NONE else pending)
