"""What goes wrong between a program and its Pluto is said clearly, and over when it is over."""

import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks.pluto_process import plutos
from radio.api import RadioError, RadioSettings
from radio.registry import open_radio
from tests.emulation.pluto_seen import Seen
from tests.emulation.tcp_proxy import TcpProxy

ROOT = Path(__file__).parents[2]
PACE = 0.125
OPTIONS = "buffer=2048&kernel_buffers=32&timeout_s=1"
SHORT = "buffer=2048&kernel_buffers=16&timeout_s=1"  # 262 ms of what waits to be read
SETTINGS = RadioSettings(915e6, 1e6, -20.0, 20.0)
MUTED_DB = -89.75

# Goes on until samples are lost; heals, goes on, and says so.
CLIENT = """
import sys
from radio.api import RadioError, RadioSettings
from radio.registry import open_radio

with open_radio(sys.argv[1]) as radio:
    radio.configure(RadioSettings(915e6, 1e6, -20.0, 20.0))
    print("streaming", flush=True)
    try:
        while True:
            radio.receive(5000)
    except RadioError as error:
        print(error, flush=True)
    lost_at = radio.now()
    radio.configure(RadioSettings(915e6, 1e6, -20.0, 20.0))
    capture = radio.receive(5000)
    print(capture.first_sample >= lost_at, capture.overflows, flush=True)
"""


@pytest.fixture(scope="module")
def uri(adi):
    """Of a Pluto on an air eight times slower than the world."""
    with plutos(1, pace=PACE) as served:
        yield served.uris[0]


@pytest.fixture
def proxy(uri):
    with TcpProxy(uri) as line:
        yield line


def streaming(uri, options=OPTIONS):
    radio = open_radio(f"pluto://{uri}?{options}")
    radio.configure(SETTINGS)
    return radio


def broken(radio):
    """Why a radio no longer works: what all that it does says."""
    for _ in range(200):
        try:
            radio.receive(5000)
        except RadioError as failed:
            # A capture may be given up on a busy machine, and then the radio goes on.
            try:
                radio.transmit(np.ones(10, np.complex64))
            except RadioError as again:
                if str(again) == str(failed):
                    return str(failed)
    raise AssertionError("the radio goes on")


def require_gone(radio):
    """The connection broke, unless a busy machine lost samples just before."""
    said = broken(radio)
    assert "the connection broke" in said or "samples were lost (" in said


def require_said(radio, act, text):
    """What is done to a radio is said; a busy machine may lose samples before."""
    for _ in range(3):
        try:
            act()
            said = broken(radio)
        except RadioError as error:
            said = str(error)
        if text in said:
            return
        assert "samples were lost (" in said
        radio.configure(SETTINGS)
    raise AssertionError(said)


def require_works(radio):
    """What it sends and receives has its place again; what a busy machine loses is healed."""
    for _ in range(3):
        try:
            at = radio.now() + round(1.2 * radio.caps.turnaround_s * SETTINGS.sample_rate_hz)
            report = radio.transmit(np.ones(1000, np.complex64), at=at)
            capture = radio.receive(1000, at=at)
        except RadioError as error:
            assert "samples were lost (" in str(error)
            radio.configure(SETTINGS)
        else:
            assert report.started_at == capture.first_sample == at
            return
    raise AssertionError("this machine is too busy")


def test_a_line_that_is_cut_while_somebody_waits(proxy, uri):
    seen = Seen(uri)
    before = seen.settings
    radio = streaming(proxy.uri)
    cut = threading.Timer(0.2, proxy.reset)
    cut.start()
    with pytest.raises(RadioError, match=rf"^{proxy.uri}: the connection broke .* open the radio"):
        radio.receive(1000, at=radio.now() + 10_000_000)
    cut.join()
    with pytest.raises(RadioError, match=rf"^{proxy.uri}: the connection broke"):
        radio.configure(SETTINGS)
    radio.close()  # which finds another way
    assert seen.tx_gain_db == MUTED_DB
    assert seen.settings == before
    with streaming(proxy.uri) as radio:
        require_works(radio)


def test_a_radio_that_is_unplugged_and_plugged_in_again(proxy, caplog):
    radio = streaming(proxy.uri)
    proxy.unplug()
    require_gone(radio)
    radio.close()
    assert "could not be muted and restored" in caplog.text
    with pytest.raises(RadioError, match=rf"{proxy.uri} cannot be opened: .*refused"):
        streaming(proxy.uri)
    proxy.plug()
    with streaming(proxy.uri) as radio:
        require_works(radio)


