"""What a round costs beside its kernels: drawing, shipping to workers, recording."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.table import Table
from fl_core.round import Combined
from testbed.config import ExperimentConfig
from testbed.experiment import Experiment
from testbed.workers import Desk

LIMIT_MS = 2.0


@dataclass(frozen=True)
class NullDesk(Desk):
    """Answers at once, with updates of the real size."""

    def update(self, params, round_index, devices, meta_lr):
        return np.zeros((len(devices), len(params)), np.float32), np.zeros(len(devices))

    def score(self, params, heldout, tasks, adaptation):
        return np.zeros((len(tasks), 2))


class NullScheme:
    """Combines nothing."""

    def combine(self, round_index, devices, updates, memory, lap):
        record = {"nmse_db": -20.0, "nmse_predicted_db": -20.0, "failed": False}
        kept = dict(zip(devices.tolist(), updates, strict=True))
        return Combined(updates[0], kept, symbols=1, record=record)


def seconds_per_round(rounds: int, workers: int, width: int) -> float:
    config = ExperimentConfig.model_validate(
        {
            "name": "null",
            "rounds": rounds,
            "workers": workers,
            "checkpoint_every": 10**6,
            "model": {"width": width},
            "evaluation": {"every": 10**6, "tasks": 2, "final_tasks": 2},
        }
    )
    experiment = Experiment(config)
    desk = experiment.desk
    experiment.desk = NullDesk(desk.family, desk.model, desk.learner, 0, "cpu")
    experiment.build_scheme = lambda bench: NullScheme()
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        experiment.run(
            Path(folder), False, lambda event: ends.append(time.perf_counter()), lambda: False
        )
    return float(np.median(np.diff(ends)))


def seconds_of_plain_round(rounds: int, dim: int) -> float:
    """The reference: the arithmetic of such a round and nothing else."""
    params, updates = np.zeros(dim, np.float32), np.zeros((10, dim), np.float32)
    start = time.perf_counter()
    for index in range(rounds):
        np.random.default_rng(index).choice(100, size=10, replace=False)
        params = params - updates[0]
    return (time.perf_counter() - start) / rounds


def measure(quick: bool = False) -> list[Table]:
    rounds = 100 if quick else 1500
    sizes = {32: 28_485} if quick else {32: 28_485, 64: 112_261}
    rows = []
    for width, dim in sizes.items():
        loop = seconds_of_plain_round(rounds, dim)
        for workers in (1, 2):
            each = seconds_per_round(rounds, workers, width)
            rows.append((f"{dim:,}", str(workers), f"{1e3 * loop:.2f}", f"{1e3 * each:.2f}"))
    return [
        Table(
            "engine",
            "Bookkeeping of a round",
            ("parameters", "workers", "plain loop [ms]", "AirMeta [ms]"),
            tuple(rows),
            f"Ten active devices whose kernels take no time: drawing devices, shipping parameters "
            f"and updates between processes, the server step, two rows of JSON. At most "
            f"{LIMIT_MS:.0f} ms is allowed. A Flower simulation round of ten clients was seen to "
            "cost 200 ms (not measured here).",
        )
    ]
