"""A virtual Pluto in virtual time, without a client: when its samples come, and how strong."""

from dataclasses import replace

import numpy as np
import pytest

from sim_fallback.air import Air, Scene
from sim_fallback.bands import Bands
from sim_fallback.clock import VirtualClock
from sim_fallback.path import Path
from sim_fallback.presets import PRESETS
from sim_fallback.spread import Spread
from sim_fallback.tapped_delay import TappedDelayLine
from sim_fallback.temperature import Temperature
from sim_fallback.virtual_pluto.context import PHY
from sim_fallback.virtual_pluto.latency import HostLatency
from sim_fallback.virtual_pluto.pluto import Pluto

RATE, CARRIER = 4e6, 915e6
LOSS_DB = 30.0
AT_ONCE = HostLatency(0.0, 0.0)


def pair(latency=AT_ONCE, preset=PRESETS["ideal"]):
    """Two Plutos that hear each other."""
    equipment = {name: preset.equip(3, name) for name in ("a", "b")}
    path = Path(TappedDelayLine(kind="awgn"), LOSS_DB)
    bands = Bands(Air(Scene(CARRIER, RATE, equipment, {("a", "b"): path}), VirtualClock()))
    plutos = [Pluto(bands, name, latency) for name in equipment]
    for pluto in plutos:
        for file, value in (
            ("in_voltage0_gain_control_mode", "manual"),
            ("in_voltage_sampling_frequency", f"{RATE:.0f}"),
            ("out_altvoltage0_RX_LO_frequency", f"{CARRIER:.0f}"),
            ("out_altvoltage1_TX_LO_frequency", f"{CARRIER:.0f}"),
            ("out_voltage0_hardwaregain", "0"),
        ):
            pluto.attributes.write(PHY, file, value)
    bands.clock.wait_until(1.0)
    return plutos


def tone(amplitude, n=1024):
    """int16 [n, 2], a sixteenth of the rate."""
    turns = np.exp(2j * np.pi * np.arange(n) / 16) * amplitude * (2**15 - 1)
    return np.stack([turns.real, turns.imag], axis=1).astype(np.int16)


def received(pluto, size=100_000):
    """A block as soon as it is full, and its first sample on the clock."""
    ring = pluto.open_rx(size)
    pluto.bands.clock.wait_until(pluto.ready_s(ring))
    first = ring.oldest.first
    block = pluto.read(ring)
    pluto.close_rx(ring)
    return block, first


def full_after_s(pluto, size=4000):
    """After which time the first block of a stream is full, beyond what its samples take."""
    ring = pluto.open_rx(size)
    after_s = pluto.ready_s(ring) - pluto.bands.clock.present_s() - size / RATE
    pluto.close_rx(ring)
    return after_s


def test_a_stream_begins_when_the_host_has_got_round_to_it():
    steady, _ = pair(HostLatency(2e-3, 0.0))
    assert full_after_s(steady) == pytest.approx(2e-3, abs=2 / RATE)
    buffer = steady.open_tx(1000, cyclic=False)
    now = steady.bands.sample_at("a", 1.0, RATE)
    steady.push(buffer, tone(0.5, 1000))
    assert buffer.end - 1000 - now == pytest.approx(2e-3 * RATE, abs=1)

    usual, _ = pair(HostLatency())
    starts = [full_after_s(usual) for _ in range(50)]
    assert min(starts) >= 0.5e-3 - 2 / RATE
    assert len(set(starts)) == 50  # which nobody knows beforehand


@pytest.mark.parametrize("which", ["0_RX", "1_TX"])
@pytest.mark.parametrize(
    ("mode", "to_hz", "paused_s"),
    [("auto", 2.4e9, 10e-3), ("auto", CARRIER + 50e6, 0.0), ("manual", 2.4e9, 0.0)],
)
def test_reception_pauses_while_an_lo_that_moved_far_is_calibrated(which, mode, to_hz, paused_s):
    pluto, _ = pair()
    pluto.attributes.write(PHY, "calib_mode", mode)
    ring = pluto.open_rx(4000)
    before_s = pluto.ready_s(ring)
    pluto.attributes.write(PHY, f"out_altvoltage{which}_LO_frequency", f"{to_hz:.0f}")
    assert pluto.ready_s(ring) - before_s == pytest.approx(paused_s, abs=2 / RATE)