def test_a_server_that_is_killed_and_started_again(uri, caplog):
    with plutos(1, pace=PACE) as first, TcpProxy(first.uris[0]) as proxy:
        radio = streaming(proxy.uri)
        radio.transmit(np.ones(1000, np.complex64), at=radio.now() + 1_000_000)
        first.process.kill()
        require_gone(radio)
        radio.close()
        assert "could not be muted and restored" in caplog.text
        proxy.lead_to(uri)
        with streaming(proxy.uri) as radio:
            require_works(radio)


def test_a_network_that_is_dead_ends_every_call(proxy, uri, caplog):
    radio = streaming(proxy.uri)
    proxy.freeze()
    require_gone(radio)
    radio.close()
    assert "could not be muted and restored" in caplog.text
    proxy.thaw()
    # Those that were there before are gone as soon as the network brings the news.
    seen = Seen(uri)
    until = time.monotonic() + 30
    while not seen.is_free:
        assert time.monotonic() < until
    with streaming(proxy.uri) as radio:
        require_works(radio)


def test_a_line_that_stands_still_for_a_while(proxy):
    with streaming(proxy.uri, SHORT) as radio:
        proxy.freeze()
        time.sleep(0.5)
        proxy.thaw()
        stopped_at = radio.now()
        assert "samples were lost (" in broken(radio)
        radio.configure(SETTINGS)
        assert radio.now() >= stopped_at
        require_works(radio)


def test_a_program_that_stands_still_for_half_a_second(uri):
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, f"pluto://{uri}?{SHORT}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdout.readline() == "streaming\n"
    client.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    client.send_signal(signal.SIGCONT)
    said, _ = client.communicate(timeout=30)
    assert client.returncode == 0
    lost, healed = said.splitlines()
    assert lost.startswith(f"{uri}: samples were lost (")
    assert "open the radio again" in lost
    assert healed == "True 0"


def test_another_program_that_changes_the_radio_is_noticed(uri):
    seen = Seen(uri)
    rx = seen.rx.attrs
    with streaming(uri) as radio:
        for attribute, value, said in (
            (rx["sampling_frequency"], "2500000", "the sample rate from 1000000 to 2500000"),
            (
                seen.los[0].attrs["frequency"],
                "916000000",
                "the receive carrier from 915000000 to 916",
            ),
            (rx["gain_control_mode"], "slow_attack", "the gain mode from manual to slow_attack"),
        ):
            require_said(radio, partial(setattr, attribute, "value", value), said)
            radio.configure(SETTINGS)
            assert radio.settings == SETTINGS
        require_works(radio)


def test_a_second_driver_is_refused_before_it_touches_anything(uri):
    seen = Seen(uri)
    with streaming(uri) as radio:
        before = seen.settings
        with pytest.raises(RadioError, match="cannot be opened: another program streams from it"):
            open_radio(f"pluto://{uri}?{OPTIONS}")
        assert seen.settings == before
        assert seen.tx_gain_db == -20
        require_works(radio)


def test_who_sends_already_is_left_alone(opened, uri):
    other = opened(uri)
    other.tx_cyclic_buffer = True
    other.tx(np.zeros(1024, complex))
    before = Seen(uri).settings
    with pytest.raises(RadioError, match="another program streams from it; end that one"):
        streaming(uri)
    assert Seen(uri).settings == before


def test_a_second_reader_is_noticed(adi):
    with plutos(1, pace=0.5) as served:
        uri = served.uris[0]
        with streaming(uri, "buffer=8192&kernel_buffers=16") as radio:
            other = adi.Pluto(uri)
            other.rx_buffer_size = 1024

            def read():
                radio.receive(1000, at=radio.now() + 650_000)  # until it is known what is usual
                for _ in range(3):
                    other.rx()
                    other.rx_destroy_buffer()

            require_said(radio, read, "samples were lost without a flag, as where another program")
            radio.configure(SETTINGS)
            require_works(radio)


def test_who_would_send_beside_it_cannot(opened, uri):
    with streaming(uri) as radio:
        other = opened(uri)
        other.tx_cyclic_buffer = True
        with pytest.raises(OSError, match="busy"):
            other.tx(np.ones(1024, complex))
        require_works(radio)
