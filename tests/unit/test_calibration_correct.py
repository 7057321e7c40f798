"""What a corrector does to samples, against closed forms; and what a calibrated radio refuses."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import numpy as np
import pytest

from calibration.correct.advance import Advance
from calibration.correct.calibrated_radio import CalibratedRadio
from calibration.correct.corrector import Corrector
from calibration.correct.turn import Turn
from calibration.estimate import Estimate
from calibration.profiles.profile import Identity, Profile, ProfileError
from calibration.profiles.quantity import SCALARS
from radio.api import RadioError, RadioSettings, Range
from radio.drivers.loopback import LoopbackRadio

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
RATE_HZ = 1e6


def profile(**values):
    """Of a loopback radio, with these scalars."""
    return Profile(
        serial="loopback",
        model="loopback",
        band=Range(902e6, 928e6),
        settings=RadioSettings(915e6, RATE_HZ),
        measured_at=NOW,
        valid_days=1.0,
        temperature_c=None,
        software="tests",
        reference="loopback",
        scalars={name: Estimate(value, 0.0, SCALARS[name].unit) for name, value in values.items()},
    )


FAULTS = {
    "cfo": 1234.5,
    "tx_dc_in_phase": 0.01,
    "tx_dc_quadrature": -0.004,
    "rx_dc_in_phase": -0.006,
    "tx_iq_gain": 0.3,
    "tx_iq_phase": 1.5,
    "rx_iq_gain": -0.2,
    "rx_iq_phase": -1.0,
    "tx_gain_error": 1.0,
    "rx_gain_error": -0.5,
}


def noise(n, seed=0, amplitude=0.1):
    parts = np.random.default_rng(seed).standard_normal(2 * n).astype(np.float32)
    return (np.float32(amplitude) * parts).view(np.complex64)


def tones(times, seed=3):
    """A signal that fills 80 % of the band, known at any time: 40 tones; complex128."""
    rng = np.random.default_rng(seed)
    frequencies, phases = np.linspace(-0.4, 0.4, 40), 2 * np.pi * rng.random(40)
    turns = 2 * np.pi * np.outer(times, frequencies) + phases
    return np.exp(1j * turns).sum(axis=1) / 40


@pytest.mark.parametrize("delay", [0.0, 7.0, 0.5, 12.37, 3.999, 3.9998, -0.25, -4.6, 0.001])
def test_a_burst_is_early_by_its_delay(delay):
    n, advance = 600, Advance(delay)
    burst = advance.apply(tones(np.arange(n)).astype(np.complex64))
    assert burst.dtype == np.complex64
    assert burst.size == n + advance.growth
    # What leaves as sample m should be the burst at m + delay; its ends ring.
    sent_at = np.arange(burst.size) - advance.lead
    inside = (sent_at + delay > 30) & (sent_at + delay < n - 30)
    expected = tones(sent_at + delay)
    error = np.mean(np.abs(burst - expected)[inside] ** 2) / np.mean(np.abs(expected) ** 2)
    assert 10 * math.log10(error + 1e-20) < -60


def test_an_advance_is_worst_at_the_band_edge_and_still_below_60_db():
    times, edge = np.arange(400), 2j * np.pi * 0.4
    for delay in np.linspace(0, 1, 41):
        advance = Advance(delay)
        burst = advance.apply(np.exp(edge * times).astype(np.complex64))
        sent_at = np.arange(burst.size) - advance.lead
        expected = np.exp(edge * (sent_at + delay))
        assert np.abs(burst - expected)[30:370].max() < 1e-3


def test_parts_of_a_burst_add_up_to_the_whole():
    burst, advance = noise(5000), Advance(3.3)
    whole = advance.apply(burst)
    parts = np.zeros_like(whole)
    for start in range(0, 5000, 617):
        part = advance.apply(burst[start : start + 617])
        parts[start : start + part.size] += part
    np.testing.assert_allclose(parts, whole, atol=1e-6)


@pytest.mark.parametrize("first", [0, 4095, 10**9 + 7, (1 << 61) + 12345, -5000])
def test_a_turn_goes_with_the_sample_index(first):
    cycles = 0.0123456789
    iq = np.ones(10_000, np.complex64)
    Turn(cycles).apply(iq, first)
    for k in (0, 1, 4096, 9_999):
        turns = float(Fraction(round(cycles * 2**64), 2**64) * (first + k) % 1)
        assert abs(iq[k] - np.exp(2j * np.pi * turns)) < 1e-6


@pytest.mark.parametrize("seed", range(8))
def test_samples_are_the_same_however_they_are_cut(seed):
    corrector = Corrector.of(profile(**FAULTS, delay=7.0))
    rng = np.random.default_rng(seed)
    iq, first = noise(20_000), int(rng.integers(1 << 40))
    cuts = np.unique([1, 2, 3, *rng.integers(0, 20_000, 30)]).tolist()
    pieces = np.split(iq, cuts)
    starts = [first, *(first + cut for cut in cuts)]
    received = [corrector.received(*one) for one in zip(pieces, starts, strict=True)]
    np.testing.assert_array_equal(np.concatenate(received), corrector.received(iq, first))
    sent = [corrector.sent(*one) for one in zip(pieces, starts, strict=True)]
    whole, at = corrector.sent(iq, first)
    np.testing.assert_array_equal(np.concatenate([burst for burst, _ in sent]), whole)
    assert [one for _, one in sent] == [start - 7 for start in starts]
    assert at == first - 7
    np.testing.assert_array_equal(iq, noise(20_000))


def test_levels_go_down_to_nominal_and_never_up_into_clipping():
    iq = noise(100)
    for error_db, factor_db in ((2.0, -2.0), (-2.0, 0.0)):
        corrector = Corrector.of(profile(tx_gain_error=error_db, rx_gain_error=error_db))
        sent, _ = corrector.sent(iq, 0)
        np.testing.assert_allclose(sent, iq * 10 ** (factor_db / 20), rtol=1e-6)
        received = corrector.received(iq, 0)
        np.testing.assert_allclose(received, iq * 10 ** (-error_db / 20), rtol=1e-6)


def test_the_offset_goes_with_the_carrier_and_turns_back():
    corrector = Corrector.of(profile(cfo=915.0), RadioSettings(920e6, RATE_HZ))
    ones = np.ones(50_000, np.complex64)
    sent, _ = corrector.sent(ones, 0)
    expected = np.exp(-2j * np.pi * 920.0 / RATE_HZ * np.arange(50_000))
    np.testing.assert_allclose(sent, expected, atol=1e-6)
    np.testing.assert_allclose(corrector.received(sent, 0), ones, atol=1e-6)
    with pytest.raises(ProfileError, match="outside its band"):
        Corrector.of(profile(cfo=915.0), RadioSettings(2.4e9, RATE_HZ))


def test_without_a_profile_nothing_changes():
    iq = noise(100)
    corrector = Corrector.of(Identity())
    np.testing.assert_array_equal(corrector.received(iq, 5), iq)
    sent, first = corrector.sent(iq, 5)
    np.testing.assert_array_equal(sent, iq)
    assert first == 5
    radio = CalibratedRadio(LoopbackRadio(), Identity(), NOW)
    assert radio.caps == LoopbackRadio().caps
    assert radio.describe()["profile"] == "none"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tx_iq_phase", 89.0),
        ("rx_iq_gain", 7.0),
        ("tx_dc_in_phase", 2.0),
        ("cfo", -1e300),
        ("delay", 1e300),
        ("rx_gain_error", -1e300),
    ],
)
def test_faults_beyond_correction_are_refused(name, value):
    with pytest.raises(ProfileError, match="the profile: is beyond correction"):
        Corrector.of(profile(**{name: value}))


def test_what_a_calibrated_radio_refuses():
    with pytest.raises(ProfileError, match="is of radio other, not of loopback"):
        CalibratedRadio(LoopbackRadio(), replace(profile(), serial="other"), NOW)
    with pytest.raises(ProfileError, match="stale"):
        CalibratedRadio(LoopbackRadio(), profile(), NOW + timedelta(days=2))
    inside = LoopbackRadio()
    radio = CalibratedRadio(inside, profile(), NOW)
    before = inside.settings
    for changes, why in (
        ({"carrier_hz": 868e6}, "outside its band"),
        ({"sample_rate_hz": 2e6}, "not the 1000000 it was measured at"),
    ):
        with pytest.raises(ProfileError, match=why):
            radio.configure(replace(before, **changes))
        assert inside.settings == before
    inside.configure(replace(before, carrier_hz=868e6))
    for use in (lambda: radio.transmit(noise(10)), lambda: radio.receive(10)):
        with pytest.raises(ProfileError, match="outside its band"):
            use()
    assert radio.configure(before) == before
    assert radio.receive(10).first_sample == 0
    assert "measured 2026-01-31T12:00:00Z" in radio.describe()["profile"]


@pytest.mark.parametrize("delay", [100.0, 99.6])
def test_bursts_with_a_time_are_heard_at_it(delay):
    iq = tones(np.arange(400)).astype(np.complex64)
    with CalibratedRadio(LoopbackRadio(100), profile(delay=delay), NOW) as radio:
        early = Advance(delay).lead
        with pytest.raises(RadioError, match=f"too near.*{early} samples earlier.*for {early} or"):
            radio.transmit(iq, at=early - 1)
        assert radio.transmit(iq, at=early).started_at == early
        assert radio.transmit(iq, at=1000).started_at == 1000
        heard = radio.receive(2000).iq
    expected = tones(np.arange(400) + delay - 100)
    assert np.abs(heard[1000:1400] - expected)[20:-20].max() < 2e-3


def test_bursts_without_a_time_follow_each_other_without_a_gap():
    with CalibratedRadio(LoopbackRadio(8), profile(cfo=1000.0, delay=7.7), NOW) as radio:
        starts = [radio.transmit(np.ones(300, np.complex64)).started_at for _ in range(3)]
        inside = radio.receive(1000).iq
    assert starts == [8, 308, 608]
    # Turned there and back again, with no jump of phase from burst to burst.
    expected = np.exp(2j * np.pi * 1e-3 * 8)
    np.testing.assert_allclose(inside[8:908], expected, atol=1e-6)


def test_what_the_radio_cuts_off_is_counted():
    full = np.array([1.0, 1.0 + 1.0j, 0.5], np.complex64)
    with CalibratedRadio(LoopbackRadio(), profile(tx_dc_in_phase=-0.01), NOW) as radio:
        assert radio.transmit(full).clipped == 2
    with CalibratedRadio(LoopbackRadio(), profile(tx_gain_error=0.5), NOW) as radio:
        assert radio.transmit(full * np.float32(1.05)).clipped == 0
