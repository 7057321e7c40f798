"""Calibration against known truth: errors of all estimators, and whether they know them.

A full run also draws docs/figures/calibration-errors.png.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.calibration_trials import TRIALS, Trial
from benchmarks.table import Table
from calibration.estimate import MeasurementError

SNR_DB = (10, 20, 30)
COVERED = (0.90, 0.99)  # share of trials whose interval should hold the truth
FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "calibration-errors.png"


@dataclass(frozen=True)
class Column:
    """How errors of a quantity are told.

    Attributes:
        unit: of errors; "dBc" where they are what is left over the tone.
        limit: that 95 % of the errors should keep; None where none was asked for.
    """

    unit: str
    limit: float | None = None

    def text(self, error: float) -> str:
        """An error in its unit."""
        if self.unit == "dBc":
            return f"{20 * math.log10(error):.0f}"
        return f"{error:.2g}"

    def used(self, error: float) -> float:
        """Share of the limit that an error takes."""
        if self.limit is None:
            raise ValueError("no limit was asked for")
        limit = 10 ** (self.limit / 20) if self.unit == "dBc" else self.limit
        return error / limit


QUANTITIES: Mapping[str, Column] = {
    "TX gain": Column("dB", 0.3),
    "RX gain": Column("dB", 0.3),
    "compression point": Column("dB", 0.5),
    "small-signal gain": Column("dB"),
    "best back-off": Column("dB"),
    "least error": Column("dB"),
    "noise floor": Column("dB"),
    "noise figure": Column("dB"),
    "carrier offset": Column("Hz", 1.0),
    "clock skew": Column("ppm", 0.1),
    "Allan deviation": Column("factor - 1", 0.5),
    "delay": Column("samples", 0.05),
    "lateness, mean": Column("ms"),
    "lateness, deviation": Column("ms"),
    "lateness, 90 %": Column("ms"),
    "TX DC": Column("dBc", -50),
    "RX DC": Column("dBc", -50),
    "TX image": Column("dBc", -45),
    "RX image": Column("dBc", -45),
    "path gain": Column("dB", 0.3),
    "phase change": Column("deg"),
    "amplitude change": Column("dB"),
    "coherence time": Column("factor - 1"),
    "reciprocity, gain": Column("dB"),
    "reciprocity, phase": Column("deg"),
}


@dataclass(frozen=True)
class Outcome:
    """Of all trials of a quantity at an SNR.

    Attributes:
        rms: of the errors.
        most: that 95 % of them keep.
        covered: share whose interval held the truth.
        trials: in which it was found.
    """

    rms: float
    most: float
    covered: float
    trials: int

    @classmethod
    def of(cls, trials: Collection[Trial]) -> Outcome:
        """Of some trials."""
        errors = np.abs([trial.error for trial in trials])
        covered = float(np.mean([trial.covered for trial in trials]))
        rms = math.sqrt(float(np.mean(errors**2)))
        return cls(rms, float(np.quantile(errors, 0.95)), covered, len(trials))


Outcomes = Mapping[tuple[str, int], Outcome]


def measure(quick: bool = False) -> list[Table]:
    """All estimators 200 times at 10, 20 and 30 dB; `quick` tries each once."""
    trials = 1 if quick else 200
    outcomes = judged(TRIALS, SNR_DB[1:2] if quick else SNR_DB, trials)
    if not quick:
        draw(outcomes)
    return [_table(outcomes, trials)]


def judged(names: Collection[str], snrs_db: Collection[int], trials: int) -> Outcomes:
    """Outcomes of trials by quantity and SNR, each trial with a world of its own."""
    outcomes = {}
    for name in names:
        for snr_db in snrs_db:
            found: dict[str, list[Trial]] = {}
            for number in range(trials):
                rng = np.random.default_rng([zlib.crc32(name.encode()), snr_db, number])
                try:
                    for trial in TRIALS[name](snr_db, rng):
                        found.setdefault(trial.quantity, []).append(trial)
                except MeasurementError:
                    continue  # what was found of the others tells how often
            for quantity, of_it in found.items():
                outcomes[quantity, snr_db] = Outcome.of(of_it)
    return outcomes


def _table(outcomes: Outcomes, trials: int) -> Table:
    snrs_db = sorted({snr_db for _, snr_db in outcomes})
    header = ["quantity", "unit", "asked"]
    for snr_db in snrs_db:
        header += [f"{snr_db} dB: rms", "95 %", "covered"]
    rows = []
    for quantity, column in QUANTITIES.items():
        cells = [quantity, column.unit, "" if column.limit is None else f"{column.limit:g}"]
        for snr_db in snrs_db:
            outcome = outcomes.get((quantity, snr_db))
            if outcome is None:
                cells += ["–"] * 3
                continue
            missed = "" if outcome.trials == trials else f" of {outcome.trials}"
            share = f"{100 * outcome.covered:.1f} %{missed}"
            cells += [column.text(outcome.rms), column.text(outcome.most), share]
        rows.append(tuple(cells))
    return Table(
        name="calibration",
        title="Calibration against known truth",
        header=tuple(header),
        rows=tuple(rows),
        note=f"{trials} trials each, over the virtual air, with radios, paths and noise drawn "
        "anew. rms: of the errors; 95 %: what so many of them keep, where at most what is asked "
        "for is allowed; covered: trials whose value ± 2 uncertainties held the truth, 90 to 99 % "
        "being allowed and 95 nominal. `benchmarks/calibration_trials.py` says what each trial "
        "draws and at which level its SNR counts: beacons of 12 in 0.11 s from oscillators of "
        "1e-10 (carrier, skew, delay, path), 192 in 1 s (Allan deviation, changes and coherence "
        "time), tones of 8,192 samples (gains, whose reference is known to 0.1 dB), 16,384 a step "
        "(compression) and 131,072 (DC and images, after correction). Noise is measured beside "
        "carriers that are stronger than all of it by the SNR. Lateness knows no SNR.\n\n"
        "![Errors over what is asked for, and coverage](../docs/figures/calibration-errors.png)",
    )


def draw(outcomes: Outcomes) -> None:
    """Errors over what was asked for, and coverage, docs/figures/calibration-errors.png."""
    figure = Figure(layout="constrained", figsize=(9, 6.5))
    left, right = figure.subplots(1, 2, sharey=True)
    names = list(QUANTITIES)
    for place, snr_db in zip((-0.2, 0.0, 0.2), SNR_DB, strict=True):
        rows = [(k, outcomes.get((name, snr_db))) for k, name in enumerate(names)]
        known = [(k, outcome) for k, outcome in rows if outcome is not None]
        asked = [(k, outcome) for k, outcome in known if QUANTITIES[names[k]].limit is not None]
        left.semilogx(
            [QUANTITIES[names[k]].used(outcome.most) for k, outcome in asked],
            [k + place for k, _ in asked],
            "o",
            label=f"{snr_db} dB",
        )
        right.plot([100 * o.covered for _, o in known], [k + place for k, _ in known], "o")
    left.axvline(1, color="C3", linewidth=1)
    right.axvspan(100 * COVERED[0], 100 * COVERED[1], color="C2", alpha=0.15)
    right.axvline(95, color="C2", linewidth=1)
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    left.set_xlabel("error that 95 % keep, over what is asked for")
    right.set_xlabel("trials whose interval holds the truth, %")
    left.legend(title="SNR", fontsize=9, title_fontsize=9)
    for axis in (left, right):
        axis.grid(True, alpha=0.2)
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURE, dpi=120)


if __name__ == "__main__":
    for table in measure():
        print(table.markdown())
