import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_fallback.front_end import FrontEnd, IQImbalance
from sim_fallback.phase_noise import PhaseNoise
from sim_fallback.power_amplifier import PowerAmplifier

RATE_HZ = 1e6
KEY = (1, 2)
FULL = FrontEnd(
    tx_full_scale_dbm=7.0,
    rx_full_scale_dbm=-60.0,
    noise_figure_db=6.0,
    dac_bits=12,
    adc_bits=10,
    pa=PowerAmplifier(2.0, 3.0, 10.0),
    tx_iq=IQImbalance(0.3, 2.0),
    rx_iq=IQImbalance(-0.2, -1.0),
    tx_dc=0.01 - 0.02j,
    rx_dc=-0.03j,
    tx_phase_noise=PhaseNoise(0.86),
    rx_phase_noise=PhaseNoise(0.5),
    clips=True,
)


def noise_like(n, rms=0.3, seed=0):
    rng = np.random.default_rng(seed)
    return (rms / math.sqrt(2) * rng.standard_normal((n, 2)) @ [1, 1j]).astype(np.complex64)


def tone(n, cycles, amplitude=1.0):
    return (amplitude * np.exp(2j * np.pi * cycles * np.arange(n) / n)).astype(np.complex64)


def bin_of(iq, cycles):
    """Amplitude of a tone, in double precision."""
    n = len(iq)
    return np.mean(iq.astype(np.complex128) * np.exp(-2j * np.pi * cycles * np.arange(n) / n))


def test_the_ideal_front_end_changes_nothing():
    x = noise_like(5000, rms=3.0)
    sent, clipped = FrontEnd().sent(x, KEY, 0, RATE_HZ)
    np.testing.assert_array_equal(sent, x)
    np.testing.assert_array_equal(FrontEnd().received(x, KEY, 0, RATE_HZ), x)
    assert clipped == 0
    assert FrontEnd().noise_var(RATE_HZ, 30.0) == 0


@settings(max_examples=20, deadline=None)
@given(
    st.integers(-30_000, 30_000),
    st.lists(st.integers(1, 12_000), min_size=1, max_size=4),
)
def test_samples_do_not_depend_on_how_a_window_is_cut(first, sizes):
    x = noise_like(sum(sizes))
    sent, clipped = FULL.sent(x, KEY, first, RATE_HZ)
    received = FULL.received(x, KEY, first, RATE_HZ, 3.0)
    assert sent.dtype == received.dtype == np.complex64
    begin, total = 0, 0
    for size in sizes:
        cut, at = slice(begin, begin + size), first + begin
        piece, count = FULL.sent(x[cut], KEY, at, RATE_HZ)
        np.testing.assert_array_equal(piece, sent[cut])
        np.testing.assert_array_equal(FULL.received(x[cut], KEY, at, RATE_HZ, 3.0), received[cut])
        begin, total = begin + size, total + count
    assert total == clipped
    np.testing.assert_array_equal(x, noise_like(sum(sizes)))  # left as it was


@pytest.mark.parametrize(("figure_db", "gain_db"), [(0.0, 0.0), (6.0, 40.0)])
def test_noise_figure_is_recovered_from_the_noise_power(figure_db, gain_db):
    # Tolerance: 4 standard deviations of a power estimate from n samples.
    n = 200_000
    front_end = FrontEnd(rx_full_scale_dbm=-30.0, noise_figure_db=figure_db)
    silence = np.zeros(n, np.complex64)
    z = front_end.received(silence, KEY, -7, RATE_HZ, gain_db).astype(np.complex128)
    power_dbm = 10 * math.log10(np.mean(np.abs(z) ** 2)) - 30.0 - gain_db
    ktb_dbm = 10 * math.log10(1.380649e-23 * 290 * RATE_HZ * 1e3)
    assert ktb_dbm == pytest.approx(-113.98, abs=0.01)
    assert power_dbm - ktb_dbm == pytest.approx(figure_db, abs=4 * 4.34 / math.sqrt(n))
    assert front_end.noise_var(RATE_HZ, gain_db) == pytest.approx(
        10 ** ((ktb_dbm + figure_db + gain_db + 30.0) / 10)
    )
    assert abs(np.mean(z**2)) < 4 * np.mean(np.abs(z) ** 2) * math.sqrt(2 / n)


