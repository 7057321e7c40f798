"""Radios that differ: how they are drawn, and that calibration finds again what was drawn."""

import math
from dataclasses import replace

import numpy as np
import pytest

from calibration.estimators.dc import receiver_dc, transmitter_dc
from calibration.estimators.delay import delay
from calibration.estimators.iq_imbalance import receiver_imbalance, transmitter_imbalance
from calibration.estimators.path_gain import path_gain
from calibration.estimators.tone import tone_lines
from calibration.probes import Beacons, ToneProbe
from calibration.track import Track
from radio.waveform.numerology import Numerology
from sim_fallback.air import Air, Scene
from sim_fallback.gain_error import GainError
from sim_fallback.oscillator import Oscillator
from sim_fallback.path import Path
from sim_fallback.presets import PRESETS
from sim_fallback.spread import ALIKE, Spread
from sim_fallback.tapped_delay import TappedDelayLine

CARRIER_HZ, RATE_HZ = 915e6, 1e6
NUMEROLOGY = Numerology()
UNEQUAL = Spread(
    path_loss_db=30.0,
    gain_error_db=1.0,
    iq_gain_db=0.5,
    iq_phase_deg=3.0,
    dc=0.02,
    delay_samples=3.0,
)
NAMES = [f"d{i}" for i in range(200)]


def drawn(**arguments):
    """Front ends of the ideal preset with some spread."""
    preset = replace(PRESETS["ideal"], spread=Spread(**arguments))
    return [preset.equip(4, name).front_end for name in NAMES]


@pytest.mark.parametrize("name", PRESETS)
def test_without_a_spread_nothing_changes(name):
    preset = PRESETS[name]
    assert preset.spread == ALIKE
    radio = preset.equip(7, "d1")
    assert repr(radio.front_end) == repr(preset.front_end)  # the very numbers and their types
    assert radio.front_end.tx_delay == radio.front_end.rx_delay == 0
    assert radio.oscillator.ppm_per_k == 0
    only_far = replace(preset, spread=Spread(path_loss_db=30.0))
    assert only_far.equip(7, "d1") == radio
    assert not ALIKE.path_gains_db(7, 10).any()


def test_radios_are_spread_as_told():
    ends = drawn(
        gain_error_db=1.0,
        gain_ripple_db=0.4,
        iq_gain_db=0.5,
        iq_phase_deg=3.0,
        dc=0.02,
        delay_samples=3.0,
    )
    for values, low, high in (
        ([end.tx_full_scale_dbm for end in ends], -1.0, 1.0),
        ([end.rx_full_scale_dbm for end in ends], -1.0, 1.0),
        ([end.tx_iq.gain_db for end in ends], -0.5, 0.5),
        ([end.rx_iq.gain_db for end in ends], -0.5, 0.5),
        ([end.tx_iq.phase_deg for end in ends], -3.0, 3.0),
        ([end.rx_iq.phase_deg for end in ends], -3.0, 3.0),
        ([end.tx_gain.phase_rad for end in ends], 0.0, 2 * math.pi),
        ([end.rx_gain.phase_rad for end in ends], 0.0, 2 * math.pi),
        ([end.tx_delay for end in ends], 0.0, 3.0),
        ([end.rx_delay for end in ends], 0.0, 3.0),
        ([abs(end.tx_dc) ** 2 for end in ends], 0.0, 4e-4),
        ([abs(end.rx_dc) ** 2 for end in ends], 0.0, 4e-4),
    ):
        width = high - low
        assert low <= min(values) < low + 0.05 * width
        assert high >= max(values) > high - 0.05 * width
        assert abs(np.mean(values) - (low + high) / 2) < 4 * width / math.sqrt(12 * len(ends))


def test_what_one_argument_draws_does_not_depend_on_the_others():
    together = drawn(iq_gain_db=0.5, dc=0.02, delay_samples=3.0)
    assert [end.rx_dc for end in together] == [end.rx_dc for end in drawn(dc=0.02)]
    assert [end.tx_delay for end in together] == [e.tx_delay for e in drawn(delay_samples=3.0)]


def test_gains_go_up_and_down_over_their_settings():
    preset = replace(PRESETS["ideal"], spread=Spread(gain_ripple_db=0.4))
    equipment = {name: preset.equip(2, name) for name in ("d", "rx")}
    air = Air(Scene(CARRIER_HZ, RATE_HZ, equipment, {("d", "rx"): Path.ideal()}))
    for number, setting_db in enumerate((-31.0, -20.0, -7.0, 0.0)):
        air.post("d", np.full(2000, 0.5, np.complex64), 20_000 * number, setting_db)
        heard = air.window("rx", 20_000 * number + 500, 1000, rx_gain_db=-setting_db / 2)
        level_db = 20 * math.log10(2 * np.abs(heard).mean())
        sent, received = equipment["d"].front_end.tx_gain, equipment["rx"].front_end.rx_gain
        error_db = 0.4 * math.sin(2 * math.pi * setting_db / 25 + sent.phase_rad)
        error_db += 0.4 * math.sin(-math.pi * setting_db / 25 + received.phase_rad)
        assert level_db - setting_db / 2 == pytest.approx(error_db, abs=1e-3)
    assert GainError(0.0).gain_db(-3.25) == -3.25
    for wrong in ({"swing_db": 4.0}, {"swing_db": 1.0, "period_db": 0.0}):
        with pytest.raises(ValueError, match=list(wrong)[-1]):
            GainError(**wrong)


