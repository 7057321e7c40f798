"""Profiles survive the disk or are refused, and correction undoes what front ends do."""

import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.correct.mixer import MOST_GAIN_DB, Mixer
from calibration.curve import Curve
from calibration.estimate import Estimate
from calibration.profiles.profile import Profile, ProfileError
from calibration.profiles.profile_json import from_json, to_json
from calibration.profiles.quantity import CURVES, SCALARS
from radio.api import RadioSettings, Range
from sim_fallback.front_end import FrontEnd, IQImbalance

FILE = Path("profile.json")

finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(0, allow_nan=False, allow_infinity=False)
names = st.text(st.characters(codec="utf-8"))


@st.composite
def curves(draw, unit):
    n = draw(st.integers(2, 6))
    steps = st.lists(st.floats(0.1, 10), min_size=n, max_size=n)
    settings, values = (np.cumsum(draw(steps)) for _ in range(2))
    ends = sorted(draw(st.lists(st.integers(0, n - 1), min_size=2, max_size=2, unique=True)))
    return Curve(
        settings=tuple(settings - 50),
        values=tuple(values - 80),
        uncertainties=tuple(draw(st.lists(st.floats(0, 1), min_size=n, max_size=n))),
        unit=unit,
        linear=Range(*(settings[ends] - 50)),
    )


@st.composite
def profiles(draw):
    curve_names = draw(st.sets(st.sampled_from([*CURVES])))
    carrier_hz = draw(st.floats(70e6, 6e9))
    zone = timezone(timedelta(hours=draw(st.integers(-12, 12))))
    measured_at = draw(st.datetimes(datetime(2001, 1, 1), datetime(2198, 12, 31)))
    scalars = draw(st.sets(st.sampled_from([*SCALARS])))
    return Profile(
        serial=draw(names.filter(bool)),
        model=draw(names),
        band=Range(carrier_hz * draw(st.floats(0.5, 1)), carrier_hz * draw(st.floats(1, 2))),
        settings=RadioSettings(carrier_hz, draw(st.floats(1e5, 6e7)), draw(finite), draw(finite)),
        measured_at=measured_at.replace(tzinfo=zone, microsecond=0),
        valid_days=draw(st.floats(0, 3660, exclude_min=True)),
        temperature_c=draw(st.none() | st.floats(-40, 120)),
        software=draw(names),
        reference=draw(names),
        scalars={
            name: Estimate(draw(finite), draw(positive), SCALARS[name].unit) for name in scalars
        },
        curves={name: draw(curves(CURVES[name].unit)) for name in curve_names},
        captures=draw(
            st.dictionaries(st.from_regex(r"\A[a-z]{1,9}/[a-z0-9]{1,9}\.sigmf-meta\Z"), names)
        ),
    )


EXAMPLE = Profile(
    serial="1044734c9605",
    model="ADALM-PLUTO ±",
    band=Range(902e6, 928e6),
    settings=RadioSettings(915e6, 1e6, -10.0, 20.0),
    measured_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
    valid_days=30,
    temperature_c=41.5,
    software="airmeta",
    reference="itself",
    scalars={"cfo": Estimate(-1.2345e-7, 0.4, "Hz")},
    curves={"rx_gain": Curve((0.0, 10.0), (1.0, 11.0), (0.1, 0.1), "dB", Range(0, 10))},
    captures={"captures/a.sigmf-meta": "00ff"},
)
TEXT = to_json(EXAMPLE)


@settings(max_examples=40, deadline=None)
@given(profiles())
def test_any_profile_is_read_as_it_was_written(profile):
    text = to_json(profile)
    read = from_json(FILE, text)
    assert read == profile
    assert to_json(read) == text


def same_or_refused(edited):
    """Whether a text is refused; where it is not, it has to mean the same."""
    try:
        read = from_json(FILE, edited)
    except ProfileError as refused:
        return str(FILE) in str(refused)
    assert read == EXAMPLE
    return False


@settings(deadline=None)
@given(st.integers(0, len(TEXT)), st.integers(0, 3), st.binary(max_size=3))
def test_bytes_changed_lost_or_added_are_refused_or_mean_the_same(where, lost, added):
    same_or_refused(TEXT[:where] + added + TEXT[where + lost :])


def test_every_byte_of_a_profile_counts():
    for where in range(len(TEXT)):
        for change in (1, 2, 16):
            edited = bytearray(TEXT)
            edited[where] ^= change
            assert same_or_refused(bytes(edited))


def test_a_profile_cut_short_anywhere_is_refused():
    for length in range(len(TEXT.rstrip())):
        with pytest.raises(ProfileError):
            from_json(FILE, TEXT[:length])


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_what_is_no_profile_is_refused(content):
    with pytest.raises(ProfileError):
        from_json(FILE, content)


offsets = st.complex_numbers(max_magnitude=0.2)
gains = st.floats(-MOST_GAIN_DB, MOST_GAIN_DB, exclude_min=True, exclude_max=True)
phases = st.floats(-44, 44)


@settings(max_examples=50, deadline=None)
@given(offsets, gains, phases, st.integers(0, 99))
def test_a_mixer_is_undone_on_either_side(dc, gain_db, phase_deg, seed):
    rng = np.random.default_rng(seed)
    iq = (rng.uniform(-1, 1, (300, 2)) @ (1, 1j)).astype(np.complex64)
    bent = IQImbalance(gain_db, phase_deg)
    mixer = Mixer(dc, gain_db, phase_deg)
    received = FrontEnd(rx_iq=bent, rx_dc=dc).received(iq, (1,), 0, 1e6)
    mixer.mend(received)
    np.testing.assert_allclose(received, iq, atol=5e-6)
    sent = iq.copy()
    mixer.mend(sent)
    leaving, _ = FrontEnd(tx_iq=bent, tx_dc=dc).sent(sent, (1,), 0, 1e6)
    np.testing.assert_allclose(leaving, iq, atol=5e-6)
    assert math.isfinite(float(np.abs(sent).max()))
