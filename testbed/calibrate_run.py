"""`airmeta calibrate run`: measure radios into profiles, and plan the powers of a bench."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from calibration.power.plan import GainPlan, PlanError
from calibration.power.planner import Aim
from calibration.procedures.session import Status
from fl_core.errors import InputError
from testbed import bench_file, experiment_file
from testbed.calibrating import tables
from testbed.calibrating.bars import Bars, duration
from testbed.calibrating.campaign import OF_RECEIVER, Campaign
from testbed.calibrating.lineup import Lineup
from testbed.calibrating.lineups import Wanted, of_bench, of_experiment, of_radios
from testbed.calibrating.nodes import calibration_folder
from testbed.held_folder import held
from testbed.lab.limits import stated_limits
from testbed.on_air.calibrated import FOLDER
from testbed.options import Carrier, Json, Rate
from testbed.runs import stop_after_round
from testbed.terminal import STOPPED, console, messages, print_json, progress

QUIET_DB = -40.0  # transmit gain of a radio by itself, unless another is stated
LIMITED_S = 3600.0  # over which the duty cycle of such a radio is taken
PATIENCE_S = 3.0  # of Ctrl-C, until a procedure says that it goes on


def run(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings of the experiment to change."),
    ] = None,
    bench: Annotated[
        str | None, typer.Option(metavar="BENCH", help="Its devices against its receiver.")
    ] = None,
    experiment: Annotated[
        str | None, typer.Option(metavar="EXPERIMENT", help="Or those of its simulated air.")
    ] = None,
    sender: Annotated[
        str | None, typer.Option(metavar="URI", help="Or one radio, by itself through a cable.")
    ] = None,
    receiver: Annotated[
        str | None, typer.Option(metavar="URI", help="What it is measured against, if not itself.")
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this one; may be repeated.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this procedure; may be repeated.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Profiles; default the bench's, profiles/")
    ] = None,
    loss_db: Annotated[
        float | None, typer.Option(help="Of cables and attenuators between the two connectors.")
    ] = None,
    full_scale_dbm: Annotated[
        float | None, typer.Option(help="Input that makes full scale at a receive gain of 0.")
    ] = None,
    band: Annotated[
        str | None, typer.Option(metavar="LOW:HIGH", help="Of one radio: what you may use, in Hz.")
    ] = None,
    gain_db: Annotated[
        float | None, typer.Option(help="Highest transmit gain; of one radio -40 unless stated.")
    ] = None,
    carrier_hz: Carrier = None,
    rate_hz: Rate = None,
    backoff_db: Annotated[
        float | None,
        typer.Option(
            min=0, max=60, help="With which rounds are sent; default the experiment's, 10."
        ),
    ] = None,
    valid_days: Annotated[float, typer.Option(help="For how long profiles hold.")] = 30.0,
    recordings: Annotated[
        bool, typer.Option(help="Keep what was heard: some 200 MB a device.")
    ] = True,
    dry: Annotated[
        bool, typer.Option("--plan", "--dry-run", help="Say what would be measured, and end.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure radios into profiles, and plan the powers of a bench; once more, it goes on."""
    if loss_db is not None and not 0 <= loss_db < math.inf:
        raise InputError(f"--loss-db {loss_db:g}: is a loss, 0 or more")
    wanted = Wanted(carrier_hz, rate_hz, gain_db, loss_db, full_scale_dbm)
    if overrides and experiment is None:
        raise InputError(f"{overrides[0]}: settings are for --experiment")
    if (receiver is not None or band is not None) and sender is None:
        raise InputError("--receiver and --band are for --sender; a bench has its own")
    if device and sender is not None:
        raise InputError("--device is for --bench and --experiment; --sender is one")
    with _chosen(bench, experiment, sender, receiver, band, overrides, device, wanted) as chosen:
        lineup, folder, aim = chosen
        if backoff_db is not None:
            aim = replace(aim, backoff_db=backoff_db)
        campaign = Campaign(
            lineup, to or folder, only or [], valid_days, lambda: datetime.now(UTC), recordings
        )
        steps = campaign.steps()
        if dry and as_json:
            print_json({"devices": list(lineup.devices), "steps": steps})
            return
        _say(campaign, steps, progress(as_json))
        if dry:
            return
        try:
            with held(campaign.folder, "calibration"):
                _measure(campaign, progress(as_json))
                profiles = campaign.write()
                plan, unplanned = _plan(campaign, aim)
        except OSError as error:
            raise InputError(f"{campaign.folder}: cannot be written ({error.strerror})") from error
    if as_json:
        print_json(
            {
                "profiles": [profile.source for profile in profiles],
                "failures": {name: str(why) for name, why in campaign.failures.items()},
                "plan": None if plan is None else asdict(plan),
            }
        )
    else:
        for profile in profiles:
            console.print(f"{profile.source}: {profile.serial}", soft_wrap=True, highlight=False)
        if plan is not None:
            tables.print_plan(console, plan)
    if unplanned:
        messages.print(unplanned, style="yellow", soft_wrap=True, highlight=False, markup=False)
    for name, why in campaign.failures.items():
        messages.print(f"{name}: {why}", style="red", soft_wrap=True, highlight=False, markup=False)
    if campaign.failures:
        raise typer.Exit(1)


