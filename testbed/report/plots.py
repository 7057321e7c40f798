"""The figures of one run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import EngFormatter

from testbed.report.load import Column, Run
from testbed.report.style import (
    LABELS,
    MUTED,
    NARROW,
    PARTS,
    PREDICTED,
    WIDE,
    Band,
    Chart,
    band,
    canvas,
    compared,
    gap_label,
    legend_below,
    percent_axis,
    png,
    points_axis,
    series,
    trace,
    window,
)


def draw_figures(run: Run) -> list[Chart]:
    """Draw every figure this run has data for, in the order of the report."""
    drawn = [_progress_rounds, _progress_airtime, _gap, _nmse, _air, _loss, _seconds]
    return [chart for draw in drawn if (chart := draw(run)) is not None]


def _scores(run: Run, where: str, metric: str) -> Band:
    rows = [getattr(row, where).measure(metric) for row in run.evaluations]
    mean, half = np.array(rows, dtype=np.float64).T
    return mean, half


def _progress_rounds(run: Run) -> Chart | None:
    def rounds(shown: Run) -> Column:
        return np.array([row.round for row in shown.evaluations], dtype=np.float64)

    return _progress(
        run,
        [r for r in compared(run) if r.evaluations],
        rounds,
        name=f"{run.metric}_rounds",
        title=f"{LABELS[run.metric].capitalize()} over rounds",
        unit="rounds",
        caption="Tasks of devices that never took part, after adaptation with their few shots; "
        "bands are 95 % confidence intervals over tasks. All schemes on the same seeds.",
    )


def _progress_airtime(run: Run) -> Chart | None:
    def airtime(shown: Run) -> Column:
        return np.array([row.channel_uses for row in shown.evaluations], dtype=np.float64)

    shown: list[Run] = []
    left_out: list[Run] = []
    for candidate in (r for r in compared(run) if r.evaluations):
        on_air = candidate.evaluations[-1].channel_uses > 0
        (shown if on_air or candidate.scheme == "local" else left_out).append(candidate)
    absent = " and ".join(series(candidate)[0] for candidate in left_out)
    note = f" Not shown, because nothing is sent over a channel: {absent}." if absent else ""
    return _progress(
        run,
        shown,
        airtime,
        name=f"{run.metric}_channel_uses",
        title=f"{LABELS[run.metric].capitalize()} over channel uses",
        unit="channel uses (complex symbols on the air)",
        caption="The same scores against the airtime spent, all devices together." + note,
    )


def _progress(
    run: Run,
    shown: Sequence[Run],
    position: Callable[[Run], Column],
    *,
    name: str,
    title: str,
    unit: str,
    caption: str,
) -> Chart | None:
    if all(one.scheme == "local" for one in shown):
        return None
    with canvas(NARROW) as figure:
        axes = figure.add_subplot()
        for one in reversed(shown):  # this run is drawn last, on top
            mean, half = _scores(one, "heldout", run.metric)
            label, color = series(one)
            if one.scheme == "local":
                axes.axhline(mean[-1], color=color, ls=(0, (5, 3)), label=label)
                axes.axhspan(
                    mean[-1] - half[-1], mean[-1] + half[-1], color=color, alpha=0.15, linewidth=0
                )
            else:
                band(axes, position(one), (mean, half), label, color)
        axes.set(xlabel=unit, ylabel=LABELS[run.metric])
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        if run.metric == "accuracy":
            percent_axis(axes)
        legend_below(figure, axes)
        return Chart(name, title, caption, png(figure))


def _gap(run: Run) -> Chart | None:
    if not run.evaluations or run.scheme == "local":
        return None
    with canvas(WIDE) as figure:
        scores, gaps = figure.subplots(1, 2)
        label, color = series(run)
        rounds = np.array([row.round for row in run.evaluations], dtype=np.float64)
        train, heldout = (_scores(run, where, run.metric) for where in ("train", "heldout"))
        band(scores, rounds, train, "training devices, new tasks", PREDICTED)
        band(scores, rounds, heldout, "new devices", color)
        scores.set(title=f"This run ({label})", xlabel="rounds", ylabel=run.metric)
        scores.legend()
        gaps.axhline(0.0, color=MUTED, linewidth=1.0)
        for one in reversed(compared(run)):
            pairs = [row.gap(run.metric) for row in one.evaluations]
            if pairs and one.scheme != "local":
                mean, half = np.array(pairs, dtype=np.float64).T
                at = np.array([row.round for row in one.evaluations], dtype=np.float64)
                if one is run:
                    band(gaps, at, (mean, half), *series(one))
                else:
                    gaps.plot(
                        at, mean, color=series(one)[1], marker="o", ms=3, label=series(one)[0]
                    )
        gaps.set(title="Gap", xlabel="rounds", ylabel=gap_label(run.metric))
        gaps.legend(reverse=True, loc="center left", bbox_to_anchor=(1.0, 0.5))
        if run.metric == "accuracy":
            percent_axis(scores)
            points_axis(gaps)
        for axes in (scores, gaps):
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        caption = (
            "New tasks of devices that took part, against devices that did not. The gap is what "
            "new devices lose; this run's band takes the two means as independent."
        )
        return Chart("generalization_gap", "Meta-generalization gap", caption, png(figure), True)


def _nmse(run: Run) -> Chart | None:
    measured, predicted = run.column("nmse_db"), run.column("nmse_predicted_db")
    known = np.isfinite(measured)
    if not known.any():
        return None
    failed, beyond = run.column("failed") > 0, run.column("beyond_transition") > 0
    rounds = run.column("round") + 1
    both = known & np.isfinite(predicted)
    low, high = np.nanmin([measured, predicted]), np.nanmax([measured, predicted])
    margin = 0.06 * (high - low) + 0.2
    limits = (low - margin, high + margin)
    with canvas(WIDE) as figure:
        over_rounds, scatter = figure.subplots(1, 2, width_ratios=(1.9, 1))
        trace(over_rounds, rounds, measured, "measured", series(run)[1])
        if both.any():
            trace(over_rounds, rounds, predicted, "predicted (state evolution)", PREDICTED)
        scatter.plot(limits, limits, color=MUTED, linewidth=1.0, zorder=0)
        scatter.scatter(
            predicted[both], measured[both], s=16, color=series(run)[1], alpha=0.4, linewidth=0
        )
        for label, chosen, mark in (
            ("beyond the transition", beyond, "D"),
            ("failed", failed, "x"),
        ):
            if chosen.any():
                style: dict[str, Any] = {
                    "color": "#111111",
                    "marker": mark,
                    "s": 30,
                    "linewidth": 0.9,
                }
                style |= {"facecolor": "none"} if mark == "D" else {}
                floor = np.full(int(chosen.sum()), limits[0])
                over_rounds.scatter(rounds[chosen], floor, label=label, **style)
                at = chosen & both
                scatter.scatter(predicted[at], measured[at], **style)
        over_rounds.set(xlabel="round", ylabel="NMSE of the recovered sum (dB)")
        over_rounds.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
        scatter.set(
            xlabel="predicted NMSE (dB)", ylabel="measured NMSE (dB)", xlim=limits, ylim=limits
        )
        caption = (
            "Error of the receiver's estimate against the true weighted sum, relative to the "
            "energy of that sum."
        )
        if both.any():
            offset = float(np.median((measured - predicted)[both]))
            caption += (
                f" Measured minus predicted: median {offset:+.2f} dB over {both.sum():,} rounds "
                "(on the grey line they are equal)."
            )
        title = "Receiver: NMSE predicted and measured"
        return Chart("nmse", title, caption, png(figure), True)


def _loss(run: Run) -> Chart | None:
    shown = [one for one in compared(run) if np.isfinite(one.column("loss")).any()]
    if not shown:
        return None
    with canvas(NARROW) as figure:
        axes = figure.add_subplot()
        for one in reversed(shown):
            x, y = one.column("round") + 1, one.column("loss")
            trace(axes, x, y, *series(one), raw=one is run)
        axes.set(xlabel="round", ylabel="training loss after adaptation")
        legend_below(figure, axes)
        caption = "Mean over the active devices of each round."
        if (span := window(len(run.rounds))) > 1:
            caption += f" Lines are running medians over {span} rounds."
        return Chart("training_loss", "Training loss", caption, png(figure))


def _air(run: Run) -> Chart | None:
    wanted = {
        "union_density": "Union density",
        "participation": "Participation",
        "papr_db": "PAPR (dB)",
        "snr_db": "SNR of the sum (dB)",
    }
    if not np.isfinite(run.column("nmse_db")).any():  # nobody knew the truth
        wanted["nmse_predicted_db"] = "Predicted NMSE (dB)"
    present = [key for key in wanted if np.isfinite(run.column(key)).any()]
    if len(present) < 2:  # a scheme without air has its participation only
        return None
    with canvas((WIDE[0], 2.7)) as figure:
        for axes, key in zip(
            figure.subplots(1, len(present), squeeze=False)[0], present, strict=True
        ):
            # A median of participation would hide the rounds somebody missed.
            average = np.nanmean if key == "participation" else np.nanmedian
            x, y = run.column("round") + 1, run.column(key)
            trace(axes, x, y, "", series(run)[1], average=average)
            axes.set(title=wanted[key], xlabel="round")
            if not key.endswith("_db"):
                percent_axis(axes)
            if key == "participation":
                axes.set_ylim(min(0.9, np.nanmin(y)) - 0.02, 1.01)
        meanings = {
            "union_density": "Union density: share of entries that at least one device sent.",
            "participation": "Participation: share of active devices whose burst took part.",
            "papr_db": "PAPR: peak to average power of what is sent.",
            "nmse_predicted_db": "Predicted NMSE: what the receiver takes its error for.",
        }
        caption = " ".join(text for key, text in meanings.items() if key in present)
        return Chart("air", "On the air", caption, png(figure), True)


def _seconds(run: Run) -> Chart | None:
    bars = {series(one): _mean_seconds(one) for one in compared(run)}
    bars = {key: stages for key, stages in bars.items() if stages}
    if not bars:
        return None
    names = list(dict.fromkeys(name for stages in bars.values() for name in stages))
    with canvas((NARROW[0], 3.5)) as figure:
        axes = figure.add_subplot()
        labels = [label for label, _ in bars]
        left = np.zeros(len(bars))
        for name, shade in zip(names, itertools.cycle(PARTS), strict=False):
            width = np.array([stages.get(name, 0.0) for stages in bars.values()])
            axes.barh(
                labels,
                width,
                left=left,
                height=0.6,
                color=shade,
                label=name,
                edgecolor="white",
                linewidth=0.4,
            )
            left += width
        for label, total in zip(labels, left, strict=True):
            axes.annotate(
                f"{total:.3g} s", (total, label), (4, 0), textcoords="offset points", va="center"
            )
        axes.set(xlabel="mean seconds a round", xlim=(0, left.max() * 1.18))
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside lower center", ncols=min(len(names), 5))
        caption = "Where a round spends its time on this machine."
        return Chart("seconds", "Seconds by stage", caption, png(figure))


def _mean_seconds(run: Run) -> dict[str, float]:
    stages = dict.fromkeys(key for row in run.timings for key in row if key != "round")
    return {
        stage: sum(row.get(stage) or 0.0 for row in run.timings) / len(run.timings)
        for stage in stages
    }