def test_devices_stand_between_the_farthest_and_the_nearest():
    gains_db = UNEQUAL.path_gains_db(3, 10)
    assert sorted(gains_db) == pytest.approx(np.linspace(0, 30, 10))
    assert list(gains_db) != sorted(gains_db)
    assert list(UNEQUAL.path_gains_db(3, 10)) == list(gains_db)
    assert list(UNEQUAL.path_gains_db(4, 10)) != list(gains_db)
    assert list(UNEQUAL.path_gains_db(3, 1)) == [0.0]


def test_it_adds_to_what_the_preset_has():
    plain = PRESETS["pluto-tcxo"].front_end
    radio = replace(PRESETS["pluto-tcxo"], spread=UNEQUAL).equip(1, "d0").front_end
    only = replace(PRESETS["ideal"], spread=UNEQUAL).equip(1, "d0").front_end
    assert radio.tx_iq.gain_db == pytest.approx(plain.tx_iq.gain_db + only.tx_iq.gain_db)
    assert radio.rx_dc == pytest.approx(plain.rx_dc + only.rx_dc)
    assert radio.tx_full_scale_dbm == pytest.approx(7.0 + only.tx_full_scale_dbm)
    # A receiver that amplifies by more reaches full scale sooner, and so does its noise.
    more_db = 6.0 - radio.rx_full_scale_dbm
    noise_db = 10 * math.log10(radio.noise_var(RATE_HZ, 0.0) / plain.noise_var(RATE_HZ, 0.0))
    assert noise_db == pytest.approx(more_db)


def heard(iq, ends, snr_db=30.0):
    """A burst from d to rx, 20 dB down, without errors of clocks but for an offset."""
    equipment = {}
    for name, ppm in (("d", 12.0), ("rx", -8.0)):
        radio = PRESETS["ideal"].equip(0, name)
        equipment[name] = replace(
            radio, front_end=ends[name], oscillator=Oscillator((0, len(name)), ppm, 0.0)
        )
    paths = {("d", "rx"): Path(TappedDelayLine(kind="awgn"), 20.0)}
    air = Air(Scene(CARRIER_HZ, RATE_HZ, equipment, paths))
    air.post("d", iq, 1000, 0.0)
    clean = air.window("rx", 0, iq.size + 3000, rx_gain_db=14.0)
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((clean.size, 2)) @ np.array([1, 1j])
    level = np.sqrt(np.mean(np.abs(iq) ** 2)) * 10 ** ((-6.0 - snr_db) / 20) / math.sqrt(2)
    return (clean + level * noise).astype(np.complex64)


@pytest.mark.parametrize("seed", range(3))
def test_calibration_finds_what_was_drawn(seed):
    preset = replace(PRESETS["ideal"], spread=UNEQUAL)
    ends = {name: preset.equip(seed, name).front_end for name in ("d", "rx")}
    beacons = Beacons(NUMEROLOGY, count=24)
    track = Track.of(heard(beacons.iq, ends), beacons, 40e3, sent_at=1000)
    errors_db = ends["d"].tx_full_scale_dbm - ends["rx"].rx_full_scale_dbm
    assert path_gain(track, 24).gain.value == pytest.approx(errors_db - 6.0, abs=0.3)
    inside = ends["d"].tx_delay + ends["rx"].rx_delay
    drifted = -track.sent.mean() * 20e-6  # by their clocks, which both began at 0
    assert delay(track).mean.value == pytest.approx(inside + drifted, abs=0.05)
    probe = ToneProbe(NUMEROLOGY, levels_db=(-6.0,), step=1 << 18)
    lines = tone_lines(heard(probe.iq, ends), probe, 40e3, CARRIER_HZ)
    # What a correction leaves: of offsets below full scale, of images below the signal.
    assert 20 * math.log10(abs(receiver_dc(lines).value - ends["rx"].rx_dc)) < -50
    error = abs(transmitter_dc(lines, -6.0).value - ends["d"].tx_dc)
    assert 20 * math.log10(error) < -50
    for found, truth in (
        (receiver_imbalance(lines), ends["rx"].rx_iq),
        (transmitter_imbalance(lines), ends["d"].tx_iq),
    ):
        factor = 10 ** (truth.gain_db / 20) * np.exp(1j * math.radians(truth.phase_deg))
        assert 20 * math.log10(abs(1 - 2 * found.nu - factor) / 2) < -45


@pytest.mark.parametrize(
    "arguments",
    [
        {"dc": 1.0},
        {"gain_ripple_db": 3.0},
        {"path_loss_db": -1.0},
        {"iq_phase_deg": 90.0},
        {"iq_gain_db": math.nan},
    ],
)
def test_what_makes_no_spread(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Spread(**arguments)
