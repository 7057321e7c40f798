"""Radios of another process, when one of the two ends dies."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from radio.api import RadioError
from radio.registry import open_radio

# Opens a radio, sends a burst that lies ahead, says so, and hangs.
CLIENT = """
import sys
import numpy as np
from radio.registry import open_radio

radio = open_radio(sys.argv[1])
radio.transmit(np.full(1000, 0.5, np.complex64), at=5_000)
print("sent", flush=True)
sys.stdin.read()
"""


# Sends a burst, hears it, and prints what it heard.
ROUND_TRIP = """
import sys
import numpy as np
from radio.registry import open_radio

assert "scipy" not in sys.modules
with open_radio(sys.argv[1]) as radio:
    radio.transmit(np.arange(1, 6).astype(np.complex64) / 8, at=10)
    sys.stdout.buffer.write(radio.receive(40, at=0).iq.tobytes())
"""


@pytest.fixture
def client():
    """Start a client in mid-burst."""
    started = []

    def start(uri):
        process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, uri],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        started.append(process)
        assert process.stdout.readline() == b"sent\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def opened_again(uri):
    """The radio, once the server has noticed that its client is gone."""
    until = time.monotonic() + 10
    while True:
        try:
            return open_radio(uri)
        except RadioError as error:
            if "in use" not in str(error) or time.monotonic() > until:
                raise


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_client_that_dies_in_mid_burst_is_muted(serve, client, how):
    radios = {"d0": "sim://there?name=d0&snr_db=100", "rx": "sim://there?name=rx&snr_db=100"}
    served = serve(radios, serial=True, heartbeat_s=1.0)
    with open_radio(f"{served.uri}?name=rx") as listener:
        dead = client(f"{served.uri}?name=d0")
        os.kill(dead.pid, how)
        with opened_again(f"{served.uri}?name=d0") as again:
            heard = listener.receive(10_000).iq
            assert np.abs(heard).max() < 0.01
            again.transmit(np.full(100, 0.5, np.complex64), at=12_000)
        if how == signal.SIGSTOP:
            os.kill(dead.pid, signal.SIGCONT)


def test_a_burst_of_a_client_that_lives_is_heard(serve, client):
    radios = {"d0": "sim://there?name=d0&snr_db=100", "rx": "sim://there?name=rx&snr_db=100"}
    served = serve(radios, serial=True)
    with open_radio(f"{served.uri}?name=rx") as listener:
        client(f"{served.uri}?name=d0")
        heard = np.abs(listener.receive(10_000).iq)
    assert heard[5_010:5_990].min() > 0.45


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_dies_in_mid_request_is_named(serve, how):
    served = serve({"d0": "sim://there?name=d0&clock=wall"}, grace_s=0.1)
    radio = open_radio(served.uri)
    murder = threading.Timer(0.3, served.process.send_signal, (how,))
    murder.start()
    with pytest.raises(RadioError, match=r"server at zmq\+ipc:.* is gone"):
        radio.receive(10_000_000)
    murder.join()
    with pytest.raises(RadioError, match=r"is closed \(.*is gone.*open it again"):
        radio.receive(10)
    radio.close()
    assert radio.caps.timed
    assert radio.settings.sample_rate_hz == 1e6
    served.process.wait(10)


def test_a_server_may_come_back(serve):
    first = serve({"a": "loopback://"})
    radio = open_radio(first.uri)
    first.process.kill()
    first.process.wait()
    with pytest.raises(RadioError, match="is gone"):
        radio.now()
    assert Path(first.uri.removeprefix("zmq+ipc://")).exists()
    serve({"a": "loopback://"}, uri=first.uri)
    with open_radio(first.uri) as again:
        assert again.now() == 0


def test_a_server_that_hangs_is_named(serve):
    served = serve({"a": "loopback://"})
    open_radio(served.uri).close()
    radio = open_radio(f"{served.uri}?timeout_s=0.5")
    served.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(RadioError, match=r"does not answer within 0.5 s"):
            radio.now()
    finally:
        served.process.send_signal(signal.SIGCONT)
    with opened_again(served.uri) as again:
        assert again.now() == 0


def test_interrupting_a_server_mutes_and_leaves_nothing(serve):
    served = serve({"a": "loopback://"})
    with open_radio(served.uri) as radio:
        radio.now()
        served.process.send_signal(signal.SIGTERM)
        served.process.wait(10)
        assert served.process.returncode == 0
        assert not Path(served.uri.removeprefix("zmq+ipc://")).exists()
        with pytest.raises(RadioError, match="is gone"):
            radio.now()


def test_debians_own_python_is_a_client(serve, debian_python):
    uri = serve({"r": "loopback://?delay=3"}).uri
    done = subprocess.run(
        [debian_python, "-c", ROUND_TRIP, f"{uri}?name=r"],
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    heard = np.frombuffer(done.stdout, np.complex64)
    np.testing.assert_array_equal(heard[13:18], np.arange(1, 6) / 8)
    assert np.count_nonzero(heard) == 5
