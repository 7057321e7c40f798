"""The receiver's shell: its radio, and the estimator."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fl_core.errors import InputError
from fl_core.round import OverTheAir, received_snr
from radio.api import Radio, RadioError, RadioSettings, TxReport
from radio.recording import RecordingRadio
from radio.waveform.preamble import Preamble
from radio.whole_file import write_atomically
from testbed.bench_config import BenchConfig
from testbed.experiment import Experiment
from testbed.experiment_file import validated
from testbed.nodes import receiver
from testbed.nodes.air_plan import AirPlan
from testbed.nodes.coordinator_messages import (
    Begin,
    HearBurst,
    HearSoundings,
    Recover,
    SendBeacon,
    SendSync,
)
from testbed.nodes.member import Mute, Say, Unfit
from testbed.nodes.messages import Body
from testbed.nodes.own_radio import MISFIT, OwnRadio, RadioGoneError
from testbed.nodes.receiver_messages import Begun, BurstHeard, Estimate, Sent, Soundings, Status
from testbed.nodes.rules import MessageError
from testbed.nodes.spoke import Spoke
from testbed.on_air.receiver import Receiver, Sounding, Superposition
from testbed.on_air.recordings import annotate, recording_path
from testbed.on_air.timeline import Timeline
from testbed.on_air.uplink import DeviceArray
from testbed.run_folder import config_hash
from testbed.schemes import build_scheme, symbol_uplink
from testbed.yaml_file import parse_yaml

_log = logging.getLogger(__name__)

CHECKPOINT = "receiver.json"
FINAL = (RadioGoneError, *MISFIT)
SNR_DB = 200.0  # beyond which nobody can tell


class ReceiverNode:
    """Performs what `receiver.step` decides.

    Args:
        spoke: to the coordinator.
        open_radio: opens the radio; called again after the radio refused something.
        bench: that the receiver belongs to.
        state: folder for its checkpoint and recordings of each run.
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
        self._round: RoundHeard | None = None

    @property
    def turnaround_s(self) -> float:
        """Of its radio."""
        return self._radio.turnaround_s

    def close(self) -> None:
        """RF off."""
        self._end_round()
        self._radio.close()

    def perform(self, action: Any) -> Any:
        """Do it; returns what came of it, or None."""
        match action:
            case Say(body, run, round_index):
                self._spoke.send(body, run, round_index)
            case receiver.Prepare(run, config):
                try:
                    self._job = Job(run, config, self._bench, self._state)
                except (InputError, RadioError, OSError) as error:
                    return Unfit(str(error))
                _log.info("in run %s as the receiver", run)
                return receiver.Prepared(self._job.config_sha256)
            case receiver.Do(round_index, told):
                return self._do(round_index, told)
            case receiver.Finish(round_index):
                self._end_round(done=True)
                assert self._job is not None
                self._job.keep(round_index)
            case Mute():
                self._end_round()
        return None

    def _do(self, index: int, told: receiver.OnAir) -> receiver.Done | receiver.Failed:
        assert self._job is not None
        try:
            if isinstance(told, Begin):
                self._job.require_new(index)
                settings = self._job.plan.settings_of(self._bench.receiver)
                radio = self._radio.ready(settings)
                if self._round is None or self._round.index != index:
                    self._end_round()
                    self._round = RoundHeard(self._job, radio, index)
            if self._round is None:
                raise RadioError("this call was not begun here; begin it again")
            return receiver.Done(tuple(self._round.do(told)))
        except (RadioError, OSError, MessageError) as error:  # the last: no finite numbers to say
            _log.warning("radio: %s", error)
            status = Status(0, printable(str(error)))
            self.close()
            return receiver.Failed(status, told.call, isinstance(error, FINAL))

    def _dressed(self, radio: Radio, settings: RadioSettings) -> RecordingRadio:
        """The radio behind its profile; RadioError where it is not the one planned for."""
        assert self._job is not None
        return RecordingRadio(self._job.plan.calibrated(radio, None, settings))

    def _end_round(self, done: bool = False) -> None:
        if self._round is not None:
            self._round.close(done)
            self._round = None


class Job:
    """What the receiver computes in a run.

    Raises:
        InputError: the experiment is none, or cannot be built here.
        OSError: the folder cannot be made.
    """

    def __init__(self, run: str, config: str, bench: BenchConfig, state: Path) -> None:
        self.config = validated(parse_yaml(config, "the coordinator's welcome"), "its welcome")
        experiment = Experiment(self.config)
        self.config_sha256 = config_hash(self.config)
        self.plan = AirPlan.of(experiment, bench)
        self.dim = experiment.dim
        scheme = build_scheme(self.config, self.dim, symbol_uplink(self.config))
        assert isinstance(scheme, OverTheAir)  # `AirPlan.of` takes no other
        self.scheme = scheme
        self.legs = lru_cache(maxsize=8)(self.plan.legs)
        for leg in self.legs(self.config.devices.num_active):
            leg.draw()
        self.folder = state / run
        self.folder.mkdir(parents=True, exist_ok=True)
        self.done = self._last_round()

    def keep(self, round_index: int) -> None:
        """Write the checkpoint: the last round that is done."""
        self.done = round_index
        try:
            write_atomically(self.folder / CHECKPOINT, json.dumps({"round": self.done}).encode())
        except OSError as error:  # the next one says more
            _log.warning("checkpoint: %s", error)

    def require_new(self, round_index: int) -> None:
        """RadioError for a round that is done: its coordinator forgot what devices have settled."""
        if round_index <= self.done:
            raise RadioError(
                f"round {round_index} is done, and {self.done} was the last: the coordinator goes "
                "on from an old checkpoint; start the run in another folder"
            )

    def _last_round(self) -> int:
        path = self.folder / CHECKPOINT
        try:
            return int(json.loads(path.read_text())["round"]) if path.exists() else -1
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: is damaged; delete it to go on") from error


