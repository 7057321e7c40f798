"""What calibration is worth in rounds: unequal radios beside equal ones, and ones that warm up."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import Table
from testbed import experiment_file
from testbed.config import SpreadConfig
from testbed.experiment import Experiment

SEEDS, ROUNDS, DRIFT_ROUNDS = 8, 5, 200
HELD_DB = 0.5
NONE = tuple(f"iq.spread.{name}=0" for name in SpreadConfig.model_fields)
BENCHES = {
    "equal": ("iq.calibrate=false", *NONE),
    "unequal, calibrated": (),
    "unequal, as they are": ("iq.calibrate=false",),
}
STILL = ("iq.temperature.ramp_k=null",)
FEW = ("devices={num_devices: 2, num_active: 2, num_new: 4}", "model.width=8")
SCORED = ("iq.error_budget=true", "evaluation={every: 1000, tasks: 20, final_tasks: 20}")

Rows = list[dict[str, Any]]


def measure(quick: bool = False) -> list[Table]:
    """Both tables."""
    return [benches(quick), drift(quick)]


def benches(quick: bool) -> Table:
    """NMSE of rounds over ten devices."""
    seeds, rounds, few = (1, 1, FEW) if quick else (SEEDS, ROUNDS, ())
    table = []
    for name, settings in BENCHES.items():
        rows = [
            row
            for seed in range(seeds)
            for row in run(f"seed={seed}", f"rounds={rounds}", *STILL, *settings, *SCORED, *few)
        ]
        nmse = [row["nmse_db"] for row in rows if not row["failed"]]
        levels = _levels(rows)
        table.append(
            (
                name,
                str(len(rows)),
                _quantile(nmse, 50),
                _quantile(nmse, 10),
                _quantile(nmse, 90),
                f"{np.mean([row['participation'] for row in rows]):.2f}",
                f"{np.ptp(levels):.1f}",
                f"{sum(row.get('overdriven', 0) for row in rows):,}",
            )
        )
    return Table(
        "power_benches",
        "Rounds over unequal radios",
        ("bench", "rounds", "NMSE [dB]", "10 % [dB]", "90 % [dB]", "participation",
         "spread of levels [dB]", "overdriven"),
        tuple(table),
        "Experiment `unequal` without its warming up: ten `pluto-tcxo` devices, 20 dB at the "
        "farthest one, 30 dB of path loss between it and the nearest, gains off by up to 1 dB and "
        "uneven by 0.3, IQ imbalance up to 0.5 dB and 3 degrees, LO leakage and DC up to 0.02 of "
        "full scale, delays up to 3 samples in either direction. NMSE against the true weighted "
        "sum of those that took part; what those are missing that did not, it does not show.",
    )  # fmt: skip


def drift(quick: bool) -> Table:
    """Received powers of radios that warm up."""
    rounds, few = (4, FEW) if quick else (DRIFT_ROUNDS, ())
    table = []
    for held in (True,) if quick else (True, False):
        rows = run(f"rounds={rounds}", f"iq.hold_power={str(held).lower()}", *SCORED[1:], *few)
        levels = _levels(rows)
        predicted = [row["nmse_predicted_db"] for row in rows if not row["failed"]]
        table.append(
            (
                "on" if held else "off",
                str(len(rows)),
                str(sum(row["failed"] or row["participation"] < 1 for row in rows)),
                f"{levels.min():+.2f}",
                f"{levels.max():+.2f}",
                f"{100 * np.mean(np.abs(levels) <= HELD_DB):.1f}",
                _quantile(predicted, 50),
            )
        )
    return Table(
        "power_drift",
        "Received powers while radios warm up",
        ("loop", "rounds", "with somebody lost", "lowest [dB]", "highest [dB]", "within 0.5 dB [%]",
         "NMSE predicted [dB]"),
        tuple(table),
        "Experiment `unequal`: 20 K in 60 s on the air, transmit gains falling by 0.05 to 0.1 dB a "
        "kelvin, the receiver's by 0.025 to 0.05. Levels of all devices in all rounds, over the "
        "plan's target, as sounded.",
    )  # fmt: skip


def run(*settings: str) -> Rows:
    """The rows of a run of the experiment."""
    config = experiment_file.read("unequal").config(["iq.error_budget=false", *settings])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        Experiment(config).run(path, False, lambda progress: None, lambda: False)
        return [json.loads(line) for line in (path / "rounds.jsonl").read_text().splitlines()]


def _levels(rows: Rows) -> np.ndarray[Any, Any]:
    return np.array([level for row in rows for level in row.get("levels_db", {}).values()])


def _quantile(values: list[float], percent: float) -> str:
    return f"{np.percentile(values, percent):.1f}" if values else "-"
