import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import yaml
from run_folders import read, rows_of, write_jsonl, write_run, write_sweep

from fl_core.errors import InputError
from radio.waveform.frame import BurstLayout
from radio.waveform.numerology import Numerology
from radio.waveform.ofdm import modulate
from radio.waveform.preamble import Preamble
from radio.waveform.sync import correlation
from testbed.config import ExperimentConfig
from testbed.on_air.virtual_bench import VirtualBench
from testbed.report.air import SHAPES, load_snapshot, snapshots
from testbed.report.air_plots import draw_round
from testbed.report.budget import error_budget
from testbed.report.html import write_report
from testbed.report.load import load_run
from testbed.report.sweep import write_sweep_report

Arrays = dict[str, npt.NDArray[Any]]
NUMEROLOGY = Numerology()
LAYOUT = BurstLayout(NUMEROLOGY, 20, 3)
FIGURES = ["timeline", "spectrum", "phases", "symbols", "correlation", "channels"]


def complex_noise(rng: np.random.Generator, *shape: int) -> npt.NDArray[np.complex64]:
    parts = rng.standard_normal((2, *shape)) / np.sqrt(2)
    return (parts[0] + 1j * parts[1]).astype(np.complex64)


def arrays_of_a_round() -> Arrays:
    rng = np.random.default_rng(3)
    beacon = Preamble(NUMEROLOGY, repeats=8)
    traces = []
    for start in (200, 210, 190):
        iq = 0.1 * complex_noise(rng, beacon.length + 400)
        iq[start : start + beacon.length] += beacon.iq
        traces.append(correlation(iq, beacon, 0.0))
    clean = complex_noise(rng, 3000)
    slot = 368
    starts = [0, *(4000 + slot * i for i in range(3)), 4000 + 3 * slot, 9000]
    burst = modulate(complex_noise(rng, LAYOUT.num_symbols, 200), NUMEROLOGY)
    return {
        "devices": np.array([4, 17, 30]),
        "cfo_hz": np.array([-1234.4, 0.0, 987.0]),
        "sample_rate_hz": np.float64(1e6),
        "carriers": NUMEROLOGY.carriers,
        "span_kind": np.array(["beacon", *["sounding"] * 3, "control", "burst"]),
        "span_start": np.array(starts),
        "span_length": np.array([beacon.length, 288, 288, 288, 3896, LAYOUT.length]),
        "beacon_correlation": np.stack(traces),
        "channels": np.outer([1.0, 0.5j, -2.0], np.ones(200)).astype(np.complex64),
        "heard": np.array([True, True, True]),
        "snr_db": np.array([20.0, 14.0, 26.0]),
        "delays": np.array([0.1, -0.2, 0.001]),
        "sounding_iq": 0.1 * complex_noise(rng, 3 * slot),
        "sounding_start": np.int64(4000),
        "burst_iq": (0.1 * burst).astype(np.complex64),
        "burst_start": np.int64(9000),
        "pilots": np.exp(1j * np.radians([[1.0, 2.0, -3.0]] * 2)).astype(np.complex64),
        "rotation": np.zeros(20),
        "received": clean + 0.1 * complex_noise(rng, 3000),
        "clean": clean,
        "turns": np.radians(np.outer([1.0, -4.0, 2.0], np.ones(20))),
    }


