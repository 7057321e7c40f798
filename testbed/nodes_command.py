"""`airmeta up`, `node`, `status` and `stop`: runs over nodes, each a process of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.logging import RichHandler

from fl_core.errors import InputError
from testbed import bench_file, experiment_file
from testbed.bench_file import BenchFile
from testbed.config import ExperimentConfig
from testbed.events import TensorBoardEvents
from testbed.experiment import Experiment
from testbed.nodes.air_plan import AirPlan
from testbed.nodes.child import BREAK_OFF_S
from testbed.nodes.coordinator_node import brief_of
from testbed.nodes.shell import End
from testbed.nodes.start import (
    require_startable,
    start_coordinator,
    start_device,
    start_receiver,
)
from testbed.options import ExperimentName, Json, Out, Overrides, Resume
from testbed.run_folder import RunFolder
from testbed.runs import RunResult, both, choose_folder, run_with_references, stop_after_round
from testbed.status import is_running, newest_run, read_status, render, stop_run
from testbed.supervisor import Supervisor
from testbed.terminal import STOPPED, console, messages, present, print_json, progress
from testbed.watch import Watcher

BenchOption = Annotated[str, typer.Option("--bench", help="A shipped bench, or its file.")]
Run = Annotated[Path | None, typer.Argument(metavar="[RUN]", help="Run folder; the newest.")]
StateFolder = Annotated[Path, typer.Option("--state", help="Folder for what the node keeps.")]

LOOK_S = 0.25

node_app = typer.Typer(help="One node of a bench, on any host.", no_args_is_help=True)


def up(
    bench: Annotated[str, typer.Argument(help="A shipped bench, or the path of its file.")],
    experiment: ExperimentName,
    overrides: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Start all nodes of a bench on this machine, and see to them until the run is over."""
    file, config, folder = _checked(bench, experiment, overrides, out, resume)
    require_startable(file, config.devices.num_devices)
    shown = progress(as_json)
    live = shown.is_terminal
    with (
        closing(TensorBoardEvents(folder)) as events,
        closing(Watcher(_quiet() if live else shown)) as watcher,
        Live(console=shown, auto_refresh=False, transient=True) as screen,
    ):
        supervisor = Supervisor(
            file,
            config,
            folder,
            resume,
            both(watcher, events),
            lambda line: shown.print(line, soft_wrap=True),
        )
        count = config.devices.num_devices
        shown.print(
            f"{folder}: {count} devices, {file.receiver.name} and a coordinator start",
            soft_wrap=True,
            highlight=False,
        )
        try:
            end = supervisor.run(_looking(folder, screen) if live else lambda: None)
        except KeyboardInterrupt:  # in the middle of starting
            end = End(STOPPED, "stopped")
    _leave(end, config, folder, as_json)


