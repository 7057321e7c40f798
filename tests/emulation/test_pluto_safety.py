"""However a program ends that drives a Pluto, the antenna is silent, and code that ran muted it."""

import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.pluto_process import plutos
from radio.api import RadioError, RadioSettings, Range
from radio.limits import Limits
from radio.registry import open_radio
from tests.emulation.pluto_seen import Seen
from tests.emulation.tcp_proxy import TcpProxy

ROOT = Path(__file__).parents[2]
PACE = 0.125
OPTIONS = "buffer=2048&kernel_buffers=32"
MUTED_DB = -89.75
CARRIER_HZ, RATE_HZ = 915e6, 1e6
ALLOWED = RadioSettings(CARRIER_HZ, RATE_HZ, -10.0, 0.0)
LIMITS = Limits((Range(902e6, 928e6),), -10.0, 0.01, 1.0, 0.005)

SETS = rb"WRITE iio:device0 (?:IN|OUT|calib|ens|filt|xo|DEBUG loop)"

# Does what its second argument says, and tells when it is about to.
CLIENT = """
import signal, sys
import numpy as np
from radio.api import RadioSettings, Range
from radio.limits import Limits
from radio.registry import open_radio

uri, what = sys.argv[1:]
if "default" not in what:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as nodes do
limits = Limits((Range(902e6, 928e6),), 0.0, 1.0, 10.0, 5.0)
print("opening", flush=True)
radio = open_radio(uri, limits)
if what == "configure":
    print("configuring", flush=True)
    with radio:
        radio.configure(RadioSettings(910e6, 1e6, 0.0, 0.0))
radio.configure(RadioSettings(915e6, 1e6, 0.0, 0.0))
wave = 0.5 * np.exp(2j * np.pi * np.arange(2_000_000) / 16).astype(np.complex64)
radio.transmit(wave)
print("sending", flush=True)
if what == "return":
    sys.stdin.readline()
    sys.exit(0)
with radio:
    if what == "raise":
        sys.stdin.readline()
        raise RuntimeError("on purpose")
    radio.receive(1000, at=radio.now() + 100_000_000)
"""


@pytest.fixture(scope="module")
def pair(adi):
    """URIs of two Plutos on an air eight times slower than the world."""
    with plutos(2, pace=PACE, loss_db=50.0) as served:
        yield served.uris


@pytest.fixture
def listening(opened, pair):
    """The first Pluto, which hears what the second one sends."""
    sdr = opened(pair[0])
    sdr.sample_rate = int(RATE_HZ)
    sdr.rx_lo = int(CARRIER_HZ)
    sdr.gain_control_mode_chan0 = "manual"
    sdr.rx_hardwaregain_chan0 = 50
    sdr.rx_buffer_size = 2**13
    return sdr


@pytest.fixture
def ear(listening):
    """Whether the second Pluto can be heard, as soon as that is as wanted or after many tries."""

    def hears(wanted):
        for _ in range(60):
            loud = bool(np.sqrt(np.mean(np.abs(listening.rx()) ** 2)) / 2**11 > 0.1)
            if loud == wanted:
                break
        return loud

    return hears


@pytest.fixture
def seen(pair):
    """The second Pluto, as no driver has used it."""
    client = Seen(pair[1])
    client.disturb()
    return client


def started(uri, what, says):
    """A client that has said something; another one where a busy machine made it lose samples."""
    for _ in range(3):
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT, f"pluto://{uri}?{OPTIONS}", what],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if f"{says}\n" in iter(client.stdout.readline, ""):
            return client
        assert "samples were lost" in client.communicate()[1]
    raise AssertionError("this machine is too busy")


def ended(client):
    _, said = client.communicate(timeout=30)
    return client.returncode, said


def wait_until(is_so):
    until = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < until
        time.sleep(2e-3)


@pytest.mark.parametrize(
    ("what", "end", "code"),
    [
        ("return", None, 0),
        ("raise", None, 1),
        ("receive", signal.SIGINT, -signal.SIGINT),
        ("receive", signal.SIGTERM, 143),
    ],
)
def test_a_program_that_ends_leaves_the_radio_muted_and_as_it_was(pair, ear, seen, what, end, code):
    before = seen.settings
    client = started(pair[1], what, "sending")
    if not ear(True):
        client.kill()
        raise AssertionError(client.communicate())
    assert seen.settings != before
    if end is not None:
        client.send_signal(end)
    assert ended(client)[0] == code
    assert not ear(False)
    assert seen.tx_gain_db == MUTED_DB
    assert seen.tones == [0.0] * 4
    assert seen.is_free
    assert seen.settings == before


@pytest.mark.parametrize(("what", "end"), [("default", signal.SIGTERM), ("kill", signal.SIGKILL)])
def test_a_program_that_is_killed_sends_nothing_more_and_the_next_one_finds_its_way(
    pair, ear, seen, what, end
):
    client = started(pair[1], what, "sending")
    assert ear(True)
    client.send_signal(end)
    assert ended(client)[0] == -end
    assert not ear(False)
    assert seen.tones == [0.0] * 4
    wait_until(lambda: seen.is_free)
    with open_radio(f"pluto://{pair[1]}?{OPTIONS}") as radio:
        assert seen.tx_gain_db == MUTED_DB
        radio.configure(replace(ALLOWED, tx_gain_db=0.0))
        radio.transmit(np.full(1_000_000, 0.3, np.complex64))
        assert ear(True)
    assert seen.tx_gain_db == MUTED_DB


