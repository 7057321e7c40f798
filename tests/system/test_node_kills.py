"""Devices and receiver are killed at the worst moments: the run goes on, and nothing is lost."""

import signal

import pytest
from accounts import Accounts
from benches import Lab, wait_for
from message_proxy import PASS, Proxy

from testbed.nodes.coordinator_messages import Ack, HearBurst, Sound
from testbed.nodes.device_messages import Armed


class Killer:
    """A rule that kills a node once, when a message of a round passes."""

    def __init__(self, victim, kind, round_index, about=None):
        self.victim, self.kind, self.round = victim, kind, round_index
        self.about = about or victim
        self.nodes = {}
        self.done = False

    def __call__(self, node, message, up):
        at = type(message.body), message.round, node
        if not self.done and at == (self.kind, self.round, self.about):
            self.done = True
            command = self.nodes[self.victim]
            command.kill()
            wait_for(lambda: command.code is not None)
        return PASS


@pytest.mark.parametrize(
    ("victim", "kind", "about"),
    [
        pytest.param("d2", Sound, "d2", id="a device before sounding"),
        pytest.param("d2", Armed, "d2", id="a device after armed"),
        pytest.param("d2", HearBurst, "rx", id="a device during capture"),
        pytest.param("d2", Ack, "d2", id="a device before ack"),
        pytest.param("rx", HearBurst, "rx", id="the receiver"),
    ],
)
def test_a_killed_node_is_started_again(tmp_path, victim, kind, about):
    killer = Killer(victim, kind, 2, about)
    with Lab(tmp_path, proxied=True) as lab, Proxy(lab.address, lab.hub_address, killer):
        killer.nodes = nodes = lab.all_nodes()
        assert nodes[victim].ended() == -signal.SIGKILL
        nodes[victim] = lab.receiver() if victim == "rx" else lab.device(victim)
        assert nodes.pop("coordinator").ended() == 0
        nodes.pop("air").kill(signal.SIGTERM)
        assert {name: node.ended() for name, node in nodes.items()} == dict.fromkeys(nodes, 0)
        lab.assert_nothing_left()
        assert [row["round"] for row in lab.rounds()] == list(range(6))
        assert not any(row["failed"] for row in lab.rounds())
        accounts = Accounts(lab)
        accounts.assert_exact()
        status = lab.status()
        assert status["end"] == "the run is over"
        assert status["nodes"][victim]["faults"]["lost"] == 1
