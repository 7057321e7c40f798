"""What is injected into the virtual air is found again, and stated uncertainties hold."""

import math

import numpy as np
import pytest

from benchmarks.calibration_air import (
    CARRIER_HZ,
    MAX_CFO_HZ,
    NUMEROLOGY,
    START,
    Pair,
    mean_level_db,
)
from calibration.estimate import Estimate, MeasurementError, in_db, mean_of
from calibration.estimators.allan import allan_of_track
from calibration.estimators.dc import receiver_dc, transmitter_dc
from calibration.estimators.delay import delay
from calibration.estimators.frequency import frequency
from calibration.estimators.iq_imbalance import receiver_imbalance, transmitter_imbalance
from calibration.estimators.path_gain import path_gain, path_gains
from calibration.estimators.skew import skew
from calibration.estimators.start_jitter import start_jitter
from calibration.estimators.tone import tone_levels, tone_lines
from calibration.probes import Beacons, SymbolProbe, ToneProbe
from calibration.track import Track
from sim_fallback.front_end import IQImbalance


def heard(iq, snr_db, seed=0, ppm=(3.0, -2.0), allan=0.0, gain_db=-6.0, sender=None, ear=None):
    """A capture of a burst: a sender, a path, a receiver; and where the burst began."""
    pair = Pair(
        snr_db, mean_level_db(iq), gain_db, seed, ppm, allan, sender=sender or {}, ear=ear or {}
    )
    return pair.hear(iq), START


def tracked(snr_db, seed=0, count=24, **how):
    beacons = Beacons(NUMEROLOGY, count=count)
    iq, start = heard(beacons.iq, snr_db, seed, **how)
    return Track.of(iq, beacons, MAX_CFO_HZ, sent_at=start)


@pytest.mark.parametrize("snr_db", [10, 20, 30])
def test_carrier_offset_skew_delay_and_gain(snr_db):
    track = tracked(snr_db)
    ratio = (1 + 3e-6) / (1 - 2e-6)
    assert abs(frequency(track).cfo.value - (ratio - 1) * CARRIER_HZ) < 1
    assert abs(skew(track).value - 1e6 * (ratio - 1)) < 0.1
    found = delay(track)
    # Both counters began at 0, and the sender's is ahead by what it gained until then.
    assert abs(found.mean.value - track.sent.mean() * (1 / ratio - 1)) < 0.05
    assert found.jitter.value < 0.05
    gain = path_gain(track, 24)
    assert abs(gain.gain.value + 6.0) < 0.3
    assert gain.heard == 1.0
    powers = np.abs(track.gains) ** 2
    scattered_db = 10 / np.log(10) * powers.std(ddof=1) / powers.mean() / np.sqrt(24)
    assert gain.gain.uncertainty == pytest.approx(scattered_db, rel=0.1)  # widened for 24
    assert gain.fading.value < 0.1


def test_how_an_oscillator_wanders():
    track = tracked(30, seed=5, count=96, allan=1e-9)
    points = [p for p in allan_of_track(track, CARRIER_HZ) if 0.05 <= p.tau_s <= 0.25]
    assert points
    for point in points:
        # Two oscillators, each with a random walk of frequency of 1e-9 at 0.1 s.
        truth = math.sqrt(2) * 1e-9 * math.sqrt(point.tau_s / 0.1)
        assert truth / 2.5 < point.deviation.value < 2.5 * truth


@pytest.mark.parametrize("snr_db", [10, 20, 30])
def test_levels_of_a_stepped_tone(snr_db):
    probe = ToneProbe(NUMEROLOGY, levels_db=(-3.0, -6.0, -9.0))
    iq, _ = heard(probe.iq, snr_db)
    levels = tone_levels(iq, probe, MAX_CFO_HZ, CARRIER_HZ)
    for level, sent_db in zip(levels, probe.levels_db, strict=True):
        assert abs(level.value - (sent_db - 6.0)) < 0.3


