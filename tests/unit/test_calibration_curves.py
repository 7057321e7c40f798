"""Curves, compression, back-off, noise, stability, reciprocity, where the truth is arithmetic."""

import math

import numpy as np
import pytest

from benchmarks.calibration_air import CARRIER_HZ, MAX_CFO_HZ, NUMEROLOGY, START, Pair
from calibration.curve import Curve
from calibration.estimate import Estimate, MeasurementError
from calibration.estimators.backoff import SymbolErrors, best_backoff, symbol_errors
from calibration.estimators.coherence import coherence
from calibration.estimators.compression import compression
from calibration.estimators.gain_curve import gain_curve
from calibration.estimators.noise import fills_steps, noise_figure, noise_floor
from calibration.estimators.reciprocity import reciprocity
from calibration.probes import Beacons, SymbolProbe
from calibration.track import Track
from radio.api import Range
from sim_fallback.power_amplifier import PowerAmplifier

NONE = Estimate(0.0, 0.0, "dB")


def levels(values, uncertainty=0.02):
    return [None if v is None else Estimate(float(v), uncertainty, "dBFS") for v in values]


def complex_normal(rng, shape):
    return rng.standard_normal((*np.atleast_1d(shape), 2)) @ (1, 1j) / math.sqrt(2)


def test_a_curve_between_its_points():
    curve = Curve((0.0, 1.0, 3.0), (10.0, 11.2, 12.8), (0.1, 0.2, 0.4), "dBm", Range(0.0, 2.0))
    assert curve.at(0.5).value == pytest.approx(10.6)
    assert curve.at(2.0).uncertainty == pytest.approx(0.3)
    assert curve.reach == Range(10.0, 12.0)
    assert curve.setting_for(11.6) == pytest.approx(1.5)
    assert curve.slope() == pytest.approx(1.0)
    with pytest.raises(ValueError, match="outside the measured"):
        curve.at(3.1)
    with pytest.raises(ValueError, match="outside 10 to 12 dBm"):
        curve.setting_for(12.5)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"settings": (0.0, 0.0, 1.0)}, "ascend"),
        ({"values": (1.0, 2.0)}, "as many"),
        ({"values": (1.0, math.nan, 2.0)}, "finite"),
        ({"uncertainties": (0.1, -0.1, 0.1)}, "0 or more"),
        ({"linear": Range(1.0, 1.0)}, "go up"),
        ({"linear": Range(0.0, 4.0)}, "within"),
    ],
)
def test_no_curve(changes, complaint):
    whole = {
        "settings": (0.0, 1.0, 2.0),
        "values": (0.0, 1.0, 2.0),
        "uncertainties": (0.1, 0.1, 0.1),
        "unit": "dB",
        "linear": Range(0.0, 2.0),
    }
    with pytest.raises(ValueError, match=complaint):
        Curve(**whole | changes)


def test_a_curve_that_does_not_ascend_has_no_inverse():
    curve = Curve((0.0, 1.0, 2.0), (0.0, 1.0, 0.9), (0.1, 0.1, 0.1), "dB", Range(0.0, 2.0))
    with pytest.raises(ValueError, match="do not ascend"):
        curve.setting_for(0.5)


def test_a_gain_curve_is_linear_between_noise_and_saturation():
    settings = np.arange(0.0, 60.0, 5.0)
    values = settings - 40.0 + 0.2 * np.sin(settings)
    values[-2:] -= (1.5, 5.0)  # compression, and then
    heard = [None, *levels(values[1:-1]), None]
    curve = gain_curve(settings.tolist(), heard, Estimate(7.0, 0.1, "dBm"))
    assert curve.unit == "dBm"
    assert curve.measured == Range(5.0, 50.0)
    assert curve.linear == Range(5.0, 45.0)
    assert curve.at(20.0).value == pytest.approx(values[4] + 7.0)
    assert curve.at(20.0).uncertainty == pytest.approx(math.hypot(0.02, 0.1))
    assert curve.slope() == pytest.approx(1.0, abs=0.02)


def test_a_level_that_noise_makes_uncertain_is_no_part_of_a_linear_range():
    heard = [Estimate(-40.0, 0.9, "dBFS"), *levels([-30.0, -20.0, -10.0])]
    assert gain_curve([0.0, 10.0, 20.0, 30.0], heard, NONE).linear == Range(10.0, 30.0)
    with pytest.raises(MeasurementError, match="no two neighbours"):
        gain_curve([0.0, 10.0, 20.0], levels([0.0, None, 20.0]), NONE)
    with pytest.raises(ValueError, match="each takes one"):
        gain_curve([0.0, 10.0], levels([0.0]), NONE)


