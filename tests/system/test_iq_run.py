"""Runs over samples: what they leave, that they can be replayed, stopped and resumed."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL, contents, cut_short, read_rows

from testbed import experiment_file
from testbed.experiment import Experiment
from testbed.on_air.scoring import CAUSES

SETTINGS = ("small.yaml", "uplink=iq", "record=true", "devices.num_active=4")


def recordings(folder: Path):
    return {path.name: path.read_bytes() for path in sorted((folder / "recordings").iterdir())}


def run_without_report(experiment: Path, out: Path, *overrides):
    config = experiment_file.read(str(experiment)).config(list(overrides))
    assert Experiment(config).run(out, False, lambda event: None, lambda: False).complete


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run of three recorded rounds; not to be changed."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "small.yaml").write_text(SMALL)
    run_without_report(folder / "small.yaml", folder / "run", *SETTINGS[1:], "rounds=3")
    return folder / "run"


@pytest.fixture
def copied(recorded, workdir):
    """A copy of it under the current folder, named `run`."""
    return Path(shutil.copytree(recorded, workdir / "run"))


def test_what_a_run_over_samples_leaves(airmeta, workdir):
    code, out, err = airmeta("run", *SETTINGS, "rounds=3", "--out", "a", "--json")
    assert code == 0, err
    assert json.loads(out)["complete"]
    rows = read_rows(workdir / "a/rounds.jsonl")
    assert [row["round"] for row in rows] == [0, 1, 2]
    for row in rows:
        assert set(row["budget"]) == {"compression", *CAUSES}
        assert sum(row["budget"].values()) == pytest.approx(10 ** (row["nmse_db"] / 10), rel=1e-6)
        assert row["nmse_db"] < -15
        assert row["airtime_s"] == pytest.approx(0.0065, abs=0.001)
        assert row["clipped"] >= 0
    timings = read_rows(workdir / "a/timings.jsonl")
    assert all(row["air"] > 0 and row["score"] > 0 for row in timings)
    # Pictures of the first round, of those that are evaluated, and of the last.
    snapshots = sorted(path.name for path in (workdir / "a/air").iterdir())
    assert snapshots == ["round-00000.npz", "round-00002.npz"]
    with np.load(workdir / "a/air/round-00002.npz") as arrays:
        assert arrays["channels"].shape == (4, 200)
        assert arrays["devices"].tolist() == rows[2]["devices"]
        assert arrays["received"].shape == arrays["clean"].shape
        error = np.mean(np.abs(arrays["received"][:257] - arrays["clean"][:257]) ** 2)
        assert 10 * np.log10(error) == pytest.approx(rows[2]["noise_db"], abs=3)
    names = [f"round-0000{i}.sigmf-{end}" for i in range(3) for end in ("data", "meta")]
    assert sorted(recordings(workdir / "a")) == names
    page = (workdir / "a/report.html").read_text()
    assert "phase noise" in page
    assert "CFO and drift" in page


def test_a_recording_says_what_is_in_it(recorded):
    rows = read_rows(recorded / "rounds.jsonl")
    meta = json.loads((recorded / "recordings/round-00001.sigmf-meta").read_text())
    labels = [note["core:label"] for note in meta["annotations"]]
    assert labels == [*(f"sounding of d{i}" for i in rows[1]["devices"]), "burst 0"]
    for note in meta["annotations"]:
        assert note["airmeta:round"] == 1
        assert note["airmeta:nonce"] == meta["annotations"][0]["airmeta:nonce"]
    assert [n["airmeta:device"] for n in meta["annotations"][:-1]] == rows[1]["devices"]
    data = recorded / "recordings/round-00001.sigmf-data"
    assert data.stat().st_size == 8 * (4 * 368 + meta["annotations"][-1]["core:sample_count"])


def test_a_replay_is_the_same(airmeta, copied):
    before = contents(copied)
    code, out, err = airmeta("replay", "run")
    assert code == 0, err
    assert out.count("the same") == 3
    code, out, _ = airmeta("replay", "run", "--json")
    rounds, rows = json.loads(out)["rounds"], read_rows(copied / "rounds.jsonl")
    assert [one["round"] for one in rounds] == [0, 1, 2]
    for one, row in zip(rounds, rows, strict=True):
        assert one["same"]
        assert one["heard"] == 4
        assert one["nmse_predicted_db"] == pytest.approx(row["nmse_predicted_db"], abs=1e-9)
    assert contents(copied) == before


def test_a_replay_of_another_estimate_says_so(airmeta, copied):
    rows = read_rows(copied / "rounds.jsonl")
    rows[1]["estimate_crc32"] ^= 1
    (copied / "rounds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, _ = airmeta("replay", "run", "--json")
    assert code == 1
    assert [one["same"] for one in json.loads(out)["rounds"]] == [True, False, True]


def damage(folder: Path, how: str):
    data = folder / "recordings/round-00001.sigmf-data"
    meta = data.with_suffix(".sigmf-meta")
    samples = bytearray(data.read_bytes())
    if how == "flipped":
        samples[len(samples) // 2] ^= 1
        data.write_bytes(samples)
    elif how == "truncated":
        data.write_bytes(samples[:-100])
    elif how == "missing":
        data.unlink()
    elif how == "empty":
        data.write_bytes(b"")
    elif how == "no description":
        meta.write_text("{")
    elif how == "foreign name":
        meta.rename(meta.with_name("holiday.sigmf-meta"))
    elif how == "swapped":
        other = folder / "recordings/round-00002"
        data.write_bytes(other.with_suffix(".sigmf-data").read_bytes())


@pytest.mark.parametrize(
    ("how", "name"),
    [
        ("flipped", "round-00001.sigmf-data"),
        ("truncated", "round-00001.sigmf-data"),
        ("missing", "round-00001.sigmf-data"),
        ("empty", "round-00001.sigmf-meta"),
        ("swapped", "round-00001.sigmf-data"),
        ("no description", "round-00001.sigmf-meta"),
        ("foreign name", "holiday.sigmf-meta"),
    ],
)
def test_a_damaged_recording_is_named(airmeta, copied, how, name):
    damage(copied, how)
    code, out, err = airmeta("replay", "run")
    assert code == 2, (out, err)
    assert name in err
    assert err.startswith("airmeta: ")
    assert err.count("airmeta: ") == 1
    assert "Traceback" not in err


def test_a_recording_without_its_row_is_named(airmeta, copied):
    lines = (copied / "rounds.jsonl").read_text().splitlines(keepends=True)
    (copied / "rounds.jsonl").write_text("".join(lines[:2]))
    code, _, err = airmeta("replay", "run")
    assert code == 2
    assert "round-00002.sigmf-meta: rounds.jsonl has no round of that number" in " ".join(
        err.split()
    )


def test_replay_of_what_has_no_recordings(airmeta, copied, workdir):
    shutil.rmtree(copied / "recordings")
    for folder, message in (("run", "holds no recording"), ("nowhere", "nowhere")):
        code, _, err = airmeta("replay", folder)
        assert code == 2
        assert message in err
        assert err.count("airmeta: ") == 1


def test_replay_under_another_configuration_is_refused(airmeta, copied):
    settings = copied / "config.yaml"
    assert "backoff_db: 10.0" in settings.read_text()
    settings.write_text(settings.read_text().replace("backoff_db: 10.0", "backoff_db: 12.0"))
    code, _, err = airmeta("replay", "run")
    assert code == 2
    assert "config.yaml is not the configuration of checkpoint.npz" in err


def test_interrupted_and_resumed_gives_the_same_bytes(airmeta, workdir):
    """Begun with two processes that compute updates, ended with one."""
    settings = [*SETTINGS, "rounds=16", "evaluation.every=8", "checkpoint_every=3"]
    run_without_report(workdir / settings[0], workdir / "whole", *settings[1:])
    code, err = cut_short(signal.SIGINT, workdir / "cut", settings, rounds=3)
    assert code == 130, err
    assert "Traceback" not in err
    run = experiment_file.read("small.yaml").config(settings[1:])
    outcome = Experiment(run).run(workdir / "cut", True, lambda event: None, lambda: False)
    assert outcome.complete
    assert contents(workdir / "cut") == contents(workdir / "whole")
    assert recordings(workdir / "cut") == recordings(workdir / "whole")
    code, out, _ = airmeta("replay", "cut")
    assert code == 0
    assert out.count("the same") == 16


@pytest.mark.parametrize(
    "overrides",
    [
        ["iq.preset=ideal", "channel.snr_db=.inf"],
        ["iq.preset=cabled-shared-clock"],
        ["iq.preset=usrp-octoclock", "iq.carrier_hz=2.45e9"],
        ["iq.delays_s=[0, 1e-6, 2e-6]", "iq.powers_db=[0, -3, -6]", "iq.doppler_hz=2"],
        ["iq.turnaround_s=0.1", "iq.control_s=0", "iq.sync_beacons=4"],
        ["power.policy=truncated_inversion", "channel.path_loss_spread_db=6"],
        ["devices.num_active=1", "compression.num_symbols=1"],
        ["receiver.estimator=lmmse", "iq.backoff_db=6"],
    ],
)
def test_every_setting_runs(workdir, overrides):
    run_without_report(
        workdir / "small.yaml", workdir / "run", *SETTINGS[1:], "rounds=2", *overrides
    )
    assert len(read_rows(workdir / "run/rounds.jsonl")) == 2


def test_references_stay_at_the_symbols(workdir):
    settings = experiment_file.read("small.yaml").config([*SETTINGS[1:], "references=[digital]"])
    reference = settings.as_reference("digital")
    assert reference.uplink == "symbol"
    assert not reference.record


def test_a_bench_of_unequal_radios_that_warm_up_runs(workdir):
    unequal = "path_loss_db: 30, gain_error_db: 1, iq_gain_db: 0.5, iq_phase_deg: 3, dc: 0.02"
    warming = "ramp_k: 20, over_s: 1, tx_gain_db_per_k: -0.1, ppm_per_k: 0.01"
    settings = (
        "uplink=iq",
        f"iq.spread={{{unequal}, delay_samples: 3}}",
        f"iq.temperature={{{warming}}}",
        "rounds=2",
    )
    run_without_report(workdir / "small.yaml", workdir / "a", *settings)
    rows = read_rows(workdir / "a/rounds.jsonl")
    assert len(rows) == 2
    assert sum(row["overdriven"] for row in rows) > 0
    for row in rows:
        assert sum(row["budget"].values()) == pytest.approx(10 ** (row["nmse_db"] / 10), rel=1e-6)