@node_app.command(
    name="coordinator", epilog="Example: `airmeta node coordinator lab --bench five-machines.yaml`"
)
def lead(
    experiment: ExperimentName,
    bench: BenchOption,
    overrides: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Lead a run: gather the nodes of a bench, and write the run folder."""
    file, config, folder = _checked(bench, experiment, overrides, out, resume)
    _log_to_terminal()
    with (
        stop_after_round(BREAK_OFF_S) as stop,
        closing(TensorBoardEvents(folder)) as events,
        closing(Watcher(progress(as_json))) as watcher,
    ):
        try:
            end = start_coordinator(file, config, folder, resume, both(watcher, events), stop).end
        except KeyboardInterrupt:  # it would not end by itself
            end = End(STOPPED, "stopped")
    _leave(end, config, folder, as_json)


@node_app.command(
    name="receiver", epilog="Example: `airmeta node receiver --bench five-machines.yaml`"
)
def receive(bench: BenchOption, state: StateFolder = Path("nodes")) -> None:
    """Be the receiver of a bench until the run is over."""
    file = bench_file.read(bench)
    _be(lambda stop: start_receiver(file, state / file.receiver.name, stop))


@node_app.command(
    name="device", epilog="Example: `airmeta node device --bench five-machines.yaml --name d3`"
)
def device(
    bench: BenchOption,
    name: Annotated[str, typer.Option(help="Of the device, in the bench.")],
    state: StateFolder = Path("nodes"),
) -> None:
    """Be a device of a bench until the run is over."""
    file = bench_file.read(bench)
    _be(lambda stop: start_device(file, name, state / name, stop))


def status(
    run: Run = None,
    once: Annotated[bool, typer.Option("--once", help="Show it once, do not follow.")] = False,
    as_json: Json = False,
) -> None:
    """Show nodes, rounds, gains, CFO, phase, participation and faults of a run, live."""
    folder = run or newest_run()
    if as_json:
        print_json({**read_status(folder), "running": is_running(folder)})
        return
    if once or not console.is_terminal:
        console.print(render(folder, read_status(folder), is_running(folder)))
        return
    with stop_after_round() as stop, Live(console=console, auto_refresh=False) as screen:
        look = _looking(folder, screen)
        while not stop():
            look()
            if not is_running(folder):
                break
            time.sleep(LOOK_S)


def stop(run: Run = None) -> None:
    """End a run cleanly: all nodes mute and leave, and --resume goes on from there."""
    folder = run or newest_run()
    rounds = stop_run(folder)
    console.print(f"{folder}: stopped after {rounds} rounds", soft_wrap=True)


def _checked(
    bench: str, experiment: str, overrides: list[str] | None, out: Path | None, resume: bool
) -> tuple[BenchFile, ExperimentConfig, Path]:
    """Bench, experiment and folder, once it is clear that they go together.

    Raises:
        InputError: they do not, or one of them is wrong by itself.
    """
    file = bench_file.read(bench)
    config = experiment_file.read(experiment).config(
        [*file.implied, *(overrides or []), "uplink=iq"]
    )
    try:
        built = Experiment(config)
    except KeyboardInterrupt:
        raise typer.Exit(STOPPED) from None
    brief_of(built, file, AirPlan.of(built, file.config), run="none")
    folder = choose_folder(config, out, resume)
    if resume:
        RunFolder(folder, config).check_owner()
    return file, config, folder


def _looking(folder: Path, screen: Live) -> Callable[[], None]:
    """Shows how the run stands, now and then."""
    last_s = 0.0

    def look() -> None:
        nonlocal last_s
        if time.monotonic() - last_s < LOOK_S:
            return
        last_s = time.monotonic()
        try:
            screen.update(render(folder, read_status(folder), is_running(folder)), refresh=True)
        except InputError:  # the coordinator has not said anything yet
            return

    return look


def _be(node: Callable[[Callable[[], bool]], End]) -> None:
    """Be a node in this process; leaves with its exit code."""
    _log_to_terminal()
    with stop_after_round(BREAK_OFF_S) as stop:
        try:
            end = node(stop)
        except KeyboardInterrupt:  # it would not end by itself
            end = End(STOPPED, "stopped")
    messages.print(end.reason, soft_wrap=True, markup=False)
    raise typer.Exit(end.code)


def _leave(end: End, config: ExperimentConfig, folder: Path, as_json: bool) -> None:
    """Show what came of a run, after the references that it is compared with."""
    if end.code == 0:
        present(run_with_references(config, folder, True, progress(as_json)), as_json)
    elif end.code == STOPPED:
        present(RunResult(folder, {}, report=None), as_json)
    else:
        messages.print(
            f"airmeta: {end.reason}", style="red", markup=False, soft_wrap=True, highlight=False
        )
        raise typer.Exit(end.code)


def _log_to_terminal() -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(message)s", handlers=[RichHandler(console=messages)]
    )


def _quiet() -> Console:
    """Where the table of the nodes shows what the bars would."""
    return Console(quiet=True)