def test_the_rssi_says_how_strong_what_is_received_arrives():
    listener, sender = pair()
    sender.push(sender.open_tx(1024, cyclic=True), tone(0.5))
    sender.bands.clock.wait_until(1.1)
    rssi_db = float(listener.attributes.read(PHY, "in_voltage0_rssi").split()[0])
    for gain_db in (10, 20):
        listener.attributes.write(PHY, "in_voltage0_hardwaregain", str(gain_db))
        block, _ = received(listener)
        power_db = 10 * np.log10(np.mean(block.astype(float) ** 2) * 2 / 2**22)
        assert power_db == pytest.approx(gain_db - rssi_db, abs=0.3)  # it comes in quarters
    assert power_db == pytest.approx(20 * np.log10(0.5) - LOSS_DB + 20, abs=1.5)


def test_what_is_too_strong_ends_at_the_codes_of_the_converter():
    listener, sender = pair()
    sender.push(sender.open_tx(1024, cyclic=True), tone(0.9))
    listener.attributes.write(PHY, "in_voltage0_hardwaregain", "60")
    block, _ = received(listener)
    assert (block.min(), block.max()) == (-(2**11), 2**11 - 1)


def test_the_digital_loopback_takes_four_samples():
    pluto, _ = pair()
    pluto.attributes.write(PHY, "loopback", "1")
    buffer = pluto.open_tx(1000, cyclic=False)
    pluto.push(buffer, tone(0.5, 1000))
    block, first = received(pluto, 4000)
    begins = int(np.flatnonzero(block.any(axis=1))[0])
    assert first + begins == buffer.end - 1000 + 4
    np.testing.assert_array_equal(block[begins : begins + 1000], tone(0.5, 1000) >> 4)


@pytest.mark.parametrize("slope", ["tx_gain_db_per_k", "rx_gain_db_per_k"])
def test_a_warm_one_sends_and_hears_less(slope):
    preset = PRESETS["ideal"]
    levels = []
    for db_per_k in (0.0, -0.5):
        front_end = replace(preset.front_end, noise_figure_db=0.0, **{slope: db_per_k})
        warm = replace(preset, front_end=front_end, temperature=Temperature.ramp(20.0, 0.5))
        listener, sender = pair(preset=warm)
        assert listener.attributes.read(PHY, "in_temp0_input") == "54000"
        listener.attributes.write(PHY, "in_voltage0_hardwaregain", "70")
        buffer = sender.open_tx(1024, cyclic=True)
        silence = received(listener)[0]
        sender.push(buffer, tone(5e-3))
        listener.bands.clock.wait_until(1.2)
        blocks = (silence, received(listener)[0])
        levels.append([10 * np.log10(np.mean(block.astype(float) ** 2)) for block in blocks])
    sent_db = sender.bands.equipment("b").tx_drift_db(1.0)
    heard_db = listener.bands.equipment("a").rx_drift_db(1.0)
    assert -10 <= sent_db + heard_db <= -5
    # The gain of the receiver takes its noise along, the transmitter's does not.
    changes_db = np.subtract(levels[1], levels[0])
    assert changes_db == pytest.approx([heard_db, sent_db + heard_db], abs=0.1)


def test_gains_are_off_their_settings_by_what_was_drawn():
    front_end = replace(PRESETS["ideal"].front_end, noise_figure_db=5.0)
    uneven = replace(PRESETS["ideal"], front_end=front_end, spread=Spread(gain_ripple_db=1.0))
    listener, sender = pair(preset=uneven)
    true = listener.bands.equipment("a").front_end.rx_gain.gain_db
    sent_db = sender.bands.equipment("b").front_end.tx_gain.gain_db(0.0)
    buffer = sender.open_tx(1024, cyclic=True)
    for level in (0.0, 5e-3):  # the noise, then a tone as well
        levels_db = []
        if level:
            sender.push(buffer, tone(level))
        for gain_db in (60, 66, 72):
            listener.attributes.write(PHY, "in_voltage0_hardwaregain", str(gain_db))
            listener.bands.clock.wait_until(listener.bands.clock.present_s() + 0.1)
            power = np.mean(received(listener)[0].astype(float) ** 2)
            levels_db.append(10 * np.log10(power * 2 / 2**22))
        wanted_db = np.array([true(60), true(66), true(72)])
        assert np.diff(levels_db) == pytest.approx(np.diff(wanted_db), abs=0.1)
    expected_db = 20 * np.log10(level) - LOSS_DB + sent_db + wanted_db
    assert levels_db == pytest.approx(expected_db, abs=0.1)
