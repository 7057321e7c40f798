"""Streams without a gap: what is counted is the time."""

import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radio.api import RadioError
from radio.streaming import Cadence, HeardStream, SendStream


def ramp(n, first=1):
    return np.arange(first, first + n).astype(np.complex64)


@settings(max_examples=60, deadline=None)
@given(
    bursts=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 90)), max_size=6),
    takes=st.lists(st.integers(1, 150), min_size=1, max_size=12),
)
def test_what_is_taken_is_zeros_with_the_bursts_at_their_places(bursts, takes):
    stream, wanted = SendStream(), np.zeros(600, np.complex64)
    for start, n in bursts:
        if wanted[start : start + n].any():
            with pytest.raises(RadioError, match="overlap"):
                stream.post(ramp(n), start)
        else:
            assert stream.post(ramp(n), start) == start
            wanted[start : start + n] = ramp(n)
    taken = np.concatenate([stream.take(n) for n in takes])[:600]
    np.testing.assert_array_equal(taken, wanted[: taken.size])
    assert stream.position == sum(takes)


def test_without_a_time_bursts_follow_each_other_and_are_never_late():
    stream = SendStream()
    stream.take(100)
    assert [stream.post(ramp(10), None) for _ in range(3)] == [100, 110, 120]
    with pytest.raises(RadioError, match="1 samples too late"):
        stream.post(ramp(5), 99)
    stream.clear()
    assert not stream.take(50).any()


def test_what_was_heard_is_kept_for_a_while():
    stream = HeardStream("it", history=100)
    for k in range(10):
        stream.append(ramp(50, first=50 * k))
    assert stream.end == 500
    assert stream.oldest == 400
    np.testing.assert_array_equal(stream.read(430, 60, 1.0), ramp(60, first=430))
    with pytest.raises(RadioError, match="sample 399 has passed"):
        stream.read(399, 10, 1.0)


def test_who_reads_ahead_waits_until_it_has_come():
    stream = HeardStream("it", history=1000)
    feeder = threading.Timer(0.05, lambda: [stream.append(ramp(40, 40 * k)) for k in range(3)])
    feeder.start()
    np.testing.assert_array_equal(stream.read(30, 60, 10.0), ramp(60, first=30))
    feeder.join()


def test_a_capture_may_be_longer_than_what_is_kept():
    stream = HeardStream("it", history=100)
    waits = threading.Event()

    def feed():
        waits.wait(10.0)
        for k in range(1, 20):
            stream.append(ramp(50, 50 * k))

    stream.append(ramp(50, 0))
    feeder = threading.Thread(target=feed)
    feeder.start()
    wait, stream._changed.wait = stream._changed.wait, lambda s: (waits.set(), wait(s))[1]
    np.testing.assert_array_equal(stream.read(30, 900, 10.0), ramp(900, first=30))
    feeder.join()
    stream.append(ramp(50, 1000))
    assert stream.oldest == 950


def test_a_stream_that_stops_or_breaks_is_told():
    stream = HeardStream("it", history=1000)
    with pytest.raises(RadioError, match=r"no samples came in for 0\.01 s"):
        stream.read(0, 10, 0.01)
    breaker = threading.Timer(0.05, lambda: stream.fail("the cable is out"))
    breaker.start()
    with pytest.raises(RadioError, match="the cable is out"):
        stream.read(0, 10, 10.0)
    breaker.join()
    assert stream.fault == "it: the cable is out"


WINDOW = 25  # transfers of 8 ms that a cadence judges by


def lags(losses=(), backlog=(0, 0), n=400, period_s=8e-3, seed=0):
    """What is said of received transfers whose host is late by up to two periods.

    `losses` are (transfer, periods by which it and all later ones come later); from the first to
    the second transfer of `backlog`, the host is ten transfers behind and catches up slowly.
    """
    rng = np.random.default_rng(seed)
    sent = (np.arange(n + 80) + 0.3) * period_s + rng.exponential(0.3 * period_s, n + 80)
    heard = np.arange(n) * period_s + rng.exponential(0.3 * period_s, n)
    for at, periods in losses:
        heard[at:] += periods * period_s
    first, last = backlog
    heard[first:last] += np.linspace(10, 0, last - first) * period_s
    cadence, said = Cadence(period_s), []
    sent, heard = (np.maximum.accumulate(times) for times in (sent, heard))
    events = [(t, cadence.sent) for t in sent - 10 * period_s] + [(t, None) for t in heard]
    for t, tell in sorted(events, key=lambda event: event[0]):
        if tell is None:
            cadence.heard(t)
            said.append(cadence.lag())
        else:
            tell(t)
    return np.array(said)


@pytest.mark.parametrize("seed", range(5))
def test_a_host_that_is_late_and_catches_up_is_in_step(seed):
    assert np.abs(lags(seed=seed)).max() < 0.2
    assert np.abs(lags(seed=seed, backlog=(150, 200))).max() < 0.2


@pytest.mark.parametrize("periods", [0.4, 1.0, 7.5, -0.4])
def test_samples_that_vanish_without_a_flag_are_noticed(periods):
    said = lags(losses=[(200, periods)])
    assert np.abs(said[:200]).max() < 0.2
    noticed = np.flatnonzero(np.abs(said) > 0.25)[0]
    assert noticed < 200 + 3 * WINDOW
    assert np.median(said[-50:]) == pytest.approx(periods, rel=0.2)


def test_several_may_ask_a_cadence_at_once():
    """As a thread that receives and a caller who takes a capture do."""
    cadence, is_over, broken = Cadence(8e-3), threading.Event(), []

    def ask():
        try:
            while not is_over.is_set():
                cadence.lag()
        except RuntimeError as error:
            broken.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for k in range(2000):
            cadence.sent(8e-3 * k)
            cadence.heard(8e-3 * k + 1e-3)
        is_over.set()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not broken


def test_a_sent_stream_that_stands_still_is_noticed():
    cadence = Cadence(8e-3)
    for k in range(200):
        if k < 120:
            cadence.sent(8e-3 * k)
        cadence.heard(8e-3 * k + 1e-3)
        said = cadence.lag()
    assert said == -WINDOW
