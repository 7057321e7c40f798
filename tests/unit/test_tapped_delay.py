import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from sim_fallback.symbol_uplink import SymbolUplink
from sim_fallback.tapped_delay import TappedDelayLine

THREE = TappedDelayLine((0.0, 1e-6, 3e-6), (0.0, -3.0, -9.0))
MOVING = replace(THREE, doppler_hz=30.0)
DEVICES = 1500


def ensemble(line, t):
    return np.array([line.gains(11, device, t) for device in range(DEVICES)])


@pytest.mark.parametrize("kind", ["rayleigh", "rician", "awgn"])
def test_a_block_has_the_very_gain_of_the_symbol_level(kind):
    line = TappedDelayLine(kind=kind, k_db=4.0, block_s=0.25)
    air = SymbolUplink(5, 3, math.inf, fading=kind, rician_k_db=4.0)
    t = np.array([0.0, 0.1, 0.3, 1.6])
    for device in range(3):
        gains = line.gains(5, device, t)
        assert gains.dtype == np.complex128
        for b, block in enumerate([0, 0, 1, 6]):
            exact = air.gains(block, np.array([device]))[0]
            np.testing.assert_array_equal(gains[b].astype(np.complex64), [exact])
    assert not line.rates(5, 0, t).any()


def test_without_blocks_a_gain_stays_forever():
    gains = THREE.gains(1, 2, np.array([-1.0, 0.0, 1e6]))
    assert len(np.unique(gains, axis=0)) == 1


@pytest.mark.parametrize("line", [replace(THREE, block_s=1.0), MOVING])
def test_taps_have_their_powers_and_fade_independently(line):
    g = ensemble(line, np.array([0.5]))[:, 0]
    powers = 10 ** (np.array(line.powers_db) / 10)
    np.testing.assert_allclose(
        np.mean(np.abs(g) ** 2, axis=0) / (powers / powers.sum()), 1, atol=4 / math.sqrt(DEVICES)
    )
    assert sum(line.amplitudes**2) == pytest.approx(1)
    correlations = np.corrcoef(g.T)
    assert np.abs(correlations - np.eye(3)).max() < 4 / math.sqrt(DEVICES)


def test_doppler_gives_rayleigh_amplitudes_with_clarkes_autocorrelation():
    t = np.arange(40) * 2e-3
    g = ensemble(TappedDelayLine(doppler_hz=30.0), t)[:, :, 0]
    measured = np.mean(g * g[:, :1].conj(), axis=0)
    wanted = special.j0(2 * np.pi * 30.0 * t)
    assert wanted.min() < -0.39  # the lags reach beyond the first null
    np.testing.assert_allclose(measured, wanted, atol=4 / math.sqrt(DEVICES))
    law = stats.rayleigh(scale=math.sqrt(0.5))
    assert stats.kstest(np.abs(g[:, 7]), law.cdf).pvalue > 0.01
    phases = stats.uniform(-math.pi, 2 * math.pi)
    assert stats.kstest(np.angle(g[:, 7]), phases.cdf).pvalue > 0.01


def test_doppler_of_a_rician_tap():
    k = 4.0
    line = TappedDelayLine(kind="rician", k_db=10 * math.log10(k), doppler_hz=30.0)
    t = np.array([0.0, 0.004, 0.013])
    g = ensemble(line, t)[:, :, 0]
    law = stats.rice(math.sqrt(2 * k), scale=math.sqrt(1 / (2 * (k + 1))))
    assert stats.kstest(np.abs(g[:, 1]), law.cdf).pvalue > 0.01
    # The angle of the line of sight is random as well, so over devices it is J0 again.
    measured = np.mean(g * g[:, :1].conj(), axis=0)
    np.testing.assert_allclose(
        measured, special.j0(2 * np.pi * 30.0 * t), atol=4 / math.sqrt(DEVICES)
    )


def test_doppler_leaves_a_constant_tap_alone():
    line = TappedDelayLine(kind="awgn", doppler_hz=50.0)
    t = np.linspace(0, 3, 10)
    np.testing.assert_array_equal(line.gains(1, 0, t), np.ones((10, 1)))
    np.testing.assert_array_equal(line.rates(1, 0, t), np.zeros((10, 1)))


def test_rates_are_derivatives():
    t, h = np.linspace(0, 2, 300), 2e-5
    difference = (MOVING.gains(3, 1, t + h) - MOVING.gains(3, 1, t - h)) / (2 * h)
    rates = MOVING.rates(3, 1, t)
    # h^2 (2 pi f_d)^3 / 6 of curvature, and float32 gains over 2 h.
    np.testing.assert_allclose(difference, rates, atol=0.03)
    assert np.abs(rates).max() > 100


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from([MOVING, replace(THREE, block_s=0.1), TappedDelayLine(doppler_hz=9.0)]),
    st.lists(st.floats(0, 20), min_size=1, max_size=60),
    st.integers(0, 60),
)
def test_gains_do_not_depend_on_what_else_is_asked(line, times, cut):
    t = np.array(times)
    gains, rates = line.gains_and_rates(7, 4, t)
    for part in (slice(0, cut), slice(cut, None), slice(None, None, -1)):
        np.testing.assert_array_equal(line.gains(7, 4, t[part]), gains[part])
        np.testing.assert_array_equal(line.rates(7, 4, t[part]), rates[part])
    np.testing.assert_array_equal(line.gains(7, 4, t[:1]), gains[:1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"delays_s": ()}, "at least one tap"),
        ({"powers_db": (0.0,)}, "one of each"),
        ({"delays_s": (0.0, 2e-6, 1e-6)}, "ascend"),
        ({"delays_s": (-1e-6, 0.0, 1e-6)}, "ascend"),
        ({"delays_s": (0.0, 1e-6, math.nan)}, "ascend"),
        ({"powers_db": (0.0, 0.0, -math.inf)}, "powers_db"),
        ({"doppler_hz": -1.0}, "doppler_hz"),
        ({"block_s": 0.0}, "block_s"),
        ({"kind": "nakagami"}, "there are rayleigh"),
        ({"k_db": math.inf}, "k_db"),
    ],
)
def test_what_makes_no_delay_line(change, message):
    with pytest.raises(ValueError, match=message):
        replace(THREE, **change)
