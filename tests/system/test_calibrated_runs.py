"""Runs over unequal radios that were calibrated: in one process, and over nodes."""

import json
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from conftest import SAME_BYTES, read_rows

from testbed import experiment_file
from testbed.experiment import Experiment

THREE = (
    "small.yaml",
    "uplink=iq",
    "workers=1",
    "checkpoint_every=1",
    "devices={num_devices: 3, num_active: 3, num_new: 2}",
    "channel={fading: awgn, snr_db: 20}",
    "evaluation={every: 100, tasks: 4, final_tasks: 4}",
)
SPREAD = (
    "iq.spread={path_loss_db: 30, gain_error_db: 1, iq_gain_db: 0.5, iq_phase_deg: 3, dc: 0.02, "
    "delay_samples: 3}"
)
WARMING = "iq.temperature={ramp_k: 20, over_s: 5, tx_gain_db_per_k: -0.1, rx_gain_db_per_k: -0.05}"
CALIBRATED = (*THREE, SPREAD, "iq.calibrate=true")
BENCH = """
name: three
coordinator: {address: "ipc://{sockets}/control", clock: "zmq+ipc://{sockets}/air?name=clock"}
receiver: {name: rx, radio: "zmq+ipc://{sockets}/air?name=rx"}
devices:
  - {name: d0, radio: "zmq+ipc://{sockets}/air?name=d0"}
  - {name: d1, radio: "zmq+ipc://{sockets}/air?name=d1"}
  - {name: d2, radio: "zmq+ipc://{sockets}/air?name=d2"}
air: zmq+ipc://{sockets}/air
calibration: profiles
"""
LIMITS = """
  {bands: [[850e6, 950e6]], max_tx_gain_db: HIGHEST, max_duty_cycle: 1, window_s: 1, max_burst_s: 1}
"""


def levels(folder):
    """Power of each device in each round, over the target."""
    return np.array(
        [list(row["levels_db"].values()) for row in read_rows(folder / "rounds.jsonl")], np.float64
    )


@pytest.fixture(scope="module")
def calibration(tmp_path_factory):
    """A folder for what is made once."""
    return tmp_path_factory.mktemp("calibrated")


@pytest.fixture
def calibrated(airmeta, workdir, calibration):
    """A run that began with a calibration."""
    if not (calibration / "run").exists():
        code, out, err = airmeta("run", *CALIBRATED, "rounds=6", "--out", workdir / "run")
        assert code == 0, (out, err)
        shutil.copytree(workdir / "run", calibration / "run")
    else:
        shutil.copytree(calibration / "run", workdir / "run")
    return workdir / "run"


def test_all_devices_of_a_calibrated_bench_arrive_alike_and_mended(airmeta, workdir, calibrated):
    arrived = levels(calibrated)
    assert arrived.shape == (6, 3)
    assert np.abs(arrived).max() < 0.3
    code, _, _ = airmeta("run", *THREE, SPREAD, "rounds=6", "--out", workdir / "naive")
    assert code == 0
    assert {row["participation"] for row in read_rows(workdir / "naive" / "rounds.jsonl")} != {1}
    assert all(row["participation"] == 1 for row in read_rows(calibrated / "rounds.jsonl"))
    # What is not mended of the mixers is less than a hundredth of what noise does.
    budget = read_rows(calibrated / "rounds.jsonl")[-1]["budget"]
    assert budget["front end"] < budget["noise"] / 5


def test_an_interrupted_run_goes_on_with_the_gains_it_had(airmeta, workdir, calibrated):
    """And with the calibration it began with, which is not made anew."""
    drifting = (*CALIBRATED, WARMING, "rounds=9")
    for folder in ("whole", "cut"):
        shutil.copytree(calibrated / "calibration", workdir / folder / "calibration")
    assert airmeta("run", *drifting, "--out", workdir / "whole", "--resume")[0] == 0
    gains = [row["tx_gains_db"] for row in read_rows(workdir / "whole" / "rounds.jsonl")]
    assert gains[0] != gains[3] != gains[-1]
    assert np.abs(levels(workdir / "whole")).max() < 0.5
    config = experiment_file.read("small.yaml").config(drifting[1:])
    stops = iter([False, False, False, False, True])
    begun = Experiment(config).run(workdir / "cut", False, lambda _: None, lambda: next(stops))
    assert not begun.complete
    assert airmeta("run", *drifting, "--out", workdir / "cut", "--resume")[0] == 0
    for name in SAME_BYTES:
        one, other = (workdir / folder / name for folder in ("cut", "whole"))
        assert one.read_bytes() == other.read_bytes(), name


def test_a_replay_needs_the_plan_of_the_run(airmeta, workdir, calibrated):
    shutil.copytree(calibrated / "calibration", workdir / "kept" / "calibration")
    code, out, err = airmeta(
        "run", *CALIBRATED, "rounds=1", "record=true", "--out", "kept", "--resume"
    )
    assert code == 0, (out, err)
    code, out, err = airmeta("replay", workdir / "kept")
    assert code == 0, (out, err)


def test_nodes_take_their_profiles_by_serial_and_their_gains_from_the_plan(workdir, calibrated):
    (workdir / "three.yaml").write_text(BENCH)
    shutil.copytree(calibrated / "calibration", workdir / "profiles")
    settings = (*THREE[1:], SPREAD, "iq.error_budget=false", "rounds=6")
    command = (sys.executable, "-m", "testbed", "up", "three.yaml", "small.yaml", *settings)
    done = subprocess.run(
        [*command, "--out", "up"], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert np.abs(levels(workdir / "up")).max() < 0.3
    within, over = (
        read_rows(folder / "rounds.jsonl")[-1] for folder in (calibrated, workdir / "up")
    )
    for run, profiles in ((calibrated, calibrated / "calibration"), (workdir / "up", "profiles")):
        files = [*Path(profiles).glob("*.json"), Path(profiles, "power", "plan.json")]
        assert len(files) == 5
        assert json.loads((run / "manifest.json").read_text())["calibration_sha256"] == {
            path.relative_to(profiles).as_posix(): sha256(path.read_bytes()).hexdigest()
            for path in files
        }
    # The same rounds, to the bit: mended, levelled and held alike.
    assert over["estimate_crc32"] == within["estimate_crc32"]
    assert over["tx_gains_db"] == within["tx_gains_db"]


def test_mistakes(refused, airmeta, workdir, calibrated):
    (workdir / "three.yaml").write_text(BENCH)
    up = ("up", "three.yaml", *THREE, SPREAD)
    assert "profiles: there is no such folder; `airmeta calibrate run`" in refused(*up)
    assert "iq.calibrate is for runs in one process" in refused(*up, "iq.calibrate=true")
    shutil.copytree(calibrated / "calibration", workdir / "profiles")
    assert "is for a back-off of 10 dB" in refused(*up, "iq.backoff_db=12")
    quiet = BENCH + "limits: " + LIMITS.replace("HIGHEST", "-20")
    (workdir / "quiet.yaml").write_text(quiet)
    assert "exceeds the bench's -20; plan again" in refused("up", "quiet.yaml", *up[2:])
    more = [arg.replace("num_devices: 3", "num_devices: 4") for arg in up]
    assert "d3" in refused(*more) or "has 3 devices" in refused(*more)
    plan = workdir / "profiles" / "power" / "plan.json"
    plan.write_text(plan.read_text().replace('"rx_gain_db"', '"rx_gain"', 1))
    assert "plan.json: rx_gain: unknown key; did you mean rx_gain_db?" in refused(*up)
