import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testbed.cli import main

# A run of a second: every stage of the protocol, on a model of 321 parameters.
SMALL = """
name: small
rounds: 8
checkpoint_every: 3
task: {family: sinusoid, shots: 5, queries: 5}
model: {name: mlp, width: 16}
learner: {adapt_lr: 0.05, meta_lr: 0.05}
devices: {num_devices: 12, num_active: 6, num_new: 4}
sparsifier: {density: 0.1}
compression: {ratio: 0.8}
local: {lr: 0.01, steps: 5}
evaluation: {every: 4, tasks: 20, final_tasks: 30}
"""
SAME_BYTES = ("config.yaml", "rounds.jsonl", "evaluations.jsonl", "summary.json", "checkpoint.npz")


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """An empty current folder with `small.yaml` in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL)
    return tmp_path


@pytest.fixture
def airmeta(workdir, monkeypatch, capsys):
    """Run the command in this process: `airmeta("run", …)` gives (exit code, stdout, stderr)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["airmeta", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        output = capsys.readouterr()
        return code, output.out, output.err

    return call


def tree(folder: Path):
    return sorted((str(p.relative_to(folder)), p.stat().st_mtime_ns) for p in folder.rglob("*"))


@pytest.fixture
def refused(airmeta, workdir):
    """Call the command, check that it is refused and changed nothing; returns its message."""

    def call(*arguments):
        before = tree(workdir)
        code, out, err = airmeta(*arguments)
        assert code == 2, (out, err)
        assert tree(workdir) == before
        assert "Traceback" not in err
        assert err.startswith("airmeta: ")
        return " ".join(err.split())

    return call


def cut_short(how: signal.Signals, folder: Path, settings: list[str], rounds: int):
    """Begin a run and send it a signal after so many rounds: (exit code, stderr)."""
    process = subprocess.Popen(
        [sys.executable, "-m", "testbed", "run", *settings, "workers=2", "--out", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    rows = folder / "rounds.jsonl"
    deadline = time.monotonic() + 60
    while not (rows.exists() and rows.read_bytes().count(b"\n") > rounds):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, how)
    _, err = process.communicate(timeout=60)
    assert not (folder / "summary.json").exists(), "the run was over before the signal"
    return process.returncode, err


def read_rows(path: Path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def contents(folder: Path):
    return {name: (folder / name).read_bytes() for name in SAME_BYTES}