@pytest.mark.parametrize("snr_db", [20, 30])
def test_offsets_and_images_of_both_ends(snr_db):
    sender = {"tx_iq": IQImbalance(gain_db=0.3, phase_deg=1.5), "tx_dc": 0.01 - 0.004j}
    ear = {"rx_iq": IQImbalance(gain_db=-0.2, phase_deg=-1.0), "rx_dc": -0.006 + 0.003j}
    probe = ToneProbe(NUMEROLOGY, levels_db=(-6.0,), step=1 << 18)
    iq, _ = heard(probe.iq, snr_db, sender=sender, ear=ear, ppm=(12.0, -8.0))
    lines = tone_lines(iq, probe, MAX_CFO_HZ, CARRIER_HZ)
    for found, truth in (
        (receiver_dc(lines), ear["rx_dc"]),
        (transmitter_dc(lines, -6.0), sender["tx_dc"]),
    ):
        # What is left of it after a correction, below full scale.
        assert 20 * math.log10(abs(found.value - truth)) < -50
    for found, truth in (
        (receiver_imbalance(lines), ear["rx_iq"]),
        (transmitter_imbalance(lines), sender["tx_iq"]),
    ):
        # g e^{j phi}; half of the difference is the image that a correction leaves.
        factor = 10 ** (truth.gain_db / 20) * np.exp(1j * math.radians(truth.phase_deg))
        assert 20 * math.log10(abs(1 - 2 * found.nu - factor) / 2) < -45


def test_nothing_heard_and_too_loud_are_said():
    silent = np.random.default_rng(1).normal(0, 1e-3, (20_000, 2)) @ np.array([1, 1j])
    beacons = Beacons(NUMEROLOGY, count=6)
    with pytest.raises(MeasurementError, match="no probe was heard"):
        Track.of(silent.astype(np.complex64), beacons, MAX_CFO_HZ)
    iq, _ = heard(beacons.iq, 30, gain_db=20.0)
    with pytest.raises(MeasurementError, match="saturated"):
        Track.of(iq, beacons, MAX_CFO_HZ)


def test_numbers_carry_their_uncertainty():
    found = Estimate(3.0, 0.3, "dB").minus(Estimate(1.0, 0.4, "dB"))
    assert (found.value, found.uncertainty) == (2.0, pytest.approx(0.5))
    assert found.covers(2.9)
    assert not found.covers(3.1)
    assert str(found) == "2 ± 0.5 dB"
    rng = np.random.default_rng(0)
    hits = [mean_of(rng.normal(5, 2, 4), "").covers(5) for _ in range(2000)]
    assert 0.93 < np.mean(hits) < 0.97
    assert in_db(100.0, 1.0, "dB").value == 20.0
    with pytest.raises(MeasurementError):
        in_db(0.0, 1.0, "dB")


def test_how_late_a_host_starts():
    late = np.random.default_rng(3).exponential(1e-3, 400) + 0.5e-3
    found = start_jitter(late)
    assert found.mean.covers(1.5e-3)
    assert found.deviation.covers(1e-3)
    assert found.latest.covers(0.5e-3 + 1e-3 * math.log(10))
    assert found.worst == late.max()
    with pytest.raises(ValueError, match="at least"):
        start_jitter(late[:5])


def test_path_gains_of_devices_of_which_one_is_not_heard():
    found = path_gains({"d0": tracked(20, count=8), "d1": None}, 8)
    assert found["d0"].gain.covers(-6.0)
    assert found["d1"] is None


def test_symbols_for_the_back_off_repeat():
    probe = SymbolProbe(NUMEROLOGY, backoff_db=10.0, symbols=4, repeats=3)
    burst = probe.iq[probe.preamble.length :]
    first, second, third = np.split(burst, 3)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, third)
    mean_db = 10 * math.log10(np.mean(np.abs(burst) ** 2))
    assert abs(mean_db + 10.0) < 1.5
    assert max(np.abs(burst.real).max(), np.abs(burst.imag).max()) <= 1.0
