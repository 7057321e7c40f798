import numpy as np
import pytest

from radio.waveform.level import amplitude_for_backoff, clip, papr_db
from radio.waveform.numerology import Numerology
from radio.waveform.ofdm import modulate


def test_crest_of_what_is_known():
    turns = np.exp(1j * np.arange(100)).astype(np.complex64)
    assert papr_db(turns) == pytest.approx(0, abs=1e-5)
    spike = np.zeros(100, np.complex64)
    spike[3] = 2j
    assert papr_db(spike) == pytest.approx(20)
    for nothing in (np.zeros(4, np.complex64), np.zeros(0, np.complex64)):
        with pytest.raises(ValueError, match="power"):
            papr_db(nothing)


def test_i_and_q_saturate_on_their_own_and_samples_are_counted_once():
    iq = np.array([0.5 + 0.9j, 1.5 + 0.2j, -3 - 4j, 1 - 1j, 0.1 - 1.2j], np.complex64)
    clipped, count = clip(iq)
    expected = np.array([0.5 + 0.9j, 1 + 0.2j, -1 - 1j, 1 - 1j, 0.1 - 1j], np.complex64)
    np.testing.assert_array_equal(clipped, expected)
    assert clipped.dtype == np.complex64
    assert count == 3
    assert clip(iq[::2], 0.5)[1] == 3
    assert iq[2] == -3 - 4j  # the caller's samples stay
    with pytest.raises(ValueError, match="limit"):
        clip(iq, 0.0)


def test_shapes_stay():
    assert clip(np.full((2, 3), 2.0, np.complex64))[0].shape == (2, 3)
    assert clip(np.zeros((0,), np.complex64))[1] == 0


@pytest.mark.parametrize("backoff_db", [0.0, 8.0, 10.0])
@pytest.mark.parametrize("used", [52, 200])
def test_backoff_sets_the_mean_power(backoff_db, used):
    numerology = Numerology(used_carriers=used)
    rng = np.random.default_rng(2)
    values = rng.standard_normal((1000, used, 2)) @ (1, 1j) / np.sqrt(2)
    iq = modulate(values.astype(np.complex64), numerology)
    iq *= amplitude_for_backoff(backoff_db, numerology)
    assert 10 * np.log10(np.mean(np.abs(iq) ** 2)) == pytest.approx(-backoff_db, abs=0.1)


def test_ten_decibels_of_backoff_rarely_clip():
    numerology = Numerology()
    rng = np.random.default_rng(3)
    values = (rng.standard_normal((200, 200, 2)) @ (1, 1j) / np.sqrt(2)).astype(np.complex64)
    _, count = clip(modulate(values, numerology) * amplitude_for_backoff(10.0, numerology))
    # Each of I and Q is Gaussian with variance 1/20: beyond 1 with probability erfc(sqrt(10)).
    assert 0 < count / (200 * 288) < 1e-4
