import numpy as np
import pytest

from radio.waveform.chanest import delay_samples, least_squares, smooth, smoothing_gain
from radio.waveform.numerology import Numerology

NUMEROLOGY = Numerology()
CARRIERS = NUMEROLOGY.carriers


def _noise(rng, shape, var):
    return np.sqrt(var / 2) * (rng.standard_normal((*shape, 2)) @ (1, 1j))


def _channel(taps):
    """Frequency response of gains over delays."""
    turns = np.exp(-2j * np.pi * np.outer(list(taps), CARRIERS) / NUMEROLOGY.fft_size)
    return np.array(list(taps.values())) @ turns


def test_least_squares_divides_and_leaves_silent_carriers_alone():
    rng = np.random.default_rng(0)
    sent = _noise(rng, (200,), 1.0).astype(np.complex64)
    channel = _noise(rng, (3, 200), 1.0).astype(np.complex64)
    found = least_squares(channel * sent, sent)
    assert found.dtype == np.complex64
    np.testing.assert_allclose(found, channel, rtol=2e-5)
    sent[:5] = 0
    np.testing.assert_array_equal(least_squares(channel * sent, sent)[:, :5], 0)


@pytest.mark.parametrize("delay", [-100.25, -7.5, -0.3, 0.0, 1e-3, 4.9, 31.0, 127.9])
@pytest.mark.parametrize("used", [12, 52, 200])
def test_delay_of_a_flat_channel_is_exact(delay, used):
    numerology = Numerology(used_carriers=used)
    channel = 0.3j * np.exp(-2j * np.pi * numerology.carriers * delay / 256)
    assert delay_samples(channel, numerology) == pytest.approx(delay, abs=1e-6)


@pytest.mark.parametrize("snr_db", [10, 20, 30])
def test_delay_of_a_flat_channel_is_near_the_bound(snr_db):
    rng = np.random.default_rng(snr_db)
    snr = 10 ** (snr_db / 10)
    flat = np.exp(-2j * np.pi * CARRIERS * 2.4 / 256)
    errors = [
        delay_samples(flat + noise, NUMEROLOGY) - 2.4 for noise in _noise(rng, (1500, 200), 1 / snr)
    ]
    bound = 1 / (2 * snr * np.sum((2 * np.pi * CARRIERS / 256) ** 2))
    assert 10 * np.log10(np.mean(np.square(errors)) / bound) < 1.0


@pytest.mark.parametrize(
    "taps", [{0: 1, 1: 0.5j, 3: -0.4}, {0: 0.5, 2: 1j, 5: 0.7}, {0: 1, 3: 1, 6: 1}]
)
def test_delay_of_three_taps_holds_near_their_centroid(taps):
    rng = np.random.default_rng(1)
    gains = np.abs(list(taps.values())) ** 2
    centroid = np.average(list(taps), weights=gains)
    noisy = _channel(taps) + _noise(rng, (200, 200), 0.01 * gains.sum())
    delays = [delay_samples(channel, NUMEROLOGY) for channel in noisy]
    assert np.mean(delays) == pytest.approx(centroid, abs=0.2)
    assert np.std(delays) < 0.1


def test_a_silent_channel_has_a_finite_delay():
    assert np.isfinite(delay_samples(np.zeros(200, complex), NUMEROLOGY))


def test_smoothing_is_the_conditional_mean_of_its_prior():
    rng = np.random.default_rng(2)
    channel = _noise(rng, (200,), 2.0)
    spread, noise_var = 6.0, 0.3
    prior = np.sinc(np.subtract.outer(CARRIERS, CARRIERS) * spread / 256)
    power = np.mean(np.abs(channel) ** 2) - noise_var
    dense = power * prior @ np.linalg.solve(power * prior + noise_var * np.eye(200), channel)
    found = smooth(channel, noise_var, spread, NUMEROLOGY, delay=0.0)
    np.testing.assert_allclose(found, dense, atol=1e-5)
    ramp = np.exp(-2j * np.pi * CARRIERS * 9.3 / 256)
    late = smooth(channel * ramp, noise_var, spread, NUMEROLOGY, delay=9.3)
    np.testing.assert_allclose(late, dense * ramp, atol=1e-5)


def test_without_spread_one_gain_and_its_ramp_are_left():
    rng = np.random.default_rng(3)
    flat = (0.4 - 0.7j) * np.exp(-2j * np.pi * CARRIERS * 3.3 / 256)
    exact = smooth(flat, 0.0, 0.0, NUMEROLOGY)
    np.testing.assert_allclose(exact, flat, atol=1e-6)
    smoothed = smooth(flat + _noise(rng, (200,), 0.01), 0.01, 0.0, NUMEROLOGY)
    np.testing.assert_allclose(np.abs(smoothed), np.abs(smoothed[0]), rtol=1e-6)
    # One complex gain and one delay of 200 noisy carriers: 1.5/200 of the noise.
    assert np.mean(np.abs(smoothed - flat) ** 2) < 5 * 0.01 / 200


@pytest.mark.parametrize("spread", [4.0, 16.0])
def test_error_after_smoothing_is_what_the_gain_says(spread):
    rng = np.random.default_rng(4)
    delays = np.linspace(-spread / 2, spread / 2, 33)
    turns = np.exp(-2j * np.pi * np.outer(delays, CARRIERS) / 256)
    weights = np.ones(33)
    weights[[0, -1]] = 0.5  # trapezoids: close to a uniform profile
    amplitudes = np.sqrt(weights / weights.sum())
    errors = []
    for _ in range(300):
        channel = (amplitudes * _noise(rng, (33,), 1.0)) @ turns
        noisy = channel + _noise(rng, (200,), 0.1)
        errors.append(np.mean(np.abs(smooth(noisy, 0.1, spread, NUMEROLOGY, 0.0) - channel) ** 2))
    expected = 0.1 * smoothing_gain(10.0, spread, NUMEROLOGY)
    assert np.mean(errors) == pytest.approx(expected, rel=0.1)
    assert expected < 0.1 * (spread * 200 / 256 + 5) / 200


def test_silence_is_smoothed_to_silence():
    np.testing.assert_array_equal(smooth(np.zeros(200, complex), 0.0, 8.0, NUMEROLOGY), 0)
    assert smoothing_gain(1e6, 256.0, NUMEROLOGY) == pytest.approx(1, abs=0.01)


def test_a_spread_beyond_a_symbol_is_refused():
    for spread in (-1.0, 257.0, float("nan")):
        with pytest.raises(ValueError, match="delay_spread"):
            smooth(np.ones(200, complex), 0.1, spread, NUMEROLOGY)
