"""An experiment built from its configuration, and the loop that runs it into a run folder."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fl_core import server
from fl_core.errors import InputError
from fl_core.evaluation import Adaptation, Score
from fl_core.models import build_model
from fl_core.round import RoundState, Scheme, play
from fl_core.streams import torch_stream
from fl_core.tasks import build_family
from testbed.bench import Bench
from testbed.config import ExperimentConfig
from testbed.config import Scheme as SchemeName
from testbed.run_folder import RunFolder
from testbed.schemes import build_bench, build_contraction, build_scheme
from testbed.workers import DEVICES_PER_CHUNK, Desk, Learner, Workers


@dataclass(frozen=True)
class Progress:
    """What a watcher sees after each round and each evaluation."""

    scheme: SchemeName
    round_index: int
    rounds: int
    row: dict[str, Any] | None = None
    evaluation: dict[str, Any] | None = None


DIVERGED_ABOVE = 1e12  # entries of an update; their squares still fit float32

Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    folder: Path
    complete: bool
    summary: dict[str, Any] = field(default_factory=dict)


class Experiment:
    """One configuration, ready to run. Building it checks everything and writes nothing."""

    def __init__(self, config: ExperimentConfig) -> None:
        self.config = config
        task, devices = config.task, config.devices
        family = build_family(
            task.family,
            num_devices=devices.num_devices,
            num_new_devices=devices.num_new,
            ways=task.ways,
            shots=task.shots,
            queries=task.queries,
            seed=config.seed,
            data=task.data,
            rotations=task.rotations,
            partition=task.partition,
        )
        model = build_model(
            config.model.name,
            family,
            config.model.width,
            config.model.activation,
            config.model.strides,
        )
        _check_device(config.model.device)
        learner = Learner(
            variant="plain" if config.scheme == "conventional" else config.learner.gradient,
            adapt_lr=config.learner.adapt_lr,
            local_steps=config.learner.local_steps,
            tasks_per_step=config.learner.tasks_per_step,
        )
        self.dim = model.dim
        self.desk = Desk(family, model, learner, config.seed, config.model.device)
        build_contraction(config, model.dim)  # raises where k does not fit the model
        self.bench = build_bench(config, model.dim)
        self.rounds = 0 if config.scheme == "local" else config.rounds
        self.meta_lr = server.MetaLearningRate(
            config.learner.meta_lr,
            config.learner.schedule,
            config.learner.decay_rounds,
            config.rounds,
        )

    def initial_state(self) -> RoundState:
        """Seeded initial parameters; the same for every scheme on the same seed."""
        generator = torch_stream(self.config.seed, "initial parameters")
        return RoundState(self.desk.model.init(generator).numpy().astype(np.float32))

    def adaptation(self) -> Adaptation:
        """How new tasks are adapted to; without pre-training a device trains for longer."""
        config = self.config
        if config.scheme == "local":
            return Adaptation(config.local.lr, config.local.steps)
        return Adaptation(config.learner.adapt_lr, config.evaluation.adapt_steps)

    def run(self, path: Path, resume: bool, watch: Watch, stop: Callable[[], bool]) -> Outcome:
        """Run into `path` until the last round, or until `stop()` is true after a round."""
        config, folder = self.config, RunFolder(path, self.config)
        # Over samples, where a bit may tip a converter, a device computes as it would by itself:
        # a run over nodes gives the same bytes.
        together = 1 if config.uplink == "iq" else DEVICES_PER_CHUNK
        with folder.held():
            before = folder.resume() if resume else None
            folder.create(self.dim)
            with (
                Workers(self.desk, config.workers, config.devices.num_active, together) as workers,
                self.bench.open(path) as bench,
            ):
                if bench.calibration:
                    folder.note_calibration(bench.calibration)
                if before is not None:
                    bench.memory.restore(folder.checkpointed)
                state = self.initial_state() if before is None else before
                return self._run(folder, state, workers, bench, watch, stop)

    def build_scheme(self, bench: Bench) -> Scheme | None:
        """What combines the updates, over this bench."""
        return build_scheme(self.config, self.dim, bench.uplink)

    def _run(
        self,
        folder: RunFolder,
        state: RoundState,
        workers: Workers,
        bench: Bench,
        watch: Watch,
        stop: Callable[[], bool],
    ) -> Outcome:
        config, rounds = self.config, self.rounds
        scheme = self.build_scheme(bench)
        every = config.evaluation.every
        if state.round_index == 0 and rounds > 0:
            self.evaluate(folder, state, workers, watch, config.evaluation.tasks)
        while state.round_index < rounds:
            if stop():
                folder.save(state, **bench.memory.saved())
                return Outcome(folder.path, complete=False)
            assert scheme is not None
            with bench.round(state.round_index):
                state = self._round(folder, state, workers, scheme, watch)
            done = state.round_index
            if done < rounds and done % every == 0:
                self.evaluate(folder, state, workers, watch, config.evaluation.tasks)
            if done < rounds and done % config.checkpoint_every == 0:
                folder.save(state, **bench.memory.saved())
        folder.save(state, **bench.memory.saved())
        summary = self.finish(folder, state, workers, watch)
        return Outcome(folder.path, complete=True, summary=summary)

    def finish(
        self, folder: RunFolder, state: RoundState, workers: Workers, watch: Watch
    ) -> dict[str, Any]:
        """Score the last parameters and write the summary, which is returned."""
        config, rounds = self.config, self.rounds
        scored = folder.rows("evaluations.jsonl")
        if scored and scored[-1]["round"] == rounds:  # stopped between the last score and the end
            final = scored[-1]
        else:
            final = self.evaluate(folder, state, workers, watch, config.evaluation.final_tasks)
        summary = {
            "scheme": config.scheme,
            "seed": config.seed,
            "rounds": rounds,
            "channel_uses": state.channel_uses,
            "failed_rounds": sum(row["failed"] for row in folder.rows("rounds.jsonl")),
            "final": final,
        }
        folder.finish(summary)
        return summary

    def _round(
        self,
        folder: RunFolder,
        state: RoundState,
        workers: Workers,
        scheme: Scheme,
        watch: Watch,
    ) -> RoundState:
        config, index = self.config, state.round_index
        stages = StageTimes()
        devices = server.draw_devices(
            config.seed, index, config.devices.num_devices, config.devices.num_active
        )
        meta_lr = self.meta_lr(index)
        updates, losses = workers.updates(state.params, index, devices.tolist(), meta_lr)
        stages.lap("update")
        largest = max(updates.max(), -updates.min())
        if not (largest < DIVERGED_ABOVE and np.isfinite(losses).all()):
            raise InputError(f"the updates of round {index} diverge: {self.too_large}")
        after, combined = play(state, scheme, devices, updates, stages.lap)
        row = {
            "round": index,
            "loss": float(losses.mean()),
            "meta_lr": meta_lr,
            "update_norm": float(np.linalg.norm(combined.mean_update.astype(np.float64))),
            "devices": devices.tolist(),
            **combined.record,
            "symbols": combined.symbols,
            "channel_uses": after.channel_uses,
        }
        folder.append("rounds.jsonl", row)
        folder.append("timings.jsonl", {"round": index, **stages.seconds})
        watch(Progress(config.scheme, after.round_index, self.rounds, row=row))
        return after

    def evaluate(
        self, folder: RunFolder, state: RoundState, workers: Workers, watch: Watch, tasks: int
    ) -> dict[str, Any]:
        """Score parameters into a row of the run folder; InputError where they diverge."""
        train, heldout = workers.scores(state.params, tasks, self.adaptation())
        if not math.isfinite(train.loss + heldout.loss):
            where = f"the losses after {state.round_index} rounds"
            raise InputError(f"{where} diverge: {self.too_large}")
        row = {
            "round": state.round_index,
            "channel_uses": state.channel_uses,
            "train": train.as_dict(),
            "heldout": heldout.as_dict(),
            "gap": generalization_gap(train, heldout),
        }
        folder.append("evaluations.jsonl", row)
        watch(Progress(self.config.scheme, state.round_index, self.rounds, evaluation=row))
        return row

    @property
    def too_large(self) -> str:
        """What to blame when updates or losses diverge."""
        config = self.config
        if config.scheme == "local":
            return f"local.lr = {config.local.lr} is too large"
        return (
            f"learner.meta_lr = {config.learner.meta_lr} or "
            f"learner.adapt_lr = {config.learner.adapt_lr} is too large"
        )


def generalization_gap(train: Score, heldout: Score) -> float:
    """How much better new tasks of training devices go: in accuracy, or in loss for regression."""
    if train.accuracy is None or heldout.accuracy is None:
        return heldout.loss - train.loss
    return train.accuracy - heldout.accuracy


def _check_device(name: str) -> None:
    try:
        torch.ones(1, device=name).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"model.device: {name!r} cannot compute here ({reason}); use cpu"
        ) from error


class StageTimes:
    """Seconds by stage of one round: a stopwatch whose `lap` names the stage that just ended."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """End the running stage under this name."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
