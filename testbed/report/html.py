"""report.html: one run on one page, everything embedded, readable on paper and in ten years."""

from __future__ import annotations

import base64
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import yaml

from fl_core.errors import InputError
from testbed.report.air import load_snapshot, snapshots
from testbed.report.air_plots import draw_round
from testbed.report.budget import HOW, draw_budget, error_budget
from testbed.report.level_plots import draw_levels
from testbed.report.load import Evaluation, Run, load_run
from testbed.report.plots import draw_figures
from testbed.report.style import Chart, compared, series

MISSING = "–"


@dataclass(frozen=True)
class Line:
    """One scheme in the table of final figures; every cell as it is printed."""

    label: str
    color: str
    rounds: str
    train: str
    heldout: str
    gap: str
    channel_uses: str
    failed: str
    partial: bool


def write_report(folder: Path | str) -> Path:
    """Write figures/*.png and report.html into a run folder; each file appears whole or not at all.

    Returns:
        The path of report.html.

    Raises:
        InputError: the folder is missing, corrupt or cannot be written.
    """
    run = load_run(folder)
    budget, seen = error_budget(run), snapshots(run.folder)
    last = load_snapshot(seen[max(seen)]) if seen else None
    levels = draw_levels(run)
    charts = [*draw_figures(run), *([] if levels is None else [levels])]
    costs = [draw_budget(run, budget)] if budget else []
    of_round = draw_round(last) if last else []
    page = render(
        "report.html.j2",
        run=run,
        verdict=verdict(run),
        about=about(run),
        facts=facts(run),
        lines=[line(one) for one in compared(run)],
        charts=charts,
        budget=budget,
        how=HOW,
        costs=costs,
        seen=seen,
        kept=_some([number + 1 for number in seen]),
        last=last,
        of_round=of_round,
        configuration=yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True),
    )
    return publish(run.folder, "report.html", page, [*charts, *costs, *of_round])


