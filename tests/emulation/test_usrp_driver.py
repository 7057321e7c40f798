"""The driver on virtual USRPs, through the real libuhd."""

import json
import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import correlate
from usrp_process import usrps

from radio.api import RadioError, RadioSettings
from radio.discovery import find_radios
from radio.interpreter import environment
from radio.registry import open_radio

PACE = 0.5  # of real time: other tests run beside this one
LEAD = 200_000  # samples, at 1 MS/s; twice as long in the world
SETTINGS = RadioSettings(915e6, 1e6, 10.0, 0.0)
LOSS_DB = 20.0
TRIES = 3  # of what a busy machine may be late for

# Runs where `uhd` imports: everything in one process, and one opened board for all that is wrong.
HERE = """
import json, sys, threading
from dataclasses import replace
from functools import partial
import numpy as np
import uhd
from radio.api import RadioError, RadioSettings
from radio.drivers.usrp_clock import set_sources
from radio.drivers.usrp_front import UsrpFront, Wiring
from radio.registry import open_radio

SETTINGS = RadioSettings(915e6, 1e6, 10.0, 0.0)
uri, another, *wrong = sys.argv[1:]
with open_radio(uri + "?lead_s=0.1") as radio, open_radio(another + "?lead_s=0.1") as sender:
    for _ in range(3):  # on a busy machine
        radio.configure(SETTINGS), sender.configure(SETTINGS)
        sender.transmit(np.full(2_000_000, 0.5, np.complex64))
        at = radio.now() + 800_000
        heard = []
        receive = partial(radio.receive, 40_000, at=at - 20_000)
        thread = threading.Thread(target=lambda: heard.append(receive()))
        thread.start()
        radio.configure(replace(SETTINGS, carrier_hz=925e6), at=at)
        thread.join()
        loud = np.flatnonzero(np.abs(heard[0].iq) > 0.01) if heard else []
        if len(loud) and not heard[0].overflows:
            break
    told = {"kind": type(radio).__name__, "first": int(loud[0]), "last": int(loud[-1])}
usrp, said = uhd.usrp.MultiUSRP(uri.partition("://")[2]), []
for act in (
    lambda: UsrpFront(usrp, "it", Wiring(rx_antenna="RX9")),
    lambda: UsrpFront(usrp, "it", Wiring(by_power=True)),
    lambda: set_sources(usrp, "it", "sundial", None),
    lambda: UsrpFront(usrp, "it", Wiring(lo_offset_hz=1e9)).tune(915e6),
    lambda: UsrpFront(usrp, "it", Wiring(subdev="B:7")),
    *(partial(open_radio, each) for each in wrong),
):
    try:
        act()
    except RadioError as error:
        said.append(str(error))
print(json.dumps([told, said]))
"""
LACKING = (
    "it has no rx_antenna=RX9; there are TX/RX, RX2",
    "it has no calibration of its powers",
    "it has no clock=sundial; there are internal, external",
    "it reaches 1.915e+09 Hz in place of 915000000 with lo_offset_hz=1e+09",
    "it has no front end subdev=B:7; there are A:0",
)
WRONG = (
    ("usrp://addr=127.0.0.250?lead_s=0", "lead_s in (0, 1)"),
    ("usrp://addr=127.0.0.250?timeout_s=inf", "above 0 and finite"),
    ("usrp://addr=127.0.0.250?align=moon", "align should be pps"),
    ("usrp://addr=127.0.0.250?gain=loud", "gain should be power"),
    ("usrp://addr=127.0.0.250?clok=external", "has no option 'clok'; the nearest is 'clock'"),
    ("usrp://addr=127.0.0.250?wire=a/b&align=pps", "wire=a/b should be a word"),
    ("usrp://addr=127.0.0.250?wire=hall", "wire is of use with align=pps only"),
    ("usrp://addr=127.0.0.250", "cannot be opened: no USRP answers there; is it on"),
    ("usrp://127.0.0.250", "'127.0.0.250' should read key=value, as in usrp://addr="),
    ("usrp://", "does not say which; one looks like usrp://addr="),
)


