"""What goes wrong between a program and its USRP is said clearly, and over when it is over."""

import os
import signal
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from scipy.signal import correlate
from usrp_process import usrps

from radio.api import RadioError, RadioSettings
from radio.registry import open_radio

PACE = 0.5
LEAD = 300_000  # samples
OPTIONS = "lead_s=0.1&timeout_s=1"
SETTINGS = RadioSettings(915e6, 1e6, 10.0, 0.0)


@pytest.fixture(scope="module")
def served(uhd):
    with usrps(3, pace=PACE, preset="ideal", loss_db=10.0) as served:
        yield served


@pytest.fixture(scope="module")
def opened(served):
    """Two radios, whose clocks do not agree."""
    with streaming(served.uris[0]) as one, streaming(served.uris[1]) as other:
        yield one, other


@pytest.fixture
def radio(opened):
    """One that is well before a test."""
    opened[0].configure(SETTINGS)
    return opened[0]


@contextmanager
def streaming(uri, options=OPTIONS):
    with open_radio(f"{uri}?{options}") as radio:
        radio.configure(SETTINGS)
        yield radio


def host_of(radio):
    """The process that has libuhd."""
    return radio._process._process.pid


@contextmanager
def stopped(pid, after_s, for_s):
    """A program that stands still for a while, in seconds of the world."""

    def stop():
        time.sleep(after_s)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(for_s)
        os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def burst(n=1000):
    return np.full(n, 0.5, np.complex64)


def said(radio, until_s=30.0):
    """What the radio says went wrong, as soon as it knows."""
    until = time.monotonic() + until_s
    while time.monotonic() < until:
        try:
            radio.receive(1000)
        except RadioError as error:
            return str(error)
    raise AssertionError("all is well")


def require_works(radio):
    """What it sends and receives has its place again; what a busy machine loses is healed."""
    for _ in range(3):
        try:
            at = radio.now() + LEAD
            report = radio.transmit(burst(), at=at)
            capture = radio.receive(1000, at=at)
            radio.receive(100)
        except RadioError:
            continue
        if (report.started_at, capture.first_sample, capture.overflows) == (at, at, 0):
            return
    raise AssertionError("it does not work again")


def test_a_late_burst_is_told_of_and_the_next_one_is_not(radio):
    radio.transmit(burst(), at=radio.now() + LEAD)
    with stopped(host_of(radio), 0.0, 1.0):  # until it should have been on the air
        pass
    assert "came too late and were not sent" in said(radio)
    require_works(radio)


def test_a_host_that_stands_still_while_it_sends(radio):
    radio.transmit(burst(2_000_000))  # begins 0.1 s after it has come to the driver
    with stopped(host_of(radio), 2.0, 1.5):  # while the radio holds a quarter of a million
        pass
    assert "this host was too slow" in said(radio)
    radio.configure(SETTINGS)
    require_works(radio)


def test_a_host_that_stands_still_while_it_receives(radio):
    radio.configure(RadioSettings(915e6, 5e6, 10.0, 0.0))
    try:
        with stopped(host_of(radio), 0.5, 2.0):
            capture = radio.receive(5_000_000)
        assert capture.overflows > 0
        assert radio.receive(10_000).overflows == 0
    finally:
        radio.configure(SETTINGS)
    require_works(radio)


def test_what_is_lost_on_the_way_is_counted_and_all_else_in_its_place(opened, served):
    sender, receiver = opened
    wave = np.exp(2j * np.pi * np.cumsum(np.linspace(0, 0.4, 40_000))).astype(np.complex64) / 2
    for radio in opened:
        radio.configure(SETTINGS)
    served.set(received=7)
    try:
        there = receiver.now()
        sender.transmit(wave, at=sender.now() + LEAD)
        capture = receiver.receive(2 * LEAD, at=there + LEAD // 2)
    finally:
        served.set(received=0)
    assert 0.1 < capture.overflows / capture.iq.size < 0.2
    heard = np.flatnonzero(np.abs(capture.iq) > 0.1)
    assert heard.size > 30_000
    # What was sent turns by the square of time: a sample in a wrong place does not fit.
    place = int(np.argmax(np.abs(correlate(capture.iq, wave, "valid"))))
    whole = np.zeros(capture.iq.size, complex)
    whole[place : place + wave.size] = wave
    gain = np.vdot(whole[heard], capture.iq[heard]) / np.vdot(whole[heard], whole[heard])
    assert np.abs(capture.iq[heard] - gain * whole[heard]).max() < 1e-3
    require_works(receiver)


def test_samples_lost_on_the_way_to_the_radio_are_told_of(radio, served):
    served.set(sent=20)
    try:
        radio.transmit(burst(50_000), at=radio.now() + LEAD)
        assert "were lost on the way to the radio" in said(radio)
    finally:
        served.set(sent=0)
    time.sleep(1.0)  # what is still said of that burst
    radio.configure(SETTINGS)
    require_works(radio)


def test_a_rate_that_there_is_not(radio):
    with pytest.raises(RadioError, match=r"has no sample rate of 3300000 Hz; the nearest is 33333"):
        radio.configure(RadioSettings(915e6, 3.3e6, 0.0, 0.0))
    assert radio.settings == SETTINGS
    require_works(radio)


def test_pulses_that_do_not_come(served):
    served.set(pps=False)
    try:
        with pytest.raises(RadioError, match=r"no pulse came for 1\.25 s; is PPS connected"):
            open_radio(f"{served.uris[2]}?time=external&align=pps&pulse_s=0.5")
    finally:
        served.set(pps=True)


def test_a_reference_that_is_not_there_or_goes(served):
    uri = f"{served.uris[2]}?clock=external&{OPTIONS}"
    served.set(locked=False)
    with pytest.raises(RadioError, match="does not lock to its reference, clock=external"):
        open_radio(uri)
    served.set(locked=True)
    with open_radio(uri) as radio:
        require_works(radio)
        served.set(locked=False)
        assert "the reference was lost, clock=external" in said(radio)
        with pytest.raises(RadioError, match="the reference was lost"):
            radio.configure(SETTINGS)
        served.set(locked=True)
        radio.configure(SETTINGS)
        require_works(radio)


def test_a_radio_that_goes_and_comes_back(opened, served):
    radio, other = opened
    require_works(radio)
    served.freeze()
    try:
        for act in (radio.now, lambda: radio.receive(1000)):
            with pytest.raises(RadioError, match="does not tell its time; open it again"):
                act()
        with pytest.raises(RadioError, match="does not tell of the synthesizer of its receiver"):
            radio.configure(SETTINGS)
        radio.close()
        with pytest.raises(RadioError, match="cannot be opened"):
            open_radio(served.uris[0])
    finally:
        served.thaw()
    with streaming(served.uris[0]) as again:
        require_works(again)
    require_works(other)  # which nobody asked meanwhile
