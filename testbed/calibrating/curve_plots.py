"""Figures of measured curves: gains, compression, and whatever else lies over a setting."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from calibration.curve import Curve
from calibration.estimate import COVERAGE
from calibration.profiles.profile import Profile
from calibration.profiles.quantity import CURVES
from testbed.report.load import Column
from testbed.report.style import MUTED, NARROW, PARTS, SCHEMES, WIDE, Chart, canvas, png

BLUE = SCHEMES["air"][1]
Profiles = Mapping[str, Profile]  # by what a figure calls their radios
Colours = Mapping[str, str]


def draw_curves(profiles: Profiles) -> list[Chart]:
    """Every figure of curves for which these profiles have data."""
    drawn = [_power, _level, _compression, _backoff, _allan]
    return [chart for draw in drawn if (chart := draw(profiles)) is not None]


def colours(names: list[str]) -> Colours:
    """One for each radio: the only one is blue, as this run is in the report."""
    if len(names) == 1:
        return {names[0]: BLUE}
    if len(names) <= len(PARTS):
        return dict(zip(names, PARTS, strict=False))
    many = matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, len(names)))
    return {name: to_hex(shade) for name, shade in zip(names, many, strict=True)}


def of_name(profiles: Profiles, name: str) -> dict[str, Curve]:
    """The curves of this name, by radio."""
    return {label: one.curves[name] for label, one in profiles.items() if name in one.curves}


def legend_for(figure: Figure, axes: Axes) -> None:
    """The legend of `axes` beside the figure, in the order in which it was drawn."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside right upper")


def _power(profiles: Profiles) -> Chart | None:
    return _over_gain(
        profiles,
        "tx_power",
        "Transmit power over gain",
        "What leaves the antenna connector when samples of full scale are sent. Power control "
        "picks gains on the strong part of a line",
    )


def _level(profiles: Profiles) -> Chart | None:
    return _over_gain(
        profiles,
        "rx_gain",
        "Receive level over gain",
        "Level of samples less the power at the antenna connector. Beyond the strong part of a "
        "line a converter saturates, or noise hides the tone",
    )


def _over_gain(profiles: Profiles, name: str, title: str, caption: str) -> Chart | None:
    """A curve of one dB a dB, and by what it departs from that."""
    curves, relation = of_name(profiles, name), CURVES[name]
    if not curves:
        return None
    shades, tolerance = colours(list(curves)), relation.tolerance or 0.0
    with canvas(WIDE) as figure:
        levels, departures = figure.subplots(1, 2)
        departures.axhspan(-tolerance, tolerance, color=MUTED, alpha=0.12, lw=0)
        for label, curve in curves.items():
            settings, values, halves = columns(curve)
            off = values - settings
            off -= np.median(off[linear_part(curve)])
            trace(levels, curve, values, halves, label, shades[label])
            trace(departures, curve, off, halves, label, shades[label])
        linear = [off_within(curve) for curve in curves.values()]
        room = max(3 * tolerance, 1.5 * max(linear))
        departures.set_ylim(-room, room)
        axis = f"{relation.setting} ({relation.setting_unit})"
        levels.set(title="Level", xlabel=axis, ylabel=f"{relation.title} ({relation.unit})")
        departures.set(title="Departure from a dB for a dB", xlabel=axis, ylabel="dB")
        legend_for(figure, levels)
        caption += (
            ": strong lines are the linear range, dots what was measured, with 95 % intervals. The "
            f"grey band is the tolerance of ±{tolerance:g} dB. Healthy: a straight line, "
            "dots within the band over most of the range. Sick: steps (an attenuator that "
            "sticks), a slope (wrong gain table), a bend at high gain (an amplifier or converter "
            "at its end), scatter at low gain (lost in noise: less attenuation in the cable)."
        )
        return Chart(name, title, caption, png(figure), wide=True)


def _compression(profiles: Profiles) -> Chart | None:
    curves, relation = of_name(profiles, "tx_drive"), CURVES["tx_drive"]
    if not curves:
        return None
    shades = colours(list(curves))
    with canvas(WIDE) as figure:
        axes = figure.add_subplot()
        axes.axhline(-1.0, color=MUTED, lw=0.9, ls=(0, (5, 3)), label="1 dB lost")
        for label, curve in curves.items():
            _, values, halves = columns(curve)
            trace(axes, curve, values, halves, label, shades[label])
            point = profiles[label].scalars.get("tx_compression")
            if point is not None:
                axes.errorbar(
                    point.value, -1.0, xerr=COVERAGE * point.uncertainty, fmt="D", ms=6, capsize=3,
                    color=shades[label], mec="white", zorder=4,
                )  # fmt: skip
        axes.set(
            xlabel=f"{relation.setting} ({relation.setting_unit})",
            ylabel="gain over that of small signals (dB)",
        )
        legend_for(figure, axes)
        caption = (
            "Gain of the transmitter over its drive. Diamonds: where 1 dB is lost, with 95 % "
            "intervals. Healthy: flat to within some dB of full scale, then a smooth bend; radios "
            "of a kind bend alike. Sick: a bend at low drive (too high a gain setting, or a "
            "saturated receiver: more attenuation), a sharp corner (the receiver clips, not the "
            "sender)."
        )
        return Chart("tx_drive", "Compression of the transmitter", caption, png(figure), wide=True)


