"""`airmeta up`, `node`, `status` and `stop`: a run over nodes, and mistakes on the way there."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zmq
from conftest import read_rows

from radio.keys import new_pairs
from testbed import bench_file, experiment_file
from testbed.experiment import Experiment
from testbed.run_folder import RunFolder

BENCH = """
name: ten
coordinator: {address: "ipc://{sockets}/control", clock: "zmq+ipc://{sockets}/air?name=clock"}
receiver: {name: rx, radio: "zmq+ipc://{sockets}/air?name=rx"}
devices: {count: 10, name: "d{n}", radio: "zmq+ipc://{sockets}/air?name=d{n}"}
air: zmq+ipc://{sockets}/air
"""
FEW = "devices={num_devices: 10, num_active: 6}"  # of small.yaml's twelve

STARTS = [("up", "ten.yaml"), ("node", "coordinator", "--bench=ten.yaml")]


@pytest.fixture
def bench(workdir):
    """The file of a bench of ten devices."""
    (workdir / "ten.yaml").write_text(BENCH)
    return workdir / "ten.yaml"


def processes_of(session: int):
    """Commands of the processes that were started in a session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, own = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(own) == session and state != "Z":
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_twenty_rounds_over_ten_devices_are_those_of_one_process(workdir, bench, record_property):
    settings = ["rounds=20", "model.width=8", "workers=1"]
    settings.append("evaluation={every: 100, tasks: 20, final_tasks: 20}")
    command = [sys.executable, "-m", "testbed", "up", bench, "lab", *settings, "--out", "nodes"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    config = experiment_file.read("lab").config(settings)
    Experiment(config).run(workdir / "alone", False, lambda event: None, lambda: False)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, (out, err)

    params = [np.load(workdir / run / "checkpoint.npz")["params"] for run in ("nodes", "alone")]
    difference = np.linalg.norm(params[0] - params[1]) / np.linalg.norm(params[1])
    record_property("equal", bool(np.array_equal(*params)))
    assert difference <= 1e-5
    rows = [read_rows(workdir / run / "rounds.jsonl") for run in ("nodes", "alone")]
    assert len(rows[0]) == len(rows[1]) == 20
    for over, within in zip(*rows, strict=True):
        shared = (over.keys() & within.keys()) - {"nmse_db"}  # which needs the truth
        assert shared >= {"loss", "update_norm", "participation", "snr_db", "estimate_crc32"}
        assert {key: over[key] for key in shared} == {key: within[key] for key in shared}
        assert over["calls"] == 1
    assert (workdir / "nodes" / "report.html").exists()
    deadline = time.monotonic() + 20
    while processes_of(process.pid):  # the fork server ends once it sees that nobody needs it
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not bench_file.read(str(bench)).sockets.exists()


def test_benches_that_do_not_fit(refused, bench, workdir):
    message = refused("up", bench, "small.yaml")
    assert "ten.yaml: has 10 devices and the experiment wants 12" in message
    assert "did you mean virtual?" in refused("up", "virtul", "small.yaml")
    assert "nowhere.yaml" in refused("up", "nowhere.yaml", "small.yaml")
    bench.write_text(BENCH.replace("zmq+ipc://{sockets}/air?name=rx", "usb://1"))
    assert "receiver.radio" in refused("up", bench, "small.yaml", FEW)


@pytest.mark.parametrize("scheme", ["ideal", "local", "digital"])
def test_experiments_without_samples(refused, bench, scheme):
    for command in (["up", bench], ["node", "coordinator", "--bench", bench]):
        message = refused(*command, "small.yaml", FEW, f"scheme={scheme}")
        assert "scheme = air" in message


@pytest.mark.parametrize("command", STARTS)
def test_folders_that_are_taken(refused, bench, workdir, command):
    (workdir / "full").mkdir()
    (workdir / "full" / "mine").write_text("")
    call = (*command, "small.yaml", FEW)
    assert "full: is not empty" in refused(*call, "--out", "full")
    assert "full: is not empty and no run" in refused(*call, "--out", "full", "--resume")
    assert "there is no run to resume" in refused(*call, "--resume")
    other = experiment_file.read("small.yaml").config([FEW, "uplink=iq", "seed=5"])
    (workdir / "other").mkdir()
    RunFolder(workdir / "other", other).create(dim=321)
    message = refused(*call, "--out", "other", "--resume")
    assert "other: holds a run of another configuration" in message


@pytest.mark.parametrize("command", STARTS)
def test_an_address_that_is_taken(refused, bench, command):
    sockets = bench_file.read(str(bench)).sockets
    sockets.mkdir(parents=True, exist_ok=True)
    with zmq.Context() as context, context.socket(zmq.ROUTER) as rival:
        rival.bind(f"ipc://{sockets}/control")
        assert "another process listens here" in refused(*command, "small.yaml", FEW)
    (sockets / "control").unlink(missing_ok=True)


def test_nodes_that_are_not_there(refused, bench):
    message = refused("node", "device", "--bench", bench, "--name", "d10")
    assert "none is called 'd10'; there are d0, d1" in message
    assert "did you mean virtual?" in refused("node", "receiver", "--bench", "virtul")


def test_radios_that_cannot_be_opened(refused, bench):
    soon = BENCH.replace("name=rx", "name=rx&timeout_s=0.2")
    bench.write_text(soon.replace("name=d{n}", "name=d{n}&timeout_s=0.2"))
    assert "does not answer" in refused("node", "device", "--bench", bench, "--name", "d3")
    assert "does not answer" in refused("node", "receiver", "--bench", bench)


def test_keys_that_are_missing(refused, bench, workdir):
    bench.write_text(BENCH + "keys: keys\n")
    nodes = (["device", "--name", "d3"], ["receiver"], ["coordinator", "small.yaml", FEW])
    for node in nodes:
        assert ".secret: is missing" in refused("node", *node, "--bench", bench)
    assert "coordinator.secret: is missing" in refused("up", bench, "small.yaml", FEW)
    new_pairs(workdir / "keys", ["coordinator", "rx", *(f"d{n}" for n in range(9))])
    assert "d9.secret: is missing" in refused("up", bench, "small.yaml", FEW)


def test_folders_that_are_no_runs_over_nodes(refused, workdir):
    (workdir / "empty").mkdir()
    for command in ("status", "stop"):
        assert "empty: is no run over nodes" in refused(command, "empty")
        assert "nowhere: is no run over nodes" in refused(command, "nowhere")
        assert "holds no run over nodes" in refused(command)
    (workdir / "empty" / "status.json").write_text("{")
    for command in ("status", "stop"):
        assert "status.json: is damaged" in refused(command, "empty")