@pytest.mark.parametrize(
    ("what", "says", "end"),
    [
        ("open", "opening", signal.SIGTERM),
        ("open", "opening", signal.SIGKILL),
        ("configure", "configuring", signal.SIGINT),
    ],
)
def test_the_loopback_does_not_outlive_the_measurement(pair, seen, what, says, end):
    before = seen.settings
    client = started(pair[1], what, says)
    wait_until(lambda: seen.loopback == "0")  # the one of opening
    wait_until(lambda: seen.loopback == "1")
    client.send_signal(end)
    ended(client)
    if end == signal.SIGKILL:
        assert seen.loopback == "1"
        with open_radio(f"pluto://{pair[1]}?{OPTIONS}") as radio:
            assert seen.loopback == "0"
            assert abs(radio.receive(5000).iq.mean()) < 0.1
    else:
        assert seen.tx_gain_db == MUTED_DB
        assert seen.settings == before
    assert seen.loopback == "0"


def test_interrupts_that_come_again_and_again_do_not_keep_it_from_closing(pair, seen):
    before = seen.settings
    with TcpProxy(pair[1]) as proxy:
        client = started(proxy.uri, "receive", "sending")
        proxy.delay_s = 0.01
        client.send_signal(signal.SIGINT)
        wait_until(lambda: seen.tx_gain_db == MUTED_DB)
        assert seen.settings != before
        for _ in range(2):
            client.send_signal(signal.SIGINT)
            time.sleep(0.05)
        assert ended(client)[0] == -signal.SIGINT
    assert seen.tx_gain_db == MUTED_DB
    assert seen.settings == before


def test_a_carrier_that_moves_far_does_not_send_the_tone_of_a_calibration(
    pair, seen, listening, opened
):
    loudest, stopping = [], threading.Event()

    def listen():
        while not stopping.is_set():
            loudest.append(np.abs(listening.rx()).max() / 2**11)

    listening.rx()
    thread = threading.Thread(target=listen)
    thread.start()
    seen.phy.attrs["ensm_mode"].value = "fdd"
    seen.los[1].attrs["powerdown"].value = "0"
    opened(pair[1]).sample_rate = int(RATE_HZ)
    with open_radio(f"pluto://{pair[1]}?{OPTIONS}") as radio:
        radio.configure(replace(ALLOWED, tx_gain_db=0.0))
    silent = len(loudest)
    seen.los[1].attrs["frequency"].value = "2400000000"
    seen.los[1].attrs["frequency"].value = str(int(CARRIER_HZ))
    wait_until(lambda: len(loudest) > silent + 12)
    stopping.set()
    thread.join()
    assert max(loudest[:silent]) < 0.1
    assert max(loudest[silent:]) > 0.5  # as it does of its own accord


def test_tones_are_off_before_anything_else_is_touched(pair, seen):
    assert seen.tones == [0.5] * 4
    with TcpProxy(pair[1]) as proxy, open_radio(f"pluto://{proxy.uri}?{OPTIONS}"):
        words = b"".join(proxy.said)
    first = re.findall(rb"(?:WRITE|OPEN) [^\r]*", words)[:9]
    assert b"OUTPUT voltage0 hardwaregain" in first[0]
    assert all(b"OUTPUT altvoltage" in line for line in first[1:])
    assert sum(line.count(b"scale") for line in first) == 4
    assert sum(line.count(b"raw") for line in first) == 4


def test_what_the_limits_forbid_does_not_reach_the_radio(pair, seen):
    with TcpProxy(pair[1]) as proxy, open_radio(f"pluto://{proxy.uri}?{OPTIONS}", LIMITS) as radio:
        radio.configure(ALLOWED)
        writes = proxy.count(SETS)
        assert writes > 20
        for forbidden in (
            {"carrier_hz": 930e6},
            {"carrier_hz": 2.4e9},
            {"carrier_hz": 902.4e6},
            {"sample_rate_hz": 30e6},
            {"tx_gain_db": -9.75},
            {"tx_gain_db": 1.0},
            {"rx_gain_db": 90.0},
        ):
            with pytest.raises(RadioError):
                radio.configure(replace(ALLOWED, **forbidden))
        for burst in (np.ones(5001, np.complex64), np.full(10, np.nan, np.complex64)):
            with pytest.raises(RadioError):
                radio.transmit(burst)
        radio.receive(100, at=radio.now() + 100_000)
        assert proxy.count(SETS) == writes
        assert not sent(proxy).any()
        assert seen.tx_gain_db == -10
        at = radio.transmit(np.full(5000, 0.5, np.complex64)).started_at
        radio.transmit(np.full(5000, 0.5, np.complex64), at=at + 10_000)
        with pytest.raises(RadioError, match="duty cycle"):
            radio.transmit(np.full(5000, 0.5, np.complex64), at=at + 20_000)
        with pytest.raises(RadioError, match="closed"):  # which takes back what was to come
            radio.receive(100, at=at + 5000)
        assert seen.tx_gain_db == MUTED_DB


def sent(proxy):
    """Samples that went to the transmitter, int16, but for those of the probe in the loopback."""
    blocks = []
    for words in proxy.said:
        for header in re.finditer(rb"WRITEBUF \S+ (\d+)\r\n", words):
            block = words[header.end() : header.end() + int(header[1])]
            blocks.append(np.frombuffer(block[: len(block) // 2 * 2], np.int16))
    return np.concatenate(blocks[100:])
