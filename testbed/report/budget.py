"""The error budget of a run over samples: what each cause adds to the error of the sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from testbed.report.load import Column, Run
from testbed.report.style import MUTED, PARTS, WIDE, Chart, canvas, png, trace, window

NEGLIGIBLE_DB = -80.0
MEANINGS = {
    "compression": "fewer symbols than entries: what is left without any error on the air",
    "noise": "the receiver's noise; more power or a shorter way lowers it",
    "phase noise": "oscillators that jitter within a burst; better oscillators, wider carriers",
    "CFO and drift": "devices that turned since their last sync beacon; better clocks, or a "
    "shorter time from beacon to burst",
    "timing": "bursts that arrive apart from each other",
    "channel estimation": "equalisers made from a noisy or outdated sounding",
    "clipping": "peaks cut off by a converter; more back-off lowers it",
    "front end": "bent amplifier, unbalanced mixers, LO leakage; calibration, or another level",
    "quantisation": "steps of the converters; more bits, or a better use of full scale",
}
COLORS = dict(zip(MEANINGS, (MUTED, *PARTS), strict=False))
SHOWN_OVER_ROUNDS = 4
HOW = (
    "The air keeps what was sent: each burst is rendered again with one cause after the other "
    "switched off, and the error of the sum is shared out in proportion to the error each of them "
    "makes in the symbols."
)


@dataclass(frozen=True)
class Share:
    """What one cause adds over the rounds of a run.

    Attributes:
        values: contribution to the NMSE, linear, [rounds]; NaN in a round without a budget.
        share: of the median contributions of all causes, 0..1.
    """

    cause: str
    values: Column
    share: float

    @property
    def quartiles_db(self) -> Column:
        """25 %, 50 % and 75 % over rounds, in dB, [3]."""
        return decibels(np.nanpercentile(self.values, (25, 50, 75)))

    @property
    def negligible(self) -> bool:
        """Whether it is too small to be worth a number."""
        return bool(self.quartiles_db[1] < NEGLIGIBLE_DB)

    @property
    def meaning(self) -> str:
        """In plain words, with what lowers it."""
        return MEANINGS.get(self.cause, "")

    @property
    def color(self) -> str:
        """The same in every figure."""
        return COLORS.get(self.cause, MUTED)

    @property
    def cells(self) -> tuple[str, str, str]:
        """Median, quartiles and share as printed."""
        if self.negligible:
            return "negligible", "", "0 %"
        low, middle, high = (f"{value:.1f}".replace("-", "−") for value in self.quartiles_db)
        return middle, f"{low} to {high}", percent(self.share)


def decibels(ratio: npt.ArrayLike) -> Column:
    """10 log10, far below all that matters for zero."""
    return np.asarray(10 * np.log10(np.maximum(ratio, 1e-30)), dtype=np.float64)


def percent(share: float) -> str:
    """A share as printed, without a false zero."""
    return "< 1 %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def error_budget(run: Run) -> list[Share]:
    """What each cause adds, the largest first; empty where no round has a budget."""
    rows = [row.get("budget") for row in run.rounds]
    causes = dict.fromkeys(cause for row in rows if isinstance(row, Mapping) for cause in row)
    found = {cause: np.array([_value(row, cause) for row in rows]) for cause in causes}
    found = {cause: values for cause, values in found.items() if np.isfinite(values).any()}
    medians = {cause: float(np.nanmedian(values)) for cause, values in found.items()}
    total = sum(medians.values()) or 1.0
    ranked = sorted(found, key=lambda cause: medians[cause], reverse=True)
    return [Share(cause, found[cause], medians[cause] / total) for cause in ranked]


def sentence(budget: list[Share]) -> str:
    """What costs most, in words."""
    first, *others = budget
    text = f"{first.cause[0].upper()}{first.cause[1:]} costs most: {percent(first.share)}"
    if others and not others[0].negligible:
        text += f", then {others[0].cause} with {percent(others[0].share)}"
    return text + "."


def draw_budget(run: Run, budget: list[Share]) -> Chart:
    """Medians with quartiles, shares, and the largest causes over rounds."""
    size = (WIDE[0], 0.33 * len(budget) + 1.45)
    with canvas(size) as figure:
        medians, shares, rounds = figure.subplots(1, 3, width_ratios=(1.15, 0.75, 1.5))
        _medians(medians, budget)
        _shares(shares, budget)
        _over_rounds(rounds, run, budget)
        caption = (
            f"{sentence(budget)} Dots are medians over rounds, bars go from quartile to quartile; "
            f"causes below {NEGLIGIBLE_DB:.0f} dB are negligible. ".replace("-", "−")
            + "Healthy: noise leads, all else well below it. Sick: CFO and drift, clipping or "
            "timing on top, or a cause that grows over the rounds."
        )
        if (span := window(len(run.rounds))) > 1:
            caption += f" Lines are running medians over {span} rounds."
        return Chart("error_budget", "What costs how much", caption, png(figure), True)


def _medians(axes: Axes, budget: list[Share]) -> None:
    worth = [share for share in budget if not share.negligible]
    # Reaching to half of what is negligible, so that a small budget looks small.
    ends = np.array([NEGLIGIBLE_DB / 2, *(end for share in worth for end in share.quartiles_db)])
    left = max(NEGLIGIBLE_DB, 5 * np.floor(ends.min() / 5)) - 2
    for place, share in enumerate(budget):
        low, middle, high = share.quartiles_db
        if share.negligible:
            axes.annotate(
                "negligible", (left, place), (4, 0), textcoords="offset points", va="center"
            ).set_color(MUTED)
            continue
        axes.plot((low, high), (place, place), color=share.color, linewidth=5, alpha=0.35)
        axes.plot(middle, place, "o", color=share.color, ms=7)
    axes.set_yticks(range(len(budget)), [share.cause for share in budget])
    axes.set(
        title="Contribution",
        xlabel="part of the NMSE (dB)",
        xlim=(left, ends.max() + 2),
        ylim=(len(budget) - 0.5, -0.5),
    )


def _shares(axes: Axes, budget: list[Share]) -> None:
    for place, share in enumerate(budget):
        axes.barh(place, 100 * share.share, color=share.color, height=0.66)
        axes.annotate(
            share.cells[2],
            (100 * share.share, place),
            (4, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_yticks(range(len(budget)), [])
    axes.set(
        title="Share of the error",
        xlabel="%",
        xlim=(0, 140 * budget[0].share or 1.0),
        ylim=(len(budget) - 0.5, -0.5),
    )
    axes.grid(axis="y", visible=False)


def _over_rounds(axes: Axes, run: Run, budget: list[Share]) -> None:
    x = run.column("round") + 1
    trace(axes, x, run.column("nmse_db"), "all together", "#111111")
    for share in [one for one in budget if not one.negligible][:SHOWN_OVER_ROUNDS]:
        trace(axes, x, decibels(share.values), share.cause, share.color, raw=False)
    axes.set(title="Over the rounds", xlabel="round", ylabel="NMSE (dB)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _value(row: object, cause: str) -> float:
    value = row.get(cause) if isinstance(row, Mapping) else None
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if known and value is not None else float("nan")
