"""`airmeta calibrate`: measure radios, look at what was measured, compare it, check it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from calibration.profiles.profile_folder import read_profile
from fl_core.errors import InputError
from testbed import bench_file
from testbed.calibrate_run import run
from testbed.calibrating import tables
from testbed.calibrating.difference import changes
from testbed.calibrating.inspection import inspect_files, inspect_places
from testbed.calibrating.nodes import calibration_folder, places_of, plan_in
from testbed.calibrating.page import draw, write_figures, write_page
from testbed.calibrating.shelf import Shelf, profile_paths
from testbed.calibrating.values import as_json as profile_json
from testbed.on_air.calibrated import FOLDER
from testbed.options import Json
from testbed.runs import stop_after_round
from testbed.terminal import console, messages, print_json

calibrate_app = typer.Typer(
    help="Measure radios, keep what was measured as profiles, look at these and check them.",
    no_args_is_help=True,
)

Place = Annotated[
    Path, typer.Argument(metavar="[FOLDER|PROFILE]", help="Profiles; default profiles/.")
]
Folder = Annotated[
    Path | None, typer.Argument(metavar="[FOLDER]", help="Profiles; default profiles/.")
]


calibrate_app.command(
    epilog="Example: `airmeta calibrate run --bench bench.yaml`, "
    "`airmeta calibrate run --experiment lab channel.fading=awgn`"
)(run)


@calibrate_app.command(epilog="Example: `airmeta calibrate show profiles --html bench.html`")
def show(
    place: Place = FOLDER,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with all figures.")
    ] = None,
    png: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the figures into a folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what was measured, how sure it is, how old, and until when it holds."""
    now = datetime.now(UTC)
    names: dict[str, str] = {}
    if (plan := plan_in(place if place.is_dir() else place.parent)) is not None:
        names = {device.serial: device.name for device in plan.devices}
        names[plan.receiver_serial] = "receiver"
    if html is not None and not html.parent.is_dir():
        raise InputError(f"{html.parent}: there is no such folder")
    if png is not None and png.exists() and not png.is_dir():
        raise InputError(f"{png}: is a file; --png should name a folder")
    shelf = Shelf.read(place, names)
    written: list[Path] = []
    if html is not None or png is not None:
        charts = draw(shelf)
        if html is not None:
            write_page(html, shelf, plan, charts, now)
            written.append(html)
        if png is not None:
            written += write_figures(png, charts)
    if as_json:
        print_json(
            {
                "profiles": [profile_json(one, now) for one in shelf.latest.values()],
                "plan": None if plan is None else asdict(plan),
                "written": [str(path) for path in written],
            }
        )
        return
    for label, profile in shelf.latest.items():
        tables.print_profile(console, label, profile, now)
    if plan is not None:
        tables.print_plan(console, plan)
    for path in written:
        messages.print(f"{path}: written", markup=False, highlight=False, soft_wrap=True)


@calibrate_app.command(
    epilog="Example: `airmeta calibrate diff profiles/history/OLD.json profiles/NEW.json`"
)
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A profile.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="A later one of the same radio.")],
    as_json: Json = False,
) -> None:
    """Say what changed, and end with exit code 1 where something did by more than its tolerance."""
    before, after = read_profile(old), read_profile(new)
    found = changes(before, after)
    exceeding = [change.title for change in found if change.exceeds]
    if as_json:
        print_json({"changes": [change.as_dict() for change in found]})
    else:
        console.print(tables.of_changes(found))
        text = f"beyond tolerance: {', '.join(exceeding)}" if exceeding else "all within tolerance"
        console.print(text, style="red" if exceeding else "green", soft_wrap=True)
    if exceeding:
        raise typer.Exit(1)


@calibrate_app.command(epilog="Example: `airmeta calibrate check --bench bench.yaml`")
def check(
    folder: Folder = None,
    bench: Annotated[
        str | None, typer.Option(metavar="BENCH", help="Ask the radios of this bench too.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say which profiles cannot be used; with a bench, whether each radio is where it belongs."""
    now = datetime.now(UTC)
    if bench is None:
        folder = folder or FOLDER
        verdicts = inspect_files(profile_paths(folder), now)
    else:
        file = bench_file.read(bench)
        folder = folder or calibration_folder(file)
        with stop_after_round():
            verdicts = inspect_places(places_of(file, folder), now)
    if as_json:
        print_json({"checked": [one.as_dict() for one in verdicts]})
    elif verdicts:
        tables.print_verdicts(console, verdicts)
    else:
        messages.print(f"{folder}: holds no profile", style="yellow")
    if any(one.faults for one in verdicts) or not verdicts:
        raise typer.Exit(1)