def _backoff(profiles: Profiles) -> Chart | None:
    curves, relation = of_name(profiles, "backoff_nmse"), CURVES["backoff_nmse"]
    if not curves:
        return None
    shades = colours(list(curves))
    with canvas(NARROW) as figure:
        axes = figure.add_subplot()
        for label, curve in curves.items():
            _, values, halves = columns(curve)
            trace(axes, curve, values, halves, label, shades[label])
            best = profiles[label].scalars.get("best_backoff")
            if best is not None and best.value in curve.measured:
                axes.errorbar(
                    best.value, curve.at(best.value).value, xerr=COVERAGE * best.uncertainty,
                    fmt="D", ms=6, capsize=3, color=shades[label], mec="white", zorder=4,
                )  # fmt: skip
        axes.set(xlabel=f"{relation.setting} (dB)", ylabel="error over signal (dB)")
        legend_under(figure, axes)
        caption = (
            "Error of OFDM symbols over how far below full scale they are sent; diamonds: the "
            "best, with 95 % intervals. Healthy: a shallow valley at 6 to 12 dB. To its left "
            "peaks are bent or cut off, to its right noise takes over: flat there means that "
            "something else limits (phase noise), steep that the path is weak."
        )
        return Chart("backoff", "Back-off", caption, png(figure))


def _allan(profiles: Profiles) -> Chart | None:
    curves, relation = of_name(profiles, "allan"), CURVES["allan"]
    if not curves:
        return None
    shades = colours(list(curves))
    with canvas(NARROW) as figure:
        axes = figure.add_subplot()
        for label, curve in curves.items():
            settings, values, halves = columns(curve)
            settings = 1e3 * settings
            low = np.minimum(halves, 0.9 * values)  # a logarithm knows no zero
            axes.errorbar(
                settings, values, (low, halves), fmt="o-", ms=3, lw=1.2, elinewidth=0.8,
                color=shades[label], label=label,
            )  # fmt: skip
        axes.set(
            xscale="log", yscale="log", xlabel=f"{relation.setting} (ms)", ylabel="Allan deviation"
        )
        axes.set_xticks(settings, [f"{tau_ms:.3g}" for tau_ms in settings])
        axes.set_xticks([], minor=True)
        legend_under(figure, axes)
        caption = (
            "How much the frequency against the reference's wanders from one averaging time to "
            "the next, with 95 % intervals. Healthy: below 1e-9 at 0.1 s for a PlutoSDR that has "
            "warmed up, falling or gently rising. Sick: an order of magnitude above its like "
            "(still warming up, vibration, a reference that is not locked)."
        )
        return Chart("allan", "Allan deviation", caption, png(figure))


def legend_under(figure: Figure, axes: Axes) -> None:
    """The legend of `axes` under the figure, in the order in which it was drawn."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5))


def trace(
    axes: Axes, curve: Curve, values: Column, halves: Column, label: str, colour: str
) -> None:
    """Values at a curve's settings: strong where it is linear, thin elsewhere."""
    settings, inside = np.array(curve.settings), linear_part(curve)
    axes.plot(settings, values, color=colour, lw=0.8, ls=(0, (2, 2)), alpha=0.8)
    axes.plot(settings[inside], values[inside], color=colour, label=label)
    axes.errorbar(settings, values, halves, fmt="o", ms=2.5, lw=0.8, color=colour)


def columns(curve: Curve) -> tuple[Column, Column, Column]:
    """Settings, values, and half widths of their 95 % intervals, [n] each."""
    return (
        np.array(curve.settings),
        np.array(curve.values),
        COVERAGE * np.array(curve.uncertainties),
    )


def linear_part(curve: Curve) -> Column:
    """Which of the settings lie in the linear range, bool [n]."""
    return np.array([setting in curve.linear for setting in curve.settings])


def off_within(curve: Curve) -> float:
    """The largest departure from a dB for a dB within the linear range."""
    settings, values, _ = columns(curve)
    off = (values - settings)[linear_part(curve)]
    return float(np.max(np.abs(off - np.median(off))))
