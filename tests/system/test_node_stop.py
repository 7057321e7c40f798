"""Ctrl-C and `airmeta stop`, wherever a run is: all ends at once, and goes on as if nothing was."""

import json
import signal
import time

import pytest
from benches import Lab, session, wait_for

SAME_BYTES = ("rounds.jsonl", "evaluations.jsonl", "summary.json", "checkpoint.npz")
# Long enough to be met in each of its phases, and of one device that takes its time.
LONG = {
    "learner": {"adapt_lr": 0.01, "meta_lr": 0.001, "local_steps": 20},
    "evaluation": {"every": 4, "tasks": 4, "final_tasks": 2500},
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The files of a run that nobody stopped."""
    with Lab(tmp_path_factory.mktemp("uninterrupted"), LONG) as lab:
        assert lab.up().ended() == 0
        return {name: (lab.run / name).read_bytes() for name in SAME_BYTES}


def test_a_run_that_is_stopped_everywhere_ends_as_if_it_had_not_been(tmp_path, uninterrupted):
    def gathers(lab):
        return lab.status().get("phase") == "gather"

    def computes(lab):
        return len(lab.rounds()) >= 1

    def is_on_air(lab):
        time.sleep(0.15)  # or near it: wherever it is, it has to end
        return len(lab.rounds()) >= 2

    def scores(lab):
        return lab.status().get("phase") == "ended" and len(lab.rounds()) == 6

    moments = [
        (gathers, lambda up: up.signal_all(signal.SIGINT)),
        (computes, lambda up: up.kill(signal.SIGTERM)),
        (is_on_air, lambda up: up.signal_all(signal.SIGINT)),
        (scores, lambda up: up.kill(signal.SIGINT)),
    ]
    seconds = {}
    with Lab(tmp_path, LONG) as lab:
        for moment, end in moments:
            up = lab.up("--resume")
            wait_for(lambda moment=moment: moment(lab), every=0.002)
            begun = time.monotonic()
            end(up)
            wait_for(lambda up=up: not session(up.pid))
            seconds[moment.__name__] = round(time.monotonic() - begun, 2)
            assert up.ended() == 130, up.said
            assert up.said.count("--resume --out run goes on") == 1
            lab.assert_nothing_left()
        print(seconds)
        assert lab.up("--resume").ended() == 0
        lab.assert_nothing_left()
        found = {name: (lab.run / name).read_bytes() for name in SAME_BYTES}
        assert {n: found[n] == uninterrupted[n] for n in found} == dict.fromkeys(found, True)


def test_how_a_run_stands(tmp_path):
    with Lab(tmp_path, {"rounds": 200}) as lab:
        up = lab.up()
        wait_for(lambda: len(lab.rounds()) >= 2)
        shown, told = lab.start("status", "run", "--once"), lab.start("status", "run", "--json")
        assert shown.ended() == told.ended() == 0
        assert "round" in shown.said
        assert all(name in shown.said for name in ("rx", *lab.devices))
        status = json.loads(told.said)
        assert status["running"]
        assert status["nodes"]["d0"]["applied"] >= 1
        assert lab.start("stop", "run").ended() == 0
        assert up.ended() == 130
        lab.assert_nothing_left()
        again = lab.start("stop", "run")
        assert again.ended() == 2
        assert "nothing is running there" in again.said
        assert not json.loads(_said(lab, "status", "run", "--json"))["running"]


def test_whoever_is_stopped_closes_its_radio(tmp_path):
    """Closing is how a radio is muted; the air says which clients left without."""
    with Lab(tmp_path, {"rounds": 1000}) as lab:
        nodes = lab.all_nodes()
        wait_for(lambda: len(lab.rounds()) >= 2)
        air = nodes.pop("air")
        for node in nodes.values():
            node.kill(signal.SIGINT)
        ends = {name: node.ended() for name, node in nodes.items()}
        assert ends.pop("coordinator") == 130
        assert set(ends.values()) <= {0, 130}  # 0: the coordinator told it first
        air.kill(signal.SIGINT)
        assert air.ended() == 0
        lab.assert_nothing_left()
        assert "has gone" not in air.said


def _said(lab, *arguments):
    command = lab.start(*arguments)
    command.ended()
    return command.said
