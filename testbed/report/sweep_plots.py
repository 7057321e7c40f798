"""The figures of a sweep: curves of every grid point, final scores and gaps over its axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.ticker import EngFormatter

from testbed.report.comparison import Comparison, Estimate, axis_name, curve, setting
from testbed.report.load import Sweep
from testbed.report.style import (
    LABELS,
    MUTED,
    NARROW,
    PREDICTED,
    SCHEMES,
    WIDE,
    Chart,
    band,
    canvas,
    gap_label,
    legend_below,
    percent_axis,
    png,
    points_axis,
    series,
)

SNR = "channel.snr_db"
Pick = Callable[[Comparison], Estimate | None]
Points = tuple[list[float], list[float], list[float]]  # positions, means, half widths


@dataclass(frozen=True)
class Layout:
    """Which axis lies along x; the others together name the lines, each with its own colour.

    Attributes:
        x: key of the axis along x; empty for a sweep over seeds alone.
        values: its values, in the order of the sweep.
        lines: rows by line label, in the order of `values`.
        colors: by line label.
    """

    x: str
    values: list[Any]
    lines: dict[str, list[Comparison]]
    colors: dict[str, str]

    def position(self, value: Any) -> float:
        """Where a value lies along x: itself if all are finite numbers, else its index."""
        return float(value) if self.numeric else float(self.values.index(value))

    def shift(self, label: str) -> float:
        """A small step aside for each line, so that error bars do not hide each other."""
        positions = [self.position(value) for value in self.values]
        middle = (len(self.lines) - 1) / 2
        return 0.012 * (max(positions) - min(positions)) * (list(self.lines).index(label) - middle)

    @property
    def numeric(self) -> bool:
        """Whether x is a scale of numbers."""
        return all(_is_number(value) for value in self.values)


def draw_sweep(sweep: Sweep, rows: list[Comparison]) -> list[Chart]:
    """Draw every figure this sweep has axes for."""
    layout = arrange(sweep, rows)
    metric = next(row.metric for row in rows if row.runs)
    curves = _curves(layout, metric)
    if not layout.x:
        return [curves]
    final, gap = _final(layout, metric), _gap(layout, metric)
    return [final, gap, curves] if curves.wide else [final, curves, gap]


def arrange(sweep: Sweep, rows: list[Comparison]) -> Layout:
    """SNR goes along x, else the longest axis of numbers, else the longest."""
    axes = {key: values for key, values in sweep.axes.items() if key != "seed"}
    if not axes:
        return Layout("", [], {"mean over seeds": rows}, {"mean over seeds": SCHEMES["air"][1]})
    numbers = {key for key, values in axes.items() if all(map(_is_number, values))}
    x = max(axes, key=lambda key: (key == SNR, key in numbers, len(axes[key])))
    others = [key for key in axes if key != x]
    lines: dict[str, list[Comparison]] = {}
    for row in rows:
        label = ", ".join(f"{axis_name(key)} = {row.settings[key]}" for key in others)
        lines.setdefault(label or _scheme(rows), []).append(row)
    return Layout(x, axes[x], lines, _colors(list(lines)))


def _curves(layout: Layout, metric: str) -> Chart:
    """One panel where x alone varies; else a panel for each x, with the lines' colours."""
    panels: dict[str, list[tuple[str, str, Comparison]]] = {}
    shades = _colors([str(value) for value in layout.values])
    for label, rows in layout.lines.items():
        for row in rows:
            if not layout.x:
                panels.setdefault("", []).append((label, layout.colors[label], row))
                continue
            name = setting(layout.x, row.settings[layout.x])
            shade = shades[str(row.settings[layout.x])]
            if len(layout.lines) == 1:
                panels.setdefault("", []).append((name, shade, row))
            else:
                panels.setdefault(name, []).append((label, layout.colors[label], row))
    columns = min(len(panels), 3)
    height = -(-len(panels) // columns)
    size = NARROW if columns == 1 else (WIDE[0], 0.6 + 3.0 * height)
    with canvas(size) as figure:
        grid = figure.subplots(height, columns, sharex=True, sharey=True, squeeze=False).flat
        for axes, (name, shown) in zip(grid, panels.items(), strict=False):
            for label, color, row in reversed(shown):
                if row.runs:
                    rounds, scores = curve(row.runs, metric)
                    band(axes, rounds, scores, label, color)
            axes.set(title=name, xlabel="rounds")
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            _scale(axes, metric)
        for axes in list(grid)[len(panels) :]:
            axes.remove()
        figure.supylabel(LABELS[metric], fontsize="medium", color="#33373d")
        legend_below(figure, figure.axes[0])
        caption = "Mean over seeds; bands are 95 % confidence intervals over seeds (Student t)."
        title = f"{LABELS[metric].capitalize()} over rounds"
        return Chart("curves", title, caption, png(figure), columns > 1)


def _final(layout: Layout, metric: str) -> Chart:
    with canvas(NARROW) as figure:
        axes = figure.add_subplot()
        drawn: set[tuple[float, ...]] = set()
        schemes = dict.fromkeys(
            scheme for rows in layout.lines.values() for row in rows for scheme in row.references
        )
        for scheme in schemes:
            for rows in layout.lines.values():
                x, mean, _ = _points(layout, rows, _reference(scheme, 0))
                label, color = SCHEMES.get(scheme, (scheme, "#555555"))
                # References that an axis does not touch coincide: once is enough.
                if tuple(mean) not in drawn:
                    dashes = (0, (5, 3))
                    axes.plot(x, mean, color=color, ls=dashes, marker="o", ms=3, label=label)
                drawn.add(tuple(mean))
        for label, rows in reversed(layout.lines.items()):
            points = _points(layout, rows, _heldout)
            _error_bars(axes, points, label, layout.colors[label], shift=layout.shift(label))
        _x_axis(axes, layout)
        axes.set(ylabel=LABELS[metric])
        _scale(axes, metric)
        legend_below(figure, axes)
        caption = (
            "After the last round: mean over seeds, bars are 95 % confidence intervals over seeds "
            "(Student t; no bar where there is one seed)."
        )
        if schemes:
            caption += " Dashed: references on the same seeds."
        return Chart("final", f"Final {LABELS[metric]}", caption, png(figure))


def _gap(layout: Layout, metric: str) -> Chart:
    """The gap; for one line with the two scores it is the difference of."""
    single = len(layout.lines) == 1
    with canvas(WIDE if single else NARROW) as figure:
        *scores, gaps = figure.subplots(1, 1 + single, squeeze=False)[0]
        gaps.axhline(0.0, color=MUTED, linewidth=1.0)
        for label, rows in layout.lines.items():
            points = _points(layout, rows, lambda row: row.gap)
            _error_bars(gaps, points, label, layout.colors[label], shift=layout.shift(label))
        if single:
            rows = next(iter(layout.lines.values()))
            points = _points(layout, rows, _reference("ideal", 1))
            if points[0]:
                _error_bars(gaps, points, *SCHEMES["ideal"])
            train, heldout = (_points(layout, rows, pick) for pick in (_train, _heldout))
            _error_bars(scores[0], train, "training devices, new tasks", PREDICTED)
            _error_bars(scores[0], heldout, "new devices", SCHEMES["air"][1])
            scores[0].set(ylabel=metric)
        gaps.set(ylabel=gap_label(metric))
        if metric == "accuracy":
            points_axis(gaps)
        for axes in scores:
            _scale(axes, metric)
        for axes in (*scores, gaps):
            _x_axis(axes, layout)
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
        caption = (
            "What new devices lose against new tasks of devices that took part, after the last "
            "round; bars are 95 % confidence intervals over seeds."
        )
        title = f"Meta-generalization gap over {axis_name(layout.x)}"
        return Chart("gap", title, caption, png(figure), single)


def _heldout(row: Comparison) -> Estimate | None:
    return row.heldout


def _train(row: Comparison) -> Estimate | None:
    return row.train


def _reference(scheme: str, which: int) -> Pick:
    def pick(row: Comparison) -> Estimate | None:
        return row.references[scheme][which] if scheme in row.references else None

    return pick


def _points(layout: Layout, rows: list[Comparison], pick: Pick) -> Points:
    """Positions, means and half widths (NaN for one seed) of the rows that have a value."""
    found = [(layout.position(row.settings[layout.x]), one) for row in rows if (one := pick(row))]
    found.sort(key=lambda pair: pair[0])
    return (
        [x for x, _ in found],
        [one.mean for _, one in found],
        [math.nan if one.ci95 is None else one.ci95 for _, one in found],
    )


def _error_bars(axes: Axes, points: Points, label: str, color: str, *, shift: float = 0.0) -> None:
    x, mean, ci95 = points
    at = [position + shift for position in x]
    axes.errorbar(at, mean, ci95, color=color, fmt="o-", ms=4, capsize=3, label=label)


def _x_axis(axes: Axes, layout: Layout) -> None:
    """Every swept value gets its tick, and nothing else does."""
    axes.set_xlabel(axis_name(layout.x))
    axes.set_xticks(
        [layout.position(value) for value in layout.values], [str(v) for v in layout.values]
    )


def _scale(axes: Axes, metric: str) -> None:
    if metric == "accuracy":
        percent_axis(axes)


def _scheme(rows: list[Comparison]) -> str:
    labels = {series(run)[0] for row in rows for run in row.runs}
    return labels.pop() if len(labels) == 1 else "mean over seeds"


def _colors(labels: list[str]) -> dict[str, str]:
    """One colour is the scheme's own; several run from dark to light in the order of the axis."""
    if len(labels) == 1:
        return {labels[0]: SCHEMES["air"][1]}
    shades = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.82, len(labels)))
    return {label: to_hex(shade) for label, shade in zip(labels, shades, strict=True)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
