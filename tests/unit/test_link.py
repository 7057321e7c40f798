import math

import numpy as np
import pytest

from radio.waveform.numerology import Numerology
from radio.waveform.ofdm import modulate
from testbed.on_air.link import ADVANCE, Link, delay_ramp

NUMEROLOGY = Numerology()
LINK = Link(NUMEROLOGY, carrier_hz=915e6)


def channel_of(taps):
    """Transfer function on the carriers of taps {delay in samples: gain}."""
    k = NUMEROLOGY.carriers
    h = sum(gain * np.exp(-2j * np.pi * k * delay / 256) for delay, gain in taps.items())
    return h.astype(np.complex64)


def test_a_flat_channel_keeps_its_gain_and_loses_its_phase():
    gain, equaliser = LINK.equaliser(channel_of({0: 0.3 * np.exp(2j)}))
    assert gain == pytest.approx(0.3, rel=1e-6)
    np.testing.assert_allclose(equaliser, np.exp(-2j), rtol=1e-6)


def test_a_delay_is_turned_back_without_loss():
    channel = channel_of({2.6: 0.7})
    gain, equaliser = LINK.equaliser(channel)
    assert gain == pytest.approx(0.7, rel=1e-6)
    np.testing.assert_allclose(channel * equaliser, 0.7, rtol=1e-5)


def test_two_taps_are_flattened_for_their_harmonic_mean():
    channel = channel_of({0: 1.0, 6.4: 0.5})  # five periods over the band
    gain, equaliser = LINK.equaliser(channel)
    np.testing.assert_allclose(channel * equaliser, gain, rtol=1e-5)
    assert np.mean(np.abs(equaliser) ** 2) == pytest.approx(1, rel=1e-5)
    power = np.abs(channel.astype(complex)) ** 2
    assert gain == pytest.approx(math.sqrt(1 / np.mean(1 / power)), rel=1e-5)
    # The mean of 1/|1 + a e^{jx}|^2 over all x is 1/(1 - a^2).
    assert gain == pytest.approx(math.sqrt(1 - 0.25), rel=0.01)


@pytest.mark.parametrize("cap_db", [0.0, 10.0, 16.0])
def test_a_notch_is_not_filled_beyond_the_cap(cap_db):
    link = Link(NUMEROLOGY, 915e6, equaliser_cap_db=cap_db)
    channel = channel_of({0: 1.0, 8: -1.0})  # notches at every 32nd carrier
    gain, equaliser = link.equaliser(channel)
    assert np.mean(np.abs(equaliser) ** 2) == pytest.approx(1, rel=1e-5)
    power = np.abs(channel.astype(complex)) ** 2
    floor = power.mean() / 10 ** (cap_db / 10)
    deep = power < floor
    assert deep.any()
    np.testing.assert_allclose((channel * equaliser)[~deep], gain, rtol=1e-4)
    assert np.all(np.abs(channel * equaliser)[deep] < gain)
    assert np.abs(equaliser).max() <= gain / math.sqrt(floor) * (1 + 1e-5)


def test_no_channel_has_no_equaliser():
    gain, equaliser = LINK.equaliser(np.zeros(200, np.complex64))
    assert gain == 0
    assert equaliser.dtype == np.complex64
    assert not equaliser.any()


def test_amplitude_leaves_the_backoff():
    rng = np.random.default_rng(0)
    turns = rng.integers(0, 4, (50, 200))
    iq = modulate(np.exp(0.5j * np.pi * turns).astype(np.complex64), NUMEROLOGY) * LINK.amplitude
    assert 10 * np.log10(np.mean(np.abs(iq) ** 2)) == pytest.approx(-10, abs=0.05)


def test_largest_offset():
    assert LINK.max_cfo_hz == pytest.approx(50e-6 * 915e6)
    assert Link(NUMEROLOGY, 915e6, shared_clock=True).max_cfo_hz == 0


def test_a_delay_ramp_delays():
    iq = np.random.default_rng(1).standard_normal(256) + 0j
    grid = np.fft.fft(iq)
    late = np.fft.fft(np.roll(iq, 5))
    turned = grid[NUMEROLOGY.bins] * delay_ramp(5, NUMEROLOGY)
    np.testing.assert_allclose(turned, late[NUMEROLOGY.bins], atol=1e-4)
    assert delay_ramp(np.array([0.5, 1.5]), NUMEROLOGY).shape == (2, 200)
    assert 0 < ADVANCE < NUMEROLOGY.cyclic_prefix