class _Abandoned(Exception):  # noqa: N818 (nothing went wrong)
    """A round that is not kept."""


class RoundHeard:
    """A round at the receiver: the calls of all its legs, and what they brought."""

    def __init__(self, job: Job, radio: RecordingRadio, index: int) -> None:
        self.index = index
        self._job = job
        self._radio = radio
        self._legs: dict[int, Superposition] = {}
        self._first: Sounding | None = None
        self._calls: dict[int, tuple[Timeline, int, DeviceArray]] = {}
        self._call = self._leg = self._armed_until = 0
        self._stack = ExitStack()
        self._recording = None
        if job.config.record:
            path = recording_path(job.folder, index)
            path.parent.mkdir(exist_ok=True)
            self._recording = self._stack.enter_context(radio.into(path, round=index))

    def close(self, done: bool) -> None:
        """No more calls; the recording is kept if the round is done."""
        if done and self._recording is not None:
            for timeline, start, devices in self._calls.values():
                annotate(self._recording, self.index, timeline, start, devices)
        with suppress(_Abandoned), self._stack:
            if not done:
                raise _Abandoned

    def do(self, told: receiver.OnAir) -> Iterator[Body]:
        """Do as told; the words to be said about it."""
        if isinstance(told, Begin):
            self._begin(told)
            ahead = self._receiver.start - self._radio.now()
            yield Begun(told.call, self._receiver.start, ahead)
            return
        if told.call != self._call:
            raise RadioError(f"call {told.call} was not begun here; begin it again")
        match told:
            case SendBeacon(call):
                clipped = self._armed(self._receiver.send_beacon(), self._timeline.beacon)
                yield Sent(call, "beacon", 0, clipped)
            case SendSync(call, index, start):
                clipped = self._armed(self._receiver.send_sync(start), self._timeline.sync)
                yield Sent(call, "sync", index, clipped)
            case HearSoundings(call):
                yield self._sound(call)
            case HearBurst(call, burst):
                yield self._hear(call, burst)
                yield Status(self._receiver.overdriven, "")
            case Recover(call, scale):
                yield self._estimate(call, scale)

    def _armed(self, report: TxReport, beacon: Preamble) -> int:
        """Samples that were clipped."""
        self._armed_until = max(self._armed_until, report.started_at + beacon.length)
        return report.clipped

    def _begin(self, told: Begin) -> None:
        self._call, self._leg = told.call, told.leg
        self._timeline = self._job.legs(len(told.devices))[told.leg]
        link = self._job.plan.link_of(self._radio.settings)
        # Beacons of a call that failed may still be to come; a radio sends one thing at a time.
        free = max(self._radio.now(), self._armed_until)
        self._receiver = Receiver(self._radio, self._timeline, link, free + link.lead)
        if told.leg == 0:
            self._legs, self._first = {}, None
        self._devices = told.devices
        self._calls = {leg: call for leg, call in self._calls.items() if leg < told.leg}

    def _sound(self, call: int) -> Soundings:
        sounding, _ = self._receiver.hear_soundings()
        if self._leg:
            if self._first is None:
                raise RadioError("the first leg was not sounded here; begin it again")
            sounding = sounding.aimed_at(self._first.gains)
        else:
            self._first = sounding
        self._sounding = sounding
        self._legs[self._leg] = Superposition(self._timeline.num_symbols, sounding)
        return Soundings(
            call,
            gains=sounding.gains.astype(np.float64),
            powers=sounding.powers,
            heard=sounding.heard,
            snr_db=np.clip(sounding.snr_db, -SNR_DB, SNR_DB),
            delays=sounding.delays.astype(np.float64),
            equalisers=sounding.equalisers,
            noise_var=sounding.noise_var,
        )

    def _hear(self, call: int, burst: int) -> BurstHeard:
        heard = self._receiver.hear_burst(burst, self._sounding)
        self._legs[self._leg].add(heard, self._timeline.layouts[burst])
        if burst == len(self._timeline.layouts) - 1:
            self._calls[self._leg] = (self._timeline, self._receiver.start, self._devices)
        return BurstHeard(call, burst, heard.present, heard.noise_var, float(heard.late))

    def _estimate(self, call: int, scale: float) -> Estimate:
        """The weighted sum from all legs."""
        job = self._job
        whole = Superposition.join([self._legs[leg] for leg in sorted(self._legs)])
        compression = job.scheme.compression(self.index, job.dim)
        if whole.symbols.size != compression.num_symbols:
            raise RadioError("not all legs were heard here; begin the round again")
        found = job.scheme.recover(compression, whole.symbols, whole.noise_var, scale)
        predicted, snr = float(found.nmse_predicted), received_snr(whole.symbols, whole.noise_var)
        finite = math.isfinite(predicted) and bool(np.isfinite(found.x).all())
        return Estimate(
            call,
            estimate=found.x if finite else np.zeros_like(found.x),
            nmse_predicted=predicted if finite else None,
            iterations=int(found.iterations),
            beyond_transition=bool(found.beyond_transition),
            snr=snr,
            noise_var=whole.noise_var,
        )


def printable(text: str) -> str:
    """Text as messages may hold it."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown.encode()[:500].decode("utf-8", "ignore")