@pytest.mark.parametrize("imbalance", [IQImbalance(0.3, 2.0), IQImbalance(-1.0, -5.0)])
def test_iq_imbalance_is_recovered_and_compensated(imbalance):
    n, cycles = 4096, 300
    for end, heard in (
        (FrontEnd(tx_iq=imbalance), lambda end: end.sent(tone(n, cycles), KEY, 0, RATE_HZ)[0]),
        (FrontEnd(rx_iq=imbalance), lambda end: end.received(tone(n, cycles), KEY, 0, RATE_HZ)),
    ):
        y = heard(end)
        mu, nu = bin_of(y, cycles), bin_of(y, -cycles)
        assert 20 * math.log10(abs(mu / nu)) == pytest.approx(
            imbalance.image_rejection_db, abs=0.01
        )
        factor = 2 * mu - 1  # g e^{-j phi}
        assert 20 * math.log10(abs(factor)) == pytest.approx(imbalance.gain_db, abs=1e-4)
        assert np.degrees(-np.angle(factor)) == pytest.approx(imbalance.phase_deg, abs=1e-3)
        mended = (np.conj(mu) * y - nu * y.conj()) / (abs(mu) ** 2 - abs(nu) ** 2)
        assert 20 * math.log10(abs(bin_of(mended, -cycles))) < -120


def test_a_balanced_mixer_has_no_image():
    assert IQImbalance(0.0, 0.0).image_rejection_db == math.inf


def test_dc_is_recovered():
    # The tone spans whole periods, so the mean is the offset to float32.
    end = FrontEnd(tx_dc=0.01 - 0.02j, rx_dc=-0.03 + 0.04j)
    x = tone(4096, 17, 0.5)
    assert bin_of(end.sent(x, KEY, 0, RATE_HZ)[0], 0) == pytest.approx(end.tx_dc, abs=1e-7)
    assert bin_of(end.received(x, KEY, 0, RATE_HZ), 0) == pytest.approx(end.rx_dc, abs=1e-7)


@pytest.mark.parametrize("pa", [PowerAmplifier(1.0, 12.0), PowerAmplifier(3.0, -2.0, 8.0)])
def test_compression_point_and_phase_of_the_amplifier(pa):
    input_db = np.linspace(-40, 30, 7001)
    x = (10 ** (input_db / 20) * np.exp(0.7j)).astype(np.complex64)
    y, _ = FrontEnd(pa=pa).sent(x, KEY, 0, RATE_HZ)
    gain_db = 20 * np.log10(np.abs(y / x))
    assert gain_db[0] == pytest.approx(0, abs=1e-3)
    measured = input_db[np.argmin(np.abs(gain_db + 1))]
    assert measured == pytest.approx(pa.compression_point_db(), abs=0.02)
    turn = np.degrees(np.angle(y / x))
    assert turn[np.argmin(np.abs(input_db - pa.saturation_db))] == pytest.approx(
        pa.am_pm_deg, abs=0.01
    )
    assert np.abs(y).max() <= 10 ** (pa.saturation_db / 20) * (1 + 1e-6)
    a = np.abs(x.astype(np.complex128)) / 10 ** (pa.saturation_db / 20)
    rapp = (1 + a ** (2 * pa.smoothness)) ** (-1 / (2 * pa.smoothness))
    np.testing.assert_allclose(np.abs(y) / np.abs(x), rapp, rtol=3e-6)


@pytest.mark.parametrize("bits", [8, 12, 14])
@pytest.mark.parametrize("headroom_db", [0.5, 6.0])
def test_noise_of_the_quantiser_follows_the_rule_of_6_db_a_bit(bits, headroom_db):
    # I and Q are sines: 6.02 b + 1.76 - headroom for a uniform error, which a sine misses by up
    # to 0.2 dB at 8 bits.
    n = 1 << 16
    x = tone(n, 4097.31, 10 ** (-headroom_db / 20))
    for y in (
        FrontEnd(dac_bits=bits, clips=True).sent(x, KEY, 0, RATE_HZ)[0],
        FrontEnd(adc_bits=bits, clips=True).received(x, KEY, 0, RATE_HZ),
    ):
        sqnr_db = -10 * math.log10(np.mean(np.abs(y - x) ** 2) / np.mean(np.abs(x) ** 2))
        rule_db = 6.02 * bits + 1.76 - headroom_db
        assert sqnr_db == pytest.approx(rule_db, abs=0.25 if bits == 8 else 0.05)


