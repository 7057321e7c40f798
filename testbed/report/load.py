"""A run folder, read: its configuration, its rows, and the references on the same seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from fl_core.errors import InputError

Row = dict[str, Any]
Column = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """Mean over many tasks and the half width of its 95 % confidence interval."""

    accuracy: float | None  # 0..1; None for regression
    accuracy_ci95: float | None
    loss: float
    loss_ci95: float
    tasks: int

    def measure(self, metric: str) -> tuple[float, float]:
        """Mean and half width of `accuracy` or `loss`; NaN where it was not scored."""
        if metric == "loss":
            return self.loss, self.loss_ci95
        return _number(self.accuracy), _number(self.accuracy_ci95)


@dataclass(frozen=True)
class Evaluation:
    """Scores after `round` rounds and `channel_uses` complex symbols on the air."""

    round: int
    channel_uses: float
    train: Score
    heldout: Score

    def gap(self, metric: str) -> tuple[float, float]:
        """What new devices lose against training devices, >= 0 where they are worse off.

        The half width takes the two means as independent: they are over different tasks.
        """
        (train, train_ci95), (heldout, heldout_ci95) = (
            score.measure(metric) for score in (self.train, self.heldout)
        )
        difference = heldout - train if metric == "loss" else train - heldout
        return difference, math.hypot(train_ci95, heldout_ci95)


@dataclass(frozen=True)
class Run:
    """One run folder.

    Attributes:
        rounds: one row a round, oldest first.
        timings: seconds by stage, one row a round.
        references: the runs it is compared with, by scheme.
        summary: None until the run is complete.
    """

    folder: Path
    config: Row
    manifest: Row
    rounds: tuple[Row, ...]
    timings: tuple[Row, ...]
    evaluations: tuple[Evaluation, ...]
    references: Mapping[str, Run]
    summary: Row | None

    @property
    def name(self) -> str:
        """As configured; else the folder's."""
        return str(self.config.get("name", self.folder.name))

    @property
    def scheme(self) -> str:
        """How updates travel: air, ideal, noiseless, conventional, digital or local."""
        return str(self.config.get("scheme", "air"))

    @property
    def complete(self) -> bool:
        """Whether all its rounds were run."""
        return self.summary is not None

    @property
    def metric(self) -> str:
        """What is scored: `accuracy`, or `loss` for regression."""
        scored = any(row.heldout.accuracy is not None for row in self.evaluations)
        return "accuracy" if scored or not self.evaluations else "loss"

    @property
    def failed_rounds(self) -> int | None:
        """Rounds that did not move the parameters; None for a scheme without air."""
        flags = [row["failed"] for row in self.rounds if row.get("failed") is not None]
        return sum(map(bool, flags)) if flags else None

    def column(self, key: str) -> Column:
        """One value a round as float64 [rounds]; NaN where it is no finite number."""
        values = np.array([_number(row.get(key)) for row in self.rounds], dtype=np.float64)
        return np.where(np.isfinite(values), values, np.nan)

    def setting(self, path: str) -> Any:
        """A configuration value by its dotted path, None where the scheme has no such setting."""
        value: Any = self.config
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value


@dataclass(frozen=True)
class Cell:
    """One point of a sweep's grid and one seed; `run` is there once it is done and readable."""

    overrides: Row
    folder: Path
    status: str  # done, failed, pending; unreadable: done, but its folder does not load
    error: str | None
    run: Run | None

    @property
    def label(self) -> str:
        """Its overrides as they are written on a command line."""
        return " ".join(f"{key}={value}" for key, value in self.overrides.items())


@dataclass(frozen=True)
class Sweep:
    """A grid of runs: the values of every axis, and one cell for each combination."""

    folder: Path
    name: str
    experiment: str
    axes: dict[str, list[Any]]
    cells: tuple[Cell, ...]


