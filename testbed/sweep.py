"""A grid of experiments, each cell a process of its own, so that a crash costs one cell."""

from __future__ import annotations

import itertools
import json
import math
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from fl_core.errors import InputError
from radio.whole_file import write_atomically
from testbed import experiment_file
from testbed.config import ExperimentConfig
from testbed.experiment import Experiment
from testbed.run_folder import CELL_FILE, LOG_FILE, as_yaml, config_hash
from testbed.runs import stop_after_round

SWEEP_FILE = "sweep.json"
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Cell:
    """One point of the grid."""

    overrides: dict[str, Any]
    folder: str
    config_sha256: str
    status: Literal["pending", "done", "failed"] = "pending"
    error: str | None = None

    @property
    def label(self) -> str:
        """`channel.snr_db=10,seed=0`."""
        return ",".join(f"{key}={value}" for key, value in self.overrides.items())


class Sweep:
    """The plan of a sweep and the state of its cells, kept in `sweep.json`."""

    def __init__(
        self,
        folder: Path,
        experiment: str,
        fixed: tuple[str, ...],
        axes: dict[str, list[Any]],
        cells: list[Cell],
        configs: list[ExperimentConfig],
    ) -> None:
        self.folder = folder
        self.experiment = experiment
        self.fixed = fixed
        self.axes = axes
        self.cells = cells
        self.configs = configs
        self.interrupted = False

    @classmethod
    def plan(cls, experiment: str, overrides: Sequence[str], out: Path | None) -> Sweep:
        """Check every cell and lay out the grid; go on from `sweep.json` if there is one.

        Raises:
            InputError: no axis, a cell whose settings are wrong, or a folder of another sweep.
        """
        source = experiment_file.read(experiment)
        axes = dict(source.axes)
        fixed = []
        for override in overrides:
            key, values = _axis(override)
            if len(values) > 1:
                axes[key] = values
            else:
                axes.pop(key, None)
                fixed.append(override)
        if not axes:
            raise InputError(
                f"{source.source}: nothing to sweep; give an axis, e.g. channel.snr_db=10,19,30"
            )
        _refuse_repeated(axes)
        grid = itertools.product(*axes.values())
        points = [dict(zip(axes, values, strict=True)) for values in grid]
        configs = [source.config([*fixed, *_as_overrides(point)]) for point in points]
        _check_sizes(configs)
        folder = out or Path("sweeps") / configs[0].name
        cells = [
            Cell(point, f"cells/{_folder_name(point, index)}", config_hash(config))
            for index, (point, config) in enumerate(zip(points, configs, strict=True))
        ]
        plan = cls(folder, experiment, tuple(fixed), axes, cells, configs)
        plan._adopt_states()
        return plan

    def run(self, jobs: int, console: Console) -> bool:
        """Run what is not done, `jobs` cells at a time; True when every cell is done."""
        self._save()
        waiting = [i for i, cell in enumerate(self.cells) if cell.status != "done"]
        running: dict[int, subprocess.Popen[bytes]] = {}
        with stop_after_round() as stop:
            while waiting or running:
                while waiting and len(running) < jobs and not stop():
                    index = waiting.pop(0)
                    running[index] = self._start(index)
                for index, process in list(running.items()):
                    if process.poll() is not None:
                        del running[index]
                        self._finish(index, process.returncode, console)
                if stop():
                    waiting.clear()
                    self.interrupted = True
                    for process in running.values():
                        process.send_signal(signal.SIGINT)
                    for index, process in running.items():
                        self._finish(index, process.wait(), console)
                    running.clear()
                time.sleep(POLL_SECONDS if running else 0)
        return all(cell.status == "done" for cell in self.cells)

    def any_done(self) -> bool:
        """Whether there is anything to compare."""
        return any(cell.status == "done" for cell in self.cells)

    def final_of(self, cell: Cell) -> dict[str, Any] | None:
        """The last evaluation of a finished cell."""
        if cell.status != "done":
            return None
        summary = json.loads((self.folder / cell.folder / "summary.json").read_text())
        return dict(summary["final"])

    def as_dict(self) -> dict[str, Any]:
        """What `sweep.json` holds."""
        return {
            "name": self.folder.name,
            "experiment": self.experiment,
            "fixed": list(self.fixed),
            "axes": {key: [_jsonable(v) for v in values] for key, values in self.axes.items()},
            "cells": [
                asdict(cell)
                | {"overrides": {key: _jsonable(v) for key, v in cell.overrides.items()}}
                for cell in self.cells
            ],
        }

    def _adopt_states(self) -> None:
        path = self.folder / SWEEP_FILE
        if not path.exists():
            if self.folder.is_dir() and any(self.folder.iterdir()):
                raise InputError(f"{self.folder}: is not empty and no sweep; give another --out")
            return
        try:
            saved = json.loads(path.read_text())
            same = {key: saved[key] for key in ("experiment", "fixed", "axes")}
            states = {cell["folder"]: cell["status"] for cell in saved["cells"]}
            hashes = {cell["folder"]: cell["config_sha256"] for cell in saved["cells"]}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: is damaged; give another --out") from error
        planned = {cell.folder: cell.config_sha256 for cell in self.cells}
        if hashes != planned or same != {key: self.as_dict()[key] for key in same}:
            raise InputError(f"{self.folder}: holds another sweep; give another --out")
        self.cells = [
            replace(cell, status="done")
            if states[cell.folder] == "done"
            and (self.folder / cell.folder / "summary.json").exists()
            else cell
            for cell in self.cells
        ]

    def _start(self, index: int) -> subprocess.Popen[bytes]:
        folder = self.folder / self.cells[index].folder
        folder.mkdir(parents=True, exist_ok=True)
        # Cells are what runs in parallel here, so each does its work in one process.
        config = self.configs[index].model_copy(update={"workers": 1})
        (folder / CELL_FILE).write_text(as_yaml(config))
        command = [sys.executable, "-m", "testbed", "run", str(folder / CELL_FILE)]
        command += ["--out", str(folder), "--resume", "--json"]
        with (folder / LOG_FILE).open("wb") as log:
            # A group of its own: Ctrl-C reaches a cell through this process only, and once.
            return subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )

    def _finish(self, index: int, code: int, console: Console) -> None:
        cell = self.cells[index]
        if code == 0:
            cell = replace(cell, status="done", error=None)
        elif not self.interrupted:
            cell = replace(cell, status="failed", error=self._reason(cell, code))
        self.cells[index] = cell
        self._save()
        done = sum(c.status == "done" for c in self.cells)
        console.print(f"{done}/{len(self.cells)} cells done; {cell.label}: {cell.status}")

    def _reason(self, cell: Cell, code: int) -> str:
        lines = (self.folder / cell.folder / LOG_FILE).read_text(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"{how}: {last}"

    def _save(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            content = json.dumps(self.as_dict(), indent=2) + "\n"
            write_atomically(self.folder / SWEEP_FILE, content.encode())
        except OSError as error:
            raise InputError(f"{self.folder}: the sweep cannot be written ({error})") from error


def _axis(override: str) -> tuple[str, list[Any]]:
    """`seed=0,1,2` as key and values; a list in brackets is one value."""
    key, equals, text = override.partition("=")
    texts = re.split(r",(?![^\[{]*[\]}])", text)  # at commas outside brackets
    return key.strip(), [experiment_file.parse_override(f"{key}{equals}{t}")[1] for t in texts]


def _as_overrides(point: Mapping[str, Any]) -> list[str]:
    return [experiment_file.format_override(key, value) for key, value in point.items()]


def _folder_name(point: Mapping[str, Any], index: int) -> str:
    """The point itself where that makes a good file name, else its number."""
    name = ",".join(f"{key}={value}" for key, value in point.items())
    return name if re.fullmatch(r"[\w.,=+-]{1,120}", name) else f"cell-{index:03d}"


def _jsonable(value: Any) -> Any:
    """JSON has no infinities."""
    return ".inf" if value == math.inf else value


def _refuse_repeated(axes: Mapping[str, Sequence[Any]]) -> None:
    for key, values in axes.items():
        if any(value in values[:i] for i, value in enumerate(values)):
            raise InputError(f"{key}: a value of this axis stands twice: {list(values)}")


def _check_sizes(configs: Sequence[ExperimentConfig]) -> None:
    """Build one experiment of each kind, so that a missing data set or k > d is found now."""
    seen = set()
    for config in configs:
        kind = config.model_copy(update={"seed": 0, "channel": type(config.channel)()})
        text = kind.model_dump_json()
        if text not in seen:
            seen.add(text)
            Experiment(config)
