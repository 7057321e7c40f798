"""The house style of all figures: colours, canvas, curves with bands.

Every scheme has one colour everywhere, from the palette of Okabe and Ito, which colour-blind
readers can tell apart too.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from testbed.report.load import Column, Run

Band = tuple[Column, Column]  # mean, and half width of its 95 % confidence interval
SCHEMES = {
    "air": ("over the air", "#0072B2"),
    "ideal": ("ideal", "#333333"),
    "noiseless": ("sparsified, noiseless", "#009E73"),
    "conventional": ("conventional FL over the air", "#D55E00"),
    "digital": ("digital orthogonal access", "#CC79A7"),
    "local": ("local only", "#E69F00"),
}
PREDICTED = "#AA4499"
MUTED = "#8a8f98"
WORST = "#B2182B"  # the device to look at first
# For parts of a whole (stages, causes): Paul Tol's muted palette, without the one of PREDICTED.
PARTS = (
    "#332288",
    "#DDCC77",
    "#117733",
    "#88CCEE",
    "#CC6677",
    "#999933",
    "#44AA99",
    "#882255",
)
STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelcolor": "#33373d",
    "axes.edgecolor": "#b8bcc4",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e8eaee",
    "grid.linewidth": 0.8,
    "xtick.color": "#565b63",
    "ytick.color": "#565b63",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}
LABELS = {"accuracy": "accuracy on new devices", "loss": "loss on new devices"}
NARROW, WIDE = (5.6, 3.5), (11.4, 3.6)  # inches: one or two columns of the report


def gap_label(metric: str) -> str:
    """Name of the axis of a generalization gap."""
    unit = " (points)" if metric == "accuracy" else ""
    return f"generalization gap in {metric}{unit}"


@dataclass(frozen=True)
class Chart:
    """A finished figure: file name without suffix, heading, caption, and its PNG."""

    name: str
    title: str
    caption: str
    png: bytes
    wide: bool = False


@contextmanager
def canvas(size: tuple[float, float]) -> Iterator[Figure]:
    """A figure in the house style, `size` in inches; no pyplot, no global state left behind."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, dpi=190, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def png(figure: Figure) -> bytes:
    """The same bytes for the same figure: no date, no library version inside."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def series(run: Run) -> tuple[str, str]:
    """Label and colour of a run, by its scheme."""
    return SCHEMES.get(run.scheme, (run.scheme, SCHEMES["air"][1]))


def compared(run: Run) -> list[Run]:
    """The run, then its references in the order of `SCHEMES`."""
    order = list(SCHEMES)
    known = [run.references[scheme] for scheme in order if scheme in run.references]
    return [run, *known, *(one for name, one in run.references.items() if name not in order)]


def band(axes: Axes, x: Column, scores: Band, label: str, color: str) -> None:
    """A curve with its 95 % confidence band; a curve of one point gets an error bar."""
    mean, half = scores
    if len(x) == 1:
        axes.errorbar(x, mean, half, fmt="o", ms=5, capsize=3, color=color, label=label)
        return
    axes.plot(x, mean, color=color, marker="o", ms=3, label=label)
    axes.fill_between(x, mean - half, mean + half, color=color, alpha=0.15, linewidth=0)


def percent_axis(axes: Axes) -> None:
    """Show shares, stored as 0..1, in per cent."""
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda share, _: f"{100 * share:.4g} %".replace("-", "−"))
    )


def points_axis(axes: Axes) -> None:
    """Show differences of shares, stored as 0..1, in points, as tables do."""
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda share, _: f"{100 * share:.4g}".replace("-", "−"))
    )


def legend_below(figure: Figure, axes: Axes) -> None:
    """The legend of `axes` under the figure, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles[::-1], labels[::-1], loc="outside lower center", ncols=min(len(handles), 3)
        )


def window(rounds: int) -> int:
    """Rounds that a running average takes together."""
    return max(1, rounds // 25)


def trace(
    axes: Axes,
    x: Column,
    y: Column,
    label: str,
    color: str,
    *,
    raw: bool = True,
    average: Callable[..., Column] = np.nanmedian,
) -> None:
    """Every round as a thin line, the running average of the known values as a strong one."""
    span = window(len(y))
    padded = np.pad(y, (span // 2, (span - 1) // 2), constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, span)
    known = np.isfinite(around).any(axis=1)
    middle = np.full(len(y), np.nan)
    middle[known] = average(around[known], axis=1)
    if raw and span > 1:
        axes.plot(x, y, color=color, linewidth=0.6, alpha=0.3)
    axes.plot(x, middle, color=color, label=label, marker="o" if len(y) == 1 else "")
