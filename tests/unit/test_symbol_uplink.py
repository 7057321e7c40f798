import math
from dataclasses import fields, replace

import numpy as np
import pytest
from scipy import stats

from fl_core import uplink as protocol
from sim_fallback.fading import Fading
from sim_fallback.symbol_uplink import Reception, SymbolUplink

DRAWS = 20_000
QUIET = SymbolUplink(seed=3, num_devices=20, snr_db=math.inf)
EVERYONE = np.arange(20)


def draws(fading, seed=7):
    rng = np.random.default_rng(seed)
    return np.array([fading.draw(rng) for _ in range(DRAWS)])


@pytest.mark.parametrize(
    "fading", [Fading("rayleigh"), *(Fading("rician", k) for k in (-40, 0, 10)), Fading("awgn")]
)
def test_moments_of_the_fading(fading):
    h = draws(fading)
    tolerance = 4 / math.sqrt(DRAWS)
    assert np.mean(np.abs(h) ** 2) == pytest.approx(1, abs=tolerance)
    assert np.mean(np.abs(h)) == pytest.approx(fading.mean_amplitude, abs=tolerance)


def test_rayleigh_amplitude_and_phase():
    h = draws(Fading("rayleigh"))
    assert stats.kstest(np.abs(h), stats.rayleigh(scale=math.sqrt(0.5)).cdf).pvalue > 0.01
    assert stats.kstest(np.angle(h), stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > 0.01


@pytest.mark.parametrize("k_db", [0.0, 6.0, 15.0])
def test_rician_amplitude_and_phase(k_db):
    fading, k = Fading("rician", k_db), 10 ** (k_db / 10)
    scale = math.sqrt(1 / (2 * (k + 1)))
    law = stats.rice(math.sqrt(2 * k), scale=scale)
    h = draws(fading)
    assert stats.kstest(np.abs(h), law.cdf).pvalue > 0.01
    assert stats.kstest(np.angle(h), stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > 0.01
    assert fading.mean_amplitude == pytest.approx(law.mean(), rel=1e-9)
    # Moments of |h|^2 give K back: var/mean^2 = (2K + 1)/(K + 1)^2.
    g = np.var(np.abs(h) ** 2) / np.mean(np.abs(h) ** 2) ** 2
    estimate = math.sqrt(1 - g) / (1 - math.sqrt(1 - g))
    assert estimate == pytest.approx(k, rel=0.08)


def test_limits_of_rician_are_rayleigh_and_no_fading():
    assert Fading("rician", -80).mean_amplitude == pytest.approx(math.sqrt(math.pi) / 2, rel=1e-7)
    assert Fading("rician", 80).mean_amplitude == pytest.approx(1, rel=1e-7)


def test_noise_is_white_circular_gaussian_of_the_stated_variance():
    air = SymbolUplink(seed=5, num_devices=2, snr_db=7.0, power=3.0)
    m = 50_000
    got = air.transmit(0, np.array([0, 1]), np.zeros((2, m), np.complex64))
    z = got.symbols
    assert air.noise_var == got.noise_var == pytest.approx(3.0 / 10**0.7)
    assert np.mean(np.abs(z) ** 2) == pytest.approx(air.noise_var, rel=4 / math.sqrt(m))
    part = stats.norm(scale=math.sqrt(air.noise_var / 2))
    for parts in (z.real, z.imag):
        assert stats.kstest(parts, part.cdf).pvalue > 0.01
        assert stats.kurtosis(parts) == pytest.approx(0, abs=4 * math.sqrt(24 / m))
    for other in (z.conj(), np.roll(z, 1)):  # Re against Im, neighbour against neighbour
        correlation = abs(np.vdot(other, z)) / np.vdot(z, z).real
        assert correlation < 4 / math.sqrt(m)


def test_superposition_without_noise():
    rng = np.random.default_rng(0)
    devices = np.array([4, 11, 0])
    x = (rng.standard_normal((3, 50)) + 1j * rng.standard_normal((3, 50))).astype(np.complex64)
    got = QUIET.transmit(2, devices, x)
    exact = sum(
        complex(h) * row.astype(np.complex128) for h, row in zip(got.true_gains, x, strict=True)
    )
    np.testing.assert_allclose(got.symbols, exact, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(got.true_gains, QUIET.sound(2, devices))
    assert got.symbols.dtype == got.true_gains.dtype == np.complex64
    assert got.acknowledged.all()
    assert got.noise_var == 0


def test_same_seed_same_air():
    air = replace(QUIET, snr_db=10.0, csi_phase_error_deg=5.0, csi_gain_error_db=1.0)
    again = replace(air)
    x = np.ones((20, 30), np.complex64)
    again.transmit(0, EVERYONE, x)  # what came before leaves no trace
    np.testing.assert_array_equal(
        air.transmit(1, EVERYONE, x).symbols, again.transmit(1, EVERYONE, x).symbols
    )
    np.testing.assert_array_equal(air.sound(1, EVERYONE), again.sound(1, EVERYONE))
    assert not np.any(air.sound(1, EVERYONE) == replace(air, seed=4).sound(1, EVERYONE))


def test_channel_of_a_device_does_not_depend_on_the_others():
    air = replace(QUIET, path_loss_spread_db=6.0, csi_phase_error_deg=5.0)
    some = np.array([13, 2, 7])
    np.testing.assert_array_equal(air.gains(5, some), air.gains(5, EVERYONE)[some])
    np.testing.assert_array_equal(air.sound(5, some), air.sound(5, EVERYONE)[some])


def test_rounds_and_devices_fade_independently():
    h = np.array([QUIET.gains(t, EVERYONE) for t in range(400)])
    for one, other in ((h[1:], h[:-1]), (h[:, 1:], h[:, :-1])):
        assert abs(np.mean(one * other.conj())) < 4 / math.sqrt(one.size)
    assert np.mean(np.abs(h)) == pytest.approx(QUIET.mean_gain, abs=4 / math.sqrt(h.size))
    assert len(np.unique(h)) == h.size


def test_noise_changes_with_the_round():
    air = replace(QUIET, snr_db=0.0)
    silence = np.zeros((20, 1000), np.complex64)
    one, two = (air.transmit(t, EVERYONE, silence).symbols for t in (0, 1))
    assert abs(np.vdot(one, two)) / 1000 < 4 / math.sqrt(1000)


def test_path_loss_is_fixed_log_normal_and_averages_to_one():
    air = SymbolUplink(0, 3000, 10.0, fading="awgn", path_loss_spread_db=8.0)
    everyone = np.arange(3000)
    h = air.gains(0, everyone)
    assert np.mean(np.abs(h) ** 2) == pytest.approx(1, rel=1e-6)
    assert np.mean(np.abs(h)) == pytest.approx(air.mean_gain, rel=1e-6)
    np.testing.assert_array_equal(h, air.gains(9, everyone))
    level_db = 20 * np.log10(np.abs(h))
    assert np.std(level_db) == pytest.approx(8.0, rel=4 / math.sqrt(6000))
    assert stats.kstest(level_db - level_db.mean(), stats.norm(scale=8.0).cdf).pvalue > 0.01


def test_csi_errors_have_the_stated_spread():
    air = SymbolUplink(1, 200, math.inf, csi_phase_error_deg=7.0, csi_gain_error_db=1.5)
    everyone = np.arange(200)
    ratio = np.array([air.sound(t, everyone) / air.gains(t, everyone) for t in range(20)])
    phase_deg, amplitude_db = np.degrees(np.angle(ratio)), 20 * np.log10(np.abs(ratio))
    for error, std in ((phase_deg, 7.0), (amplitude_db, 1.5)):
        assert np.mean(error) == pytest.approx(0, abs=4 * std / math.sqrt(4000))
        assert np.std(error) == pytest.approx(std, rel=4 / math.sqrt(8000))
    assert abs(np.corrcoef(phase_deg.ravel(), amplitude_db.ravel())[0, 1]) < 4 / math.sqrt(4000)


def test_it_has_the_shape_that_the_protocol_asks_for():
    wanted = {name for name in vars(protocol.Reception) if not name.startswith("_")}
    assert {f.name for f in fields(Reception)} == wanted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, "seed"),
        ({"num_devices": 0}, "num_devices"),
        ({"snr_db": math.nan}, "snr_db"),
        ({"snr_db": -math.inf}, "snr_db"),
        ({"power": 0.0}, "power"),
        ({"fading": "nakagami"}, "there are rayleigh"),
        ({"rician_k_db": math.nan}, "k_db"),
        ({"path_loss_spread_db": -1.0}, "path_loss_spread_db"),
        ({"csi_phase_error_deg": math.nan}, "csi_phase_error_deg"),
        ({"csi_gain_error_db": math.inf}, "csi_gain_error_db"),
    ],
)
def test_what_makes_no_air(change, message):
    with pytest.raises(ValueError, match=message):
        replace(QUIET, **change)


def test_what_makes_no_fading():
    with pytest.raises(ValueError, match="there are rayleigh"):
        Fading("nakagami")
    with pytest.raises(ValueError, match="k_db"):
        Fading("rician", math.inf)


def test_devices_the_air_does_not_hold_are_refused():
    for devices in ([20], [-1]):
        with pytest.raises(ValueError, match=r"0\.\.19"):
            QUIET.sound(0, np.array(devices))
    with pytest.raises(ValueError, match="one row a device"):
        QUIET.transmit(0, np.array([1, 2]), np.zeros((3, 4), np.complex64))
