import threading
from contextlib import contextmanager
from itertools import islice

import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fuzz_remote import attacked, malformed
from radio.address import endpoint
from radio.api import RadioError, RadioSettings
from radio.drivers.loopback import LoopbackRadio
from radio.drivers.remote import RemoteRadio
from radio.keys import Keys, allow, new_pairs
from radio.registry import RadioUri, open_radio
from radio.remote import RadioServer
from radio.wire import (
    MAX_SAMPLES,
    Now,
    Open,
    Receive,
    Refused,
    Reply,
    Request,
    decode_reply,
    encode,
)

BURST = np.full(100, 0.25, np.complex64)


class GatedRadio(LoopbackRadio):
    """A cable whose captures wait for a gate."""

    def __init__(self):
        super().__init__()
        self.gate, self.waiting, self.closed = (threading.Event() for _ in range(3))

    def receive(self, n, at=None):
        self.waiting.set()
        assert self.gate.wait(10)
        return super().receive(n, at)

    def close(self):
        super().close()
        self.closed.set()


class FaultyRadio(LoopbackRadio):
    closed = False

    def now(self):
        raise ZeroDivisionError("a fault of the driver")

    def close(self):
        super().close()
        self.closed = True


@contextmanager
def serving(radios, uri, **options):
    stop = threading.Event()
    with RadioServer(radios, uri, **options) as server:
        thread = threading.Thread(target=server.serve, args=(stop.is_set, 0.02))
        thread.start()
        try:
            yield server
        finally:
            stop.set()
            thread.join()


@pytest.fixture
def where(tmp_path):
    return f"zmq+ipc://{tmp_path}/r"


