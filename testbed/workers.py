"""Processes that compute local updates and scores, one thread each.

Work is cut into chunks whose size never depends on the number of workers, and every draw is named
by its seed, round and device, so that one worker and ten give the same bytes.
"""

from __future__ import annotations

import contextlib
import multiprocessing.connection
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits

from fl_core.device import local_update
from fl_core.evaluation import Adaptation, Score, Scores, draw_tasks, score_tasks, summarise
from fl_core.meta_gradient import Variant
from fl_core.models import FewShotModel
from fl_core.streams import stream
from fl_core.tasks.episode import TaskFamily, stack

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DEVICES_PER_CHUNK = 5
TASKS_PER_CHUNK = 20

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Learner:
    """How a device computes its update."""

    variant: Variant
    adapt_lr: float
    local_steps: int
    tasks_per_step: int


@dataclass(frozen=True)
class Desk:
    """What a worker needs to know once: the tasks, the model, the learner and the seed."""

    family: TaskFamily
    model: FewShotModel
    learner: Learner
    run_seed: int
    device: str

    def update(
        self, params: Vector, round_index: int, devices: Sequence[int], meta_lr: float
    ) -> tuple[Vector, npt.NDArray[np.float64]]:
        """Updates float32 [len(devices), d] and their mean query losses [len(devices)]."""
        learner = self.learner
        generators = [stream(self.run_seed, "tasks", round_index, i) for i in devices]
        steps = [
            stack(
                [
                    self.family.train.sample(i, rng)
                    for i, rng in zip(devices, generators, strict=True)
                    for _ in range(learner.tasks_per_step)
                ]
            ).to(self.device)
            for _ in range(learner.local_steps)
        ]
        result = local_update(
            self.model,
            torch.from_numpy(params).to(self.device),
            steps,
            learner.adapt_lr,
            meta_lr,
            learner.variant,
            tasks_per_step=learner.tasks_per_step,
        )
        return result.delta.cpu().numpy(), result.loss.double().cpu().numpy()

    def score(self, params: Vector, heldout: bool, tasks: range, adaptation: Adaptation) -> Scores:
        """Accuracy and loss, float64 [len(tasks), 2], of these tasks of one population."""
        population = self.family.heldout if heldout else self.family.train
        purpose = "held-out tasks" if heldout else "new tasks of training devices"
        episode = stack(draw_tasks(population, purpose, self.run_seed, tasks)).to(self.device)
        theta = torch.from_numpy(params).to(self.device)
        return score_tasks(self.model, theta, episode, adaptation)


def one_thread() -> None:
    """Keep torch and BLAS to one thread: on a busy machine their threads wait for each other."""
    torch.set_num_threads(1)
    threadpool_limits(1)


