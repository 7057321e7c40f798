"""The `airmeta` command. Exit codes: 0 done, 1 a check failed, 2 bad input, 130 stopped."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from calibration.estimate import MeasurementError
from fl_core.errors import InputError
from fl_core.tasks import omniglot
from radio.api import RadioError
from testbed import bench_file, experiment_file, tables
from testbed import doctor as doctor_checks
from testbed.calibrate_command import calibrate_app
from testbed.evaluate import evaluate_run
from testbed.flowgraph_command import flowgraph_app
from testbed.keys_command import keys_app
from testbed.nodes_command import node_app, status, stop, up
from testbed.on_air.replay import replay_run
from testbed.options import ExperimentName, Json, Out, Overrides, Resume
from testbed.radio_command import radio_app
from testbed.report.html import write_report
from testbed.report.sweep import write_sweep_report
from testbed.runs import run_with_references
from testbed.serve_commands import air, serve_radio
from testbed.sweep import SWEEP_FILE, Sweep
from testbed.terminal import STOPPED, console, messages, present, print_json, progress
from testbed.workers import WorkerLostError, one_thread

app = typer.Typer(
    help="A testbed for over-the-air federated meta-learning on software-defined radios.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.add_typer(calibrate_app, name="calibrate")
app.add_typer(flowgraph_app, name="flowgraph")
app.add_typer(keys_app, name="keys")
app.add_typer(node_app, name="node")
app.add_typer(radio_app, name="radio")
app.command(epilog="Example: `airmeta up virtual lab rounds=20`")(up)
app.command(epilog="Example: `airmeta status runs/lab`")(status)
app.command(epilog="Example: `airmeta stop runs/lab`")(stop)

app.command(epilog="Example: `airmeta air --usrps 3`, `airmeta air lab --at zmq+ipc:///tmp/lab`")(
    air
)
radio_app.command(
    name="serve", epilog="Example: `airmeta radio serve loopback:// --at zmq+tcp://127.0.0.1:5555`"
)(serve_radio)

RUN_EXAMPLE = "Example: `airmeta run demo rounds=60 channel.snr_db=10 --out runs/noisy`"


@app.command(epilog="Example: `airmeta demo`")
def demo(
    overrides: Overrides = None, out: Out = None, resume: Resume = False, as_json: Json = False
) -> None:
    """Pre-train on a drawn alphabet over a simulated channel, beside its references."""
    config = experiment_file.read("demo").config(overrides or [])
    present(run_with_references(config, out, resume, progress(as_json)), as_json)


@app.command(epilog=RUN_EXAMPLE)
def run(
    experiment: ExperimentName,
    overrides: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Run one experiment and its references into a run folder, with a report."""
    source = experiment_file.read(experiment)
    if source.axes:
        raise InputError(
            f"{source.source}: has a sweep: section; run its grid with `airmeta sweep {experiment}`"
        )
    config = source.config(overrides or [])
    present(run_with_references(config, out, resume, progress(as_json)), as_json)


@app.command(
    epilog="Example: `airmeta sweep omniglot-5w1s channel.snr_db=10,19,30 seed=0,1,2 --jobs 2`"
)
def sweep(
    experiment: ExperimentName,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=V1,V2]...", help="Axes of the grid, and fixed settings."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default sweeps/NAME.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Cells run at the same time.")] = 2,
    as_json: Json = False,
) -> None:
    """Run a grid of experiments; the same command again goes on where it stopped."""
    plan = Sweep.plan(experiment, overrides or [], out)
    complete = plan.run(jobs, progress(as_json))
    report = write_sweep_report(plan.folder) if plan.any_done() else None
    if as_json:
        print_json(plan.as_dict() | {"report": str(report) if report else None})
    else:
        console.print(tables.of_sweep(plan))
        if report:
            console.print(f"report: {report}")
    if not complete:
        raise typer.Exit(STOPPED if plan.interrupted else 1)


@app.command(epilog="Example: `airmeta evaluate runs/demo --tasks 2000 --adapt-steps 3`")
def evaluate(
    folder: Annotated[Path, typer.Argument(help="A run folder.")],
    tasks: Annotated[int, typer.Option(min=2, help="Tasks per population.")] = 1000,
    adapt_steps: Annotated[
        int | None, typer.Option(min=0, help="Adaptation steps; default as in the run.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Score a run's parameters on many tasks, of training devices and of new ones."""
    row = evaluate_run(folder, tasks, adapt_steps)
    if as_json:
        print_json(row)
    else:
        console.print(tables.of_scores({row["scheme"]: row}))


@app.command(epilog="Example: `airmeta run demo uplink=iq record=true`, `airmeta replay runs/demo`")
def replay(
    folder: Annotated[Path, typer.Argument(help="A run folder with recordings.")],
    as_json: Json = False,
) -> None:
    """Run the receiver again on what a run recorded, and compare its estimates."""
    rounds = replay_run(folder)
    if as_json:
        print_json({"rounds": [vars(one) for one in rounds]})
    else:
        console.print(tables.of_replay(rounds))
    if not all(one.same for one in rounds):
        raise typer.Exit(1)


@app.command(epilog="Example: `airmeta report runs/demo`")
def report(
    folder: Annotated[Path, typer.Argument(help="A run folder or a sweep folder.")],
    as_json: Json = False,
) -> None:
    """Write report.html from what a run or a sweep left."""
    is_sweep = (folder / SWEEP_FILE).exists()
    path = write_sweep_report(folder) if is_sweep else write_report(folder)
    if as_json:
        print_json({"report": str(path)})
    else:
        console.print(f"report: {path}")


@app.command(epilog="Example: `airmeta doctor`")
def doctor(as_json: Json = False) -> None:
    """Check this machine: what is there, what is missing, how to get it."""
    checks = list(doctor_checks.checks())
    if as_json:
        print_json({"checks": [vars(check) for check in checks]})
    else:
        console.print(doctor_checks.render(checks))
    if any(check.required and not check.ok for check in checks):
        raise typer.Exit(1)


@app.command(name="list", epilog="Example: `airmeta list`")
def list_shipped(as_json: Json = False) -> None:
    """The experiments and benches that come with AirMeta."""
    experiments, benches = experiment_file.shipped(), bench_file.shipped()
    if as_json:
        print_json({"experiments": experiments, "benches": benches})
    else:
        console.print(tables.of_shipped("experiment", experiments))
        console.print(tables.of_shipped("bench", benches))


@app.command(epilog="Example: `airmeta data omniglot`")
def data(
    name: Annotated[Literal["omniglot"], typer.Argument(help="Which data set.")],
    out: Annotated[Path | None, typer.Option(help="Folder; default the cache.")] = None,
) -> None:
    """Download a data set and check it."""
    folder = out or omniglot.default_directory()
    omniglot.download(folder)
    console.print(f"{name}: complete in {folder}", soft_wrap=True)


def main() -> None:
    """Entry point: one line for a mistake of the user, never a traceback."""
    one_thread()
    try:
        app()
    except (InputError, RadioError, MeasurementError) as error:
        for line in str(error).splitlines():
            messages.print(f"airmeta: {line}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
    except WorkerLostError as error:
        messages.print(f"airmeta: {error}; `--resume` goes on from the last checkpoint")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    except OSError as error:
        messages.print(f"airmeta: {error}; `--resume` goes on from the last checkpoint")
        sys.exit(1)


if __name__ == "__main__":
    main()
