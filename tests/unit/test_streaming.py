"""Streams without a gap: what is counted is the time."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radio.api import RadioError
from radio.streaming import HeardStream, SendStream


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
    stream = HeardStream(history=100)
    for k in range(10):
        stream.append(ramp(50, first=50 * k))
    assert stream.end == 500
    assert stream.oldest == 400
    np.testing.assert_array_equal(stream.read(430, 60, 1.0), ramp(60, first=430))
    with pytest.raises(RadioError, match="sample 399 has passed"):
        stream.read(399, 10, 1.0)


def test_who_reads_ahead_waits_until_it_has_come():
    stream = HeardStream(history=1000)
    feeder = threading.Timer(0.05, lambda: [stream.append(ramp(40, 40 * k)) for k in range(3)])
    feeder.start()
    np.testing.assert_array_equal(stream.read(30, 60, 10.0), ramp(60, first=30))
    feeder.join()


def test_a_stream_that_stops_or_breaks_is_told():
    stream = HeardStream(history=1000)
    with pytest.raises(RadioError, match=r"no samples came in for 0\.01 s"):
        stream.read(0, 10, 0.01)
    breaker = threading.Timer(0.05, lambda: stream.fail("the cable is out"))
    breaker.start()
    with pytest.raises(RadioError, match="the cable is out"):
        stream.read(0, 10, 10.0)
    breaker.join()
    assert stream.fault == "the cable is out"
