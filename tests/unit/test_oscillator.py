import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_fallback.oscillator import Oscillator

TIMES = st.lists(st.floats(-0.5, 30.0), min_size=1, max_size=20)


def test_without_a_random_walk_the_clock_runs_at_its_offset():
    oscillator = Oscillator((1,), 10.0, 0.0)
    assert oscillator.time_error_s(100.0) == pytest.approx(1e-3, rel=1e-15)
    assert oscillator.fractional_frequency(100.0) == 1e-5
    assert oscillator.time_error_s(np.zeros((3, 2))).shape == (3, 2)


@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_allan_deviation_is_as_stated_and_grows_with_the_root_of_tau(tau):
    oscillator = Oscillator((3,), -7.0, 1e-10)
    step = 0.1
    x = oscillator.time_error_s(step * np.arange(8000))
    m = round(tau / step)
    second_differences = x[2 * m :] - 2 * x[m:-m] + x[: -2 * m]
    allan = math.sqrt(np.mean(second_differences**2) / 2) / tau
    # Neighbouring averages of a random walk correlate, so about 8000 / (2 m) are independent.
    assert allan == pytest.approx(1e-10 * math.sqrt(tau / 0.1), rel=4 / math.sqrt(8000 / m))


def test_time_error_is_the_exact_integral_of_the_frequency():
    oscillator = Oscillator((4,), 0.0, 1e-6)
    t = 1e-3 * np.arange(9001)  # across two borders of chunks
    y, x = oscillator.fractional_frequency(t), oscillator.time_error_s(t)
    integral = np.concatenate([[0], np.cumsum((y[1:] + y[:-1]) / 2 * 1e-3)])
    np.testing.assert_allclose(x, integral, rtol=0, atol=1e-12 * np.abs(x).max())
    # Between its points y is straight, and the slope of x is y everywhere, also at the points.
    between = (t[:-1] + t[1:]) / 2
    np.testing.assert_allclose(
        oscillator.fractional_frequency(between), (y[1:] + y[:-1]) / 2, rtol=0, atol=1e-16
    )
    h = 1e-7
    slope = (oscillator.time_error_s(t[1:] + h) - oscillator.time_error_s(t[1:] - h)) / (2 * h)
    np.testing.assert_allclose(slope, y[1:], rtol=0, atol=1e-3 * np.std(y))


def test_before_the_beginning_only_the_offset_acts():
    oscillator = Oscillator((4,), 2.0, 1e-6)
    assert oscillator.time_error_s(-1.0) == pytest.approx(-2e-6)
    assert oscillator.fractional_frequency(-1.0) == pytest.approx(2e-6)
    assert oscillator.time_error_s(0.0) == 0


@settings(max_examples=50, deadline=None)
@given(TIMES)
def test_the_value_at_a_time_does_not_depend_on_what_was_asked(times):
    t = np.array(times)
    together = Oscillator((5, 6), 20.0, 1e-9)
    x, y = together.time_error_s(t), together.fractional_frequency(t)
    alone = Oscillator((5, 6), 20.0, 1e-9)
    for k in reversed(range(len(t))):
        assert alone.time_error_s(t[k]) == x[k]
        assert alone.fractional_frequency(t[k]) == y[k]
    np.testing.assert_array_equal(together.time_error_s(t[::-1]), x[::-1])


def test_other_keys_are_other_oscillators():
    t = np.arange(1.0, 400.0)
    one, other = (Oscillator((k,), 0.0, 1e-9).fractional_frequency(t) for k in (1, 2))
    steps = np.corrcoef(np.diff(one), np.diff(other))[0, 1]
    assert abs(steps) < 4 / math.sqrt(398)


@pytest.mark.parametrize("ppm", [-25.0, -3.1, 0.4, 20.0])
def test_sample_clock_skew_is_recovered_from_a_tone(ppm):
    # Sample a true 10 kHz tone at 20 dB with the radio's clock for 0.2 s; its fast clock sees the
    # tone slow. Tolerance 0.2 ppm.
    oscillator, rate_hz, tone_hz = Oscillator((8,), ppm, 1e-9), 1e6, 10e3
    n = 10.0 * np.arange(20_000)
    reading = n / rate_hz
    t = reading - oscillator.time_error_s(reading)
    t = reading - oscillator.time_error_s(t)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, n.size)).T @ [1, 1j] * math.sqrt(0.01 / 2)
    heard = np.exp(2j * np.pi * tone_hz * t) + noise
    phase = np.unwrap(np.angle(heard * np.exp(-2j * np.pi * tone_hz * reading)))
    slope_hz = np.polyfit(reading, phase, 1)[0] / (2 * np.pi)
    assert -slope_hz / tone_hz * 1e6 == pytest.approx(ppm, abs=0.2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((1,), math.nan, 0.0), "offset_ppm"),
        (((1,), 1e6, 0.0), "offset_ppm"),
        (((1,), 0.0, -1e-10), "allan_deviation"),
        (((1,), 0.0, math.inf), "allan_deviation"),
    ],
)
def test_what_makes_no_oscillator(arguments, message):
    with pytest.raises(ValueError, match=message):
        Oscillator(*arguments)


def test_one_time_is_told_as_many_are():
    oscillator = Oscillator((5,), 3.0, 1e-9)
    times = np.concatenate([[-1.0, 0.0, 4.096, 8.192 - 1e-12], np.linspace(0.0, 30.0, 997)])
    assert [oscillator.time_error_at_s(t) for t in times] == list(oscillator.time_error_s(times))
    together = oscillator.fractional_frequency(times)
    assert [oscillator.fractional_frequency(t) for t in times] == list(together)
