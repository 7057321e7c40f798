import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import zmq

from fl_core.errors import InputError
from radio.api import RadioError
from radio.keys import Keys, new_pairs
from testbed.nodes.coordinator_messages import TO_DEVICE, Ack, Refused
from testbed.nodes.device_messages import FROM_DEVICE, Ask, Ready
from testbed.nodes.hub import Hub
from testbed.nodes.messages import Message, encode
from testbed.nodes.receiver_messages import FROM_RECEIVER
from testbed.nodes.spoke import Spoke
from testbed.nodes.transport import Denied, Joined, Lost

PEERS = {"d0": FROM_DEVICE, "d1": FROM_DEVICE, "rx": FROM_RECEIVER}
PATIENCE_S = 20.0  # until a test gives up; nothing takes as long


@pytest.fixture(scope="module")
def keyring(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    new_pairs(folder, ["c", "d0", "d1", "rx", "guest"])
    return lambda name: Keys.read(folder / f"{name}.secret")


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=["ipc", "tcp", "tcp with keys"])
def bench(request, stack, tmp_path, keyring):
    """A hub, and what opens a spoke to it."""
    keys = keyring if "keys" in request.param else lambda name: None
    address = f"ipc://{tmp_path}/hub" if request.param == "ipc" else "tcp://127.0.0.1:*"
    hub = stack.enter_context(Hub(address, "c", PEERS, keys("c"), heartbeat_s=0.05))

    def spoke(name, **options):
        return stack.enter_context(
            Spoke(hub.address, name, "c", TO_DEVICE, keys(name), heartbeat_s=0.05, **options)
        )

    return hub, spoke


def wait_for(end, wanted, others=()):
    """The next event that `wanted` takes; others are polled meanwhile."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for other in others:
            assert not isinstance(other.receive(0), Message)
        event = end.receive(0.01)
        if event is not None and wanted(event):
            return event
    raise AssertionError(f"nothing came; {end.refused}")


def join(hub, spoke):
    wait_for(spoke, lambda e: isinstance(e, Joined), [hub])


def says(body):
    return lambda event: isinstance(event, Message) and event.body == body


def is_type(kind):
    return lambda event: isinstance(event, kind)


def test_there_and_back(bench):
    hub, spoke = bench
    device = spoke("d0", first_number=40)
    assert not hub.send("d0", Ack(True), "r", 0)
    join(hub, device)
    assert device.send(Ready(2.0, 0.5), "r", 3)
    assert wait_for(hub, is_type(Message)) == Message("r", 3, "d0", 40, Ready(2.0, 0.5))
    assert hub.connected == {"d0"}
    assert hub.send("d0", Ack(True), "r", 3)
    answer = wait_for(device, is_type(Message))
    assert (answer.sender, answer.round, answer.body) == ("c", 3, Ack(True))
    assert hub.receive(0.2) is None
    assert not hub.refused
    assert not device.refused


def test_a_node_that_leaves_is_noticed_and_may_return(bench):
    hub, spoke = bench
    device = spoke("d0")
    for _ in range(3):
        join(hub, device)
        device.send(Ask(), "r", 0)
        wait_for(hub, says(Ask()))
        device.close()
        assert wait_for(hub, is_type(Lost)) == Lost("d0")
        assert not hub.send("d0", Ack(True), "r", 0)
        assert hub.connected == frozenset()
        device = spoke("d0")


def test_a_hub_that_leaves_is_noticed_and_found_again(stack, tmp_path):
    address = f"ipc://{tmp_path}/hub"
    device = stack.enter_context(Spoke(address, "d0", "c", TO_DEVICE))
    assert not device.send(Ask(), "r", 0)  # kept for nobody
    for index in range(2):
        with Hub(address, "c", PEERS) as hub:
            join(hub, device)
            assert device.send(Ready(float(index), 0.5), "r", index)
            assert wait_for(hub, is_type(Message)).round == index
        assert wait_for(device, is_type(Lost)) == Lost("c")
        assert not device.send(Ask(), "r", 0)


def test_a_killed_process_is_noticed(stack, tmp_path):
    hub = stack.enter_context(Hub(f"ipc://{tmp_path}/hub", "c", PEERS, heartbeat_s=0.05))
    code = f"""