def load_run(folder: Path | str) -> Run:
    """Read a run folder, finished or not.

    A half-written last line of a row file is dropped: the run was stopped there, or is going on.

    Raises:
        InputError: the folder or its configuration is missing, or a file is corrupt.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such run folder; give one that `airmeta run` has written")
    evaluations = read_rows(folder / "evaluations.jsonl")
    return Run(
        folder=folder,
        config=_read_config(folder / "config.yaml"),
        manifest=_read_json(folder / "manifest.json") or {},
        rounds=read_rows(folder / "rounds.jsonl"),
        timings=read_rows(folder / "timings.jsonl"),
        evaluations=tuple(_evaluation(row, folder / "evaluations.jsonl") for row in evaluations),
        references=_references(folder / "references"),
        summary=_read_json(folder / "summary.json"),
    )


def load_sweep(folder: Path | str) -> Sweep:
    """Read a sweep folder and the run of every cell that is done.

    Raises:
        InputError: sweep.json is missing or corrupt. A cell that does not load is no error: it
            is reported as unreadable, beside the failed ones.
    """
    folder = Path(folder)
    path = folder / "sweep.json"
    index = _read_json(path)
    if index is None:
        raise InputError(f"{path}: not found; give a folder that `airmeta sweep` has written")
    try:
        return Sweep(
            folder=folder,
            name=str(index["name"]),
            experiment=str(index["experiment"]),
            axes=dict(index["axes"]),
            cells=tuple(_cell(folder, cell) for cell in index["cells"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: needs name, experiment, axes and cells (got {error!r})"
        ) from error


def _cell(sweep: Path, entry: Row) -> Cell:
    folder = sweep / entry["folder"]
    status, message, run = str(entry["status"]), entry.get("error"), None
    if status == "done":
        try:
            run = load_run(folder)
        except InputError as error:
            status, message = "unreadable", str(error)
    return Cell(dict(entry["overrides"]), folder, status, message, run)


def _references(folder: Path) -> dict[str, Run]:
    # A reference that has not been started yet has no configuration.
    started = sorted(path.parent for path in folder.glob("*/config.yaml"))
    return {path.name: load_run(path) for path in started}


def _read_config(path: Path) -> Row:
    try:
        config = yaml.safe_load(_read_bytes(path, "every run folder holds its configuration"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML ({error})") from error
    if not isinstance(config, dict):
        raise InputError(f"{path}: should be a mapping of settings")
    return config


def _read_json(path: Path) -> Row | None:
    if not path.exists():
        return None
    try:
        value = json.loads(_read_bytes(path, "expected a JSON object"))
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: should be one JSON object")
    return value


def read_rows(path: Path) -> tuple[Row, ...]:
    """JSON lines; a file that is not there yet has no rows."""
    if not path.exists():
        return ()
    lines = _read_bytes(path, "expected one JSON object a line").splitlines()
    rows: list[Row] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise InputError(f"{path}, line {number}: not valid JSON ({error})") from error
        if not isinstance(row, dict) or not isinstance(row.get("round"), int):
            raise InputError(f"{path}, line {number}: should be an object with a whole `round`")
        rows.append(row)
    return tuple(rows)


def _read_bytes(path: Path, expectation: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; {expectation}") from error


def _evaluation(row: Row, path: Path) -> Evaluation:
    try:
        return Evaluation(
            round=row["round"],
            channel_uses=_number(row.get("channel_uses") or 0.0),
            train=_score(row["train"]),
            heldout=_score(row["heldout"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}, round {row['round']}: needs train and heldout, each with accuracy, "
            f"accuracy_ci95, loss, loss_ci95 and tasks (got {error!r})"
        ) from error


def _score(row: Row) -> Score:
    regression = row["accuracy"] is None
    return Score(
        accuracy=None if regression else float(row["accuracy"]),
        accuracy_ci95=None if regression else float(row["accuracy_ci95"]),
        loss=float(row["loss"]),
        loss_ci95=float(row["loss_ci95"]),
        tasks=int(row["tasks"]),
    )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
