"""A device's shell: its radio, its memory on the disk, and the experiment it computes for."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fl_core.compression import energy
from fl_core.errors import InputError
from fl_core.power import PowerPlan
from fl_core.round import OverTheAir
from fl_core.sparsifier import sparsify
from fl_core.streams import stream
from radio.api import Radio, RadioError, RadioSettings
from testbed.bench_config import BenchConfig
from testbed.experiment import DIVERGED_ABOVE, Experiment
from testbed.experiment_file import validated
from testbed.nodes import device
from testbed.nodes.air_plan import AirPlan
from testbed.nodes.coordinator_messages import Grant, Listen, Mark, Send, SetGains, Sound
from testbed.nodes.device_messages import Armed, Heard, Marked, Report
from testbed.nodes.member import Mute, Say, Unfit
from testbed.nodes.memory import MemoryFile
from testbed.nodes.messages import Body
from testbed.nodes.own_radio import MISFIT, OwnRadio, RadioGoneError
from testbed.nodes.spoke import Spoke
from testbed.on_air.device import Device
from testbed.on_air.timeline import Timeline
from testbed.run_folder import config_hash
from testbed.schemes import build_scheme, symbol_uplink
from testbed.yaml_file import parse_yaml

_log = logging.getLogger(__name__)


class DeviceNode:
    """Performs what `device.step` decides.

    Args:
        spoke: to the coordinator.
        open_radio: opens the device's radio; called again after the radio refused something.
        bench: that the device belongs to.
        state: folder in which its memory of each run is kept.
    """

    def __init__(
        self, spoke: Spoke, open_radio: Callable[[], Radio], bench: BenchConfig, state: Path
    ) -> None:
        self._spoke = spoke
        self._bench = bench
        self._state = state
        waits = bench.deadlines
        self._radio = OwnRadio(open_radio, self._dressed, waits.answer_s, waits.rejoin_s)
        self._job: Job | None = None
        self._settings = RadioSettings()
        self._call: CallOnAir | None = None

    @property
    def turnaround_s(self) -> float:
        """Of its radio."""
        return self._radio.turnaround_s

    def close(self) -> None:
        """RF off."""
        self._radio.close()

    def perform(self, action: Any) -> Any:
        """Do it; returns what came of it, or None."""
        match action:
            case Say(body, run, round_index):
                self._spoke.send(body, run, round_index)
                return None
            case device.Prepare(run, config, number):
                return self._prepare(run, config, number)
            case Mute():
                self._call = None
                return None
            case device.OnAir(told, grant, gains):
                return self._on_air(told, grant, gains)
            case device.MakeReady():
                return self._make_ready()
        assert self._job is not None
        return self._job.perform(action)

    def _prepare(self, run: str, config: str, number: int) -> device.Prepared | Unfit:
        try:
            self._job = Job(run, config, number, self._bench, self._state)
            self._settings = self._job.plan.settings_of(self._bench.nodes()[number])
        except (InputError, RadioError, OSError) as error:
            return Unfit(str(error))
        owed = self._job.memory.owed
        _log.info("in run %s as device %d", run, number)
        pending = None if owed.pending is None else owed.pending.round
        return device.Prepared(self._job.config_sha256, pending, owed.settled)

    def _dressed(self, radio: Radio, settings: RadioSettings) -> Radio:
        """The radio behind its profile; RadioError where it is not the one planned for."""
        assert self._job is not None
        name = self._bench.nodes()[self._job.number].name
        return self._job.plan.calibrated(radio, name, settings)

    def _make_ready(self) -> device.RadioRefused | None:
        assert self._job is not None
        try:
            self._radio.ready(self._settings, patience_s=0)
        except MISFIT as error:
            return device.RadioRefused(str(error), final=True, misfit=True)
        except RadioError as error:  # the next call tries again, and says what comes of it
            _log.warning("radio: %s", error)
        return None

    def _on_air(
        self, told: Mark | Listen | Sound | Send, grant: Grant | None, gains: SetGains | None
    ) -> device.Done | device.RadioRefused:
        assert self._job is not None
        try:
            if isinstance(told, Mark):
                if gains is not None:
                    self._settings = replace(
                        self._settings, tx_gain_db=gains.tx_gain_db, rx_gain_db=gains.rx_gain_db
                    )
                radio = self._radio.ready(self._settings)
                self._call = CallOnAir(self._job, radio, told)
            assert self._call is not None
            return device.Done(told.call, self._call.do(told, grant))
        except RadioError as error:
            # Closing is how a radio is muted, and takes back what it was still to send.
            _log.warning("radio: %s", error)
            self.close()
            self._call = None
            return device.RadioRefused(
                str(error), isinstance(error, RadioGoneError), isinstance(error, MISFIT)
            )


class Job:
    """What a device computes in a run, and keeps of it.

    Raises:
        InputError: the experiment is none, cannot be built here, or the memory is damaged.
        OSError: the folder cannot be made.
    """

    def __init__(self, run: str, config: str, number: int, bench: BenchConfig, state: Path) -> None:
        self._config = validated(parse_yaml(config, "the coordinator's welcome"), "its welcome")
        self._experiment = Experiment(self._config)
        self.config_sha256 = config_hash(self._config)
        self.plan = AirPlan.of(self._experiment, bench)
        self.legs = lru_cache(maxsize=8)(self.plan.legs)
        for leg in self.legs(self._config.devices.num_active):
            leg.draw()
        self.number = number
        scheme = build_scheme(self._config, self._experiment.dim, symbol_uplink(self._config))
        assert isinstance(scheme, OverTheAir)  # `AirPlan.of` takes no other
        self._scheme = scheme
        folder = state / run
        folder.mkdir(parents=True, exist_ok=True)
        self.memory = MemoryFile(folder / f"memory-{number}.npz", self._experiment.dim)
        self._symbols: tuple[int, npt.NDArray[np.complex64]] | None = None

    def perform(self, action: device.Compute | device.Settle) -> Any:
        """Compute or settle; what came of it."""
        try:
            if isinstance(action, device.Settle):
                self.memory.replace(self.memory.owed.settle(action.round, action.applied))
                _log.info("round %d: %s", action.round, "in" if action.applied else "not in")
                return device.Settled(action.round)
            return self._compute(action)
        except OSError as error:
            _log.warning("memory: %s", error)
            return device.DiskRefused(str(error))

    def symbols(self, round_index: int) -> npt.NDArray[np.complex64]:
        """s of the update that waits, complex64 [M]."""
        if self._symbols is None or self._symbols[0] != round_index:
            pending = self.memory.owed.pending
            assert pending is not None
            assert pending.round == round_index
            compression = self._scheme.compression(round_index, self._experiment.dim)
            self._symbols = round_index, compression.forward(pending.sparse[None])[0]
        return self._symbols[1]

    def _compute(self, action: device.Compute) -> device.Computed | device.Diverged:
        index, told, owed = action.round, action.params, self.memory.owed
        if owed.pending is None:
            params = told.params.copy()  # torch wants arrays that it could write to
            updates, losses = self._experiment.desk.update(
                params, index, [self.number], told.meta_lr
            )
            update, loss = updates[0], float(losses[0])
            if not (np.abs(update).max() < DIVERGED_ABOVE and np.isfinite(loss)):
                return device.Diverged(index)
            rng = stream(self._config.seed, "contraction", index, self.number)
            sparse, left = sparsify(self._scheme.contraction, update, owed.memory, rng)
            self.memory.replace(owed.sending(index, sparse, left, loss))
        pending = self.memory.owed.pending
        assert pending is not None
        return device.Computed(index, energy(self.symbols(index)), pending.loss)


class CallOnAir:
    """A device's part of a call: what it is told, done with its radio."""

    def __init__(self, job: Job, radio: Radio, mark: Mark) -> None:
        self._mark = mark
        self._radio, self._expected = radio, radio.now() + mark.ahead
        legs = job.legs(len(mark.devices))
        self._timeline: Timeline = legs[mark.leg]
        self._slot = int(np.flatnonzero(mark.devices == job.number)[0])
        self._device = Device(radio, self._timeline, job.plan.link)
        first = sum(leg.num_symbols for leg in legs[: mark.leg])
        self._part = slice(first, first + self._timeline.num_symbols)
        self._job = job
        self._clipped = self._missed = 0

    def do(self, told: Mark | Listen | Sound | Send, grant: Grant | None) -> tuple[Body, ...]:
        """Do as told, in the order of the call; the words to be said about it."""
        call, node = told.call, self._device
        match told:
            case Mark():
                return (Marked(call, float(self._radio.settings.tx_gain_db)),)
            case Listen(what="beacon"):
                return (Heard(call, "beacon", 0, node.hear_beacon(self._expected)),)
            case Listen() | Sound() if not node.synchronised:
                return ()  # which the coordinator knows
            case Listen(what="sync", index=index, at=at):
                heard = node.hear_sync(at)
                self._missed += not heard
                return (Heard(call, "sync", index, heard),)
            case Sound():
                node.sound(self._slot)
                return (Armed(call, "sounding", 0),)
            case Send(burst=burst):
                assert grant is not None
                self._send(burst, grant)
                words: tuple[Body, ...] = (Armed(call, "burst", burst),)
                if burst == len(self._timeline.layouts) - 1:
                    words = (self._report(call), *words)
                return words
        raise AssertionError(told)

    def _send(self, burst: int, grant: Grant) -> None:
        sent = PowerPlan(
            np.array([grant.precoder], np.complex128), grant.scale, np.ones(1, np.bool_), False
        ).precode(self._job.symbols(self._round)[None])[0, self._part]
        layout = self._timeline.layouts[burst]
        first = sum(before.capacity for before in self._timeline.layouts[:burst])
        values = layout.pack(sent[first : first + layout.capacity], self._slot)
        report = self._device.send(values, burst, grant.equaliser, grant.advance)
        self._clipped += report.clipped

    @property
    def _round(self) -> int:
        pending = self._job.memory.owed.pending
        assert pending is not None  # `device.step` begins no call without an update
        return pending.round

    def _report(self, call: int) -> Report:
        node = self._device
        turned = math.remainder(node.turned, 2 * math.pi)
        return Report(call, self._clipped, float(node.cfo_hz), math.degrees(turned), self._missed)