from testbed.nodes.device_messages import Ask
from testbed.nodes.coordinator_messages import TO_DEVICE
from testbed.nodes.spoke import Spoke
spoke = Spoke({hub.address!r}, "d0", "c", TO_DEVICE)
spoke.receive(20)
spoke.send(Ask(), "r", 0)
spoke.receive(60)
"""
    child = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_for(hub, says(Ask()))
        os.kill(child.pid, signal.SIGKILL)
        assert wait_for(hub, is_type(Lost)) == Lost("d0")
    finally:
        child.kill()
        child.wait()


def test_a_second_node_of_one_name_is_turned_away(bench):
    hub, spoke = bench
    first, second = spoke("d0"), spoke("d0")
    join(hub, first)
    first.send(Ask(), "r", 0)
    wait_for(hub, says(Ask()))
    join(hub, second)
    second.send(Ready(1.0, 0.5), "r", 0)
    refusal = wait_for(second, is_type(Message), [hub])
    assert refusal.body == Refused("another node is connected as d0")
    assert hub.refused["rival"] == 1
    hub.send("d0", Ack(True), "r", 0)
    wait_for(first, says(Ack(True)))
    first.close()
    second.send(Ready(2.0, 0.5), "r", 0)
    assert wait_for(hub, is_type(Message)).body == Ready(2.0, 0.5)


def test_names_that_are_not_of_the_bench(stack, tmp_path):
    hub = stack.enter_context(Hub(f"ipc://{tmp_path}/hub", "c", PEERS))
    guest = stack.enter_context(Spoke(hub.address, "guest", "c", TO_DEVICE))
    join(hub, guest)
    guest.send(Ask(), "r", 0)
    refusal = wait_for(guest, is_type(Message), [hub])
    assert refusal.body == Refused("no node of this bench is called guest")
    assert hub.refused == {"stranger": 1}
    assert hub.connected == frozenset()


class Raw:
    """Somebody who speaks ZMQ to a hub, and what he likes; with keys, his own."""

    def __init__(self, address, keys=None, server_key=None):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        if keys is not None:
            self.socket.curve_publickey = keys.public.encode()
            self.socket.curve_secretkey = keys.secret.encode()
            self.socket.curve_serverkey = server_key.encode()
        self.socket.connect(address)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.socket.close()
        self.context.term()

    def say(self, sender, body, number):
        self.socket.send(encode(Message("r", 0, sender, number, body)))


def refused(hub, reason, count=1):
    deadline = time.monotonic() + PATIENCE_S
    while hub.refused[reason] < count and time.monotonic() < deadline:
        assert not isinstance(hub.receive(0.01), Message)
    assert hub.refused[reason] >= count


def test_one_key_speaks_for_one_name(stack, keyring):
    hub = stack.enter_context(Hub("tcp://127.0.0.1:*", "c", PEERS, keyring("c")))
    raw = stack.enter_context(Raw(hub.address, keyring("d1"), keyring("c").public))
    raw.say("d0", Ready(1.0, 0.5), 0)
    refused(hub, "impersonation")
    raw.say("rx", Ready(1.0, 0.5), 1)
    refused(hub, "impersonation", 2)
    assert hub.connected == frozenset()
    raw.say("d1", Ready(1.0, 0.5), 2)
    assert wait_for(hub, is_type(Message)).sender == "d1"


def test_without_keys_a_connection_keeps_its_name(stack, tmp_path):
    hub = stack.enter_context(Hub(f"ipc://{tmp_path}/hub", "c", PEERS))
    raw = stack.enter_context(Raw(hub.address))
    raw.say("d1", Ready(1.0, 0.5), 0)
    wait_for(hub, is_type(Message))
    raw.say("d0", Ready(1.0, 0.5), 1)
    refused(hub, "impersonation")


@pytest.mark.parametrize("whose", ["nobody's", "not of the bench", "another's"])
def test_a_wrong_key_gets_nothing(stack, keyring, tmp_path, whose, caplog):
    hub = stack.enter_context(Hub("tcp://127.0.0.1:*", "c", PEERS, keyring("c")))
    name = "guest" if whose == "not of the bench" else "d0"
    keys = None if whose == "nobody's" else keyring(name)
    if whose == "another's":
        new_pairs(tmp_path, ["d0"])
        keys = replace(keys, secret=Keys.read(tmp_path / "d0.secret").secret)
    spoke = stack.enter_context(Spoke(hub.address, name, "c", TO_DEVICE, keys))
    denied = wait_for(spoke, is_type(Denied), [hub])
    assert denied.final or keys is None  # then the hub may hang up before it says why
    assert not spoke.send(Ready(1.0, 0.5), "r", 0)
    refused(hub, "handshake" if keys is None else "key")
    assert "key" in caplog.text
    if keys is not None:
        assert keys.secret not in caplog.text
        assert keys.public in caplog.text
    assert hub.receive(0.1) is None


def test_a_hub_with_another_key_is_not_believed(stack, keyring, tmp_path):
    new_pairs(tmp_path, ["c"])
    impostor = Keys.read(tmp_path / "c.secret")
    hub = stack.enter_context(Hub("tcp://127.0.0.1:*", "c", PEERS, impostor))
    spoke = stack.enter_context(Spoke(hub.address, "d0", "c", TO_DEVICE, keyring("d0")))
    wait_for(spoke, is_type(Denied), [hub])
    assert not spoke.send(Ready(1.0, 0.5), "r", 0)


def test_what_is_no_message_is_counted_and_dropped(stack, tmp_path):
    hub = stack.enter_context(Hub(f"ipc://{tmp_path}/hub", "c", PEERS))
    raw = stack.enter_context(Raw(hub.address))
    raw.socket.send(b"nothing")
    raw.socket.send_multipart([b"two", b"parts"])
    raw.socket.send(b"")
    raw.say("d0", Ack(True), 0)  # not for a coordinator
    refused(hub, "malformed", 4)
    raw.say("rx", Ready(1.0, 0.5), 1)  # said by devices only
    refused(hub, "malformed", 5)
    raw.say("d0", Ready(1.0, 0.5), 2)
    assert wait_for(hub, is_type(Message)).number == 2


def test_a_message_is_taken_once(stack, tmp_path):
    hub = stack.enter_context(Hub(f"ipc://{tmp_path}/hub", "c", PEERS))
    raw = stack.enter_context(Raw(hub.address))
    for number in (5, 6, 5, 4, 4, 7):  # twice and out of order, as a network may have it
        raw.say("d0", Ready(float(number), 0.5), number)
    taken = [wait_for(hub, is_type(Message)).number for _ in range(4)]
    assert taken == [5, 6, 4, 7]
    refused(hub, "duplicate", 2)


def test_too_large_a_message_ends_the_connection(stack, tmp_path):
    hub = stack.enter_context(
        Hub(f"ipc://{tmp_path}/hub", "c", {"d0": FROM_DEVICE}, heartbeat_s=0.05)
    )
    raw = stack.enter_context(Raw(hub.address))
    raw.say("d0", Ready(1.0, 0.5), 0)
    wait_for(hub, is_type(Message))
    raw.socket.send(b"x" * 10_000)
    assert wait_for(hub, is_type(Lost)) == Lost("d0")


def test_a_flood_is_logged_in_few_lines(stack, tmp_path, caplog):
    hub = stack.enter_context(Hub(f"ipc://{tmp_path}/hub", "c", PEERS))
    raw = stack.enter_context(Raw(hub.address))
    for count in range(1, 201):
        raw.socket.send(b"nothing")
        if count % 50 == 0:
            refused(hub, "malformed", count)
    assert len(caplog.records) == 8  # 1, 2, 4 … 128


def test_a_node_that_does_not_read_is_no_wait(stack, tmp_path):
    hub = stack.enter_context(Hub(f"ipc://{tmp_path}/hub", "c", PEERS))
    raw = stack.enter_context(Raw(hub.address))
    raw.say("d0", Ready(1.0, 0.5), 0)
    wait_for(hub, is_type(Message))
    long = Refused("x" * 500)
    sent = 0
    while hub.send("d0", long, "r", 0):
        sent += 1
        assert sent < 100_000  # queues are bounded
    assert hub.connected == {"d0"}


def test_fifty_spokes(stack, tmp_path):
    names = [f"d{i}" for i in range(50)]
    hub = stack.enter_context(Hub(f"ipc://{tmp_path}/hub", "c", dict.fromkeys(names, FROM_DEVICE)))
    spokes = {n: stack.enter_context(Spoke(hub.address, n, "c", TO_DEVICE)) for n in names}
    for spoke in spokes.values():
        join(hub, spoke)
    for index in range(5):
        for i, spoke in enumerate(spokes.values()):
            assert spoke.send(Ready(float(i), 0.5), "r", index)
        taken = [wait_for(hub, is_type(Message)) for _ in names]
        assert {(m.sender, m.body.energy) for m in taken} == {
            (f"d{i}", float(i)) for i in range(50)
        }
        assert all(hub.send(name, Ack(True), "r", index) for name in names)
        for spoke in spokes.values():
            assert wait_for(spoke, is_type(Message)).round == index
    assert hub.connected == set(names)
    assert not hub.refused


def test_nothing_is_left(tmp_path):
    def descriptors():
        return set(Path("/proc/self/fd").iterdir())

    before = descriptors()
    for _ in range(3):
        address = f"ipc://{tmp_path}/hub"
        with Hub(address, "c", PEERS) as hub, Spoke(address, "d0", "c", TO_DEVICE) as spoke:
            join(hub, spoke)
            spoke.send(Ask(), "r", 0)
        assert list(tmp_path.iterdir()) == []
    assert descriptors() == before


def test_a_socket_file_of_another_is_left_alone(tmp_path):
    address = f"ipc://{tmp_path}/hub"
    with Hub(address, "c", PEERS) as hub:
        with pytest.raises(InputError, match="another process listens here"):
            Hub(address, "c", PEERS)
        with Spoke(address, "d0", "c", TO_DEVICE) as spoke:
            join(hub, spoke)
    (tmp_path / "hub").touch()  # as a killed process leaves one
    with Hub(address, "c", PEERS):
        pass
    assert list(tmp_path.iterdir()) == []


def test_other_hosts_need_keys():
    for open_it in (
        lambda: Hub("tcp://0.0.0.0:*", "c", PEERS),
        lambda: Spoke("tcp://10.0.0.1:5555", "d0", "c", TO_DEVICE),
    ):
        with pytest.raises(RadioError, match="needs keys"):
            open_it()


def test_with_keys_every_interface_may_be_bound(keyring):
    with Hub("tcp://0.0.0.0:*", "c", PEERS, keyring("c")) as hub:
        assert hub.address.startswith("tcp://0.0.0.0:")


def test_addresses_that_are_none(stack, keyring, tmp_path):
    with pytest.raises(RadioError, match="should be ipc://PATH or tcp://HOST:PORT"):
        Hub("d0", "c", PEERS)
    with pytest.raises(InputError, match="cannot be bound"):
        Hub(f"ipc://{tmp_path}/no/such/folder", "c", PEERS)
    with pytest.raises(InputError, match="cannot be bound"):
        Hub(f"ipc://{tmp_path}/{'x' * 120}", "c", PEERS)
    first = stack.enter_context(Hub("tcp://127.0.0.1:*", "c", PEERS))
    with pytest.raises(InputError, match="cannot be bound"):
        Hub(first.address, "c", PEERS)
    with pytest.raises(InputError, match="these are the keys of d0"):
        Spoke("tcp://127.0.0.1:1", "d1", "c", TO_DEVICE, keyring("d0"))
    with pytest.raises(RadioError, match="airmeta keys allow boss"):
        Spoke("tcp://127.0.0.1:1", "d0", "boss", TO_DEVICE, keyring("d0"))
