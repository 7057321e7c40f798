"""A reduced sample of every benchmark: it runs, and what does not depend on the clock holds."""

import importlib
import sys

import pytest

from benchmarks import __main__ as bench


@pytest.mark.parametrize("name", bench.NAMES)
def test_every_benchmark_measures_something(name, request):
    if name == "pluto":
        request.getfixturevalue("adi")
    if name in ("gnuradio", "mac_channel"):
        request.getfixturevalue("in_gnuradio_home")
    tables = importlib.import_module(f"benchmarks.bench_{name}").measure(quick=True)
    for table in tables:
        assert table.rows
        assert all(len(row) == len(table.header) for row in table.rows)
        assert table.markdown().count("\n|") == len(table.rows) + 2


def test_recovery_errors_reach_the_prototype_and_flags_mark_the_transition():
    (table,) = importlib.import_module("benchmarks.bench_nmse").measure(quick=True)
    columns = [dict(zip(table.header, row, strict=True)) for row in table.rows]
    for row in columns:
        beyond = (row["k/d"], row["M/d"]) in {("0.04", "0.2"), ("0.1", "0.4")}
        assert bool(row["beyond"]) == beyond, row
        if not beyond:
            # One draw at a quarter of the length: 0.4 dB, where the full run keeps to 0.3.
            assert float(row["OAMP"]) <= float(row["prototype"]) + 0.4, row


def test_quick_runs_write_nothing_and_full_ones_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "HERE", tmp_path)
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results")
    (tmp_path / "intro.md").write_text("# Intro\n")
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--quick", "topk"])
    bench.main()
    assert [p.name for p in tmp_path.iterdir()] == ["intro.md"]
    table = importlib.import_module("benchmarks.bench_topk").measure(quick=True)[0]
    bench.write(table)
    page = (tmp_path / "README.md").read_text()
    assert page.startswith("# Intro")
    assert table.title in page
    assert capsys.readouterr().out


def test_unknown_benchmarks_are_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "nothing"])
    with pytest.raises(SystemExit) as end:
        bench.main()
    assert end.value.code == 2
    assert "nothing: unknown" in capsys.readouterr().err
