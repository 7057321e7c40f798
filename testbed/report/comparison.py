"""The numbers of a sweep: means over seeds with their confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from testbed.report.load import Cell, Column, Run, Sweep
from testbed.report.style import Band

AXIS_NAMES = {
    "channel.snr_db": "SNR (dB)",
    "sparsifier.density": "k/d",
    "sparsifier.k": "k",
    "compression.ratio": "M/d",
    "compression.num_symbols": "M",
    "devices.num_active": "active devices",
    "learner.meta_lr": "meta learning rate",
    "learner.local_steps": "local steps",
    "iq.calibrate": "calibrated",
}


@dataclass(frozen=True)
class Estimate:
    """Mean over seeds; `ci95` is the half width of its Student t interval, None below two seeds."""

    mean: float
    ci95: float | None
    seeds: int


@dataclass(frozen=True)
class Comparison:
    """One grid point: its settings apart from the seed, and what its finished seeds gave.

    Attributes:
        metric: `accuracy` (0..1) or `loss`.
        heldout, train, gap: after the last round; None where no seed is done.
        channel_uses, failed_rounds: mean per run.
        references: final held-out score and gap by scheme.
        runs: finished runs, one a seed.
        absent: cells that are not done, which no mean counts.
    """

    settings: dict[str, Any]
    metric: str
    heldout: Estimate | None
    train: Estimate | None
    gap: Estimate | None
    channel_uses: float | None
    failed_rounds: float | None
    references: dict[str, tuple[Estimate, Estimate]]
    runs: tuple[Run, ...]
    absent: tuple[Cell, ...]

    @property
    def label(self) -> str:
        """The settings in words."""
        words = [setting(key, value) for key, value in self.settings.items()]
        return ", ".join(words) or "all seeds"


def axis_name(key: str) -> str:
    """A short name for a configuration key on an axis."""
    return AXIS_NAMES.get(key, key)


def setting(key: str, value: Any) -> str:
    """A point on an axis in words."""
    shown = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
    return f"{axis_name(key)} = {shown}"


def estimate(values: Iterable[float]) -> Estimate | None:
    """Mean and Student t interval of independent values; None where there is none."""
    sample = np.array([value for value in values if math.isfinite(value)])
    if not len(sample):
        return None
    if len(sample) == 1:
        return Estimate(float(sample[0]), None, 1)
    error = sample.std(ddof=1) / math.sqrt(len(sample))
    return Estimate(
        float(sample.mean()), float(stats.t.ppf(0.975, len(sample) - 1) * error), len(sample)
    )


def compare(sweep: Sweep) -> list[Comparison]:
    """One row for each grid point, in the order of the cells."""
    points: dict[str, list[Cell]] = {}
    for cell in sweep.cells:
        points.setdefault(repr(_settings(cell)), []).append(cell)
    return [_comparison(cells) for cells in points.values()]


def curve(runs: Iterable[Run], metric: str) -> tuple[Column, Band]:
    """Held-out score over rounds, at the rounds all runs were evaluated at: rounds, mean, ci95."""
    scores = [
        {row.round: row.heldout.measure(metric)[0] for row in run.evaluations} for run in runs
    ]
    rounds = sorted(set.intersection(*(set(by_round) for by_round in scores)))
    found = [estimate(by_round[done] for by_round in scores) for done in rounds]
    mean = np.array([math.nan if one is None else one.mean for one in found])
    ci95 = np.array([math.nan if one is None or one.ci95 is None else one.ci95 for one in found])
    return np.array(rounds, dtype=np.float64), (mean, ci95)


def _comparison(cells: list[Cell]) -> Comparison:
    runs = tuple(cell.run for cell in cells if cell.run is not None and cell.run.evaluations)
    metric = runs[0].metric if runs else "accuracy"
    finals = [run.evaluations[-1] for run in runs]
    failed = estimate(run.failed_rounds for run in runs if run.failed_rounds is not None)
    uses = estimate(final.channel_uses for final in finals)
    return Comparison(
        settings=_settings(cells[0]),
        metric=metric,
        heldout=estimate(final.heldout.measure(metric)[0] for final in finals),
        train=estimate(final.train.measure(metric)[0] for final in finals),
        gap=estimate(final.gap(metric)[0] for final in finals),
        channel_uses=uses.mean if uses else None,
        failed_rounds=failed.mean if failed else None,
        references=_references(runs, metric),
        runs=runs,
        absent=tuple(cell for cell in cells if cell.run is None),
    )


def _references(runs: tuple[Run, ...], metric: str) -> dict[str, tuple[Estimate, Estimate]]:
    found = {}
    for scheme in dict.fromkeys(scheme for run in runs for scheme in run.references):
        finals = [
            run.references[scheme].evaluations[-1]
            for run in runs
            if scheme in run.references and run.references[scheme].evaluations
        ]
        score = estimate(final.heldout.measure(metric)[0] for final in finals)
        gap = estimate(final.gap(metric)[0] for final in finals)
        if score is not None and gap is not None:
            found[scheme] = (score, gap)
    return found


def _settings(cell: Cell) -> dict[str, Any]:
    return {key: value for key, value in cell.overrides.items() if key != "seed"}
