"""Received powers of the devices over the rounds of a run."""

from __future__ import annotations

import numpy as np

from testbed.report.device_plots import each_device
from testbed.report.load import Column, Run
from testbed.report.style import WIDE, Chart, canvas, png

KEY = "levels_db"
HELD_DB = 0.5  # within which a loop that holds powers keeps them
CURVES = 40  # devices beyond which single lines tell nothing


def draw_levels(run: Run) -> Chart | None:
    """Where the receiver heard each device, over the target; None where no run kept it."""
    levels = levels_of(run)
    if not levels:
        return None
    offs = {name: float(np.sqrt(np.nanmean(level**2))) for name, level in levels.items()}
    worst = max(offs, key=lambda name: offs[name])
    shown = sorted(levels, key=lambda name: offs[name])[-CURVES:]
    rounds = run.column("round") + 1
    with canvas((WIDE[0], 3.1)) as figure:
        axes = figure.add_subplot()
        axes.axhspan(-HELD_DB, HELD_DB, color="#009E73", alpha=0.12, linewidth=0)
        heard = [np.isfinite(levels[name]) for name in shown]
        each_device(
            axes,
            [f"device {name}, furthest off" for name in shown],
            [rounds[ok] for ok in heard],
            [levels[name][ok] for name, ok in zip(shown, heard, strict=True)],
            shown.index(worst),
        )
        axes.set(xlabel="round", ylabel="received power over the target (dB)")
        figure.legend(loc="outside lower center", ncols=2)
        everything = np.concatenate([levels[name][np.isfinite(levels[name])] for name in levels])
        caption = (
            f"Power each device was sounded with; 0 is the target, |h| = 1. "
            f"{_share(everything)} of {everything.size:,} lie within ±{HELD_DB:g} dB (green). "
            "Healthy: on a bench without fading flat lines on top of each other, with fading a "
            "band around 0. Sick: a line of its own (wrong gain, another cable), all lines "
            "drifting together (the receiver warms up), one that leaves the others (its gain is "
            "at its limit)."
        )
        return Chart("received_powers", "Received power of each device", caption, png(figure), True)


def levels_of(run: Run) -> dict[str, Column]:
    """Received power of each device in each round, dB, NaN where it was not heard."""
    rows = [row.get(KEY) or {} for row in run.rounds]
    names = sorted({name for row in rows for name in row}, key=lambda name: (len(name), name))
    return {name: np.array([row.get(name, np.nan) for row in rows], np.float64) for name in names}


def _share(levels: Column) -> str:
    return f"{100 * np.mean(np.abs(levels) <= HELD_DB):.1f} %"
