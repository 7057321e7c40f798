from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radio.api import Capture, RadioError, RadioSettings, Range, TxReport
from radio.drivers.loopback import LoopbackRadio
from radio.limits import LimitedRadio, Limits, busiest_window, joined

RATE = 1e6
LIMITS = Limits(
    bands=(Range(433.05e6, 434.79e6), Range(902e6, 928e6)),
    max_tx_gain_db=-10.0,
    max_duty_cycle=0.1,
    window_s=0.01,
    max_burst_s=0.0008,
)
SETTINGS = RadioSettings(915e6, RATE, -10.0, 0.0)


class SpyRadio(LoopbackRadio):
    """A loopback that keeps what reaches it, and can start elsewhere or fail."""

    def __init__(self):
        super().__init__()
        self.sent = []
        self.closed = 0
        self.slip = 0
        self.fault = None
        self.lo_step_hz = 0.0

    def configure(self, want):
        applied = super().configure(replace(want, carrier_hz=want.carrier_hz + self.lo_step_hz))
        self.sent.append(applied)
        return applied

    def transmit(self, iq, at=None):
        if self.fault is not None:
            raise self.fault
        report = super().transmit(iq, at if not self.slip else (at or 0) + self.slip)
        self.sent.append((report.started_at, iq.size))
        return report

    def close(self):
        self.closed += 1
        super().close()


def burst(n):
    return np.full(n, 0.5, np.complex64)


@pytest.fixture
def spy():
    return SpyRadio()


@pytest.fixture
def radio(spy):
    limited = LimitedRadio(spy, LIMITS)
    limited.configure(SETTINGS)
    spy.sent.clear()
    return limited


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"bands": ()}, "at least one"),
        ({"bands": (Range(2.0, 1.0),)}, "goes up"),
        ({"bands": (Range(0.0, 1.0),)}, "goes up"),
        ({"bands": (Range(1.0, np.inf),)}, "goes up"),
        ({"max_tx_gain_db": np.nan}, "finite"),
        ({"max_duty_cycle": 0.0}, r"\(0, 1\]"),
        ({"max_duty_cycle": 1.1}, r"\(0, 1\]"),
        ({"window_s": 0.0}, "window_s must be above 0"),
        ({"max_burst_s": np.nan}, "max_burst_s must be above 0"),
    ],
)
def test_limits_make_sense(change, why):
    with pytest.raises(ValueError, match=why):
        replace(LIMITS, **change)


@pytest.mark.parametrize(
    ("carrier_hz", "rate_hz", "allowed"),
    [
        (915e6, 1e6, True),
        (902.5e6, 1e6, True),
        (902.4e6, 1e6, False),
        (927.5e6, 1e6, True),
        (927.6e6, 1e6, False),
        (915e6, 26e6, True),
        (915e6, 26.1e6, False),
        (433.92e6, 1.74e6, True),
        (433.92e6, 1.75e6, False),
        (600e6, 1e6, False),
        # Both edges lie in a band, but not in one band.
        (668e6, 480e6, False),
    ],
)
def test_the_whole_signal_fits_into_a_band(spy, carrier_hz, rate_hz, allowed):
    wide = SpyRadio()
    radio = LimitedRadio(wide, LIMITS)
    want = RadioSettings(carrier_hz, rate_hz, -10.0, 0.0)
    if allowed:
        assert radio.configure(want) == want
    else:
        with pytest.raises(RadioError, match=r"would be occupied|is outside"):
            radio.configure(want)
        assert not wide.sent


def test_gain_is_limited(radio, spy):
    with pytest.raises(RadioError, match=r"tx_gain_db = -9.9 exceeds the bench's -10"):
        radio.configure(replace(SETTINGS, tx_gain_db=-9.9))
    assert radio.settings == SETTINGS
    assert not spy.sent


def test_what_the_radio_makes_of_the_settings_counts(radio, spy):
    spy.lo_step_hz = 1e3
    with pytest.raises(RadioError, match="would be occupied"):
        radio.configure(replace(SETTINGS, carrier_hz=927.5e6))
    with pytest.raises(RadioError, match="would be occupied"):
        radio.transmit(burst(10))


def test_a_radio_found_outside_the_limits_sends_nothing(spy):
    radio = LimitedRadio(spy, LIMITS)  # its gain is 0 dB still
    with pytest.raises(RadioError, match="exceeds the bench's -10"):
        radio.transmit(burst(10))
    assert not spy.sent
    assert radio.receive(10).iq.size == 10


def test_bursts_are_limited(radio, spy):
    radio.transmit(burst(800))
    radio.receive(10_000)
    with pytest.raises(RadioError, match="801 samples without a pause exceed the bench's 800"):
        radio.transmit(burst(801))
    assert spy.sent == [(0, 800)]


def test_bursts_without_a_pause_are_one(radio, spy):
    radio.transmit(burst(500), at=0)
    with pytest.raises(RadioError, match="1000 samples without a pause"):
        radio.transmit(burst(500), at=500)
    assert spy.sent == [(0, 500)]


def test_the_duty_cycle_is_that_of_any_window(radio, spy):
    radio.transmit(burst(600), at=0)  # 1000 of 10,000 may be sent
    with pytest.raises(RadioError, match=r"1001 samples within 0.01 s exceed the bench's 1000"):
        radio.transmit(burst(401), at=5_000)
    assert spy.sent == [(0, 600)]


