"""A device that hangs, a full disk, a name that is taken, other code, a machine that slept."""

import re
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest
import yaml
from accounts import Accounts
from benches import REPOSITORY, Lab, wait_for

import testbed
from testbed.nodes.code_hash import PACKAGES

SHORT = {"compute_s": 3.0, "answer_s": 2.0, "recover_s": 5.0}


def finished(lab, nodes, code=0):
    """The run is complete, or stopped with 130; all have ended, and the accounts are exact."""
    assert nodes.pop("coordinator").ended() == code
    air = nodes.pop("air")
    assert {name: node.ended() for name, node in nodes.items()} == dict.fromkeys(nodes, 0)
    air.kill(signal.SIGTERM)
    lab.assert_nothing_left()
    rounds = [row["round"] for row in lab.rounds()]
    assert rounds == list(range(len(rounds)))
    accounts = Accounts(lab)
    accounts.assert_exact()
    return accounts


def done(lab, rounds):
    wait_for(lambda: len(lab.rounds()) >= rounds)


def stopped_with(lab, nodes, name):
    """The accounts of a run that is stopped once a node has taken part again."""
    applied = lab.status()["nodes"][name]["applied"]
    wait_for(lambda: lab.status()["nodes"][name]["applied"] > applied)
    assert lab.start("stop", "run").ended() == 0
    return finished(lab, nodes, 130)


def test_a_device_that_hangs_is_left_out_and_comes_back(tmp_path):
    with Lab(tmp_path, {"rounds": 1000}, SHORT) as lab:
        nodes = lab.all_nodes()
        done(lab, 2)
        nodes["d3"].kill(signal.SIGSTOP)
        wait_for(lambda: any(row["participation"] < 1 for row in lab.rounds()))
        seen = len(lab.rounds())
        done(lab, seen + 4)  # nobody waits for it any more
        nodes["d3"].kill(signal.SIGCONT)
        accounts = stopped_with(lab, nodes, "d3")
        assert lab.faults("d3")
        assert accounts.rounds[3][-1] > seen


def test_a_device_whose_disk_is_full_remembers_what_it_had(tmp_path):
    with Lab(tmp_path, {"rounds": 1000}, SHORT) as lab:
        nodes = lab.all_nodes()
        done(lab, 2)
        resource.prlimit(nodes["d1"].pid, resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        wait_for(lambda: lab.faults("d1").get("update", 0) >= 1)
        free = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(nodes["d1"].pid, resource.RLIMIT_FSIZE, free)
        accounts = stopped_with(lab, nodes, "d1")
        assert len(accounts.rounds[1]) < len(accounts.rounds[0])


def test_a_machine_that_slept_goes_on(tmp_path):
    with Lab(tmp_path, {"rounds": 12}, {"compute_s": 1.5, "answer_s": 1.0}) as lab:
        nodes = lab.all_nodes()
        done(lab, 3)
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for node in nodes.values():
                node.signal_all(number)
            if number == signal.SIGSTOP:
                time.sleep(2.0)  # longer than any deadline
        finished(lab, nodes)


def test_no_node_asks_what_time_of_day_it_is():
    for path in [*Path(testbed.__file__).parent.glob("nodes/*.py"), Path("testbed/supervisor.py")]:
        assert not re.search(r"time\.time\(|datetime|time_ns|CLOCK_REALTIME", path.read_text()), (
            path
        )


def test_of_two_devices_with_one_name_the_second_is_turned_away(tmp_path):
    with Lab(tmp_path) as lab:
        swapped = yaml.safe_load((tmp_path / "bench.yaml").read_text())
        air = swapped["air"]
        swapped["devices"] = [{"name": f"d{n}", "radio": f"{air}?name=d{5 - n}"} for n in (2, 3)]
        lab.write("swapped.yaml", swapped)
        air, coordinator, first = lab.air(), lab.coordinator(), lab.device("d2")
        wait_for(lambda: lab.status() and lab.status()["nodes"]["d2"]["here"])
        busy, rival = lab.device("d2"), lab.device("d2", "swapped.yaml")
        assert (busy.ended(), rival.ended()) == (2, 2)
        assert busy.said == "airmeta: radio d2 is in use by another client; try later\n"
        refusal = "the coordinator refuses this node: another node is connected as d2"
        assert rival.said.count(f"\n{refusal}\n") == 1
        nodes = {"air": air, "coordinator": coordinator, "d2": first, "rx": lab.receiver()}
        nodes |= {name: lab.device(name) for name in ("d0", "d1", "d3")}
        accounts = finished(lab, nodes)
        assert accounts.rounds[2] == list(range(6))
        assert lab.status()["refused"] == {"rival": 1}


@pytest.mark.parametrize("welcomed", [False, True], ids=["before the run", "in the run"])
def test_a_device_with_other_code_is_refused(tmp_path, welcomed):
    with Lab(tmp_path, {"rounds": 8}) as lab:
        nodes = {} if welcomed else {"air": lab.air(), "coordinator": lab.coordinator()}
        if welcomed:
            nodes = lab.all_nodes()
            done(lab, 2)
            # Not SIGKILL: what that may leave half-written is removed by its next start only.
            nodes["d1"].kill(signal.SIGTERM)
            assert nodes.pop("d1").ended() == 130
        stranger = lab.device("d1", code=other_code(tmp_path))
        refusal = "d1 runs other code than the coordinator; install the same revision"
        assert stranger.ended() == 2
        assert stranger.said.count(f"\nthe coordinator refuses this node: {refusal}\n") == 1
        if welcomed:
            finished(lab, nodes)
            assert lab.faults("d1")["refused"] == 1
            return
        assert nodes["coordinator"].ended() == 2
        assert nodes["coordinator"].said.count(f"\nairmeta: {refusal}\n") == 1
        nodes["air"].kill(signal.SIGTERM)
        lab.assert_nothing_left()


def other_code(folder):
    """A copy of the packages that differs in a comment."""
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, folder / "other" / package)
    with (folder / "other/testbed/schemes.py").open("a") as file:
        file.write("# other\n")
    return folder / "other"


def test_a_device_of_a_run_with_another_configuration_is_refused(tmp_path):
    """It was welcomed to one run; the coordinator comes back with another one."""
    with Lab(tmp_path, {"rounds": 200}) as lab:
        nodes = lab.all_nodes()
        done(lab, 2)
        nodes["coordinator"].kill()
        nodes["coordinator"].ended()
        again = lab.coordinator("--resume", "learner.meta_lr=0.04")
        assert again.ended() == 2
        assert "holds a run of another configuration" in again.said
        other = lab.coordinator("--out", "other", "learner.meta_lr=0.04")
        assert other.ended() == 2
        refusal = "belongs to a run of another experiment; restart it"
        assert other.said.count(refusal) >= 1
        for name in ("rx", *lab.devices):
            nodes[name].kill(signal.SIGTERM)
        ends = {name: nodes[name].ended() for name in ("rx", *lab.devices)}
        assert set(ends.values()) <= {0, 2, 130}
        assert 2 in ends.values()
        nodes["air"].kill(signal.SIGTERM)
        lab.assert_nothing_left()
