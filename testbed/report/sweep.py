"""The report of a sweep: every grid point with its interval, the figures, and what failed."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from fl_core.errors import InputError
from testbed.report.comparison import Comparison, Estimate, axis_name, compare
from testbed.report.html import MISSING, interval, publish, render
from testbed.report.load import Run, Sweep, load_sweep
from testbed.report.style import SCHEMES
from testbed.report.sweep_plots import draw_sweep


def write_sweep_report(folder: Path | str) -> Path:
    """Write figures/*.png and report.html into a sweep folder.

    Returns:
        The path of report.html.

    Raises:
        InputError: the folder is missing, corrupt, cannot be written, or no cell is done yet.
    """
    sweep = load_sweep(folder)
    rows = compare(sweep)
    if not any(row.runs for row in rows):
        raise InputError(f"{sweep.folder}: no cell is done yet; run `airmeta sweep` to the end")
    charts = draw_sweep(sweep, rows)
    page = render(
        "sweep.html.j2",
        sweep=sweep,
        verdict=verdict(sweep, rows),
        metric=_metric(rows),
        axes=[key for key in sweep.axes if key != "seed"],
        schemes=[s for s in SCHEMES if any(s in row.references for row in rows)],
        rows=rows,
        absent=[cell for cell in sweep.cells if cell.run is None],
        charts=charts,
        missing=MISSING,
        axis_name=axis_name,
        shown=shown,
        report_of=_report_of,
    )
    return publish(sweep.folder, "report.html", page, charts)


def verdict(sweep: Sweep, rows: list[Comparison]) -> str:
    """The best and the worst grid point in one sentence, and how much of the grid it is."""
    scored = [(row.heldout.mean, row) for row in rows if row.heldout is not None]
    metric = _metric(rows)
    scored.sort(key=lambda pair: pair[0], reverse=metric == "accuracy")
    best, worst = scored[0][1], scored[-1][1]
    unit = " %" if metric == "accuracy" else ""
    text = f"New devices reach {shown(best.heldout, metric)}{unit} {metric} with {best.label}"
    if len(scored) > 1:
        text = f"At best, n{text[1:]}; at worst {shown(worst.heldout, metric)}{unit}"
        text += f" with {worst.label}{_overlap([row for _, row in scored])}"
    done = sum(cell.run is not None for cell in sweep.cells)
    return f"{text}; {done} of {len(sweep.cells)} cells are done."


def _overlap(ranked: list[Comparison]) -> str:
    """How sure the order of the points is, best first; empty where every interval is clear."""
    best, *others = [row.heldout for row in ranked if row.heldout is not None]
    if best.ci95 is None or any(one.ci95 is None for one in others):
        return " (no confidence intervals: not every point has two seeds)"
    close = [abs(best.mean - one.mean) <= best.ci95 + (one.ci95 or 0.0) for one in others]
    if close[-1]:
        return " (their confidence intervals overlap)"
    if any(close):
        count = f"{sum(close)} other{'s' if sum(close) > 1 else ''}"
        return f" (the confidence interval of the best overlaps {count})"
    return ""


def shown(one: Estimate | None, metric: str) -> str:
    """Mean ± interval as printed in a table; without an interval where there is one seed."""
    if one is None:
        return MISSING
    text = interval(one.mean, one.ci95 or 0.0, metric)
    return text if one.ci95 is not None else text.partition(" ±")[0]


def _metric(rows: list[Comparison]) -> str:
    return next(row.metric for row in rows if row.runs)


def _report_of(sweep: Sweep, run: Run) -> str | None:
    """Relative link to the report of a cell, if it has one."""
    path = run.folder / "report.html"
    return quote(path.relative_to(sweep.folder).as_posix()) if path.exists() else None