@pytest.mark.parametrize("smoothness", [0.8, 1.0, 2.0, 3.0])
def test_compression_of_any_smoothness(smoothness):
    amplifier = PowerAmplifier(smoothness, saturation_db=-1.0)
    drives = np.arange(-24.0, 0.1, 2.0)
    sent = (10 ** (drives / 20)).astype(np.complex64)
    amplifier.amplify(sent)
    rng = np.random.default_rng([7, int(10 * smoothness)])
    noisy = 20 * np.log10(np.abs(sent)) - 11.0 + rng.normal(0, 0.02, drives.size)
    found = compression(drives.tolist(), levels(noisy))
    point = found.require_point()
    truth = amplifier.compression_point_db()
    assert abs(point.value - truth) < min(0.5, 3 * point.uncertainty)
    assert found.above_db <= truth
    assert abs(found.gain.value + 11.0) < 3 * found.gain.uncertainty
    assert found.drive.at(-24.0).value == pytest.approx(0.0, abs=0.3)


def test_compression_of_an_amplifier_with_another_law():
    # tanh: 1 dB below a straight line where tanh(r)/r is -1 dB.
    drives = np.arange(-20.0, 0.1, 1.0)
    ratio = np.linspace(1e-3, 2, 100_001)
    truth = 20 * math.log10(np.interp(1.0, -20 * np.log10(np.tanh(ratio) / ratio), ratio)) + 1.0
    amplitude = 10 ** ((drives - 1.0) / 20)
    found = compression(drives.tolist(), levels(20 * np.log10(np.tanh(amplitude)), 0.005))
    assert abs(found.require_point().value - truth) < 0.1


def test_a_drive_that_does_not_compress_leaves_a_bound():
    drives = np.arange(-20.0, 0.1, 2.0)
    lost = PowerAmplifier(1.0, 12.0)
    sent = (10 ** (drives / 20)).astype(np.complex64)
    lost.amplify(sent)
    found = compression(drives.tolist(), levels(20 * np.log10(np.abs(sent))))
    assert found.point is None
    assert found.above_db == 0.0
    assert found.strongest.covers(10 * math.log10(1 + 10**-1.2))
    with pytest.raises(MeasurementError, match=r"did not reach 1 dB.*above 0\.00 dBFS"):
        found.require_point()
    with pytest.raises(MeasurementError, match="too few"):
        compression(drives[:5].tolist(), levels([*drives[:4], None]))


def test_noise_beside_carriers():
    rng = np.random.default_rng(3)
    power_db = -60.0
    noise = 10 ** (power_db / 20) * complex_normal(rng, 32_768)
    carriers = sum(np.exp(2j * np.pi * f * np.arange(noise.size)) for f in (0.0, 0.1234, -0.31))
    found = noise_floor((noise + 0.02 * carriers).astype(np.complex64))
    assert found.level.covers(power_db)
    assert found.level.uncertainty < 0.1
    assert 0 < found.carriers < 0.1
    # k T B in 1 MHz is -114 dBm.
    figure = noise_figure(found.level, Estimate(50.0, 0.0, "dB"), 1e6)
    assert figure.value == pytest.approx(found.level.value - 50.0 + 113.975, abs=1e-3)


@pytest.mark.parametrize(
    ("iq", "complaint"),
    [
        (np.zeros(20_000), "hears no noise"),
        (np.zeros(100), "too few"),
        (np.ones(20_000), "saturated"),
    ],
)
def test_no_noise_floor(iq, complaint):
    with pytest.raises(MeasurementError, match=complaint):
        noise_floor(iq.astype(np.complex64))


