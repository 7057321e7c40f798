import pytest

from radio.address import endpoint, require_address
from radio.api import RadioError
from radio.registry import RadioUri

HERE = ("ipc:///tmp/x", "ipc://x", "tcp://127.0.0.1:5555", "tcp://127.3.2.1:*", "tcp://[::1]:1",
        "tcp://localhost:*", "tcp://[::ffff:127.0.0.1]:1")  # fmt: skip
BEYOND = ("tcp://*:0", "tcp://0.0.0.0:*", "tcp://10.0.0.1:5555", "tcp://eth0:1", "tcp://[::]:*", "tcp://[::ffff:10.0.0.1]:1",
          "tcp://127.evil.org:1", "tcp://127.0.0.1;10.0.0.1:1")  # fmt: skip
NONE = ("", "d0", "udp://127.0.0.1:1", "tcp://127.0.0.1", "tcp://:1", "tcp://a/b:1", "ipc://",
        "inproc://x", "ipc://@x", "ipc://*")  # fmt: skip


@pytest.mark.parametrize("address", HERE)
def test_on_this_machine_no_keys_are_needed(address):
    for keyed in (False, True):
        require_address(address, keyed)
    assert endpoint(RadioUri.parse(f"zmq+{address}")) == address


@pytest.mark.parametrize("address", BEYOND)
def test_beyond_it_they_are(address):
    require_address(address, keyed=True)
    with pytest.raises(RadioError, match="needs keys; make them with `airmeta keys new"):
        require_address(address, keyed=False)


@pytest.mark.parametrize("address", NONE)
def test_what_is_no_address(address):
    for keyed in (False, True):
        with pytest.raises(RadioError, match=r"should be ipc://PATH or tcp://HOST:PORT"):
            require_address(address, keyed)


@pytest.mark.parametrize("uri", ["tcp://127.0.0.1:1", "zmq://127.0.0.1:1", "zmq+udp://x:1"])
def test_uris_that_are_not_of_zmq(uri):
    with pytest.raises(RadioError, match=r"should be zmq\+ipc://PATH or zmq\+tcp://HOST:PORT"):
        endpoint(RadioUri.parse(uri))
