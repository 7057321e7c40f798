"""The coordinator's shell: the run folder, the scores, the clock of the bench, and who is told."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from fl_core.errors import InputError
from fl_core.round import RoundState
from radio.api import Radio, RadioError
from radio.whole_file import write_atomically
from testbed.bench_file import BenchFile
from testbed.experiment import Experiment, Progress, Watch
from testbed.nodes.air_plan import AirPlan
from testbed.nodes.brief import Brief
from testbed.nodes.code_hash import code_sha256
from testbed.nodes.coordinator_state import (
    Broken,
    Commit,
    Committed,
    CoordinatorState,
    Node,
    Pace,
    Paced,
    Tell,
)
from testbed.nodes.hub import Hub
from testbed.nodes.overview import overview
from testbed.on_air.held_gains import HeldGains
from testbed.run_folder import (
    RunFolder,
    as_yaml,
    config_hash,
)
from testbed.schemes import policy_of
from testbed.workers import Workers

RUN_FILE, STATUS_FILE = "nodes.json", "status.json"
LOOK_S = 0.25  # between two writings of the status
STAGES = {
    "compute": "update",
    "pace": "pace",
    "call": "air",
    "recover": "estimate",
    "commit": "server",
}
_log = logging.getLogger(__name__)

GOES_ON = "the same command with --resume goes on"


class CoordinatorNode:
    """Performs what `coordinator.step` decides, and tells people how it stands.

    Args:
        hub: to all nodes.
        experiment: that is run.
        folder: of the run, held.
        workers: that compute scores.
        plan: of the run's air.
        clock: radio whose sample clock paces the rounds, if any does.
        watch: sees every round and score.
    """

    def __init__(
        self,
        hub: Hub,
        experiment: Experiment,
        folder: RunFolder,
        workers: Workers,
        plan: AirPlan,
        clock: Radio | None,
        watch: Watch,
    ) -> None:
        self._hub = hub
        self._experiment = experiment
        self._folder = folder
        self._workers = workers
        self._plan = plan
        self._clock = clock
        self._watch = watch
        self._state: CoordinatorState | None = None
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._last_s = self._written_s = time.monotonic()

    def perform(self, action: Any) -> Any:
        """Do it; returns what came of it, or None."""
        match action:
            case Tell(to, body, run, round_index):
                self._hub.send(to, body, run, round_index)
            case Pace(round_index):
                return self._pace(round_index)
            case Commit():
                return self._commit(action)
        return None

    def look(self, state: CoordinatorState) -> None:
        """See where the time goes, and keep the status file fresh."""
        now_s = time.monotonic()
        if self._state is not None:
            self._seconds[self._state.phase] += now_s - self._last_s
        if self._state is not None and self._state.nodes is not state.nodes:
            _log_changes(self._state.nodes, state.nodes)
        news = self._state is None or self._state.round != state.round or state.ended is not None
        self._state, self._last_s = state, now_s
        if news or now_s - self._written_s > LOOK_S:
            self._written_s = now_s
            content = json.dumps(overview(state, self._hub.refused), allow_nan=False)
            path = self._folder.path / STATUS_FILE
            write_atomically(path, content.encode(), lasting=False)

    def begin(self, state: RoundState) -> None:
        """The score of the initial parameters, unless the run goes on."""
        if state.round_index == 0 and not self._folder.rows("evaluations.jsonl"):
            self._evaluate(state)

    def finish(self, state: CoordinatorState) -> dict[str, Any]:
        """The final score, and the summary."""
        return self._experiment.finish(
            self._folder,
            RoundState(state.params, {}, state.round, state.channel_uses),
            self._workers,
            self._watch,
        )

    def _pace(self, index: int) -> Paced | Broken:
        if self._clock is None:
            return Paced()
        try:
            rate = self._clock.settings.sample_rate_hz
            now = self._clock.now()
            # A clock that waits for nobody may be beyond the round's own start.
            start = next(
                start
                for turn in count(index)
                if (start := round(self._plan.virtual.start_s(turn) * rate)) >= now
            )
            if now < start:
                self._clock.receive(1, at=start - 1)
        except RadioError as error:
            return Broken(1, f"the clock of the bench: {error}; {GOES_ON}")
        return Paced()

    def _commit(self, commit: Commit) -> Committed | Broken:
        config, done = self._experiment.config, commit.round + 1
        state = RoundState(commit.params, {}, done, commit.channel_uses)
        try:
            self._folder.append("rounds.jsonl", commit.row)
            seconds = {STAGES[p]: s for p, s in self._seconds.items() if p in STAGES}
            self._seconds.clear()
            self._folder.append("timings.jsonl", {"round": commit.round, **seconds})
            row = commit.row
            _log.info(
                "round %d %s: participation %.2f, %d calls",
                commit.round,
                "failed" if row["failed"] else "done",
                row["participation"],
                row["calls"],
            )
            self._watch(Progress(config.scheme, done, config.rounds, row=dict(row)))
            if done < config.rounds and done % config.evaluation.every == 0:
                self._evaluate(state)
            gains = {} if commit.gains is None else commit.gains.saved()
            self._folder.save(state, last_applied=commit.last_applied, **gains)
        except InputError as error:
            return Broken(2, str(error))
        except OSError as error:
            return Broken(1, f"{self._folder.path}: {error}; {GOES_ON}")
        return Committed()

    def _evaluate(self, state: RoundState) -> None:
        tasks = self._experiment.config.evaluation.tasks
        self._experiment.evaluate(self._folder, state, self._workers, self._watch, tasks)


def _log_changes(before: Mapping[str, Node], after: Mapping[str, Node]) -> None:
    """Who came, who went, and who is to blame for what."""
    for name, node in after.items():
        if node.here != before[name].here:
            _log.info("%s is %s", name, "here" if node.here else "gone")
        for fault, times in node.faults.items():
            if times > before[name].faults.get(fault, 0):
                _log.warning("%s: %s (%d)", name, fault, times)


def brief_of(experiment: Experiment, bench: BenchFile, plan: AirPlan, run: str) -> Brief:
    """A run of an experiment on a bench.

    Raises:
        InputError: the bench has too few devices.
    """
    config, wanted = experiment.config, experiment.config.devices.num_devices
    names = tuple(node.name for node in bench.devices)
    if len(names) < wanted:
        raise InputError(
            f"{bench.source}: has {len(names)} devices and the experiment wants {wanted}; add "
            f"devices.num_devices={len(names)} devices.num_active={len(names)} or fewer"
        )
    return Brief(
        run=run,
        config=as_yaml(config),
        config_sha256=config_hash(config),
        code_sha256=code_sha256(),
        receiver=bench.receiver.name,
        devices=names[:wanted],
        seed=config.seed,
        rounds=experiment.rounds,
        num_active=config.devices.num_active,
        num_symbols=config.compression.symbols(experiment.dim),
        turnaround_s=plan.timeline.turnaround_s,
        fail_above=10 ** (config.receiver.fail_above_nmse_db / 10),
        retries=bench.config.retries,
        deadlines=bench.config.deadlines,
        policy=policy_of(config),
        meta_lr=experiment.meta_lr,
        legs=remembered(plan.legs),
        diverged=experiment.too_large,
    )


def remembered(legs: Callable[[int], Any]) -> Callable[[int], Any]:
    """The same, kept by number: timelines hold the sequences of their preambles."""
    known: dict[int, Any] = {}

    def of(num_devices: int) -> Any:
        if num_devices not in known:
            known[num_devices] = legs(num_devices)
        return known[num_devices]

    return of


def first_state(
    experiment: Experiment, folder: RunFolder, planned: HeldGains | None, resume: bool
) -> tuple[RoundState, np.ndarray[Any, Any], HeldGains | None]:
    """Where a run begins or goes on, the last round each device's update was applied in, gains.

    Args:
        experiment: that is run.
        folder: of the run, held.
        planned: gains to begin with, where the bench has a plan of them.
        resume: whether it goes on where it can.
    """
    state = folder.resume() if resume else None
    if state is None:
        none = np.full(experiment.config.devices.num_devices, -1, np.int64)
        return experiment.initial_state(), none, planned
    last_applied = folder.checkpointed("last_applied")
    if planned is None:
        return state, last_applied, None
    return state, last_applied, planned.restored(folder.checkpointed)


def run_id(folder: Path, name: str) -> str:
    """The id of the run in this folder, a new one if it is new.

    Raises:
        InputError: it is damaged.
    """
    path = folder / RUN_FILE
    if path.exists():
        try:
            return str(json.loads(path.read_text())["run"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: is damaged; start again in another folder") from error
    run = f"{name[:48]}-{secrets.token_hex(4)}"
    write_atomically(path, json.dumps({"run": run}).encode())
    return run