def test_duty_comes_back_as_the_window_passes(radio):
    radio.receive(123)
    radio.transmit(burst(600))
    radio.receive(5_000)
    radio.transmit(burst(400))
    radio.receive(5_000)  # the window that closes 300 samples from now opens amid the first burst
    radio.transmit(burst(100))
    with pytest.raises(RadioError, match=r"duty cycle 0\.1"):
        radio.transmit(burst(800), at=radio.now() + 200)


@pytest.mark.parametrize("bad", [burst(0), burst(10).astype(np.complex128), burst(10) * np.nan])
def test_bad_samples_do_not_reach_the_radio(radio, spy, bad):
    with pytest.raises(RadioError):
        radio.transmit(bad)
    assert not spy.sent


def test_a_refusal_between_bursts_leaves_the_radio_usable(radio, spy):
    radio.transmit(burst(100))
    radio.receive(100)
    with pytest.raises(RadioError):
        radio.transmit(burst(801))
    assert spy.closed == 0
    assert not radio.receive(2_000).iq.any()
    radio.transmit(burst(100))
    assert radio.receive(100).iq.all()


@pytest.mark.parametrize(
    "refused",
    [
        lambda radio: radio.transmit(burst(801)),
        lambda radio: radio.transmit(burst(0)),
        lambda radio: radio.configure(replace(SETTINGS, carrier_hz=600e6)),
        lambda radio: radio.receive(0),
    ],
)
def test_a_refusal_takes_back_what_is_armed(radio, spy, refused):
    radio.transmit(burst(100), at=5_000)
    with pytest.raises(RadioError) as refusal:
        refused(radio)
    assert spy.closed == 1
    assert "closed to mute" in refusal.value.__notes__[0]
    with pytest.raises(RadioError, match="closed"):
        radio.receive(10)


@pytest.mark.parametrize("fault", [OSError("USB gone"), KeyboardInterrupt(), MemoryError()])
def test_any_other_exception_mutes(radio, spy, fault):
    spy.fault = fault
    with pytest.raises(type(fault)):
        radio.transmit(burst(10))
    assert spy.closed == 1


def test_bursts_that_queue_are_one(radio, spy):
    radio.transmit(burst(500))
    with pytest.raises(RadioError, match="1000 samples without a pause"):
        radio.transmit(burst(500))
    assert spy.sent == [(0, 500)]


def test_a_start_elsewhere_that_breaks_a_limit_mutes(radio, spy):
    radio.transmit(burst(500), at=0)
    spy.slip = -100
    with pytest.raises(RadioError, match="900 samples without a pause"):
        radio.transmit(burst(400), at=600)
    assert spy.closed == 1


def test_airtime_is_counted_from_when_a_burst_started(radio, spy):
    spy.slip = 4_000
    assert radio.transmit(burst(700)).started_at == 4_000
    radio.receive(11_000)
    spy.slip = 0
    with pytest.raises(RadioError, match="duty cycle"):
        radio.transmit(burst(301), at=13_000)


def test_past_bursts_count_after_a_change_of_rate(radio):
    radio.transmit(burst(800))
    radio.receive(1_000)
    radio.configure(replace(SETTINGS, sample_rate_hz=2 * RATE))  # 1600 of 20,000 samples now
    radio.receive(8_000)
    radio.transmit(burst(400))
    with pytest.raises(RadioError, match=r"2001 samples within 0.01 s exceed the bench's 2000"):
        radio.transmit(burst(1), at=radio.now() + 500)


def test_what_is_allowed_comes_through_unchanged(radio, spy):
    iq = burst(300)
    assert radio.transmit(iq, at=50) == TxReport(-10.0, 0, 50)
    capture = radio.receive(400)
    assert isinstance(capture, Capture)
    np.testing.assert_allclose(capture.iq[50:350], 0.5 * 10 ** (-10 / 20), rtol=1e-6)
    assert radio.caps == spy.caps
    with radio as entered:
        assert entered is radio
    assert spy.closed == 1


def test_an_exception_in_its_context_mutes(radio, spy):
    with pytest.raises(KeyboardInterrupt), radio:
        radio.transmit(burst(100), at=5_000)
        raise KeyboardInterrupt
    assert spy.closed == 1


bursts = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)), min_size=1, max_size=12)


@given(bursts)
def test_joined_is_the_union(pairs):
    on_air = []
    for start, length in pairs:
        on_air = joined(on_air, start, start + length)
    covered = {t for start, length in pairs for t in range(start, start + length)}
    assert {t for start, end in on_air for t in range(start, end)} == covered
    assert all(left[1] < right[0] for left, right in pairwise(on_air))


@given(bursts, st.integers(1, 80), st.integers(0, 2**60))
def test_the_busiest_window_is_found(pairs, window, epoch):
    on_air = []
    for start, length in pairs:
        on_air = joined(on_air, epoch + start, epoch + start + length)
    keyed = np.zeros(300)
    for start, end in on_air:
        keyed[100 + start - epoch : 100 + end - epoch] = 1
    slid = np.convolve(keyed, np.ones(window))
    assert busiest_window(on_air, window) == slid.max()
