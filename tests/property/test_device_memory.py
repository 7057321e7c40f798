"""What a device computed is applied or remembered, once, whenever it dies and whatever it hears."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fl_core.errors import InputError
from fl_core.sparsifier import TopK, sparsify
from testbed.nodes import memory
from testbed.nodes.memory import MemoryFile

DIM = 12
write = memory.write_atomically


class OneDevice(RuleBasedStateMachine):
    """A device, the coordinator's checkpoint, and a disk that fails now and then."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "d3.npz"
        self.file = MemoryFile(self.path, DIM)
        self.rng = np.random.default_rng(0)
        self.computed = np.zeros(DIM)
        self.applied = np.zeros(DIM)
        self.committed = {}  # the checkpoint: round -> whether the update is in it
        self.round = 0

    def teardown(self):
        self.folder.cleanup()

    def replace(self, owed, disk):
        """Write through a disk that works, fails before, or dies right after the replacement."""

        def broken(path, content):
            if disk == "after":
                write(path, content)
            raise OSError(28, "No space left on device")

        before = self.file.owed
        try:
            memory.write_atomically = write if disk == "works" else broken
            self.file.replace(owed)
        except OSError:
            assert self.file.owed is before
            if disk == "after":  # the process died with the disk
                self.file = MemoryFile(self.path, DIM)
            return self.file.owed is not before
        finally:
            memory.write_atomically = write
        return True

    @precondition(lambda self: self.file.owed.pending is None)
    @rule(disk=st.sampled_from(["works", "before", "after"]))
    def compute(self, disk):
        # Whole numbers, so that sums are exact.
        update = self.rng.integers(-99, 100, DIM).astype(np.float32)
        sparse, left = sparsify(TopK(3), update, self.file.owed.memory, self.rng)
        if self.replace(self.file.owed.sending(self.round, sparse, left, 0.5), disk):
            self.computed += update
        else:
            self.round += 1  # the device was left out of this round

    @precondition(lambda self: self.file.owed.pending is not None)
    @rule(heard=st.booleans())
    def commit(self, heard):
        pending = self.file.owed.pending
        if pending.round not in self.committed:
            self.committed[pending.round] = heard
            self.applied += pending.sparse * heard
            self.round = pending.round + 1

    @precondition(lambda self: self.file.owed.pending is not None)
    @rule()
    def coordinator_dies_before_its_checkpoint(self):
        pending = self.file.owed.pending
        if pending.round not in self.committed:
            self.round = pending.round + 1

    @rule(disk=st.sampled_from(["works", "before", "after"]), times=st.integers(1, 3))
    def hear_or_ask(self, disk, times):
        pending = self.file.owed.pending
        if pending is not None and (pending.round in self.committed or self.round > pending.round):
            for _ in range(times):  # repeated by the network
                applied = self.committed.get(pending.round, False)
                self.replace(self.file.owed.settle(pending.round, applied), disk)

    @rule()
    def die_and_come_back(self):
        self.file = MemoryFile(self.path, DIM)

    @invariant()
    def nothing_is_lost_or_counted_twice(self):
        owed = self.file.owed
        remembered = owed.memory
        if owed.pending is not None:
            applied = self.committed.get(owed.pending.round, False)
            remembered = owed.settle(owed.pending.round, applied).memory
        np.testing.assert_array_equal(self.applied + remembered, self.computed)


TestOneDevice = OneDevice.TestCase
TestOneDevice.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def pending_file(tmp_path):
    file = MemoryFile(tmp_path / "d0.npz", 2)
    ones = np.ones(2, np.float32)
    file.replace(file.owed.sending(4, ones, 2 * ones, 0.5))
    return file


def test_rounds_are_settled_in_order(tmp_path):
    owed = pending_file(tmp_path).owed
    with pytest.raises(ValueError, match="round 4 is to be settled first"):
        owed.sending(5, owed.memory, owed.memory, 0.5)
    with pytest.raises(ValueError, match="round 5 is not under way"):
        owed.settle(5, applied=True)
    settled = owed.settle(4, applied=True)
    assert settled.settle(3, applied=True) is settled
    with pytest.raises(ValueError, match="round 4 is settled already"):
        settled.sending(4, owed.memory, owed.memory, 0.5)


@pytest.mark.parametrize("spoil", [lambda data: data[:-30], lambda data: b"", lambda data: b"{}"])
def test_a_damaged_file_is_named(tmp_path, spoil):
    pending_file(tmp_path)
    path = tmp_path / "d0.npz"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(InputError, match=r"d0\.npz: the device's memory is damaged"):
        MemoryFile(path, 2)


def test_the_memory_of_another_model_is_refused(tmp_path):
    pending_file(tmp_path)
    with pytest.raises(InputError, match=r"another model; this one has 3 parameters"):
        MemoryFile(tmp_path / "d0.npz", 3)


def test_what_was_half_written_when_a_device_was_killed_is_removed(tmp_path):
    half = tmp_path / ".memory-3.npz.4711"
    half.write_bytes(b"PK")
    MemoryFile(tmp_path / "memory-3.npz", DIM)
    assert not half.exists()