def save(folder: Path, arrays: Arrays, index: int = 40) -> Path:
    path = folder / "air" / f"round-{index:05d}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def write_iq_run(folder: Path, *, rounds: int = 41) -> Path:
    write_run(folder, rounds=rounds)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config |= {"uplink": "iq", "iq": {"preset": "pluto-tcxo"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    rng = np.random.default_rng(1)
    rows = rows_of(folder / "rounds.jsonl")
    for row in rows[1:]:  # the first has no budget: nobody was heard in it
        spread = np.exp(rng.standard_normal(4))
        causes = ["timing", "noise", "CFO and drift", "compression"]
        parts = spread * [1e-4, 1e-2, 4e-3, 1e-11]
        row["budget"] = dict(zip(causes, parts.tolist(), strict=True))
    write_jsonl(folder / "rounds.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_iq_run(tmp_path_factory.mktemp("runs") / "demo")
    arrays = arrays_of_a_round()
    for index in (0, 20, 40):
        save(folder, arrays, index)
    write_report(folder)
    return folder


def test_many_snapshots_are_listed_by_the_first_and_the_last(tmp_path: Path) -> None:
    folder = write_iq_run(tmp_path / "run", rounds=6)
    for index in range(0, 65, 5):
        path = save(folder, arrays_of_a_round(), index)
    text = " ".join(read(write_report(folder)).text.split())
    assert path.stem == "round-00060"
    assert "last of 13 rounds that were kept (1, 6, 11, …, 61; files in air/)" in text


def test_the_budget_holds_medians_quartiles_and_shares_the_largest_first(reported: Path) -> None:
    budgets = [row["budget"] for row in rows_of(reported / "rounds.jsonl")[1:]]
    medians = {cause: np.median([b[cause] for b in budgets]) for cause in budgets[0]}
    ranked = sorted(medians, key=lambda cause: -medians[cause])
    page = read(reported / "report.html")
    printed = [row for row in page.rows if row and row[0] in medians]
    assert [row[0] for row in printed] == ranked
    for cause, middle, quartiles, share, _ in printed[:-1]:
        values = 10 * np.log10([b[cause] for b in budgets])
        assert float(middle.replace("−", "-")) == pytest.approx(np.median(values), abs=0.3)
        low, high = (float(end.replace("−", "-")) for end in quartiles.split(" to "))
        assert low == pytest.approx(np.quantile(values, 0.25), abs=0.3)
        assert high == pytest.approx(np.quantile(values, 0.75), abs=0.3)
        expected = 100 * medians[cause] / sum(medians.values())
        assert share == ("< 1 %" if expected < 1 else f"{expected:.0f} %")
    assert printed[-1][:4] == ["compression", "negligible", "", "0 %"]
    assert "switched off" in page.text


def test_figures_of_the_budget_and_of_the_last_round_are_files_on_the_page(reported: Path) -> None:
    names = {path.stem for path in (reported / "figures").glob("*.png")}
    assert names >= {"error_budget", *(f"round_{figure}" for figure in FIGURES)}
    page = read(reported / "report.html")
    assert len(page.references) == len(names)
    text = " ".join(page.text.split())
    assert "Round 41 on the air" in text
    assert "last of 3 rounds that were kept (1, 21, 41; files in air/)" in text
    assert "pluto-tcxo over samples" in text
    sent = 2080 + 3 * 288 + LAYOUT.length
    assert f"It lasted 16 ms; somebody sends in {sent / 1000:.1f} ms of them." in text


def test_every_device_has_a_row_and_one_not_heard_has_no_figures(tmp_path: Path) -> None:
    arrays = arrays_of_a_round()
    arrays["heard"] = np.array([True, False, True])
    rows = load_snapshot(save(tmp_path, arrays)).table
    assert [row[0] for row in rows] == ["4", "17", "30"]
    assert rows[0][1:5] == ["yes", "20.0", "−1,234", "+0.10"] and rows[0][6] == "1.0"
    assert rows[1][1:3] == ["no", "–"] and rows[1][4] == rows[1][6] == "–"
    assert rows[2][4] == "0.00"


def test_a_report_over_symbols_has_no_air_section(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", rounds=6)
    text = read(write_report(folder)).text
    assert "Error budget" not in text and "on the air" not in text.replace("On the air", "")


def test_the_fit_of_a_beacon_tells_its_snr_wherever_it_lies_between_samples(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    beacon, snr, traces = Preamble(NUMEROLOGY, repeats=8), 10.0, []
    power = np.mean(np.abs(beacon.iq) ** 2)
    for delay in (0.0, 0.3, 0.5):
        spectrum = np.fft.fft(beacon.iq, 4096) * np.exp(-2j * np.pi * np.fft.fftfreq(4096) * delay)
        iq = np.roll(np.fft.ifft(spectrum), 150)[: beacon.length + 300]
        iq += np.sqrt(power / snr) * complex_noise(rng, iq.size)
        traces.append(correlation(iq.astype(np.complex64), beacon, 0.0))
    arrays = arrays_of_a_round() | {"beacon_correlation": np.stack(traces)}
    fits = load_snapshot(save(tmp_path, arrays)).fits
    assert fits == pytest.approx(
        np.sqrt(snr / (1 + snr)), abs=0.02
    )  # tails beyond the neighbours are missing
    assert traces[2].max() < 0.85 * traces[0].max()  # the peak alone would not tell


def test_phase_errors_are_the_truth_or_what_pilots_show(tmp_path: Path) -> None:
    arrays = arrays_of_a_round()
    assert load_snapshot(save(tmp_path, arrays)).phase_errors == pytest.approx([1.0, 4.0, 2.0])
    arrays |= {"turns": np.zeros((0, 0)), "clean": np.zeros(0, np.complex64)}
    measured = load_snapshot(save(tmp_path, arrays))
    assert measured.phase_errors == pytest.approx([1.0, 2.0, 3.0], rel=1e-4)
    names = [chart.name for chart in draw_round(measured)]
    assert names == [f"round_{figure}" for figure in FIGURES if figure != "symbols"]


def test_captions_give_the_figures_of_the_round(tmp_path: Path) -> None:
    arrays = arrays_of_a_round()
    captions = {c.name: c.caption for c in draw_round(load_snapshot(save(tmp_path, arrays)))}
    power = 10 * np.log10(np.mean(np.abs(arrays["burst_iq"]) ** 2))
    assert f"Power {power:.1f} dBFS".replace("-", "−") in captions["round_spectrum"]
    assert "Largest: 4.0° RMS" in captions["round_phases"]
    error = np.mean(np.abs(arrays["received"] - arrays["clean"]) ** 2)
    below = 10 * np.log10(np.mean(np.abs(arrays["clean"]) ** 2) / error)
    assert f"{below:.1f} dB below the symbols" in captions["round_symbols"]
    assert "14 to 26 dB, delays −0.20 to +0.10 samples" in captions["round_channels"]
    assert all("Healthy:" in text and "Sick:" in text for text in captions.values())


def test_a_round_in_which_nobody_was_heard_has_figures(tmp_path: Path) -> None:
    arrays = arrays_of_a_round()
    arrays |= {"heard": np.zeros(3, bool), "snr_db": np.full(3, -np.inf)}
    arrays["beacon_correlation"] = np.zeros_like(arrays["beacon_correlation"])
    arrays |= {"sounding_iq": np.zeros(1104, np.complex64), "burst_iq": 0 * arrays["burst_iq"]}
    names = [chart.name for chart in draw_round(load_snapshot(save(tmp_path, arrays)))]
    assert names == [f"round_{f}" for f in FIGURES if f not in ("phases", "channels")]


def test_many_devices_and_bursts_fit_on_the_figures(tmp_path: Path) -> None:
    arrays, r = arrays_of_a_round(), 60
    copies = {n: np.resize(arrays[n], (r, *arrays[n].shape[1:])) for n in SHAPES if _by_device(n)}
    arrays |= copies | {"pilots": np.resize(arrays["pilots"], (2, r)), "devices": np.arange(r)}
    kinds = ["sounding"] * r + ["burst"] * 40
    starts, lengths = 5000 * np.arange(len(kinds)), np.full(len(kinds), 4000)
    arrays |= {"span_kind": np.array(kinds), "span_start": starts, "span_length": lengths}
    assert len(draw_round(load_snapshot(save(tmp_path, arrays)))) == 6


def _by_device(name: str) -> bool:
    return SHAPES[name][1][:1] == ("r",)


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04", b"\x93NUMPY", b"nothing of the kind", bytes(4000)],
    ids=["empty", "zip header", "npy header", "text", "zeros"],
)
def test_a_file_that_is_no_snapshot_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    folder = write_iq_run(tmp_path / "run", rounds=6)
    path = save(folder, arrays_of_a_round())
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"round-00040\.npz"):
        write_report(folder)


@pytest.mark.parametrize("damage", ["cut", "flipped", "array"])
def test_a_damaged_snapshot_is_an_input_error(tmp_path: Path, damage: str) -> None:
    path = save(tmp_path, arrays_of_a_round())
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    else:
        np.save(path.with_suffix(".npy"), np.zeros(3))
        path.with_suffix(".npy").replace(path)
    with pytest.raises(InputError, match=r"round-00040\.npz"):
        load_snapshot(path)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("devices", np.arange(4), r"cfo_hz should have the axes \[r = 4\], not \[3\]"),
        ("channels", np.ones((3, 199), np.complex64), "channels"),
        ("heard", np.ones(3), "heard should hold booleans, not float64"),
        ("burst_iq", np.ones(6000, np.complex64), "should have 6624 samples, not 6000"),
        ("delays", np.array([0.0, np.nan, 0.0]), "delays should be finite"),
        ("sample_rate_hz", np.float64(-1.0), "sample_rate_hz"),
        ("span_kind", np.array(["noise"] * 6), "not 'noise'"),
        ("turns", np.ones((3, 19)), "turns"),
        ("rotation", np.zeros(0), "turns"),
        ("received", np.zeros(0, np.complex64), "clean"),
        ("devices", np.array([None] * 3), "pickle"),
    ],
)
def test_arrays_that_contradict_each_other_are_named(
    tmp_path: Path, name: str, value: npt.NDArray[Any], complaint: str
) -> None:
    path = save(tmp_path, arrays_of_a_round() | {name: value})
    with pytest.raises(InputError, match=f"(?s)round-00040.npz.*{complaint}"):
        load_snapshot(path)


def test_a_missing_snapshot_or_array_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"round-00003\.npz: No such file"):
        load_snapshot(tmp_path / "round-00003.npz")
    arrays = arrays_of_a_round()
    del arrays["turns"]
    with pytest.raises(InputError, match=r"should hold the arrays.*turns is not a file"):
        load_snapshot(save(tmp_path, arrays))


