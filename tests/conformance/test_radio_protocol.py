"""What radio/api.py promises, over every backend; `--radio-uri URI` adds a radio of one's own."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from radio.api import IQ, Radio, RadioError, RadioSettings

SETTINGS = ("carrier_hz", "sample_rate_hz", "tx_gain_db", "rx_gain_db")
BAD = (
    (np.ones(10, np.complex128), "complex64"),
    (np.ones(10, np.float32), "complex64"),
    (np.ones((2, 5), np.complex64), "complex64"),
    ([1.0 + 0j], "complex64"),
    (np.ones(0, np.complex64), "no sample"),
    (np.array([1, np.nan], np.complex64), "infinite or undefined"),
    (np.array([1, 1j * np.inf], np.complex64), "infinite or undefined"),
)


def lead(radio: Radio) -> int:
    """Samples ahead that even a slow radio can keep."""
    return 1_000 + math.ceil(2 * radio.caps.turnaround_s * radio.settings.sample_rate_hz)


def burst(n: int, amplitude: float = 0.1) -> IQ:
    return np.full(n, amplitude, np.complex64)


@pytest.mark.closes
def test_caps_are_readable_while_closed(radio):
    before = radio.caps
    radio.close()
    assert radio.caps == before
    assert before.name
    assert before.bits >= 1
    assert before.turnaround_s >= 0
    assert before.max_burst >= 1 or not before.can_transmit
    for name in SETTINGS:
        allowed = getattr(before, name)
        assert allowed.low <= allowed.high


def test_settings_in_force_are_within_the_ranges(radio):
    for name in SETTINGS:
        assert getattr(radio.settings, name) in getattr(radio.caps, name)


def test_configure_returns_what_was_applied(radio, backend):
    want = radio.settings
    applied = radio.configure(want)
    assert isinstance(applied, RadioSettings)
    assert applied == radio.settings
    assert radio.configure(applied) == applied
    if backend.virtual_time:
        assert applied == want


def test_configure_refuses_what_is_out_of_range(radio):
    before = radio.settings
    for name, side in product(SETTINGS, (-1.0, 1.0, math.nan)):
        allowed = getattr(radio.caps, name)
        edge = allowed.low if side < 0 else allowed.high
        with pytest.raises(RadioError, match=name):
            radio.configure(replace(before, **{name: edge + side * (1.0 + abs(edge))}))
        assert radio.settings == before


def test_a_capture_is_what_was_asked_for(radio):
    for n in (1, 7, 4096):
        capture = radio.receive(n)
        assert capture.iq.shape == (n,)
        assert capture.iq.dtype == np.complex64
        assert np.isfinite(capture.iq).all()
        assert capture.overflows == 0
        assert isinstance(capture.first_sample, int)


def test_captures_keep_to_full_scale(radio):
    parts = radio.receive(8192).iq.view(np.float32)
    assert np.abs(parts).max() <= 1.0


def test_consecutive_captures_follow_each_other(radio, backend):
    first = radio.receive(300)
    second = radio.receive(500)
    third = radio.receive(1)
    if backend.virtual_time or radio.caps.continuous:
        assert second.first_sample == first.first_sample + 300 + second.overflows
        assert third.first_sample == second.first_sample + 500 + third.overflows
    assert second.first_sample >= first.first_sample + 300
    assert third.first_sample >= second.first_sample + 500


def test_a_timed_capture_begins_at_its_time(radio, backend):
    if not radio.caps.timed:
        pytest.skip(f"{radio.caps.name} does not keep times")
    at = radio.now() + lead(radio)
    capture = radio.receive(200, at=at)
    assert capture.first_sample == at
    if backend.virtual_time:
        assert radio.receive(10, at=at + 200).first_sample == at + 200
        assert radio.receive(10).first_sample == at + 210


def test_reading_in_pieces_gives_the_same_samples(backend):
    if not backend.virtual_time:
        pytest.skip("the air is another each time")
    with backend.open() as radio:
        whole = radio.receive(1_000)
    with backend.open() as radio:
        pieces = [radio.receive(n) for n in (1, 399, 600)]
    if whole.first_sample != pieces[0].first_sample:
        pytest.skip("the air went on in between")
    np.testing.assert_array_equal(np.concatenate([p.iq for p in pieces]), whole.iq)


def test_a_capture_of_no_samples_is_refused(radio):
    before = radio.now()
    for n in (0, -1, 1.5, True, None):
        with pytest.raises(RadioError, match="a whole number"):
            radio.receive(n)
    assert radio.now() >= before


def test_a_capture_of_the_past_is_refused(radio):
    capture = radio.receive(100)
    for at in (capture.first_sample + 99, capture.first_sample, -1):
        with pytest.raises(RadioError, match="has passed"):
            radio.receive(10, at=at)


def test_a_capture_is_the_callers_own(radio, backend):
    first = radio.receive(100)
    kept = first.iq.copy()
    first.iq[:] = 9.0
    second = radio.receive(100)
    assert not np.any(second.iq == 9.0)
    second.iq[:] = 7.0
    assert np.all(first.iq == 9.0)
    if backend.virtual_time:
        with backend.open() as again:
            third = again.receive(100)
        if third.first_sample == first.first_sample:
            np.testing.assert_array_equal(third.iq, kept)


def test_the_clock_never_goes_back(radio):
    times = [radio.now(), radio.now()]
    for n in (1, 100, 3):
        capture = radio.receive(n)
        times.append(radio.now())
        assert times[-1] >= capture.first_sample + n
        if radio.caps.can_transmit:
            radio.transmit(burst(50))
            times.append(radio.now())
    assert times == sorted(times)


def test_a_burst_is_reported(sender):
    before = sender.now()
    report = sender.transmit(burst(300))
    assert report.clipped == 0
    assert report.started_at >= before
    assert report.applied_gain_db == sender.settings.tx_gain_db


def test_a_timed_burst_begins_at_its_time(sender):
    if not sender.caps.timed:
        pytest.skip(f"{sender.caps.name} does not keep times")
    at = sender.now() + lead(sender)
    assert sender.transmit(burst(300), at=at).started_at == at


def test_sending_in_virtual_time_takes_none(sender, backend):
    if not backend.virtual_time:
        pytest.skip("its time goes on by itself")
    before = sender.now()
    sender.transmit(burst(300))
    sender.transmit(burst(300), at=before + 1_000)
    assert sender.now() == before


def test_bursts_without_a_time_follow_each_other(sender):
    first = sender.transmit(burst(300))
    second = sender.transmit(burst(200))
    third = sender.transmit(burst(10))
    assert second.started_at >= first.started_at + 300
    assert third.started_at >= second.started_at + 200


@pytest.mark.parametrize("shift", [-99, 0, 299])
def test_one_burst_at_a_time(sender, shift):
    if not sender.caps.timed:
        pytest.skip(f"{sender.caps.name} does not keep times")
    at = sender.now() + lead(sender)
    sender.transmit(burst(300), at=at)
    with pytest.raises(RadioError, match="would overlap"):
        sender.transmit(burst(100), at=at + shift)


def test_samples_beyond_full_scale_are_counted(sender):
    iq = np.array([1.0, -1.0j, 1.0 + 1.0j, 1.01, 0.5 - 1.5j, 1.5 + 1.5j], np.complex64)
    assert sender.transmit(iq[:3]).clipped == 0
    assert sender.transmit(iq, at=sender.now() + lead(sender)).clipped == 3


def test_a_burst_stays_the_callers_own(sender):
    iq = burst(64, 2.0)
    sender.transmit(iq)
    assert np.all(iq == 2.0)


def test_a_burst_of_every_second_sample(sender):
    assert sender.transmit(burst(64, 2.0)[::2]).clipped == 32


def test_bad_samples_are_refused(sender):
    for iq, why in BAD:
        with pytest.raises(RadioError, match=why):
            sender.transmit(iq)
    sender.receive(10)


def test_a_burst_too_long_is_refused(sender):
    too_long = np.zeros(sender.caps.max_burst + 1, np.complex64)
    with pytest.raises(RadioError, match=f"exceeds the {sender.caps.max_burst}"):
        sender.transmit(too_long)


def test_a_burst_in_the_past_is_refused(sender):
    sender.receive(100)
    for at in (sender.now() - 1, 0, -1):
        with pytest.raises(RadioError, match="has passed"):
            sender.transmit(burst(10), at=at)


def test_only_receives(radio):
    if radio.caps.can_transmit:
        radio.transmit(burst(10))
    else:
        with pytest.raises(RadioError, match="only receives"):
            radio.transmit(burst(10))
        radio.receive(10)


@pytest.mark.closes
def test_a_closed_radio_does_nothing(radio):
    settings, can_transmit = radio.settings, radio.caps.can_transmit
    radio.close()
    radio.close()
    with pytest.raises(RadioError, match="closed"):
        radio.receive(10)
    with pytest.raises(RadioError, match="closed"):
        radio.configure(settings)
    with pytest.raises(RadioError, match="closed" if can_transmit else "only receives"):
        radio.transmit(burst(10))


def test_leaving_the_context_closes(backend):
    with backend.open() as radio:
        radio.receive(10)
    with pytest.raises(RadioError, match="closed"):
        radio.receive(10)


def test_an_exception_closes_and_goes_on(backend):
    with pytest.raises(ZeroDivisionError), backend.open() as radio:
        radio.receive(1 // 0)
    with pytest.raises(RadioError, match="closed"):
        radio.receive(10)


def test_it_tells_of_itself_in_words(radio):
    told = radio.describe()
    assert all(isinstance(word, str) and word for word in (*told, *told.values()))
