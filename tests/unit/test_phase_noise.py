import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal, stats

from sim_fallback.phase_noise import PhaseNoise
from sim_fallback.streams import BLOCK, white_noise

RATE_HZ = 1e6
NOISE = PhaseNoise(0.86)
WINDOWS = st.tuples(st.integers(-20_000, 20_000), st.integers(1, 20_000))


def test_white_noise_is_normal_and_white():
    n = 200_000
    w = white_noise(3, "test", -77_777, n).astype(np.float64)
    assert stats.kstest(w, "norm").pvalue > 0.01
    assert stats.kurtosis(w) == pytest.approx(0, abs=4 * math.sqrt(24 / n))
    for lag in (1, 2, BLOCK // 2, BLOCK):
        assert abs(np.mean(w[lag:] * w[:-lag])) < 4 / math.sqrt(n - lag)
        squares = (w[lag:] ** 2 - 1) * (w[:-lag] ** 2 - 1)
        assert abs(np.mean(squares)) < 4 * 2 / math.sqrt(n - lag)
    other = white_noise(3, "other", -77_777, n)
    assert abs(np.mean(w * other)) < 4 / math.sqrt(n)


@settings(max_examples=50, deadline=None)
@given(WINDOWS, WINDOWS)
def test_samples_do_not_depend_on_how_windows_are_cut(one, other):
    first, n = min(one[0], other[0]), 45_000
    whole = NOISE.theta((1, 2), first, n, RATE_HZ)
    white = white_noise((1, 2), "test", first, n)
    for begin, count in (one, other):
        end = min(begin - first + count, n)
        piece = NOISE.theta((1, 2), begin, end - begin + first, RATE_HZ)
        np.testing.assert_array_equal(piece, whole[begin - first : end])
        cut = white_noise((1, 2), "test", begin, end - begin + first)
        np.testing.assert_array_equal(cut, white[begin - first : end])


@pytest.mark.parametrize("corner_hz", [1e3, 50e3])
def test_rms_is_recovered(corner_hz):
    n = 1_000_000
    theta = PhaseNoise(0.86, corner_hz).theta((4,), -5, n, RATE_HZ)
    assert theta.dtype == np.float32
    pole = math.exp(-2 * math.pi * corner_hz / RATE_HZ)
    independent = n * (1 - pole**2) / (1 + pole**2)  # of theta^2
    measured = np.degrees(math.sqrt(np.mean(theta.astype(np.float64) ** 2)))
    assert measured == pytest.approx(0.86, rel=4 / math.sqrt(2 * independent))


def test_spectrum_is_flat_up_to_the_corner_and_then_falls_by_20_db_a_decade():
    corner_hz = 10e3
    theta = PhaseNoise(1.0, corner_hz).theta((5,), 0, 1 << 20, RATE_HZ)
    f, density = signal.welch(theta, RATE_HZ, nperseg=4096)
    pole = math.exp(-2 * math.pi * corner_hz / RATE_HZ)
    shape = (1 - pole**2) / np.abs(1 - pole * np.exp(-2j * np.pi * f / RATE_HZ)) ** 2
    law = 2 / RATE_HZ * math.radians(1.0) ** 2 * shape
    error_db = 10 * np.log10(density / law)[4:-4]
    assert np.sqrt(np.mean(error_db**2)) < 0.4  # 4.34 dB / sqrt(averages) is 0.24
    at = {hz: density[np.abs(f - hz) < 0.1 * hz].mean() for hz in (2e3, 15e3, 150e3)}
    assert 10 * math.log10(at[2e3] / density[8]) == pytest.approx(0, abs=0.7)
    # Three corners above and more; sampling folds a little back at 150 kHz.
    assert 10 * math.log10(at[15e3] / at[150e3]) == pytest.approx(18.7, abs=1.0)


@pytest.mark.parametrize("corner_hz", [1e3, 50e3])
def test_blocks_join_without_a_seam(corner_hz):
    noise = PhaseNoise(1.0, corner_hz)
    theta = noise.theta((6,), 0, 200 * BLOCK, RATE_HZ).astype(np.float64)
    innovation = theta[1:] - math.exp(-2 * math.pi * corner_hz / RATE_HZ) * theta[:-1]
    seams = innovation[BLOCK - 1 :: BLOCK]
    assert np.std(seams) == pytest.approx(np.std(innovation), rel=4 / math.sqrt(2 * seams.size))
    assert abs(np.corrcoef(seams, theta[BLOCK - 1 :: BLOCK][: seams.size])[0, 1]) < 4 / math.sqrt(
        200
    )


def test_no_phase_noise_and_other_synthesizers():
    assert not PhaseNoise(0.0).theta((1,), -3, 50, RATE_HZ).any()
    one, other = (NOISE.theta((7, k), 0, 50_000, RATE_HZ) for k in (0, 1))
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.03


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((-1.0,), "rms_deg"), ((math.nan,), "rms_deg"), ((1.0, 0.0), "corner_hz")],
)
def test_what_makes_no_phase_noise(arguments, message):
    with pytest.raises(ValueError, match=message):
        PhaseNoise(*arguments)
