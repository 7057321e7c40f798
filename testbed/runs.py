"""Running an experiment together with its references, and stopping it cleanly."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from fl_core.errors import InputError
from testbed.config import ExperimentConfig
from testbed.events import TensorBoardEvents
from testbed.experiment import Experiment, Outcome, Progress, Watch
from testbed.report.html import write_report
from testbed.run_folder import RunFolder, load_checkpoint
from testbed.watch import Watcher
from testbed.workers import STOP_SIGNALS

LONGEST_NAME = 200


@dataclass(frozen=True)
class RunResult:
    """A run and its references; `report` is None when it was stopped before the end."""

    folder: Path
    summaries: dict[str, dict[str, Any]]
    report: Path | None


def run_with_references(
    config: ExperimentConfig, out: Path | None, resume: bool, console: Console
) -> RunResult:
    """Run the experiment, then its references, into one folder, and write the report.

    Everything is built, and so checked, before the first file is written.
    """
    # Most mistakes are seen before the tasks are loaded, the rest before anything is written.
    folder = choose_folder(config, out, resume)
    experiments = [Experiment(config)]
    experiments += [Experiment(config.as_reference(s)) for s in config.references]
    summaries: dict[str, dict[str, Any]] = {}
    with (
        stop_after_round() as stop,
        closing(TensorBoardEvents(folder)) as events,
        closing(Watcher(console)) as watcher,
    ):
        watch = both(watcher, events)
        for experiment in experiments:
            scheme = experiment.config.scheme
            path = folder if scheme == config.scheme else folder / "references" / scheme
            outcome = finished(path, experiment.config) if resume else None
            try:
                outcome = outcome or experiment.run(path, resume, watch, stop)
            except InputError as error:
                if not summaries:
                    raise
                report = write_report(folder)
                raise InputError(f"{error} (in {path}); {report} is written without it") from error
            if not outcome.complete:
                return RunResult(folder, summaries, report=None)
            summaries[scheme] = outcome.summary
    return RunResult(folder, summaries, write_report(folder))


def both(one: Watch, other: Watch) -> Watch:
    """Shows events to two."""

    def watch(event: Progress) -> None:
        one(event)
        other(event)

    return watch


def finished(path: Path, config: ExperimentConfig) -> Outcome | None:
    """The outcome of a run that is complete already; InputError if it is another's."""
    summary = path / "summary.json"
    if not summary.exists():
        return None
    RunFolder(path, config).check_owner()
    load_checkpoint(path / "checkpoint.npz")
    try:
        return Outcome(path, complete=True, summary=json.loads(summary.read_text()))
    except ValueError as error:
        raise InputError(f"{summary}: is damaged; delete it and resume") from error


def choose_folder(config: ExperimentConfig, out: Path | None, resume: bool) -> Path:
    """Where the run goes: `--out`, or runs/<name>, numbered when that is taken.

    Resuming without `--out` takes the newest run of that name.
    """
    if out is not None:
        if len(os.fsencode(out.name)) > LONGEST_NAME:
            raise InputError(f"--out: a folder's name has at most {LONGEST_NAME} bytes")
        if out.exists() and not out.is_dir():
            raise InputError(f"{out}: is a file; --out should name a folder")
        if not resume and out.is_dir() and any(out.iterdir()):
            raise InputError(f"{out}: is not empty; add --resume to go on, or give another --out")
        return out
    taken = _numbered(config.name)
    if resume:
        if not taken:
            raise InputError(f"runs/{config.name}: there is no run to resume; start without it")
        return taken[-1]
    if not taken:
        return Path("runs") / config.name
    return Path("runs") / f"{config.name}-{_number(taken[-1], config.name) + 1}"


def _numbered(name: str) -> list[Path]:
    folders = [Path("runs") / name, *Path("runs").glob(f"{name}-*")]
    return sorted(
        (f for f in folders if f.is_dir() and _number(f, name) > 0),
        key=lambda f: _number(f, name),
    )


def _number(folder: Path, name: str) -> int:
    """1 for `name`, n for `name-n`, 0 for anything else."""
    suffix = folder.name.removeprefix(name)
    if not suffix:
        return 1
    return int(suffix[1:]) if suffix[1:].isdecimal() else 0


@contextmanager
def stop_after_round(patience_s: float = 0.0) -> Iterator[StopRequest]:
    """Turn Ctrl-C and SIGTERM into a request; a second one interrupts at once.

    Args:
        patience_s: after which a request that was not heeded interrupts by itself; 0 for never.
    """
    request = StopRequest(patience_s)
    handlers = {s: signal.signal(s, request.receive) for s in (*STOP_SIGNALS, signal.SIGALRM)}
    try:
        yield request
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)


class StopRequest:
    """True once somebody asked the run to stop."""

    def __init__(self, patience_s: float = 0.0) -> None:
        self._asked = False
        self._patience_s = patience_s

    def __call__(self) -> bool:
        """Whether to stop."""
        return self._asked

    def receive(self, number: int, frame: FrameType | None) -> None:
        """A signal handler."""
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        # More than once: an interrupt in a callback from C is lost.
        signal.setitimer(signal.ITIMER_REAL, self._patience_s, 0.2)
