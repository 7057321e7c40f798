"""Profiles as a page and as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from calibration.power.plan import GainPlan
from calibration.profiles.profile import Profile
from calibration.profiles.quantity import SCALARS
from fl_core.errors import InputError
from radio.whole_file import write_atomically
from testbed.calibrating.bench_plots import draw_drift, draw_paths
from testbed.calibrating.curve_plots import draw_curves
from testbed.calibrating.shelf import Shelf
from testbed.calibrating.values import (
    Value,
    ago,
    curves_of,
    facts_of,
    is_fresh,
    measured,
    planned_rows,
    values_of,
)
from testbed.report.html import MISSING, render
from testbed.report.style import Chart

OVERVIEW = ("path_gain", "cfo", "skew", "noise_floor", "tx_compression", "best_backoff")


@dataclass(frozen=True)
class Section:
    """One profile on the page, every text as it is printed."""

    label: str
    fresh: bool
    age: str
    cells: Sequence[str]
    facts: Mapping[str, str]
    values: Sequence[Value]
    curves: Mapping[str, str]


def draw(shelf: Shelf) -> list[Chart]:
    """Every figure that these profiles have data for."""
    charts = [draw_paths(shelf.latest), *draw_curves(shelf.latest), draw_drift(shelf.kept)]
    return [chart for chart in charts if chart is not None]


def write_page(
    file: Path, shelf: Shelf, plan: GainPlan | None, charts: Sequence[Chart], now: datetime
) -> None:
    """All of it on one page, with the figures inside.

    Raises:
        InputError: the file cannot be written.
    """
    latest = shelf.latest
    shown = [name for name in OVERVIEW if any(name in one.scalars for one in latest.values())]
    page = render(
        "calibration.html.j2",
        place=str(shelf.place),
        titles=[_titled(name) for name in shown],
        sections=[_section(label, one, shown, now) for label, one in latest.items()],
        planned=[] if plan is None else planned_rows(plan),
        reasons=[] if plan is None else plan.reasons,
        charts=charts,
    )
    _write(file, page.encode())


def write_figures(folder: Path, charts: Sequence[Chart]) -> list[Path]:
    """Each figure as a file; their paths.

    Raises:
        InputError: the folder cannot be made or written.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be a folder of figures ({error.strerror})") from error
    written = []
    for chart in charts:
        written.append(folder / f"{chart.name}.png")
        _write(written[-1], chart.png)
    return written


def _write(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, content, lasting=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


def _section(label: str, profile: Profile, shown: Sequence[str], now: datetime) -> Section:
    return Section(
        label=label,
        fresh=is_fresh(profile, now),
        age=ago(profile.age_days(now)),
        cells=[_cell(profile, name) for name in shown],
        facts=facts_of(profile, now),
        values=values_of(profile),
        curves=curves_of(profile),
    )


def _cell(profile: Profile, name: str) -> str:
    estimate = profile.scalars.get(name)
    return MISSING if estimate is None else " ± ".join(measured(estimate))


def _titled(name: str) -> str:
    quantity = SCALARS[name]
    return f"{quantity.title} ({quantity.unit})" if quantity.unit else quantity.title
