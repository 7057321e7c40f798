import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from run_folders import SYMBOLS, read, rows_of, write_sweep
from scipy import stats

from fl_core.errors import InputError
from testbed.report.comparison import compare, curve
from testbed.report.load import load_sweep
from testbed.report.sweep import write_sweep_report


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    axes = {"channel.snr_db": [10, 19, 30], "seed": [0, 1, 2]}
    return write_sweep(
        tmp_path_factory.mktemp("sweeps") / "snr", axes, rounds=12, references=("ideal",)
    )


def finals(sweep: Path, snr_db: int, where: str = "heldout") -> list[float]:
    folders = [sweep / f"cells/channel.snr_db={snr_db},seed={seed}" for seed in (0, 1, 2)]
    return [rows_of(f / "evaluations.jsonl")[-1][where]["accuracy"] for f in folders]


def test_means_and_intervals_over_seeds_agree_with_scipy(swept: Path) -> None:
    rows = compare(load_sweep(swept))
    assert [row.settings for row in rows] == [{"channel.snr_db": s} for s in (10, 19, 30)]
    for row in rows:
        for one, where in ((row.heldout, "heldout"), (row.train, "train")):
            sample = finals(swept, row.settings["channel.snr_db"], where)
            low, high = stats.t.interval(0.95, 2, np.mean(sample), stats.sem(sample))
            assert one is not None and one.ci95 is not None and one.seeds == 3
            assert one.mean == pytest.approx(np.mean(sample), rel=1e-12)
            assert (one.mean - one.ci95, one.mean + one.ci95) == pytest.approx((low, high))
        assert row.channel_uses == 12 * SYMBOLS
        assert row.references["ideal"][0].seeds == 3


def test_curves_are_means_over_seeds_at_common_rounds(swept: Path) -> None:
    runs = compare(load_sweep(swept))[0].runs
    shorter = dataclasses.replace(runs[0], evaluations=runs[0].evaluations[:3])
    rounds, (mean, ci95) = curve([shorter, *runs[1:]], "accuracy")
    assert rounds.tolist() == [0, 2, 4]
    sample = [run.evaluations[2].heldout.accuracy for run in runs]
    assert mean[2] == pytest.approx(np.mean(sample))
    assert ci95[2] == pytest.approx(stats.t.ppf(0.975, 2) * stats.sem(sample))


def test_the_sweep_page_holds_the_figures_of_the_comparison(swept: Path) -> None:
    page = read(write_sweep_report(swept))
    for snr_db in (10, 19, 30):
        sample = finals(swept, snr_db)
        half = stats.t.ppf(0.975, 2) * stats.sem(sample)
        row = page.row(str(snr_db))
        assert row[1] == f"{100 * np.mean(sample):.1f} ± {100 * half:.1f}" and row[-1] == "3"
    embedded = [r for r in page.references if r.startswith("data:")]
    assert {p.name for p in (swept / "figures").iterdir()} == {"final.png", "gap.png", "curves.png"}
    assert len(embedded) == 3 and not re.search(r"https?:", (swept / "report.html").read_text())


def test_cells_link_to_their_reports(swept: Path) -> None:
    cell = swept / "cells/channel.snr_db=19,seed=1"
    (cell / "report.html").write_text("a page")
    links = [r for r in read(write_sweep_report(swept)).references if not r.startswith("data:")]
    assert [(swept / unquote(link)).resolve() for link in links] == [cell / "report.html"]


def mark(sweep: Path, index: int, **change: Any) -> None:
    plan = json.loads((sweep / "sweep.json").read_text())
    plan["cells"][index] |= change
    (sweep / "sweep.json").write_text(json.dumps(plan))


def test_failed_pending_and_unreadable_cells_are_named_and_not_counted(tmp_path: Path) -> None:
    axes = {"channel.snr_db": [10, 19], "seed": [0, 1, 2]}
    sweep = write_sweep(tmp_path / "sweep", axes, rounds=6)
    mark(sweep, 1, status="failed", error="killed by SIGKILL: out of memory")
    mark(sweep, 2, status="pending")
    (sweep / "cells/channel.snr_db=19,seed=2/config.yaml").unlink()
    first, second = compare(load_sweep(sweep))
    assert first.heldout is not None and (first.heldout.seeds, first.heldout.ci95) == (1, None)
    assert second.heldout is not None and second.heldout.seeds == 2
    page = read(write_sweep_report(sweep))
    assert page.row("channel.snr_db=10 seed=1")[1:] == [
        "failed",
        "killed by SIGKILL: out of memory",
    ]
    assert page.row("channel.snr_db=10 seed=2")[1] == "pending"
    assert "config.yaml" in page.row("channel.snr_db=19 seed=2")[2]
    assert page.row("10")[-1] == "1 of 3" and "±" not in page.row("10")[1]
    assert "3 of 6 cells" in page.text


@pytest.mark.parametrize(
    ("axes", "figures"),
    [
        ({"seed": [0, 1]}, {"curves"}),
        ({"sparsifier.density": [0.01, 0.1], "compression.ratio": [0.2, 0.8]}, None),
        ({"channel.fading": ["rayleigh", "awgn"], "seed": [0, 1]}, None),
        ({"channel.snr_db": [19, math.inf], "compression.ratio": [0.2, 0.4]}, None),
        ({"channel.snr_db": [19], "compression.ratio": [0.2], "devices.num_active": [5, 10]}, None),
    ],
)
def test_any_axes_have_a_page(
    tmp_path: Path, axes: dict[str, list[Any]], figures: set[str] | None
) -> None:
    sweep = write_sweep(tmp_path / "sweep", axes, rounds=6, references=("ideal",))
    write_sweep_report(sweep)
    drawn = {path.stem for path in (sweep / "figures").iterdir()}
    assert drawn == (figures or {"final", "curves", "gap"})


def test_a_sweep_without_a_finished_cell_or_an_index_is_an_input_error(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", {"seed": [0]}, rounds=6)
    mark(sweep, 0, status="failed", error="exit code 1")
    with pytest.raises(InputError, match="no cell is done"):
        write_sweep_report(sweep)
    (sweep / "sweep.json").write_text('{"name": "x"}')
    with pytest.raises(InputError, match=r"sweep\.json: needs name"):
        load_sweep(sweep)
    with pytest.raises(InputError, match="not found"):
        load_sweep(tmp_path)
