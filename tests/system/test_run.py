import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import SMALL, contents, cut_short, read_rows
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def test_a_run_leaves_everything_a_reader_needs(airmeta, workdir):
    code, out, _ = airmeta("run", "small.yaml", "references=[ideal, local]", "--json")
    assert code == 0
    result = json.loads(out)
    folder = workdir / result["folder"]
    assert result["complete"]
    assert set(result["schemes"]) == {"air", "ideal", "local"}
    rows = read_rows(folder / "rounds.jsonl")
    assert [row["round"] for row in rows] == list(range(8))
    assert all(len(set(row["devices"])) == 6 for row in rows)
    assert rows[-1]["channel_uses"] == sum(row["symbols"] for row in rows)
    assert {"loss", "nmse_db", "nmse_predicted_db", "snr_db", "union_density", "participation"} <= (
        rows[0].keys()
    )
    timings = read_rows(folder / "timings.jsonl")
    assert all(t["update"] > 0 and t["estimate"] > 0 for t in timings)
    assert [e["round"] for e in read_rows(folder / "evaluations.jsonl")] == [0, 4, 8]
    assert (folder / "report.html").stat().st_size > 10_000
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["versions"]["torch"].startswith("2.13")
    assert (folder / "references" / "ideal" / "summary.json").exists()
    events = EventAccumulator(str(folder / "tensorboard" / "air"))
    events.Reload()
    assert [e.step for e in events.Scalars("round/loss")] == list(range(1, 9))


def test_same_seed_same_bytes_whatever_the_number_of_workers(airmeta, workdir):
    for out, workers in (("a", 1), ("b", 1), ("c", 2)):
        assert airmeta("run", "small.yaml", f"workers={workers}", "--out", out)[0] == 0
    a, b, c = (contents(workdir / out) for out in "abc")
    assert a == b
    a.pop("config.yaml"), c.pop("config.yaml")
    assert a == c


def test_another_seed_gives_other_bytes(airmeta, workdir):
    airmeta("run", "small.yaml", "--out", "a")
    airmeta("run", "small.yaml", "seed=1", "--out", "b")
    assert contents(workdir / "a")["rounds.jsonl"] != contents(workdir / "b")["rounds.jsonl"]


LONG = ["small.yaml", "rounds=150", "evaluation.every=50", "checkpoint_every=7"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The files of a long run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "small.yaml").write_text(SMALL)
    command = [sys.executable, "-m", "testbed", "run", *LONG, "--out", "whole"]
    subprocess.run(command, cwd=folder, capture_output=True, check=True)
    return contents(folder / "whole")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_and_resumed_gives_the_same_bytes(airmeta, workdir, whole, how):
    code, err = cut_short(how, workdir / "cut", LONG, rounds=20)
    if how != signal.SIGKILL:
        assert code == 130
        assert "--resume" in err
        assert "Traceback" not in err
    code, _, err = airmeta("run", *LONG, "--out", "cut", "--resume")
    assert code == 0, err
    assert contents(workdir / "cut") == whole


def test_resuming_a_complete_run_changes_nothing(airmeta, workdir):
    airmeta("run", "small.yaml", "--out", "a")
    before = contents(workdir / "a")
    assert airmeta("run", "small.yaml", "--out", "a", "--resume")[0] == 0
    assert contents(workdir / "a") == before


def test_a_half_written_row_is_dropped_on_resume(airmeta, workdir):
    airmeta("run", "small.yaml", "--out", "a")
    before = contents(workdir / "a")
    (workdir / "a" / "summary.json").unlink()
    with (workdir / "a" / "rounds.jsonl").open("a") as file:
        file.write('{"round": 8, "lo')
    assert airmeta("run", "small.yaml", "--out", "a", "--resume")[0] == 0
    assert contents(workdir / "a") == before


def test_default_folders_are_numbered_and_the_newest_is_resumed(airmeta, workdir):
    for expected in ("runs/small", "runs/small-2", "runs/small-3"):
        _, out, _ = airmeta("run", "small.yaml", "--json")
        assert json.loads(out)["folder"] == expected
    _, out, _ = airmeta("run", "small.yaml", "--resume", "--json")
    assert json.loads(out)["folder"] == "runs/small-3"


