import math
from dataclasses import replace

import numpy as np
import pytest

from sim_fallback.air import Air, Scene
from sim_fallback.front_end import FrontEnd
from sim_fallback.oscillator import Oscillator
from sim_fallback.path import Path
from sim_fallback.presets import PRESETS
from sim_fallback.tapped_delay import TappedDelayLine
from sim_fallback.temperature import REFERENCE_C, WARMING_UP, Temperature

RATE_HZ = 1e6
UP_AND_DOWN = Temperature((0.0, 2.0, 5.0, 6.0), (30.0, 50.0, 20.0, 34.0))


def test_a_temperature_is_joined_by_lines():
    times = np.array([-1.0, 0.0, 1.0, 2.0, 3.5, 5.0, 5.5, 6.0, 100.0])
    expected = np.interp(times, UP_AND_DOWN.times_s, UP_AND_DOWN.celsius)
    np.testing.assert_allclose(UP_AND_DOWN.at(times), expected, atol=1e-12)
    assert UP_AND_DOWN.reach_k == 16
    ramp = Temperature.ramp(20.0, 10.0, start_c=25.0)
    np.testing.assert_allclose(ramp.at([0, 5, 10, 11]), [25, 35, 45, 45])
    np.testing.assert_allclose(ramp.warmth_k([0, 10]), [25 - REFERENCE_C, 45 - REFERENCE_C])
    assert not np.any(Temperature().warmth_k([-1, 0, 1e6]))
    assert 7.9 < WARMING_UP.at(600.0) - WARMING_UP.at(0.0) <= 8


def test_its_area_is_the_integral():
    fine = np.linspace(0, 8, 800_001)
    warmth = UP_AND_DOWN.warmth_k(fine)
    for end in (0.7, 2.0, 4.4, 5.0, 7.7):
        below = fine <= end + 1e-9
        assert UP_AND_DOWN.area_k_s(end) == pytest.approx(
            np.trapezoid(warmth[below], fine[below]), abs=1e-7
        )
    assert UP_AND_DOWN.area_k_s(-2.0) == pytest.approx(-2 * (30.0 - REFERENCE_C))


@pytest.mark.parametrize("allan", [0.0, 1e-9])
def test_an_oscillator_follows_the_temperature(allan):
    warm = Oscillator((3,), 5.0, allan, ppm_per_k=-0.2, temperature=UP_AND_DOWN)
    plain = Oscillator((3,), 5.0, allan)
    times = np.linspace(-1, 9, 201)
    added = warm.fractional_frequency(times) - plain.fractional_frequency(times)
    np.testing.assert_allclose(added, -0.2e-6 * UP_AND_DOWN.warmth_k(times), atol=1e-18)
    late = warm.time_error_s(times) - plain.time_error_s(times)
    np.testing.assert_allclose(late, -0.2e-6 * UP_AND_DOWN.area_k_s(times), atol=1e-18)
    at_once = [warm.time_error_at_s(float(t)) for t in times]
    assert at_once == warm.time_error_s(times).tolist()
    assert warm.reach == pytest.approx(0.2e-6 * 16)


def air_of(sender=None, listener=None, temperature=UP_AND_DOWN, ppm_per_k=0.0):
    """Two ideal radios but for what is given, and no noise."""
    equipment = {}
    for name, front_end in (("d", sender), ("rx", listener)):
        made = PRESETS["ideal"].equip(0, name)
        slope = ppm_per_k if name == "d" else 0.0
        oscillator = Oscillator((1,), 0.0, 0.0, slope, temperature)
        equipment[name] = replace(
            made,
            front_end=front_end or FrontEnd(),
            oscillator=oscillator,
            temperature=temperature,
        )
    path = Path(TappedDelayLine(kind="awgn"))
    return Air(Scene(915e6, RATE_HZ, equipment, {("d", "rx"): path}), history_s=1e6)


@pytest.mark.parametrize("end", ["sender", "listener"])
def test_gains_follow_the_temperature(end):
    slope = {"sender": "tx_gain_db_per_k", "listener": "rx_gain_db_per_k"}[end]
    air = air_of(**{end: FrontEnd(**{slope: -0.1})})
    air.post("d", np.ones(16, np.complex64), 0, 0.0, cyclic=True)
    for at_s in (0.5, 2.0, 4.0, 8.0):
        level_db = 20 * math.log10(np.mean(np.abs(air.window("rx", round(at_s * RATE_HZ), 1000))))
        assert level_db == pytest.approx(-0.1 * UP_AND_DOWN.warmth_k(at_s), abs=2e-3)


def test_noise_follows_the_receive_gain_alone():
    noisy = FrontEnd(noise_figure_db=40.0)
    n = 100_000
    for changes in ({"tx_gain_db_per_k": -0.5}, {"rx_gain_db_per_k": -0.5}):
        air = air_of(listener=replace(noisy, **changes))
        heard = air.window("rx", round(8 * RATE_HZ), n).astype(np.complex128)
        warm = air_of(listener=replace(noisy, **changes), temperature=Temperature((0.0,), (50.0,)))
        louder = warm.window("rx", round(8 * RATE_HZ), n).astype(np.complex128)
        found_db = 10 * math.log10(np.mean(np.abs(louder) ** 2) / np.mean(np.abs(heard) ** 2))
        assert found_db == pytest.approx(-8.0 if "rx_gain_db_per_k" in changes else 0.0, abs=1e-3)


def test_a_carrier_drifts_as_the_crystal_warms():
    """The phase of a carrier that was sent, against the integral of its frequency."""
    air = air_of(temperature=Temperature.ramp(20.0, 1.0), ppm_per_k=0.05)
    air.post("d", np.ones(16, np.complex64), 0, 0.0, cyclic=True)
    for at_s in (0.2, 0.9, 1.5):
        first, n = round(at_s * RATE_HZ), 1000
        heard = air.window("rx", first, n)
        t = (first + np.arange(n)) / RATE_HZ
        grown = np.where(t < 1, 10 * t**2, 10 + 20 * (t - 1))  # K s
        expected = np.exp(2j * np.pi * 915e6 * 0.05e-6 * grown)
        np.testing.assert_allclose(heard, expected, atol=2e-3)


@pytest.mark.parametrize(
    ("times", "celsius", "message"),
    [
        ((), (), "first is 0"),
        ((1.0,), (20.0,), "first is 0"),
        ((0.0, 1.0), (20.0,), "a value for each"),
        ((0.0, 1.0, 1.0), (20.0, 30.0, 40.0), "ascend"),
        ((0.0, math.inf), (20.0, 30.0), "ascend"),
        ((0.0,), (math.nan,), "-273.15"),
        ((0.0,), (-300.0,), "-273.15"),
    ],
)
def test_what_makes_no_temperature(times, celsius, message):
    with pytest.raises(ValueError, match=message):
        Temperature(times, celsius)


def test_what_does_not_drift():
    for slope in ("tx_gain_db_per_k", "rx_gain_db_per_k"):
        with pytest.raises(ValueError, match=slope):
            FrontEnd(**{slope: math.inf})
    with pytest.raises(ValueError, match="ppm_per_k"):
        Oscillator((0,), 0.0, 0.0, ppm_per_k=math.nan)
    with pytest.raises(ValueError, match="ppm_per_k"):
        replace(PRESETS["ideal"], ppm_per_k=-1.0)