class Board:
    """Parameters and updates, in memory that all processes of a run see.

    Pipes would copy every update four times: at d = 112,261 that is most of a round's bookkeeping.

    Attributes:
        params: float32 [d], written by the run.
        updates: float32 [rows, d], written by the workers, each its own rows.
    """

    def __init__(self, dim: int, rows: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._params = context.RawArray("f", dim)
        self._updates = context.RawArray("f", rows * dim)

    @property
    def params(self) -> Vector:
        """A view."""
        return np.frombuffer(self._params, np.float32)

    @property
    def updates(self) -> Vector:
        """A view."""
        return np.frombuffer(self._updates, np.float32).reshape(-1, len(self.params))


@dataclass(frozen=True)
class Station:
    """A desk at a board: jobs name rows and tasks, large arrays stay where they are."""

    desk: Desk
    board: Board

    def update(
        self, first: int, round_index: int, devices: Sequence[int], meta_lr: float
    ) -> npt.NDArray[np.float64]:
        """Writes the updates from row `first` on; returns the mean query losses [len(devices)]."""
        updates, losses = self.desk.update(self.board.params, round_index, devices, meta_lr)
        self.board.updates[first : first + len(devices)] = updates
        return losses

    def score(self, heldout: bool, tasks: range, adaptation: Adaptation) -> Scores:
        """As `Desk.score`."""
        return self.desk.score(self.board.params, heldout, tasks, adaptation)


class WorkerLostError(RuntimeError):
    """A worker process ended on its own, e.g. killed for memory."""


class Workers:
    """`count` processes at the same desk; with one, the work is done in this process.

    `most` is the largest number of devices whose updates are asked for at once, `together` of how
    many a process computes the updates in one go. That is faster, and rounds a little differently.

    Use as a context manager. Workers ignore Ctrl-C (the run decides when to stop) and end when
    this process is gone, however it went.
    """

    def __init__(
        self, desk: Desk, count: int, most: int, together: int = DEVICES_PER_CHUNK
    ) -> None:
        self._station = Station(desk, Board(desk.model.dim, most))
        self._count = count
        self._together = together
        self._connections: list[Connection] = []
        self._processes: list[multiprocessing.process.BaseProcess] = []

    def __enter__(self) -> Self:
        if self._count == 1:
            return self
        context = multiprocessing.get_context("spawn")
        # Blocked signals stay pending here, and a child inherits the block until it ignores them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        for _ in range(self._count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, self._station), daemon=True)
            process.start()
            theirs.close()
            self._connections.append(ours)
            self._processes.append(process)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join()

    def updates(
        self, params: Vector, round_index: int, devices: Sequence[int], meta_lr: float
    ) -> tuple[Vector, npt.NDArray[np.float64]]:
        """Updates float32 [r, d], valid until the next call, and losses [r] of these devices."""
        self._station.board.params[:] = params
        losses = self._map(
            "update",
            [
                (first, round_index, devices[first : first + self._together], meta_lr)
                for first in range(0, len(devices), self._together)
            ],
        )
        return self._station.board.updates[: len(devices)], np.concatenate(losses)

    def scores(self, params: Vector, tasks: int, adaptation: Adaptation) -> tuple[Score, Score]:
        """Score on new tasks of the training devices, and on tasks of new devices."""
        self._station.board.params[:] = params
        chunks = [
            range(first, min(first + TASKS_PER_CHUNK, tasks))
            for first in range(0, tasks, TASKS_PER_CHUNK)
        ]
        jobs = [(heldout, chunk, adaptation) for heldout in (False, True) for chunk in chunks]
        parts = self._map("score", jobs)
        return summarise(parts[: len(chunks)]), summarise(parts[len(chunks) :])

    def _map(self, method: str, jobs: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Results in the order of the jobs, each job given to the next idle worker."""
        if not self._connections:
            return [getattr(self._station, method)(*job) for job in jobs]
        results: list[Any] = [None] * len(jobs)
        waiting = iter(enumerate(jobs))
        busy: dict[Connection, int] = {}
        try:
            for connection in self._connections:
                self._give(connection, method, waiting, busy)
            while busy:
                for ready in multiprocessing.connection.wait(list(busy)):
                    assert isinstance(ready, Connection)
                    results[busy.pop(ready)] = ready.recv()
                    self._give(ready, method, waiting, busy)
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            codes = [p.exitcode for p in self._processes if p.exitcode is not None]
            raise WorkerLostError(f"a worker process ended (exit codes {codes})") from error
        return results

    @staticmethod
    def _give(
        connection: Connection,
        method: str,
        waiting: Iterator[tuple[int, tuple[Any, ...]]],
        busy: dict[Connection, int],
    ) -> None:
        for index, job in waiting:
            connection.send((method, job))
            busy[connection] = index
            return


def _serve(connection: Connection, station: Station) -> None:
    """A worker's life: jobs in, results out, until the other end is gone."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    one_thread()
    with contextlib.suppress(EOFError, ConnectionResetError, BrokenPipeError):
        while True:
            method, job = connection.recv()
            connection.send(getattr(station, method)(*job))