def test_step_and_range_of_the_quantiser():
    ramp = np.linspace(-1, 1, 40_001)
    y = FrontEnd(adc_bits=6, clips=True).received((ramp + 0j).astype(np.complex64), KEY, 0, RATE_HZ)
    levels = np.unique(y.real)
    assert levels.size == 64
    np.testing.assert_allclose(np.diff(levels), 2.0**-5, rtol=0, atol=0)
    assert levels[0] == -1
    assert 0 in levels
    assert not y.imag.any()
    far = np.array([3.7], np.complex64)
    assert FrontEnd(adc_bits=6).received(far, KEY, 0, RATE_HZ)[0] == pytest.approx(3.7, abs=2**-6)


def test_clipped_samples_are_counted_once():
    x = np.array([0.5, 1.0, -1.0j, 1.5, 0.2 - 3j, 2 + 2j, -1.1], np.complex64)
    y, clipped = replace(FrontEnd(), clips=True).sent(x, KEY, 0, RATE_HZ)
    assert clipped == 4
    np.testing.assert_array_equal(y, np.array([0.5, 1, -1j, 1, 0.2 - 1j, 1 + 1j, -1], np.complex64))


def test_phase_noise_turns_each_direction_by_its_own_synthesizer():
    n, ones = 200_000, np.ones(200_000, np.complex64)
    end = FrontEnd(tx_phase_noise=PhaseNoise(0.86), rx_phase_noise=PhaseNoise(0.5))
    tx = np.degrees(np.angle(end.sent(ones, KEY, 9, RATE_HZ)[0]))
    rx = np.degrees(np.angle(end.received(ones, KEY, 9, RATE_HZ)))
    # About every third sample is independent at a corner of 50 kHz.
    assert np.std(tx) == pytest.approx(0.86, rel=4 / math.sqrt(2 * n / 3.2))
    assert np.std(rx) == pytest.approx(0.5, rel=4 / math.sqrt(2 * n / 3.2))
    assert abs(np.corrcoef(tx, rx)[0, 1]) < 4 / math.sqrt(n / 3.2)


def test_each_cause_can_be_taken_away_and_leaves_the_others():
    causes = {
        "quantisation": {"dac_bits", "adc_bits"},
        "clipping": {"clips"},
        "amplifier": {"pa"},
        "mixers": {"tx_iq", "rx_iq", "tx_dc", "rx_dc"},
        "noise": {"noise_figure_db"},
        "phase_noise": {"tx_phase_noise", "rx_phase_noise"},
    }
    for cause, names in causes.items():
        mended = FULL.without(cause)
        assert {
            name for name in vars(FULL) if getattr(FULL, name) != getattr(mended, name)
        } == names
        for name in names:
            assert getattr(mended, name) == getattr(FrontEnd(), name)
    x = noise_like(3000)
    clean = FULL.without(*causes)
    np.testing.assert_array_equal(clean.sent(x, KEY, 0, RATE_HZ)[0], x)
    np.testing.assert_array_equal(clean.received(x, KEY, 0, RATE_HZ), x)
    # The same noise falls whether or not the samples are rounded.
    rounded = FULL.received(x, KEY, 0, RATE_HZ)
    exact = FULL.without("quantisation").received(x, KEY, 0, RATE_HZ)
    assert np.abs(rounded - exact).max() <= math.sqrt(2) * 2.0**-10 + 1e-6
    with pytest.raises(ValueError, match="there are quantisation, clipping"):
        FULL.without("weather")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tx_full_scale_dbm": math.inf}, "tx_full_scale_dbm"),
        ({"rx_full_scale_dbm": math.nan}, "rx_full_scale_dbm"),
        ({"noise_figure_db": math.nan}, "noise_figure_db"),
        ({"noise_figure_db": math.inf}, "noise_figure_db"),
        ({"dac_bits": 0}, "dac_bits"),
        ({"adc_bits": 25}, "adc_bits"),
        ({"tx_dc": 1.0}, "tx_dc"),
        ({"rx_dc": complex(math.nan, 0)}, "rx_dc"),
        ({"turnaround_s": -1.0}, "turnaround_s"),
    ],
)
def test_what_makes_no_front_end(change, message):
    with pytest.raises(ValueError, match=message):
        replace(FULL, **change)


def test_what_makes_no_amplifier_and_no_imbalance():
    for arguments in ((0.0, 3.0), (1.0, math.nan), (1.0, 3.0, math.inf)):
        with pytest.raises(ValueError, match="must be"):
            PowerAmplifier(*arguments)
    for arguments in ((math.nan, 0.0), (0.0, 90.0), (0.0, math.nan)):
        with pytest.raises(ValueError, match="within 90"):
            IQImbalance(*arguments)