def opened(uris, *options):
    """Radios, opened at the same time, as programs of a bench do."""
    text = "&".join(["lead_s=0.1", *options])
    with ThreadPoolExecutor(len(uris)) as pool:
        radios = list(pool.map(lambda uri: open_radio(f"{uri}?{text}"), uris))
        list(pool.map(lambda radio: radio.configure(SETTINGS), radios))
    return radios


def closed(radios):
    with ThreadPoolExecutor(len(radios)) as pool:
        list(pool.map(lambda radio: radio.close(), radios))


def noise(n, seed, level=0.1):
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal(n) + 1j * rng.standard_normal(n)
    return (level * drawn / np.sqrt(2)).astype(np.complex64)


def tried(act, *radios):
    """What comes of it where no radio was late, or lost samples."""
    for _ in range(TRIES):
        try:
            found = act()
            for radio in radios:
                assert radio.receive(10).overflows == 0
        except RadioError as error:
            print(error)
        else:
            return found
    raise AssertionError("late each time")


def taken(receivers, n, at):
    """Captures of the same samples by several radios."""

    def capture(radio):
        found = radio.receive(n, at=at)
        assert found.first_sample == at
        if found.overflows:
            raise RadioError(f"{found.overflows} samples were lost")
        return found.iq

    with ThreadPoolExecutor(len(receivers)) as pool:
        return list(pool.map(capture, receivers))


def agreeing(sender, receivers, burst):
    """Places of a burst in captures by others, from its own sample on."""
    at = max(radio.now() for radio in (sender, *receivers)) + LEAD
    assert sender.transmit(burst, at=at).started_at == at
    heard = taken(receivers, 4000, at - 1000)
    return [int(np.argmax(np.abs(np.correlate(iq, burst, "valid")))) - 1000 for iq in heard]


def superposed(receiver, senders, bursts, offsets, size):
    """What is received of bursts at these offsets from sample 1000 on."""
    at = receiver.now() + 4 * LEAD
    for sender, burst, offset in zip(senders, bursts, offsets, strict=True):
        assert sender.transmit(burst, at=at + offset).started_at == at + offset
    (iq,) = taken([receiver], size, at - 1000)
    return iq


