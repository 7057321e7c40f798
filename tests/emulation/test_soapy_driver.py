"""SoapySDR's driver on virtual USRPs, through its real UHD module, beyond the conformance suite."""

import json
import os
import subprocess

import numpy as np
import pytest
from scipy.signal import correlate
from usrp_process import usrps

from radio.api import RadioSettings
from radio.interpreter import environment
from radio.registry import open_radio

PACE = 0.5
LEAD = 300_000  # samples
WIDE = 200_000  # by which two clocks that are asked one after the other may seem to differ
SETTINGS = RadioSettings(915e6, 1e6, 10.0, 10.0)

# Runs where SoapySDR imports: what a driver is told by UHD, and one that knows no hardware time.
HERE = """
import json, logging, sys, threading, time
import numpy as np
import SoapySDR
from radio.api import RadioError
from radio.registry import open_radio

class Kept(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())

uri, *wrong = sys.argv[1:]
said, told = [], {}
logging.getLogger("radio").addHandler(Kept())
iq = np.full(2_000, 0.5, np.complex64)
with open_radio(uri) as radio:
    told["caps"] = [radio.caps.timed, radio.caps.full_duplex]
    late = radio.now() - 100_000
    radio._sender.post(iq, late, late, radio._times)
    for _ in range(50):
        try:
            radio.receive(10_000)
        except RadioError as error:
            told["late"] = [str(error), *said]
            break
    told["after"] = radio.receive(10_000).overflows
radio = open_radio(uri)
def receive():
    try:
        radio.receive(20_000_000)
    except RadioError as error:
        told["closed"] = str(error)
reader = threading.Thread(target=receive)
reader.start()
time.sleep(0.3)
radio.close()
reader.join()
for kind in SoapySDR.Device.__mro__[:-1]:
    kind.hasHardwareTime = lambda *_: False
with open_radio(uri) as radio:
    told["untimed"] = [radio.caps.timed]
    captures = [radio.receive(n) for n in (1, 10_000, 300)]
    told["untimed"] += [c.first_sample for c in captures] + [radio.now()]
    told["lost"] = sum(c.overflows for c in captures)
    started = radio.transmit(iq, at=radio.now() + 100_000).started_at
    told["waits"] = radio.receive(10, at=started + 2_000).first_sample - started
errors = []
for each in wrong:
    try:
        open_radio(each)
    except RadioError as error:
        errors.append(str(error))
print(json.dumps([told, errors]))
"""
NOWHERE = "soapy://driver=uhd,addr=127.0.0.250"


@pytest.fixture(scope="module")
def served(soapy_uhd):
    with usrps(4, pace=PACE, preset="ideal", loss_db=20.0) as served:
        yield served


def opened(host):
    radio = open_radio(f"soapy://driver=uhd,addr={host}?lead_s=0.1&timeout_s=2")
    radio.configure(SETTINGS)
    return radio


@pytest.fixture(scope="module")
def receiver(served):
    with opened(served.hosts[0]) as radio:
        yield radio


@pytest.fixture(scope="module")
def sender(served):
    with opened(served.hosts[1]) as radio:
        yield radio


def noise(n, seed):
    rng = np.random.default_rng(seed)
    return (0.2 * (rng.standard_normal(n) + 1j * rng.standard_normal(n))).astype(np.complex64)


def test_bursts_begin_at_their_samples_and_arrive_as_they_were(receiver, sender):
    iq = np.clip(noise(5_000, 1).view(np.float32), -1, 1).view(np.complex64)
    between = set()
    for _ in range(3):
        apart = receiver.now() - sender.now()
        at = sender.now() + LEAD
        assert sender.transmit(iq, at=at).started_at == at
        capture = receiver.receive(2 * WIDE, at=at + apart - WIDE)
        assert capture.overflows == 0
        begin = int(np.argmax(np.abs(correlate(capture.iq, iq, "valid"))))
        heard = capture.iq[begin : begin + iq.size]
        gain = np.vdot(iq, heard) / np.vdot(iq, iq)
        left = np.sum(np.abs(heard - gain * iq) ** 2) / np.sum(np.abs(heard) ** 2)
        assert 10 * np.log10(left) < -50
        around = np.delete(capture.iq, np.arange(begin, begin + iq.size))
        assert np.abs(around).max() < 1e-3
        between.add(capture.first_sample + begin - at)
    assert len(between) == 1  # the same three times: to the sample


def test_a_long_burst_goes_on_while_its_sender_does_something_else(receiver, sender):
    apart, at = receiver.now() - sender.now(), sender.now() + LEAD
    sender.transmit(np.full(900_000, 0.5, np.complex64), at=at)  # more than the board holds
    assert sender.now() < at
    capture = receiver.receive(1000, at=at + apart + 800_000 - WIDE)
    assert np.abs(capture.iq).min() > 0.01
    sender.receive(1, at=at + 900_000 + WIDE)


def test_lost_datagrams_are_zeros_that_are_counted_and_over_with_the_next(served, receiver, sender):
    apart, at = receiver.now() - sender.now(), sender.now() + LEAD
    sender.transmit(np.full(1_500_000, 0.5, np.complex64), at=at)
    served.set(received=7)
    first = receiver.receive(20_000, at=at + apart + WIDE)
    served.set(received=0)
    second = receiver.receive(20_000)
    lost = first.iq == 0
    assert 1_000 < np.count_nonzero(lost) == first.overflows < 10_000
    assert np.abs(first.iq[~lost]).min() > 0.01
    assert second.overflows == 0
    assert np.abs(second.iq).min() > 0.01
    sender.receive(1, at=at + 1_500_000 + WIDE)


def test_what_the_board_holds_for_later_is_not_sent_once_the_radio_is_closed(served, receiver):
    with opened(served.hosts[2]) as radio:
        apart, at = receiver.now() - radio.now(), radio.now() + 1_500_000
        for number in range(3):
            radio.transmit(noise(5_000, number), at=at + 10_000 * number)
        radio.receive(1)  # by then they are in the board
    assert receiver.now() < at + apart - WIDE, "the machine is too busy for this test"
    assert np.abs(receiver.receive(3 * WIDE, at=at + apart - WIDE).iq).max() < 1e-3
    assert served.set()[2][0] == 0.0  # dB, as the board has it


def test_what_uhd_tells_arrives_and_a_driver_without_hardware_time_is_not_timed(
    served, soapy_uhd, tmp_path
):
    uri = f"soapy://driver=uhd,addr={served.hosts[3]}"
    wrong = (NOWHERE, f"{uri},rx_subdev=B:7")
    done = subprocess.run(
        [soapy_uhd, "-c", HERE, f"{uri}?lead_s=0.1", *wrong],
        cwd=tmp_path,
        env=environment(os.environ, tmp_path, ["radio"]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told, errors = json.loads(done.stdout.strip().rpartition("\n")[2])
    assert told["caps"] == [True, True]
    assert len(told["late"]) == 2
    assert all("a burst came too late and was not sent" in line for line in told["late"])
    assert told["after"] == 0
    assert "is closed; open it again" in told["closed"]
    timed, *times = told["untimed"]
    assert not timed
    assert times == sorted(times)
    assert told["lost"] == 0
    assert told["waits"] >= 2_000
    nowhere, subdev = errors
    assert "cannot be opened" in nowhere and "there is none; `SoapySDRUtil --find`" in nowhere
    assert "cannot be opened" in subdev and "B:7" in subdev