@pytest.mark.parametrize("offset", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("steps", [0.05, 0.2, 0.3, 0.55, 0.6, 2.0])
def test_noise_that_is_lost_between_two_steps_of_the_converter_is_no_floor(steps, offset):
    step = 2.0**-11
    noise = steps * math.sqrt(2) * complex_normal(np.random.default_rng(6), 1 << 17)
    parts = (noise.astype(np.complex64) + np.complex64(offset + 1j * offset)).view(np.float32)
    iq = (np.rint(parts) * np.float32(step)).view(np.complex64)
    assert fills_steps(iq) == (steps >= 0.5)
    if steps >= 0.5:
        truth = 2 * (steps**2 + 1 / 12) * step**2
        assert abs(noise_floor(iq).level.value - 10 * math.log10(truth)) < 0.25
    else:
        with pytest.raises(MeasurementError, match="less than half a step"):
            noise_floor(iq)


def test_a_still_channel_is_coherent_for_longer_than_the_track_tells():
    beacons = Beacons(NUMEROLOGY, spacing=4_000, count=64)
    pair = Pair(20, -8.0, seed=2, ppm=(4.0, 1.0))
    track = Track.of(pair.hear(beacons.iq), beacons, MAX_CFO_HZ, sent_at=START)
    found = coherence(track)
    assert found.time is None
    assert found.longer_than_s == pytest.approx(8 * 4e-3, rel=0.01)
    assert all(change.phase.low <= 0.05 for change in found.changes)
    assert all(change.amplitude.low <= 0.01 for change in found.changes)
    # One oscillator of a Pluto walks by 1e-8 at 0.1 s: seen, from one beacon to the next.
    walking = Pair(30, -8.0, seed=2, allan=1e-8)
    wild = coherence(Track.of(walking.hear(beacons.iq), beacons, MAX_CFO_HZ, sent_at=START), 1.0)
    assert wild.longer_than_s == 0.0
    with pytest.raises(MeasurementError, match="too few"):
        coherence(Track(track.preamble, track.sent[:20], track.first[:20], track.arrivals[:20]))


def test_reciprocity_of_a_fading_path():
    rng = np.random.default_rng(4)
    path = complex_normal(rng, 40)
    factor = 10 ** (2.5 / 20) * np.exp(1j * math.radians(179.0))
    up = factor * path + 0.02 * complex_normal(rng, 40)
    down = path + 0.02 * complex_normal(rng, 40)
    noise = np.full(40, 4e-4)
    found = reciprocity(up, down, noise, noise)
    assert found.gain.covers(2.5)
    assert found.gain.uncertainty < 0.1
    assert abs(math.remainder(found.phase.value - 179.0, 360)) < 2 * found.phase.uncertainty
    free = up * np.exp(2j * np.pi * rng.random(40))
    with pytest.raises(MeasurementError, match="run free"):
        reciprocity(free, down, noise, noise)
    with pytest.raises(MeasurementError, match="too few"):
        reciprocity(up[:5], down[:5], noise[:5], noise[:5])
    with pytest.raises(MeasurementError, match="lost in noise"):
        reciprocity(up, down, noise, np.full(40, 9.0))


def test_errors_of_symbols_are_noise_and_distortion():
    probe = SymbolProbe(NUMEROLOGY, backoff_db=8.0)
    iq = Pair(25, -8.0, sender={"pa": PowerAmplifier(1.0, 4.0)}).hear(probe.iq)
    found = symbol_errors(iq, probe, MAX_CFO_HZ, CARRIER_HZ)
    clean = Pair(25, -8.0).hear(probe.iq)
    linear = symbol_errors(clean, probe, MAX_CFO_HZ, CARRIER_HZ)
    # 200 of 256 carriers hold all of the signal, and as many of the noise.
    assert 10 * math.log10(linear.noise.mean()) == pytest.approx(
        -25 + 10 * math.log10(0.78), abs=0.3
    )
    assert linear.distortion.mean() < 0.1 * linear.noise.mean()
    assert found.distortion.mean() > 10 * linear.distortion.mean()


def test_the_best_back_off_of_two_straight_lines():
    # D falls by 2 dB per dB and N grows by 1: D + N is least where N = 2 D.
    backoffs = np.arange(2.0, 20.0, 1.5)
    captures = [
        SymbolErrors(b, np.full(8, 10 ** (-1.0 - 0.2 * b)), np.full(8, 10 ** (-4.0 + 0.1 * b)), s)
        for b, s in zip(backoffs, 10 ** (-backoffs / 10), strict=True)
    ]
    truth = (30.0 - 10 * math.log10(0.5)) / 3
    found = best_backoff(captures)
    assert found.best.value == pytest.approx(truth, abs=0.02)
    least = 10 ** (-1.0 - 0.2 * truth) + 10 ** (-4.0 + 0.1 * truth)
    assert found.nmse.value == pytest.approx(10 * math.log10(least), abs=0.01)
    assert not found.at_end
    # 9 dB less of noise: 3 dB more of back-off.
    assert best_backoff(captures, path_db=9.0).best.value == pytest.approx(truth + 3.0, abs=0.02)
    assert best_backoff(captures[:4]).at_end
    with pytest.raises(MeasurementError, match="4 different"):
        best_backoff(captures[:3])