@pytest.mark.parametrize(
    "scheme", ["air", "ideal", "noiseless", "conventional", "digital", "local"]
)
def test_every_scheme_runs(airmeta, workdir, scheme):
    code, out, err = airmeta("run", "small.yaml", f"scheme={scheme}", "--json")
    assert code == 0, err
    final = json.loads(out)["schemes"][scheme]["final"]
    assert np.isfinite(final["heldout"]["loss"])


@pytest.mark.parametrize(
    "override",
    [
        "power.policy=truncated_inversion",
        "power.policy=full_inversion",
        "receiver.estimator=iht",
        "receiver.estimator=lmmse",
        "receiver.estimator=matched_filter",
        "receiver.denoiser=bimodal",
        "receiver.denoiser=soft_threshold",
        "sparsifier.kind=randomk",
        "sparsifier.kind=identity",
        "compression.rows=full",
        "channel.fading=rician",
        "channel.fading=awgn",
        "channel.snr_db=.inf",
        "channel.path_loss_spread_db=6",
        "learner.gradient=first_order",
        "learner.gradient=hessian_free",
        "learner.schedule=cosine",
        "learner.local_steps=3",
        "learner.tasks_per_step=2",
    ],
)
def test_every_setting_runs(airmeta, workdir, override):
    code, _, err = airmeta("run", "small.yaml", "rounds=3", override)
    assert code == 0, err


def test_conv4_on_glyphs_over_the_air(airmeta, workdir):
    code, out, err = airmeta(
        "run", "demo", "rounds=2", "model.width=4", "references=[]", "workers=1",
        "evaluation.final_tasks=10", "evaluation.tasks=10", "--json",
    )  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["schemes"]["air"]["final"]["heldout"]["accuracy"] > 0


def test_the_table_is_for_people(airmeta, workdir):
    _, out, _ = airmeta("run", "small.yaml", "references=[ideal]")
    assert "over the air" in out
    assert "ideal" in out
    assert "report: runs/small/report.html" in out


def test_evaluate_scores_the_checkpoint(airmeta, workdir):
    airmeta("run", "small.yaml")
    code, out, _ = airmeta("evaluate", "runs/small", "--tasks", "30", "--json")
    row = json.loads(out)
    final = read_rows(workdir / "runs/small/evaluations.jsonl")[-1]
    assert code == 0
    assert row["heldout"] == final["heldout"]
    _, out, _ = airmeta("evaluate", "runs/small", "--tasks", "30", "--adapt-steps", "0", "--json")
    assert json.loads(out)["heldout"]["loss"] != final["heldout"]["loss"]


def test_report_is_written_again(airmeta, workdir):
    airmeta("run", "small.yaml")
    (workdir / "runs/small/report.html").unlink()
    assert airmeta("report", "runs/small")[0] == 0
    assert (workdir / "runs/small/report.html").exists()


def test_help_shows_an_example_that_works(airmeta, workdir):
    _, out, _ = airmeta("run", "--help")
    assert "airmeta run demo" in " ".join(out.split())
    for command in ("demo", "run", "sweep", "evaluate", "report", "doctor", "list", "data"):
        code, out, _ = airmeta(command, "--help")
        assert code == 0
        assert "Example" in out


def test_doctor(airmeta, workdir):
    code, out, _ = airmeta("doctor", "--json")
    checks = json.loads(out)["checks"]
    assert code == 0, checks
    assert any(check["name"] == "torch" for check in checks)


def test_list_shows_experiments_and_benches(airmeta):
    code, out, _ = airmeta("list", "--json")
    assert code == 0
    listed = json.loads(out)
    assert {"demo", "lab"} <= set(listed["experiments"])
    assert {"virtual", "five-machines"} <= set(listed["benches"])
    code, out, _ = airmeta("list")
    assert code == 0
    assert all(name in out for names in listed.values() for name in names)