@contextmanager
def _chosen(
    bench: str | None,
    experiment: str | None,
    sender: str | None,
    receiver: str | None,
    band: str | None,
    overrides: Sequence[str] | None,
    devices: Sequence[str] | None,
    wanted: Wanted,
) -> Iterator[tuple[Lineup, Path, Aim]]:
    """Radios by one of three ways to name them, the folder of their profiles, and a plan's aim."""
    names = devices or []
    if sender is not None and experiment is None:
        highest_db = QUIET_DB if wanted.tx_gain_db is None else wanted.tx_gain_db
        limits = stated_limits(band, bench, highest_db, LIMITED_S)
        yield (
            of_radios(sender, receiver, limits, replace(wanted, tx_gain_db=highest_db)),
            FOLDER,
            Aim(),
        )
    elif experiment is not None and bench is None and sender is None:
        config = experiment_file.read(experiment).config([*(overrides or []), "uplink=iq"])
        aim = Aim(backoff_db=config.iq.backoff_db, num_active=config.devices.num_active)
        with of_experiment(config, names, wanted) as lineup:
            yield lineup, FOLDER, aim
    elif bench is not None and experiment is None:
        file = bench_file.read(bench)
        yield of_bench(file, names, wanted), calibration_folder(file), Aim()
    else:
        raise InputError(
            "what shall be calibrated? state one of --bench BENCH, --experiment EXPERIMENT, "
            "--sender URI"
        )


def _say(campaign: Campaign, steps: Mapping[str, float], console: Console) -> None:
    """What will be done, and for how long."""
    devices = campaign.lineup.devices
    later_s = sum(seconds for name, seconds in steps.items() if name not in OF_RECEIVER)
    whole_s = sum(steps.values()) + (len(devices) - 1) * later_s
    console.print(
        f"{', '.join(devices)}: about {duration(whole_s)} by the radios' clocks, into "
        f"{campaign.folder}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    each = ", ".join(f"{name} {duration(seconds)}" for name, seconds in steps.items())
    console.print(f"each: {each}", soft_wrap=True, highlight=False, style="dim")


def _measure(campaign: Campaign, console: Console) -> None:
    """Run it with bars; leaves with what is done kept when somebody stops it."""
    with stop_after_round(PATIENCE_S) as stop, Bars(console) as bars:

        def watch(name: str, status: Status) -> None:
            if stop():
                raise KeyboardInterrupt
            bars.show(name, status)

        try:
            campaign.measure(watch, bars.fail)
        except KeyboardInterrupt as interrupt:
            done = ", ".join(campaign.measured) or "no device"
            messages.print(
                f"stopped; {done} is done, and what others have so far is kept: the same command "
                "goes on",
                soft_wrap=True,
            )
            raise typer.Exit(STOPPED) from interrupt
    for notice in campaign.notices.values():
        messages.print(notice, style="yellow", soft_wrap=True, highlight=False, markup=False)
    if not campaign.measured:
        raise next(iter(campaign.failures.values()))


def _plan(campaign: Campaign, aim: Aim) -> tuple[GainPlan | None, str]:
    """The plan of a bench, on disk; or why there is none."""
    if campaign.lineup.receiver is None:
        return None, ""
    try:
        return campaign.write_plan(aim), ""
    except PlanError as error:
        return None, f"no plan: {error}"
