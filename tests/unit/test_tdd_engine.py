"""The TDD engine of a virtual Pluto, by the vendor's description of its registers and states."""

import math

import pytest

from sim_fallback.virtual_pluto.errors import IioError
from sim_fallback.virtual_pluto.tdd import (
    ARMED,
    IDLE,
    RECEIVE,
    RUNNING,
    WAITING,
    SyncWire,
    TddEngine,
)

RATE = 1e6


def engine(on=0, off=10, polarity=0, frame=1000, burst=0, delay=0):
    """Enabled at 0 s, to receive from `on` to `off` of frames of 1 ms."""
    tdd = TddEngine(lambda: RATE)
    for name, value in (("on", on), ("off", off), ("polarity", polarity), ("enable", 1)):
        tdd.set_gate(RECEIVE, name, value)
    for name, value in (
        ("frame_length_raw", frame),
        ("burst_count", burst),
        ("startup_delay_raw", delay),
    ):
        tdd.set_number(name, value)
    tdd.switch("enable", 1, 0.0)
    return tdd


def test_at_rest_reception_is_free():
    tdd = TddEngine(lambda: RATE)
    assert tdd.state(1.0) == IDLE
    assert tdd.high_s(RECEIVE, 1.0) == 1.0
    assert not tdd.sync(1.0)
    tdd.switch("sync_reset", 1, 1.0)  # which is for an engine that runs
    assert not tdd.sync(1.0)
    assert tdd.state(2.0) == IDLE


def test_armed_it_waits_for_a_pulse_and_runs_frame_by_frame():
    tdd = engine(on=200, off=300)
    assert tdd.state(0.5) == ARMED
    assert tdd.high_s(RECEIVE, 0.5) == math.inf
    assert tdd.sync(0.5)
    assert not tdd.sync(0.6)
    assert tdd.state(0.6) == RUNNING
    for t_s, high_s in ((0.5, 0.5002), (0.50025, 0.50025), (0.5003, 0.5012), (0.7, 0.7002)):
        assert tdd.high_s(RECEIVE, t_s) == pytest.approx(high_s, abs=1e-9)


def test_an_inverted_channel_is_high_outside_its_window():
    tdd = engine(on=200, off=300, polarity=1)
    assert tdd.high_s(RECEIVE, 0.4) == 0.4
    tdd.sync(0.5)
    for t_s, high_s in ((0.5, 0.5), (0.50025, 0.5003), (0.5003, 0.5003)):
        assert tdd.high_s(RECEIVE, t_s) == pytest.approx(high_s, abs=1e-9)


def test_a_startup_delay_comes_first_and_a_burst_ends():
    tdd = engine(burst=3, delay=500)
    tdd.sync(1.0)
    assert tdd.state(1.0004) == WAITING
    assert tdd.state(1.0006) == RUNNING
    assert tdd.state(1.0034) == RUNNING
    assert tdd.state(1.0036) == ARMED


def test_a_frame_is_run_to_its_end():
    tdd = engine()
    tdd.sync(1.0)
    tdd.switch("enable", 0, 1.0104)
    assert tdd.state(1.0109) == RUNNING
    assert tdd.state(1.0111) == IDLE


def test_what_is_written_while_it_is_enabled_is_ignored():
    tdd = engine(on=200, off=300)
    tdd.set_number("frame_length_raw", 7)
    tdd.set_gate(RECEIVE, "on", 7)
    assert tdd.number("frame_length_raw") == 1000
    assert tdd.gate(RECEIVE).on == 200
    tdd.switch("enable", 0, 0.1)
    tdd.set_gate(RECEIVE, "polarity", 1)
    assert tdd.high_s(RECEIVE, 0.2) == math.inf  # as when it was enabled last: the radio is deaf
    tdd.switch("enable", 1, 0.3)
    tdd.switch("enable", 0, 0.4)
    assert tdd.high_s(RECEIVE, 0.5) == 0.5


def test_a_pulse_begins_the_frame_anew_where_that_is_switched_on():
    tdd = engine(on=200, off=300)
    tdd.sync(1.0)
    tdd.switch("sync_reset", 1, 1.0)
    assert not tdd.sync(1.0005)
    assert tdd.high_s(RECEIVE, 1.0005) == pytest.approx(1.0007, abs=1e-9)


def test_counts_have_32_bits():
    with pytest.raises(IioError):
        engine(frame=1 << 32)
    with pytest.raises(IioError):
        engine(on=-1)


def test_a_wire_tells_all_of_a_pulse():
    wire, told = SyncWire(), []
    wire.connect(told.append)
    wire.connect(told.append)
    wire.pulse(1.5)
    assert told == [1.5, 1.5]
