"""Figures of radios together and over time: path gains, and how values drift."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import matplotlib.dates as mdates
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from calibration.estimate import COVERAGE, Estimate
from calibration.profiles.profile import Profile
from calibration.profiles.quantity import CURVES, SCALARS
from testbed.calibrating.curve_plots import BLUE, Profiles, colours
from testbed.report.style import MUTED, WIDE, WORST, Chart, canvas, png

Histories = Mapping[str, Sequence[Profile]]  # by what a figure calls their radios, oldest first
Take = Callable[[Profile], Estimate | None]

DRIFTING = ("path_gain", "cfo", "noise_floor", "tx_compression")
COLUMNS = 3
SAME_DB = 1.0  # a spread that is none


def draw_paths(profiles: Profiles) -> Chart | None:
    """Path gains at the receiver."""
    gains = {n: g for n, one in profiles.items() if (g := one.scalars.get("path_gain"))}
    if not gains:
        return None
    values = np.array([gain.value for gain in gains.values()])
    halves = COVERAGE * np.array([gain.uncertainty for gain in gains.values()])
    names = list(gains)
    weakest, spread = int(np.argmin(values)), float(np.ptp(values))
    with canvas((WIDE[0], 1.5 + 0.22 * len(names))) as figure:
        axes = figure.add_subplot()
        low = 5 * np.floor((values.min() - 3) / 5)
        red = weakest if spread > SAME_DB else None
        shades = [WORST if i == red else BLUE for i in range(len(names))]
        axes.barh(names, values - low, left=low, height=0.6, color=shades, alpha=0.75)
        axes.errorbar(values, names, xerr=halves, fmt="none", ecolor="#111111", capsize=2, lw=1)
        for name, value in zip(names, values, strict=True):
            text = f"{value:.1f}".replace("-", "−")
            axes.annotate(text, (value, name), (6, 0), textcoords="offset points", va="center")
        axes.set(xlabel="path gain to the receiver (dB)", xlim=(low, values.max() + 4))
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        caption = (
            "From antenna connector to antenna connector, with 95 % intervals. "
            f"They spread over {spread:.1f} dB, which power control takes out by gain as far as "
            f"gains reach; {names[weakest]} is the weakest and decides what all can meet. Healthy: "
            "as the cables, attenuators and distances say. Sick: one far below its neighbours (a "
            "loose connector, a wrong antenna), bars with long intervals (lost in noise)."
        )
        return Chart("path_gains", "Path gains of the bench", caption, png(figure), wide=True)


def draw_drift(histories: Histories) -> Chart | None:
    """By how much values changed since they were first measured; None without earlier profiles."""
    older = {name: kept for name, kept in histories.items() if len(kept) > 1}
    drawn = {title: take for title, take in _takes().items() if _known(older, take[0])}
    if not drawn:
        return None
    shades = colours(list(older))
    rows = -(-len(drawn) // COLUMNS)
    with canvas((WIDE[0], 0.4 + 2.5 * rows)) as figure:
        grid = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True)
        panels: list[Axes] = list(grid.flat)
        for axes, (title, (take, unit, tolerance)) in zip(panels, drawn.items(), strict=False):
            if tolerance is not None:
                axes.axhspan(-tolerance, tolerance, color=MUTED, alpha=0.12, lw=0)
            for name, kept in older.items():
                _trace(axes, kept, take, name, shades[name])
            axes.set(title=title, ylabel=f"change ({unit})")
            # sharex would leave those above an empty place without dates.
            axes.tick_params(labelbottom=True)
            # More than two ticks at least, and there are spans for which it has no unit.
            # matplotlib says nothing of the types of its dates.
            locator = mdates.AutoDateLocator(minticks=2, maxticks=6)  # type: ignore[no-untyped-call]
            axes.xaxis.set_major_locator(locator)
            shown = mdates.ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
            axes.xaxis.set_major_formatter(shown)
        for axes in panels[len(drawn) :]:
            axes.remove()
        series = {label: one for axes in panels for one, label in _legend(axes)}
        figure.legend(series.values(), series, loc="outside right upper")
        caption = (
            "Change since each radio's first profile, with 95 % intervals of both; the grey band "
            "is the tolerance. Healthy: within the band between two calibrations, which says how "
            "long they may stay valid. Sick: steps (a cable or radio was changed), a slope "
            "(ageing, or a connector that works loose)."
        )
        return Chart("drift", "Drift over time", caption, png(figure), wide=True)


def _legend(axes: Axes) -> Iterator[tuple[Artist, str]]:
    yield from zip(*axes.get_legend_handles_labels(), strict=True)


def _takes() -> dict[str, tuple[Take, str, float | None]]:
    """What may drift: how to find it, its unit, its tolerance."""
    found: dict[str, tuple[Take, str, float | None]] = {}
    for name in ("tx_power", "rx_gain"):
        relation = CURVES[name]
        found[relation.title] = (_middle_of(name), "dB", relation.tolerance)
    for name in DRIFTING:
        quantity = SCALARS[name]
        found[quantity.title] = (_scalar(name), quantity.unit, quantity.tolerance)
    found["temperature"] = (_temperature, "K", None)
    return found


def _scalar(name: str) -> Take:
    return lambda profile: profile.scalars.get(name)


def _middle_of(name: str) -> Take:
    """A curve in the middle of its linear range: ends may move without harm."""

    def take(profile: Profile) -> Estimate | None:
        curve = profile.curves.get(name)
        if curve is None:
            return None
        middle = (curve.linear.low + curve.linear.high) / 2
        return Estimate(curve.at(middle).value - middle, curve.at(middle).uncertainty, curve.unit)

    return take


def _temperature(profile: Profile) -> Estimate | None:
    celsius = profile.temperature_c
    return None if celsius is None else Estimate(celsius, 0.0, "")


def _known(histories: Histories, take: Take) -> bool:
    """Whether anything was measured more than once."""
    return any(sum(take(one) is not None for one in kept) > 1 for kept in histories.values())


def _trace(axes: Axes, kept: Sequence[Profile], take: Take, label: str, colour: str) -> None:
    seen: list[tuple[datetime, Estimate]] = [
        (one.measured_at.astimezone(UTC).replace(tzinfo=None), value)
        for one in kept
        if (value := take(one)) is not None
    ]
    if len(seen) < 2:
        return
    first = seen[0][1]
    changes = [value.minus(first) for _, value in seen]
    halves = [0.0, *(COVERAGE * change.uncertainty for change in changes[1:])]
    when = np.array([at for at, _ in seen], dtype="datetime64[s]")
    axes.errorbar(
        when, [change.value for change in changes], halves,
        fmt="o-", ms=3, lw=1.2, elinewidth=0.8, color=colour, label=label,
    )  # fmt: skip