def render(template: str, **values: Any) -> str:
    """Fill a template of this folder; text is escaped, an undefined name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    return environment.get_template(template).render(**values)


def publish(folder: Path, name: str, page: str, charts: list[Chart]) -> Path:
    """Put a page and its figures into a folder, each through a temporary file beside it."""
    files = {f"figures/{chart.name}.png": chart.png for chart in charts}
    files[name] = page.encode()
    try:
        (folder / "figures").mkdir(exist_ok=True)
        for path, content in files.items():
            target = folder / path
            part = target.with_name(f".{target.name}.part")
            part.write_bytes(content)
            os.replace(part, target)  # noqa: PTH105 - says what it does: atomic on one file system
    except OSError as error:
        raise InputError(
            f"{folder}: cannot write the report ({error.strerror}); it must be a folder with "
            "write access and free space"
        ) from error
    return folder / name


def verdict(run: Run) -> str:
    """What came out, in one sentence, against the first reference that can be compared."""
    if not run.evaluations:
        return "Nothing has been evaluated yet."
    last = run.evaluations[-1]
    value, half = last.heldout.measure(run.metric)
    label, unit = series(run)[0], " %" if run.metric == "accuracy" else ""
    text = (
        f"{label[0].upper()}{label[1:]}, new devices reach "
        f"{interval(value, half, run.metric, unit)} {run.metric} after {last.round:,} rounds"
    )
    if last.channel_uses:
        text += f" and {_compact(last.channel_uses)} channel uses"
    ideal = _at_round(run.references.get("ideal"), last.round)
    if ideal is not None:
        best, best_half = ideal.heldout.measure(run.metric)
        behind = best - value if run.metric == "accuracy" else value - best
        side = "behind" if behind >= 0 else "ahead of"
        within = abs(behind) <= math.hypot(half, best_half)
        text += (
            f", {_amount(abs(behind), run.metric)} {side} ideal after as many rounds"
            f"{' (within the confidence intervals)' if within else ''}"
        )
    local = run.references.get("local")
    if local is not None and local.evaluations:
        floor = local.evaluations[-1].heldout.measure(run.metric)[0]
        gained = value - floor if run.metric == "accuracy" else floor - value
        better = "better" if gained >= 0 else "worse"
        text += f", {_amount(abs(gained), run.metric)} {better} than local only"
    return text + "."


def about(run: Run) -> str:
    """The setting in one line: task, model, devices, compression, channel, seed."""
    shots, family = run.setting("task.shots"), run.setting("task.family")
    ways = "" if run.metric == "loss" else f"{run.setting('task.ways')}-way "
    entries = run.setting("sparsifier.k"), run.setting("compression.num_symbols")
    parts = [
        f"{ways}{shots}-shot {family}" if shots else _phrase(run, "task.family", "{}"),
        _phrase(run, "model.name", "{}"),
        _phrase(run, "devices.num_active", "{} active")
        + _phrase(run, "devices.num_devices", " of {} devices"),
        f"k = {entries[0]:,}" if entries[0] else _phrase(run, "sparsifier.density", "k/d = {}"),
        f"M = {entries[1]:,}" if entries[1] else _phrase(run, "compression.ratio", "M/d = {}"),
        _phrase(run, "channel.fading", "{} channel"),
        _phrase(run, "channel.snr_db", "{:g} dB"),
        _phrase(run, "iq.preset", "{} over samples") if run.setting("uplink") == "iq" else "",
        _phrase(run, "seed", "seed {}"),
    ]
    return " · ".join(part for part in parts if part)


def facts(run: Run) -> list[tuple[str, str]]:
    """Short named figures of the rounds themselves, for the strip under the verdict."""
    symbols = run.column("symbols")
    beyond = run.column("beyond_transition")
    dim = run.manifest.get("dim")
    found = [("parameters", f"{dim:,}" if dim else "")]
    if run.failed_rounds is not None:
        found.append(("failed rounds", f"{run.failed_rounds:,} of {len(run.rounds):,}"))
    if np.isfinite(beyond).any():
        found.append(("beyond the transition", f"{int(np.nansum(beyond)):,}"))
    if np.nansum(symbols) > 0:
        found.append(("symbols a round", f"{np.nanmean(symbols):,.0f}"))
    for label, key, pattern in (
        ("measured NMSE, median", "nmse_db", "{:.1f} dB"),
        ("predicted NMSE, median", "nmse_predicted_db", "{:.1f} dB"),
        ("participation, mean", "participation", "{:.1%}"),
    ):
        column = run.column(key)
        if np.isfinite(column).any():
            middle = np.nanmean(column) if key == "participation" else np.nanmedian(column)
            found.append((label, pattern.format(middle).replace("%", " %").replace("-", "−")))
    return [(label, text) for label, text in found if text]


def line(run: Run) -> Line:
    """The final figures of one scheme."""
    label, color = series(run)
    failed = MISSING if run.failed_rounds is None else f"{run.failed_rounds:,}"
    if not run.evaluations:
        blank = (MISSING,) * 4
        return Line(label, color, f"{len(run.rounds):,}", *blank, failed, partial=True)
    last, metric = run.evaluations[-1], run.metric
    return Line(
        label=label,
        color=color,
        rounds=f"{last.round:,}" if run.rounds else MISSING,
        train=interval(*last.train.measure(metric), metric),
        heldout=interval(*last.heldout.measure(metric), metric),
        gap=interval(*last.gap(metric), metric),
        channel_uses=f"{last.channel_uses:,.0f}" if last.channel_uses else MISSING,
        failed=failed,
        partial=not run.complete,
    )


def interval(value: float, half: float, metric: str, unit: str = "") -> str:
    """Mean ± half width as printed: accuracies in per cent, losses as they are."""
    if math.isnan(value):
        return MISSING
    if metric == "loss":
        return f"{value:.4f} ± {half:.4f}".replace("-", "−")
    return f"{100 * value:.1f} ± {100 * half:.1f}{unit}".replace("-", "−")


def _amount(difference: float, metric: str) -> str:
    return f"{100 * difference:.1f} points" if metric == "accuracy" else f"{difference:.4f}"


def _compact(count: float) -> str:
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= limit:
            return f"{count / limit:.3g} {unit}"
    return f"{count:.0f}"


def _some(numbers: list[int]) -> str:
    """All of a few; the first and the last of many."""
    shown = [f"{number:,}" for number in numbers]
    return ", ".join(shown if len(shown) <= 12 else [*shown[:3], "…", shown[-1]])


def _at_round(run: Run | None, rounds: int) -> Evaluation | None:
    same = [row for row in run.evaluations if row.round == rounds] if run else []
    return same[0] if same else None


def _phrase(run: Run, path: str, pattern: str) -> str:
    value = run.setting(path)
    return "" if value is None else pattern.format(value)


def _data_uri(image: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(image).decode()
