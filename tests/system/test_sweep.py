import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import SMALL, contents, read_rows

from testbed.sweep import Sweep


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """What a sweep said, and where it was made."""
    folder = tmp_path_factory.mktemp("once")
    (folder / "small.yaml").write_text(SMALL)
    grid = ["small.yaml", "channel.snr_db=0,30", "seed=0,1", "--out", "s", "--json"]
    command = [sys.executable, "-m", "testbed", "sweep", *grid]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), folder / "s"


@pytest.fixture
def swept(once, workdir):
    """The same, and a copy of its own."""
    result, folder = once
    return result, shutil.copytree(folder, workdir / "s")


def test_a_grid_runs_in_processes_and_is_compared(swept, airmeta, workdir):
    result, folder = swept
    assert len(result["cells"]) == 4
    assert all(cell["status"] == "done" for cell in result["cells"])
    assert (folder / "report.html").exists()
    # A cell is the run that one would have started by hand.
    airmeta("run", "small.yaml", "channel.snr_db=30", "seed=1", "--out", "alone")
    cell = next(c for c in result["cells"] if c["overrides"] == {"channel.snr_db": 30, "seed": 1})
    assert contents(folder / cell["folder"]) == contents(workdir / "alone")


def test_more_signal_means_less_error(swept):
    result, folder = swept
    errors = {0: [], 30: []}
    for cell in result["cells"]:
        rows = read_rows(folder / cell["folder"] / "rounds.jsonl")
        errors[cell["overrides"]["channel.snr_db"]] += [row["nmse_db"] for row in rows]
    assert max(errors[30]) < min(errors[0])


def test_running_again_does_only_what_is_missing(swept, airmeta):
    result, folder = swept
    first, second = (folder / cell["folder"] for cell in result["cells"][:2])
    kept = (first / "summary.json").stat().st_mtime_ns
    state = json.loads((folder / "sweep.json").read_text())
    state["cells"][1]["status"] = "failed"
    (folder / "sweep.json").write_text(json.dumps(state))
    (second / "summary.json").unlink()
    code, _, _ = airmeta("sweep", "small.yaml", "channel.snr_db=0,30", "seed=0,1", "--out", "s")
    assert code == 0
    assert (first / "summary.json").stat().st_mtime_ns == kept
    assert (second / "summary.json").exists()


def test_another_grid_is_refused_in_the_same_folder(swept, airmeta):
    code, _, err = airmeta("sweep", "small.yaml", "channel.snr_db=0,20", "--out", "s")
    assert code == 2
    assert "holds another sweep" in err


def test_a_crashed_cell_costs_one_cell(airmeta, workdir):
    # meta_lr = 1e30 diverges: the cell ends with an error, the other completes.
    code, out, _ = airmeta(
        "sweep", "small.yaml", "scheme=ideal", "learner.meta_lr=0.05,1e30", "--out", "s", "--json"
    )
    cells = json.loads(out)["cells"]
    assert code == 1
    assert [cell["status"] for cell in cells] == ["done", "failed"]
    assert "learner.meta_lr" in cells[1]["error"]
    assert (workdir / "s" / "report.html").exists()


def test_a_killed_cell_and_an_interrupted_sweep_are_resumed(airmeta, workdir):
    arguments = ["sweep", "small.yaml", "seed=0,1", "rounds=500", "--out", "s", "--jobs", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "testbed", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    cells = [workdir / "s" / "cells" / f"seed={seed}" for seed in (0, 1)]
    deadline = time.monotonic() + 60
    while not all((cell / "checkpoint.npz").exists() for cell in cells):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    children = [int(pid) for pid in _children(process.pid)]
    os.kill(children[0], signal.SIGKILL)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert not any(_alive(pid) for pid in children)
    assert airmeta(*arguments)[0] == 0
    assert all((cell / "summary.json").exists() for cell in cells)


def _children(pid):
    return subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True
    ).stdout.split()


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_file_with_a_sweep_section_runs(airmeta, workdir):
    (workdir / "grid.yaml").write_text(
        "base: small.yaml\nname: grid\nsweep: {seed: [0], channel.snr_db: [10, .inf]}\n"
    )
    code, out, err = airmeta("sweep", "grid.yaml", "rounds=2", "--json")
    assert code == 0, err
    result = json.loads(out, parse_constant=pytest.fail)
    assert [cell["status"] for cell in result["cells"]] == ["done"] * 2


def test_a_changed_file_is_another_sweep(airmeta, workdir):
    arguments = ["sweep", "small.yaml", "seed=0,1", "rounds=2", "--out", "s"]
    assert airmeta(*arguments)[0] == 0
    with (workdir / "small.yaml").open("a") as file:
        file.write("receiver: {denoiser: soft_threshold}\n")
    code, _, err = airmeta(*arguments)
    assert code == 2
    assert "holds another sweep" in err


def test_a_cell_whose_folder_is_gone_runs_again(airmeta, workdir):
    arguments = ["sweep", "small.yaml", "seed=0,1", "rounds=2", "--out", "s"]
    assert airmeta(*arguments)[0] == 0
    shutil.rmtree(workdir / "s" / "cells" / "seed=1")
    assert airmeta(*arguments)[0] == 0
    assert (workdir / "s" / "cells" / "seed=1" / "summary.json").exists()


def test_list_axes_and_repeated_values(airmeta, workdir):
    plan = Sweep.plan("demo", ["model.strides=[2,2,1,1],[2,2,2,2]", "model.width=4"], None)
    assert plan.axes == {"model.strides": [[2, 2, 1, 1], [2, 2, 2, 2]]}
    assert [cell.folder for cell in plan.cells] == ["cells/cell-000", "cells/cell-001"]
    code, _, err = airmeta("sweep", "small.yaml", "seed=0,1,0")
    assert code == 2
    assert "stands twice" in err


@pytest.mark.parametrize(
    ("study", "cells"),
    [
        ("study-snr", 9),
        ("study-compression", 27),
        ("study-generalization", 12),
        ("study-calibration", 2),
    ],
)
def test_shipped_studies_can_be_planned(workdir, study, cells):
    # On glyphs, so that no data is needed.
    assert len(Sweep.plan(study, ["task.family=glyphs"], None).cells) == cells
