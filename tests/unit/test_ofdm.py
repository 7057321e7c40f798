import numpy as np
import pytest

from radio.waveform.numerology import Numerology
from radio.waveform.ofdm import demodulate, modulate, null_carriers

NUMEROLOGY = Numerology()


def _values(shape, seed=0):
    rng = np.random.default_rng(seed)
    parts = rng.standard_normal((*shape, NUMEROLOGY.used_carriers, 2)) / np.sqrt(2)
    return (parts @ (1, 1j)).astype(np.complex64)


def test_samples_are_the_sum_of_the_carriers():
    values = _values((2,))
    iq = modulate(values, NUMEROLOGY)
    assert iq.dtype == np.complex64
    time = np.arange(-32, 256)  # the prefix is the carriers before their time 0
    dense = np.exp(2j * np.pi * np.outer(time, NUMEROLOGY.carriers) / 256) @ values.T / 16
    np.testing.assert_allclose(iq.reshape(2, 288), dense.T, atol=2e-6)


@pytest.mark.parametrize("advance", [0, 5, 32])
def test_both_ways_give_the_values_back_wherever_the_window_starts(advance):
    values = _values((3, 4))
    back = demodulate(modulate(values, NUMEROLOGY), NUMEROLOGY, advance)
    assert back.dtype == np.complex64
    np.testing.assert_allclose(back, values, atol=3e-6)


@pytest.mark.parametrize("late", [-8, -3, 0, 7, 24])
def test_timing_errors_of_both_signs_are_a_phase_ramp_and_nothing_else(late):
    values = _values((5,))
    iq = np.roll(modulate(values, NUMEROLOGY), late)
    middle = demodulate(iq, NUMEROLOGY, advance=8)[1:-1]
    ramp = np.exp(-2j * np.pi * NUMEROLOGY.carriers * late / 256)
    np.testing.assert_allclose(middle, values[1:-1] * ramp, atol=3e-6)


def test_a_window_too_late_spoils_the_symbol():
    values = _values((5,))
    iq = np.roll(modulate(values, NUMEROLOGY), -20)
    ramp = np.exp(2j * np.pi * NUMEROLOGY.carriers * 20 / 256)
    error = demodulate(iq, NUMEROLOGY, advance=8)[1:-1] - values[1:-1] * ramp
    assert np.mean(np.abs(error) ** 2) > 0.01


def test_power_is_that_of_the_occupied_carriers():
    iq = modulate(_values((2000,)), NUMEROLOGY)
    assert np.mean(np.abs(iq) ** 2) == pytest.approx(200 / 256, rel=0.01)


def test_noise_variance_is_the_same_before_and_after_and_empty_carriers_show_it():
    rng = np.random.default_rng(1)
    noise = (rng.standard_normal((288 * 500, 2)) @ (0.1, 0.1j)).astype(np.complex64)
    used, empty = demodulate(noise, NUMEROLOGY), null_carriers(noise, NUMEROLOGY)
    assert np.mean(np.abs(used) ** 2) == pytest.approx(0.02, rel=0.02)
    assert np.mean(np.abs(empty) ** 2) == pytest.approx(0.02, rel=0.04)


def test_symbols_and_dc_leave_empty_carriers_empty():
    iq = modulate(_values((4,)), NUMEROLOGY) + np.complex64(0.3 - 0.2j)
    assert np.abs(null_carriers(iq, NUMEROLOGY, advance=4)).max() < 1e-5


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="200"):
        modulate(np.zeros((3, 199), np.complex64), NUMEROLOGY)
    with pytest.raises(ValueError, match="symbols"):
        modulate(np.zeros(200, np.complex64), NUMEROLOGY)
    with pytest.raises(ValueError, match="288"):
        demodulate(np.zeros(300, np.complex64), NUMEROLOGY)
    with pytest.raises(ValueError, match="advance"):
        demodulate(np.zeros(288, np.complex64), NUMEROLOGY, advance=33)
