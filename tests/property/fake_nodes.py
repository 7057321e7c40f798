"""What nodes do, without radios, sockets or files: an air, disks, and performers of actions.

Updates are whole numbers, so that every sum is exact, and so is what the receiver recovers.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from testbed.nodes import device, receiver
from testbed.nodes.coordinator_messages import (
    Begin,
    HearBurst,
    HearSoundings,
    Listen,
    Mark,
    Recover,
    Send,
    SendBeacon,
    SendSync,
    Sound,
)
from testbed.nodes.coordinator_state import Broken, Commit, Committed, Pace, Paced, Tell
from testbed.nodes.device_messages import Armed, Heard, Marked, Report
from testbed.nodes.memory import Owed
from testbed.nodes.receiver_messages import Begun, BurstHeard, Estimate, Sent, Soundings, Status

DIM, CARRIERS = 4, 2
CONFIG, CODE = "c" * 64, "d" * 64
NEVER = -1


@dataclass(frozen=True)
class Leg:
    """As much of a timeline as the coordinator looks at."""

    num_symbols: int = 8
    shared_clock: bool = False
    early_sync: int = 10
    late_sync: int = 30
    syncs: tuple[tuple[int, ...], ...] = ((50,), (70,))
    layouts: tuple[None, ...] = (None, None)
    airtime_s: float = 0.5


class Disks:
    """All that outlives a process, and the books that have to balance."""

    def __init__(self, num_devices, rng):
        self.rng = rng
        self.params = self.initial = np.zeros(DIM, np.float32)
        self.round, self.uses = 0, 0
        self.last_applied = np.full(num_devices, NEVER, np.int64)
        self.owed = [Owed(np.zeros(DIM, np.float32)) for _ in range(num_devices)]
        self.computed = np.zeros((num_devices, DIM))
        self.applied = np.zeros((num_devices, DIM))
        self.rounds_applied = [[] for _ in range(num_devices)]

    def compute(self, number, round_index):
        """A new update, on the disk."""
        update = self.rng.integers(-9, 10, DIM) * int(self.rng.random() < 0.9)
        whole = self.owed[number].memory + update.astype(np.float32)
        sparse = np.where(self.rng.random(DIM) < 0.5, whole, np.float32(0))
        self.owed[number] = self.owed[number].sending(round_index, sparse, whole - sparse, 0.5)
        self.computed[number] += update
        self.check()

    def settle(self, number, round_index, applied):
        self.owed[number] = self.owed[number].settle(round_index, applied)
        self.check()

    def commit(self, commit):
        """What a commit says of devices is what is in its parameters."""
        assert commit.round == self.round
        applied = np.flatnonzero(commit.last_applied == commit.round)
        others = np.setdiff1d(np.arange(len(self.owed)), applied)
        assert np.array_equal(commit.last_applied[others], self.last_applied[others])
        expected = self.params.copy()
        for number in applied:
            pending = self.owed[number].pending
            assert pending is not None, f"device {number} has nothing under way"
            assert pending.round == commit.round
            assert commit.round not in self.rounds_applied[number], "applied twice"
            self.rounds_applied[number].append(commit.round)
            self.applied[number] += pending.sparse
            expected = expected - pending.sparse
        np.testing.assert_array_equal(commit.params, expected)
        assert commit.row["failed"] == (applied.size == 0)
        self.params, self.last_applied = commit.params, commit.last_applied
        self.round, self.uses = commit.round + 1, commit.channel_uses
        self.check()

    def check(self):
        """Applied and remembered updates sum to the computed ones, device by device."""
        np.testing.assert_array_equal(self.params, self.initial - self.applied.sum(axis=0))
        for number, owed in enumerate(self.owed):
            memory = owed.memory
            if owed.pending is not None:
                index = owed.pending.round
                memory = owed.settle(index, bool(self.last_applied[number] == index)).memory
            np.testing.assert_array_equal(self.applied[number] + memory, self.computed[number])


@dataclass
class Air:
    """Who sent what after which beacon. A beacon is heard by those who were marked before it."""

    epochs: int = 0
    beacons: list[int] = field(default_factory=list)
    sounded: defaultdict = field(default_factory=lambda: defaultdict(set))
    bursts: defaultdict = field(default_factory=lambda: defaultdict(dict))


class FakeDevice:
    """Performs what `device.step` decides."""

    def __init__(self, world, name, number):
        self.world, self.name, self.number = world, name, number
        self.mark = None

    def perform(self, action):
        disks = self.world.disks
        match action:
            case device.Say(body, run, round_index):
                self.world.say(self.name, body, run, round_index)
            case device.Prepare(device=number):
                assert number == self.number
                owed = disks.owed[number]
                pending = None if owed.pending is None else owed.pending.round
                return device.Prepared(CONFIG, pending, owed.settled)
            case device.Compute(round=index, params=params):
                # A round's parameters never change, whoever leads it.
                if index == disks.round:
                    np.testing.assert_array_equal(params.params, disks.params)
                return self._compute(index)
            case device.Settle(index, applied):
                if self.world.takes("disk", self.name):
                    return device.DiskRefused("full")
                disks.settle(self.number, index, applied)
                return device.Settled(index)
            case device.Mute():
                self.mark = None
            case device.MakeReady():
                pass
            case device.OnAir(told, grant):
                if self.world.takes("radio", self.name):
                    self.mark = None
                    return device.RadioRefused("broken", final=isinstance(told, Mark))
                return self._on_air(told, grant)
            case _:
                raise AssertionError(action)
        return None

    def _compute(self, index):
        disks = self.world.disks
        if disks.owed[self.number].pending is None:
            if self.world.takes("disk", self.name):
                return device.DiskRefused("full")
            disks.compute(self.number, index)
        pending = disks.owed[self.number].pending
        assert pending.round == index
        return device.Computed(index, float(np.sum(pending.sparse**2)), pending.loss)

    def _on_air(self, told, grant):
        air, call = self.world.air, told.call
        if isinstance(told, Mark):
            assert self.number in told.devices
            self.mark, self.beacons, self.epoch = told, len(air.beacons), None
            return device.Done(call, (Marked(call, 0.0),))
        assert self.mark is not None
        assert self.mark.call == call
        match told:
            case Listen(what="beacon"):
                is_there = len(air.beacons) > self.beacons
                if is_there and not self.world.takes("deaf", self.name):
                    self.epoch = air.beacons[-1]
                return device.Done(call, (Heard(call, "beacon", 0, self.epoch is not None),))
            case Listen() | Sound() if self.epoch is None:  # it knows no time
                return device.Done(call, ())
            case Listen(index=index):
                return device.Done(call, (Heard(call, "sync", index, True),))
        if isinstance(told, Sound):
            air.sounded[self.epoch].add(self.number)
            return device.Done(call, (Armed(call, "sounding", 0),))
        assert isinstance(told, Send)
        assert self.epoch is not None, "sends without a beacon"
        assert grant is not None, "sends without a grant"
        assert self.world.attempt_of(grant) == self.world.attempt_of(told), "an old grant"
        pending = self.world.disks.owed[self.number].pending
        air.bursts[self.epoch, told.burst][self.number] = pending.sparse
        words = (Armed(call, "burst", told.burst),)
        if told.burst == len(Leg.syncs) - 1:
            words = (Report(call, 0, 0.0, 0.0, 0), *words)
        return device.Done(call, words)


class FakeReceiver:
    """Performs what `receiver.step` decides, and refuses what the real one would."""

    def __init__(self, world, name):
        self.world, self.name = world, name
        self.index = None

    def perform(self, action):
        match action:
            case device.Say(body, run, round_index):
                self.world.say(self.name, body, run, round_index)
            case receiver.Prepare():
                return receiver.Prepared(CONFIG)
            case receiver.Do(index, told):
                words = None
                if not self.world.takes("radio", self.name):
                    words = self._do(index, told)
                if words is None:
                    self.index = None
                    return receiver.Failed(
                        Status(0, "broken"), told.call, final=isinstance(told, Begin)
                    )
                return receiver.Done(words)
            case device.Mute() | receiver.Finish():
                self.index = None
            case _:
                raise AssertionError(action)
        return None

    def _do(self, index, told):
        """The words to be said; None where the radio refuses."""
        air = self.world.air
        if isinstance(told, Begin):
            if index != self.index or told.leg == 0:
                self.legs = {}
            self.index, self.call, self.leg, self.devices = index, told.call, told.leg, told.devices
            air.epochs += 1
            self.epoch = air.epochs
            return (Begun(told.call, 0, 7),)
        if self.index != index or told.call != self.call:
            return None
        match told:
            case SendBeacon(call):
                air.beacons.append(self.epoch)
                return (Sent(call, "beacon", 0, 0),)
            case SendSync(call, sync):
                return (Sent(call, "sync", sync, 0),)
            case HearSoundings(call):
                self.legs[self.leg] = []
                return (self._soundings(call),)
            case HearBurst(call, burst):
                if self.leg not in self.legs:
                    return None
                sent = air.bursts[self.epoch, burst]
                heard = {i: g for i, g in sent.items() if not self._misses("absent", i)}
                self.legs[self.leg].append(heard)
                present = np.array([i in heard for i in self.devices])
                return BurstHeard(call, burst, present, 0.1, 0.0), Status(0, "")
            case Recover(call):
                return self._estimate(call)
        raise AssertionError(told)

    def _misses(self, kind, number):
        return self.world.takes(kind, self.world.devices[number])

    def _soundings(self, call):
        sounded = self.world.air.sounded[self.epoch]
        heard = np.array([i in sounded and not self._misses("unheard", i) for i in self.devices])
        return Soundings(
            call,
            gains=heard.astype(np.float64),
            powers=heard.astype(np.float64),
            heard=heard,
            snr_db=np.where(heard, 20.0, -200.0),
            delays=np.zeros(heard.size),
            equalisers=np.ones((heard.size, CARRIERS), np.complex64),
            noise_var=0.1,
        )

    def _estimate(self, call):
        """The sum of all that were in all bursts of all legs, times how many they are.

        The coordinator divides by that number, and gets the sum, exactly.
        """
        bursts = [heard for leg in self.legs.values() for heard in leg]
        if len(bursts) != len(Leg.syncs) * self.world.num_legs:
            return None
        everywhere = [i for i in self.devices if all(i in heard for heard in bursts)]
        total = np.zeros(DIM, np.float32)
        for i in everywhere:
            assert all(heard[i] is bursts[0][i] for heard in bursts)
            total = total + bursts[0][i] * np.float32(len(everywhere))
        poor = self.world.takes("poor", self.name)
        return (Estimate(call, total, None if poor else 0.01, 3, False, None, 0.1),)


class FakeServer:
    """Performs what `coordinator.step` decides."""

    def __init__(self, world):
        self.world = world

    def perform(self, action):
        match action:
            case Tell(to, body, run, round_index):
                self.world.tell(to, body, run, round_index)
            case Pace():
                return Paced()
            case Commit():
                if self.world.takes("disk", "coordinator"):
                    return Broken(1, "full")
                self.world.disks.commit(action)
                return Committed()
            case _:
                raise AssertionError(action)
        return None