def test_ten_boards_that_share_pulses_superpose_to_the_sample(uhd, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where they note which second it is
    with usrps(11, pace=PACE, preset="ideal", loss_db=LOSS_DB) as served:
        # Each sets its time by itself, at pulses 1 / PACE seconds apart.
        pulses = ("align=pps", f"pulse_s={1 / PACE}", f"wire=driver-{served.process.pid}")
        radios = opened(served.uris, "clock=external", "time=external", *pulses)
        for k in range(3):
            some = [*radios[:3]]
            sender = some.pop(k)
            found = tried(lambda a=sender, b=some: agreeing(a, b, noise(2000, 1)), sender)
            assert found == [0, 0]

        receiver, *senders = radios
        n, size, offsets = 3000, 9000, [37 * k * k for k in range(10)]
        bursts = [noise(n, seed) for seed in range(10)]
        iq = tried(lambda: superposed(receiver, senders, bursts, offsets, size), *senders)
        closed(radios)
    total = np.zeros(size, complex)
    for burst, offset in zip(bursts, offsets, strict=True):
        total[1000 + offset :][:n] += burst
    total *= 10 ** ((SETTINGS.tx_gain_db - LOSS_DB) / 20)
    error = iq - total
    evm_db = 10 * np.log10(np.vdot(error, error).real / np.vdot(total, total).real)
    assert evm_db <= -50, evm_db


@pytest.fixture(scope="module")
def served(uhd):
    """Two boards that stay open, and two to open and close."""
    with usrps(4, pace=PACE, preset="ideal", loss_db=LOSS_DB) as served:
        yield served


@pytest.fixture(scope="module")
def two(served):
    radios = opened(served.uris[:2])
    yield radios
    closed(radios)


def across(sender, receiver, bursts):
    """What one radio hears of the bursts of another, at these offsets; their clocks differ."""

    def once():
        there, here = receiver.now(), sender.now()
        for offset, burst in bursts:
            sender.transmit(burst, at=here + LEAD + offset)
        (iq,) = taken([receiver], 3 * LEAD, there + LEAD // 2)
        return iq

    return tried(once, sender)


def test_gains_and_carriers_are_the_boards(two, served):
    sender, receiver = two
    try:
        applied = sender.configure(RadioSettings(2.4e9, 2e6, 20.2, 11.5))
        assert applied == RadioSettings(2.4e9, 2e6, 20.0, 11.5)  # steps of half a decibel
        assert sender.configure(applied) == sender.settings == applied
        assert served.set()[0] == [20.0, 11.5]
        with pytest.raises(RadioError, match="has no sample rate of 3300000 Hz"):
            sender.configure(replace(applied, sample_rate_hz=3.3e6))
        assert sender.settings == applied
        assert sender.receive(1000).iq.size == 1000
        levels = []
        for tx_gain_db in (10.0, 20.0):
            sender.configure(replace(SETTINGS, tx_gain_db=tx_gain_db))
            heard = np.abs(across(sender, receiver, [(0, np.full(1000, 0.5, np.complex64))]))
            levels.append(np.median(heard[heard > 0.01]))
    finally:
        sender.configure(SETTINGS)
    assert 20 * np.log10(levels[1] / levels[0]) == pytest.approx(10.0, abs=0.01)


def test_bursts_go_out_in_order_of_their_times(two):
    later, sooner = noise(1000, 1), noise(1000, 2)
    heard = across(*two, [(5000, later), (0, sooner)]) * 10**0.5
    place = int(np.argmax(np.abs(correlate(heard, sooner, "valid"))))
    heard = heard[place : place + 6000]
    np.testing.assert_allclose(heard[:1000], sooner, atol=2e-4)
    np.testing.assert_allclose(heard[5000:], later, atol=2e-4)
    assert np.abs(heard[1000:5000]).max() < 1e-3


def test_a_closed_radio_falls_silent_within_its_burst(two, served):
    receiver, uri = two[0], served.uris[2]
    (sender,) = opened([uri])
    sender.transmit(np.full(3_000_000, 0.5, np.complex64))
    sender.receive(LEAD)
    closing = threading.Timer(0.5, sender.close)
    closing.start()
    heard = np.abs(receiver.receive(10 * LEAD).iq)
    closing.join()
    loud = np.flatnonzero(heard > 0.01)
    assert loud.size > 0 and loud[-1] < 9 * LEAD  # of the burst there were 14 left
    assert served.set()[2] == [0.0, 0.0]


def test_a_program_that_is_killed_falls_silent(two, served):
    receiver, uri = two[0], served.uris[3]
    (sender,) = opened([uri])
    sender.transmit(np.full(3_000_000, 0.5, np.complex64))
    sender.receive(LEAD)
    sender._process._process.send_signal(15)  # as it does itself when its parent is gone
    for _ in range(20):
        if np.abs(receiver.receive(LEAD // 2).iq).max() < 0.01:
            break
    else:
        raise AssertionError("it goes on")
    with pytest.raises(RadioError):
        sender.receive(1)
    assert served.set()[3] == [0.0, 0.0]


def test_where_the_binding_imports_nothing_else_is_started(served, uhd, tmp_path):
    environ = environment(os.environ, tmp_path, ["radio"])
    words = [uhd, "-c", HERE, *served.uris[2:4], *(uri for uri, _ in WRONG)]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env=environ, cwd=tmp_path, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told, said = json.loads(done.stdout.strip().rpartition("\n")[2])
    assert (told["kind"], told["first"]) == ("UsrpRadio", 0)
    assert abs(told["last"] - 20_000) < 100  # it was tuned away then, but for the filter
    for why, text in zip([*LACKING, *(why for _, why in WRONG)], said, strict=True):
        assert why in text


def test_those_that_are_there_are_found(served):
    host = served.hosts[0]
    nowhere = f"{host.rpartition('.')[0]}.250"
    search = find_radios([f"usrp://addr={host}", f"usrp://addr={nowhere}"])
    (found,) = search.found
    assert found.uri == f"usrp://addr={host}"
    assert found.about["type"] == "usrp2"
    assert found.about["serial"]
    (gap,) = search.gaps
    assert (gap.place, gap.why) == (f"usrp://addr={nowhere}", "does not answer")
