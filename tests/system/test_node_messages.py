"""Control messages lost, repeated, overtaken or late: rounds suffer, the accounts do not."""

import random
import signal

import pytest
from accounts import Accounts
from benches import Lab, wait_for
from message_proxy import KINDS, PASS, Proxy

from testbed.nodes.coordinator_messages import Ack, Refused, SetGains, Stop, Welcome
from testbed.nodes.device_messages import Ask, Bye, Hello, Ready, Trouble
from testbed.nodes.receiver_messages import ReceiverHello

OF_NO_ROUND = {Hello, ReceiverHello, Welcome, Refused, Stop, Ask}  # or of one that is over
OWN_CLOCKS = {"preset": "pluto-tcxo", "error_budget": False}
SHORT = {"compute_s": 1.5, "answer_s": 0.5, "recover_s": 0.5, "rejoin_s": 3.0}


def completed(folder, rule, until=None, unaware=(), **deadlines):
    """The bench of a run that went on to its end with this between its nodes, and its accounts.

    It is stopped when `until` says so, if given. Nodes in `unaware` are not told of the end, and
    have to find out that nobody is there.
    """
    # With clocks of its own, a bench has sync beacons too.
    experiment = {"rounds": 1000, "iq": OWN_CLOCKS} if until else {}
    with (
        Lab(folder, experiment, deadlines, proxied=True) as lab,
        Proxy(lab.address, lab.hub_address, rule),
    ):
        nodes = lab.all_nodes()
        if until:
            wait_for(until)
            assert lab.start("stop", "run").ended() == 0
        assert nodes.pop("coordinator").ended() == (130 if until else 0)
        for name in ("rx", *lab.devices):
            assert nodes[name].ended() == (name in unaware)
            assert nodes[name].said.count("\nno coordinator for") == (name in unaware)
        nodes["air"].kill(signal.SIGTERM)
        assert nodes["air"].ended() == 0
        lab.assert_nothing_left()
        rounds = [row["round"] for row in lab.rounds()]
        assert rounds == list(range(len(rounds) if until else 6))
        accounts = Accounts(lab)
        accounts.assert_exact()
    return lab, accounts


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run in which nothing happened; not to be changed."""
    lab, _ = completed(tmp_path_factory.mktemp("undisturbed"), lambda node, message, up: PASS)
    return lab


def test_one_message_of_every_kind_is_lost(tmp_path):
    lost, unaware, last_round = set(), set(), -1

    def rule(node, message, up):
        nonlocal last_round
        kind = type(message.body)
        is_idle = kind is Ack and node == "rx"  # only a device has to ask after a lost one
        is_over = message.round == last_round and kind not in OF_NO_ROUND
        if node == "d0" or kind in lost or is_idle or is_over:
            return PASS
        lost.add(kind)
        last_round = message.round
        if kind is Stop:
            unaware.add(node)
        return ()

    unsaid = {Refused, Bye, Trouble, SetGains}  # the last: this bench has no plan of gains
    completed(tmp_path, rule, lambda: KINDS - lost <= {*unsaid, Stop}, unaware, **SHORT)
    assert KINDS - lost <= unsaid


def test_what_comes_twice_changes_nothing(tmp_path, undisturbed):
    lab, _ = completed(tmp_path, lambda node, message, up: (0.0, 0.0))
    for name in ("rounds.jsonl", "evaluations.jsonl", "checkpoint.npz"):
        assert (lab.run / name).read_bytes() == (undisturbed.run / name).read_bytes()
    assert lab.status()["refused"]["duplicate"] > 100


@pytest.mark.parametrize("seed", [0, 1])
def test_messages_overtake_each_other(tmp_path, seed):
    draw = random.Random(seed)

    def rule(node, message, up):
        delay_s = draw.uniform(0.001, 0.05) if draw.random() < 0.1 else 0.0
        again = (draw.uniform(0.1, 2.0),) if draw.random() < 0.05 else ()  # long after its time
        return (delay_s, *again)

    completed(tmp_path, rule, **SHORT)


def test_a_device_that_answers_late_is_left_out_and_remembers(tmp_path):
    def rule(node, message, up):
        is_late = node == "d1" and message.round == 2 and isinstance(message.body, Ready)
        return (4.0,) if is_late else PASS

    lab, accounts = completed(tmp_path, rule, compute_s=3.0)
    assert lab.faults("d1")["update"] >= 1
    assert 2 in accounts.rounds[1]
    assert not accounts.is_applied(1, 2)
    assert accounts.is_applied(1, 5)
    assert lab.rounds()[2]["participation"] <= 0.75