@contextmanager
def raw(uri):
    """Talk to a server without its client."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect(endpoint(RadioUri.parse(uri)))

        def say(*frames, patience_s=5):
            dealer.send_multipart(frames)
            assert dealer.poll(1_000 * patience_s), "no answer in time"
            return decode_reply(dealer.recv_multipart())

        yield say


def test_a_radio_without_a_name_is_the_only_one(where):
    with serving({"a": LoopbackRadio}, where), open_radio(where) as radio:
        assert radio.now() == 0
    with serving({"a": LoopbackRadio, "b": LoopbackRadio}, where):
        with pytest.raises(RadioError, match="no radio without a name is served here, but a, b"):
            open_radio(where)
        with pytest.raises(RadioError, match="no radio c is served here, but a, b"):
            open_radio(f"{where}?name=c")


def test_settings_and_refusals_are_those_of_the_radio(where):
    with serving({"a": LoopbackRadio}, where), open_radio(where) as radio:
        want = RadioSettings(tx_gain_db=-1 / 3, rx_gain_db=0.1)
        assert radio.configure(want) == radio.settings == want
        assert radio.caps == LoopbackRadio().caps
        radio.receive(100)
        with pytest.raises(RadioError) as far:
            radio.receive(10, at=99)
        with LoopbackRadio() as near, pytest.raises(RadioError) as local:
            near.receive(100)
            near.receive(10, at=99)
        assert str(far.value) == str(local.value)
        assert radio.now() == 100


def test_the_time_is_asked_for_only_where_a_capture_may_take_long(where, monkeypatch):
    asked, now = [], RemoteRadio.now
    monkeypatch.setattr(RemoteRadio, "now", lambda radio: asked.append(1) or now(radio))
    with serving({"a": LoopbackRadio}, where), open_radio(where) as radio:
        radio.receive(10, at=500_000)
        assert not asked
        radio.receive(10, at=2_000_000)
        assert len(asked) == 1


def test_one_client_at_a_time(where):
    with serving({"a": LoopbackRadio}, where), open_radio(where) as first:
        first.receive(10)
        with pytest.raises(RadioError, match="radio a is in use by another client"):
            open_radio(where)
        assert first.now() == 10
        first.close()
        with open_radio(where) as second:
            assert second.now() == 0


def test_a_client_whose_connection_ends_leaves_its_radio_muted(where):
    radios = []

    def fresh():
        radios.append(GatedRadio())
        return radios[-1]

    with serving({"a": fresh}, where):
        client = open_radio(where)
        client.transmit(BURST, at=1_000)
        assert radios[0]._pending
        client._disconnect()
        assert radios[0].closed.wait(5)
        assert not radios[0]._pending
        with open_radio(where) as again:
            assert again.now() == 0
        assert len(radios) == 2


def test_independent_radios_do_not_wait_for_each_other(where):
    slow = GatedRadio()
    with (
        serving({"slow": lambda: slow, "fast": LoopbackRadio}, where),
        open_radio(f"{where}?name=slow") as waits,
        open_radio(f"{where}?name=fast") as goes_on,
    ):
        capture = threading.Thread(target=waits.receive, args=(10,))
        capture.start()
        assert slow.waiting.wait(5)
        assert goes_on.receive(20).iq.size == 20
        assert capture.is_alive()
        slow.gate.set()
        capture.join()


def test_radios_of_one_air_take_turns(where):
    threads = set()

    class Seen(LoopbackRadio):
        def now(self):
            threads.add(threading.get_ident())
            return super().now()

    for serial, expected in ((True, 1), (False, 2)):
        threads.clear()
        with (
            serving({"a": Seen, "b": Seen}, where, serial=serial),
            open_radio(f"{where}?name=a") as a,
            open_radio(f"{where}?name=b") as b,
        ):
            a.now(), b.now()
        assert len(threads) == expected


def test_closing_mutes_a_radio_that_hangs(where):
    stuck = GatedRadio()
    with serving({"a": lambda: stuck}, where, grace_s=0.05), raw(where) as say:
        say(*encode(Request(1, None, Open())))
        stuck.transmit(BURST, at=1_000)
        frames = encode(Request(2, None, Receive(10, None)))
        with pytest.raises(AssertionError, match="no answer in time"):
            say(*frames, patience_s=0.2)
        assert stuck.waiting.wait(5)
    assert stuck.closed.is_set()
    assert not stuck._pending
    stuck.gate.set()


def test_a_radio_that_breaks_is_closed_and_the_others_go_on(where, caplog):
    broken = FaultyRadio()
    with (
        serving({"a": lambda: broken, "b": LoopbackRadio}, where),
        open_radio(f"{where}?name=b") as other,
    ):
        radio = open_radio(f"{where}?name=a")
        with pytest.raises(RadioError, match=r"radio a failed.*ZeroDivisionError: a fault of"):
            radio.now()
        with pytest.raises(RadioError, match="radio a is not this client's; open it first"):
            radio.receive(10)
        radio.close()
        assert other.now() == 0
    assert broken.closed
    assert "radio a failed" in caplog.text


def test_a_radio_that_cannot_be_opened_is_free_for_the_next(where):
    with serving({"a": lambda: open_radio("loopback://?delay=-1")}, where):
        for _ in range(2):
            with pytest.raises(RadioError, match="delay is 0 samples or more"):
                open_radio(where)


def test_captures_that_keep_a_radio_too_long_are_refused(where):
    with serving({"a": LoopbackRadio}, where, max_wait_s=0.01), open_radio(where) as radio:
        for n, at in ((10_001, None), (10, 10_000), (MAX_SAMPLES, None)):
            with pytest.raises(RadioError, match=r"allows|exceed"):
                radio.receive(n, at)
        with pytest.raises(RadioError, match=f"exceed the {MAX_SAMPLES}"):
            radio.receive(MAX_SAMPLES + 1)
        assert radio.now() == 0
        assert radio.receive(10_000).first_sample == 0


def test_only_who_opened_it_uses_a_radio(where):
    with serving({"a": LoopbackRadio}, where), open_radio(where) as radio, raw(where) as say:
        assert "not this client's" in say(*encode(Request(3, "a", Now()))).body.text
        assert say(b"nonsense").number is None
        assert radio.now() == 0


def test_a_message_too_large_ends_the_connection(where):
    radio = GatedRadio()
    with serving({"a": lambda: radio}, where), zmq.Context() as context:
        with context.socket(zmq.DEALER) as dealer:
            dealer.linger = 0
            dealer.connect(endpoint(RadioUri.parse(where)))
            dealer.send_multipart(encode(Request(1, "a", Open())))
            assert dealer.poll(5_000)
            dealer.send(bytes(8 * MAX_SAMPLES + 1), copy=False)
            assert radio.closed.wait(10)
        with raw(where) as say:
            assert isinstance(say(b"x").body, Refused)


def test_malformed_messages_change_nothing():
    with attacked() as (send, check):
        for frames in islice(malformed(seed=1), 300):
            send(frames)
        check()


@given(messages=st.lists(st.lists(st.binary(max_size=60), min_size=1, max_size=3), max_size=20))
def test_bytes_at_random_are_refused(random_bytes, messages):
    send, check = random_bytes
    for frames in messages:
        send(frames)
    check()


@pytest.fixture(scope="module")
def random_bytes():
    with attacked() as pair:
        yield pair


@pytest.mark.parametrize(
    "frames",
    [
        [b"nonsense"],
        encode(Reply(99, None, Refused("late"))),
        encode(Request(2, None, Now())),
    ],
)
def test_a_server_that_answers_nonsense_is_given_up(where, frames):
    with zmq.Context() as context, context.socket(zmq.ROUTER) as server:
        server.linger = 0
        server.bind(endpoint(RadioUri.parse(where)))

        def answer():
            identity, *_ = server.recv_multipart()
            server.send_multipart([identity, *frames])

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(RadioError, match=r"server at zmq\+ipc.* (sent what|answered)"):
            open_radio(where)
        thread.join()


def test_a_server_that_is_not_there_is_named(where):
    with pytest.raises(RadioError, match=r"zmq.ipc:///.*/r.* does not answer within 0.05 s"):
        open_radio(f"{where}?timeout_s=0.05")


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("zmq+tcp://127.0.0.1", "should be zmq.ipc://PATH or zmq.tcp://HOST:PORT"),
        ("zmq+ipc://", "should be zmq"),
        ("zmq+ipc://@everybody", "should be zmq"),
        ("zmq+ipc://*", "should be zmq"),
        ("ipc:///tmp/r", "should be zmq"),
        ("zmq+tcp://0.0.0.0:*", "needs keys"),
    ],
)
def test_wrong_addresses_are_refused(uri, why):
    with pytest.raises(RadioError, match=why):
        RadioServer({"a": LoopbackRadio}, uri)
    with pytest.raises(RadioError, match=why):
        RemoteRadio(RadioUri.parse(uri))


def test_addresses_that_cannot_be_bound_are_named():
    with pytest.raises(RadioError, match="no radio can be served at ipc:///no/such/folder/r"):
        RadioServer({"a": LoopbackRadio}, "zmq+ipc:///no/such/folder/r")


def test_files_and_living_servers_are_left_alone(where, tmp_path):
    (tmp_path / "r").write_text("mine")
    with pytest.raises(RadioError, match="is a file already"):
        RadioServer({"a": LoopbackRadio}, where)
    assert (tmp_path / "r").read_text() == "mine"
    (tmp_path / "r").unlink()
    with serving({"a": LoopbackRadio}, where), open_radio(where) as radio:
        assert (tmp_path / "r").stat().st_mode & 0o777 == 0o600
        with pytest.raises(RadioError, match="another server is at"):
            RadioServer({"a": LoopbackRadio}, where)
        assert radio.now() == 0
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_over_tcp_on_this_machine(host):
    try:
        server = serving({"a": LoopbackRadio}, f"zmq+tcp://{host}:*")
        with server as served, open_radio(served.uri) as radio:
            assert radio.transmit(BURST).started_at == 0
            np.testing.assert_array_equal(radio.receive(100).iq, BURST)
    except RadioError as error:
        if host == "[::1]" and "no radio can be served" in str(error):
            pytest.skip("this machine has no IPv6")
        raise


def test_only_known_keys_get_something(tmp_path, caplog):
    here, there, stranger = (tmp_path / name for name in ("here", "there", "stranger"))
    new_pairs(here, ["lab"])
    new_pairs(there, ["d3"])
    new_pairs(stranger, ["d3", "lab"])
    allow(here, there / "d3.public")
    allow(there, here / "lab.public")
    opened = []

    def fresh():
        opened.append(LoopbackRadio())
        return opened[-1]

    keys = Keys.read(here / "lab.secret")
    with serving({"a": fresh}, "zmq+tcp://0.0.0.0:*", keys=keys) as served:
        uri = served.uri.replace("0.0.0.0", "127.0.0.1")
        with open_radio(f"{uri}?keys={there}/d3.secret&server=lab") as radio:
            assert radio.now() == 0
        assert not caplog.records
        # A client that believes another server, one of another key, and one of none.
        (stranger / "lab.public").rename(there / "other.public")
        (stranger / "lab.public").write_text(keys.public)
        for options in (
            f"?keys={there}/d3.secret&server=other&timeout_s=1",
            f"?keys={stranger}/d3.secret&server=lab&timeout_s=1",
            "?timeout_s=1",
        ):
            with pytest.raises(RadioError, match=r"does not answer|does not accept"):
                open_radio(uri + options)
        assert len(opened) == 1
        unknown = (stranger / "d3.public").read_text().strip()
        assert f"key {unknown} from " in caplog.text
        assert "127.0.0.1 is not allowed" in caplog.text


def test_wrong_keys_are_named(tmp_path, where):
    new_pairs(tmp_path, ["d3"])
    own = f"keys={tmp_path}/d3.secret"
    for options, why in (
        (f"keys={tmp_path}/none.secret&server=d3", "none.secret: is missing"),
        (f"keys={tmp_path}/d3.public&server=d3", "should be the file NAME.secret"),
        ("keys=%00.secret&server=d3", "is no name"),
        ("keys=%00/d3.secret&server=d3", "option keys"),
        (f"{own}&server=lab", "run `airmeta keys allow lab.public DIR`"),
        (own, "needs both keys and server"),
        ("server=d3", "needs both keys and server"),
    ):
        with pytest.raises(RadioError, match=why):
            open_radio(f"{where}?{options}")


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan"), float("inf")])
def test_timeouts_are_positive(where, timeout_s):
    with pytest.raises(RadioError, match="timeout_s should be above 0"):
        RemoteRadio(RadioUri.parse(where), timeout_s=timeout_s)