def test_snapshots_are_listed_by_round_and_other_files_are_not(tmp_path: Path) -> None:
    for name in ("round-00100.npz", "round-00020.npz", "round-x.npz", ".round-00030.npz.part"):
        path = tmp_path / "air" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert list(snapshots(tmp_path)) == [20, 100]
    assert snapshots(tmp_path / "nowhere") == {}


def test_a_budget_that_is_no_budget_is_left_out(tmp_path: Path) -> None:
    folder = write_iq_run(tmp_path / "run", rounds=6)
    rows = rows_of(folder / "rounds.jsonl")
    for row, budget in zip(rows, (None, 3, {"noise": None}, {}, {"noise": 0.0}, {}), strict=True):
        row["budget"] = budget
    write_jsonl(folder / "rounds.jsonl", rows)
    (share,) = error_budget(load_run(folder))
    assert share.cells == ("negligible", "", "0 %")
    write_report(folder)
    assert (folder / "figures" / "error_budget.png").exists()


def test_what_a_run_keeps_of_a_round_can_be_read_and_drawn(tmp_path: Path) -> None:
    config = ExperimentConfig.model_validate(
        {"name": "few", "uplink": "iq", "rounds": 1, "devices": {"num_devices": 4, "num_active": 3}}
    )
    devices = np.array([0, 2, 3])
    with VirtualBench(config, 1000, np.ones(4)).open(tmp_path) as bench, bench.round(0):
        bench.uplink.sound(0, devices)
        bench.uplink.transmit(0, devices, complex_noise(np.random.default_rng(0), 3, 1000))
    snapshot = load_snapshot(snapshots(tmp_path)[0])
    assert [chart.name for chart in draw_round(snapshot)] == [f"round_{f}" for f in FIGURES]
    assert [row[0] for row in snapshot.table] == ["0", "2", "3"]


def test_the_verdict_of_a_sweep_says_whether_intervals_overlap(tmp_path: Path) -> None:
    def verdict(name: str, final: dict[float, list[float]]) -> str:
        axes = {"channel.snr_db": list(final), "seed": list(range(len(final[0.0])))}
        folder = write_sweep(tmp_path / name, axes)
        for cell in json.loads((folder / "sweep.json").read_text())["cells"]:
            rows = rows_of(folder / cell["folder"] / "evaluations.jsonl")
            settings = cell["overrides"]
            accuracy = final[settings["channel.snr_db"]][settings["seed"]]
            rows[-1]["heldout"]["accuracy"] = accuracy
            write_jsonl(folder / cell["folder"] / "evaluations.jsonl", rows)
        return " ".join(read(write_sweep_report(folder)).text.split())

    clear = verdict("clear", {0.0: [0.5, 0.51], 20.0: [0.9, 0.901]})
    assert "overlap" not in clear and "no confidence intervals" not in clear
    wide = verdict("wide", {0.0: [0.5, 0.9], 20.0: [0.6, 0.95]})
    assert "SNR (dB) = 0.0 (their confidence intervals overlap)" in wide
    three = verdict("three", {0.0: [0.5, 0.501], 10.0: [0.90, 0.902], 20.0: [0.9, 0.903]})
    assert "(the confidence interval of the best overlaps 1 other)" in three
    assert "no confidence intervals" in verdict("single", {0.0: [0.5], 20.0: [0.9]})
