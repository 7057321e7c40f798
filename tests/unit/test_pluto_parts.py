"""The parts of a virtual Pluto that need no client."""

import errno
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radio.api import Range
from sim_fallback.air import Air, Scene
from sim_fallback.bands import Bands, Place
from sim_fallback.clock import VirtualClock, WallClock
from sim_fallback.path import Path
from sim_fallback.presets import PRESETS
from sim_fallback.tapped_delay import TappedDelayLine
from sim_fallback.virtual_pluto.context import ADC, DAC, DEVICES, PHY, xml
from sim_fallback.virtual_pluto.dds import STEPS, Tone, increment, waveform
from sim_fallback.virtual_pluto.errors import IioError
from sim_fallback.virtual_pluto.fir import Fir
from sim_fallback.virtual_pluto.gain import Agc, table
from sim_fallback.virtual_pluto.latency import HostLatency
from sim_fallback.virtual_pluto.pluto import Pluto
from sim_fallback.virtual_pluto.ring import Ring, Span
from sim_fallback.virtual_pluto.synthesizer import Rates, carrier_hz

FS, CARRIER = 1e6, 915e6
PLACE = Place(CARRIER, FS)


def bands(preset="ideal", loss_db=0.0):
    names = ("a", "b")
    equipment = {name: PRESETS[preset].equip(3, name) for name in names}
    path = Path(TappedDelayLine(kind="awgn"), loss_db)
    return Bands(Air(Scene(CARRIER, FS, equipment, {names: path}), VirtualClock()))


def tone(cycles, n=16_000):
    return (0.5 * np.exp(2j * np.pi * cycles * np.arange(n) / n)).astype(np.complex64)


@given(st.integers(325_000_000, 3_800_000_000))
def test_carriers_are_as_near_as_the_steps_allow(wanted):
    made = carrier_hz(wanted)
    assert abs(made - wanted) <= 2.4
    assert carrier_hz(made) == pytest.approx(made, abs=1e-6)


@given(st.integers(521_000, 15_000_000))
def test_the_chain_of_clocks_divides_down_to_the_rate(wanted):
    rates = Rates.of(wanted, 4)
    assert rates.sample == pytest.approx(wanted, abs=0.5)
    assert rates.before_fir == pytest.approx(4 * rates.sample)
    assert 715e6 <= rates.pll <= 1430e6
    assert 25e6 * 0.999 <= rates.adc <= 640e6
    text = rates.text(transmit=True)
    assert int(text.split(" ")[1].split(":")[1]) == round(rates.dac)
    assert int(text.split(" ")[5].split(":")[1]) == round(rates.sample)


def test_a_fir_is_read_as_it_is_written():
    text = "# a comment\nRX 3 GAIN -6 DEC 4\nTX 3 GAIN 0 INT 2\nBWRX 1\n" + "-15,7\n" * 32 + "\n"
    assert Fir.parse(text) == Fir(decimation=4, interpolation=2, taps=32)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "RX 3 GAIN -6 DEC 4\n" + "1,1\n" * 16,
        "RX 3 GAIN -6 DEC 4\nTX 3 GAIN 0 INT 4\n" + "1,1\n" * 15,
        "RX 3 GAIN -6 DEC 4\nTX 3 GAIN 0 INT 4\n" + "1,1\n" * 144,
        "RX 3 GAIN -6 DEC 4\nTX 3 GAIN 0 INT 4\n" + "40000,1\n" * 16,
        "RX 3 GAIN 5 DEC 4\nTX 3 GAIN 0 INT 4\n" + "1,1\n" * 16,
    ],
)
def test_what_is_no_fir_is_refused(text):
    with pytest.raises(IioError) as refused:
        Fir.parse(text)
    assert refused.value.number == errno.EINVAL


@given(st.integers(1, STEPS // 2 - 1), st.floats(0.01, 1.0))
def test_a_pair_of_tones_a_quarter_turn_apart_is_one_complex_tone(step, scale):
    wave = waveform([Tone(step, 90_000, scale, True), Tone(), Tone(step, 0, scale, True), Tone()])
    n = np.arange(len(wave))
    wanted = scale * (2**15 - 1) * np.exp(2j * np.pi * step * n / STEPS)
    assert np.abs(wave[:, 0] + 1j * wave[:, 1] - wanted).max() <= 1
    assert (len(wave) * step) % STEPS == 0


def test_silent_tones_are_none():
    assert waveform([Tone(5, 0, 0.0, True), Tone(5, 0, 0.5, False), Tone(), Tone()]) is None
    assert increment(250e3, 1e6) == STEPS // 4


def test_gains_end_where_the_bands_say():
    assert table(900e6) == Range(-1, 73)
    assert table(2.4e9) == Range(-3, 71)
    assert table(5e9) == Range(-10, 62)


@given(st.sampled_from(["fast_attack", "slow_attack", "hybrid"]), st.floats(-110, 0))
def test_automatic_gain_settles_in_its_window_and_stays(mode, level_db):
    agc, gain_db = Agc(mode, Range(-1, 73)), 30.0
    for _ in range(60):
        gain_db = agc.next_gain(gain_db, level_db)
    assert gain_db == 73 or gain_db + level_db >= -12
    assert gain_db == -1 or gain_db + level_db <= -10
    assert agc.next_gain(gain_db, level_db) == gain_db


def test_slow_automatic_gain_hurries_when_it_is_far_away():
    agc = Agc("slow_attack", Range(-1, 73))
    assert [agc.next_gain(30.0, -30.0 + mean) for mean in (-4, -6, -11, -13, -19)] == [
        28,
        29,
        30,
        31,
        32,
    ]


@given(st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=60), st.integers(1, 4))
def test_a_ring_hands_out_every_sample_once_in_order_or_tells_that_some_are_lost(steps, count):
    present = [0]
    ring = Ring(count, 100, "tuning", 7, lambda _: present[0])
    end = 7
    for passes, reads in steps:
        present[0] += passes
        ring.advance()
        lost = ring.overflowed
        if not reads:
            continue
        ring.release()
        block = ring.take()
        if block is None:
            continue
        assert sum(span.count for span in block) == 100
        for span in block:
            assert span.first >= end
            assert span.first == end or lost
            end = span.first + span.count
        assert end <= present[0]


def test_a_ring_of_one_begins_when_it_is_asked():
    present = [0]
    ring = Ring(1, 100, "tuning", 0, lambda _: present[0])
    present[0] = 1000
    assert ring.take() == [Span("tuning", 0, 100)]
    present[0] = 2000
    assert ring.take() is None
    ring.release()
    assert ring.take() is None
    present[0] = 2100
    assert ring.take() == [Span("tuning", 2000, 100)]
    assert ring.overflowed


def test_a_block_keeps_how_its_parts_were_received():
    present = [0]
    ring = Ring(2, 100, "old", 0, lambda _: present[0])
    present[0] = 30
    ring.tune("new")
    present[0] = 100
    assert ring.take() == [Span("old", 0, 30), Span("new", 30, 70)]


def test_a_block_that_is_being_read_is_still_needed():
    """Its samples are made without a lock, while other clients may let the air forget."""
    present = [0]
    ring = Ring(2, 100, "tuning", 0, lambda _: present[0])
    present[0] = 150
    block = ring.take()
    assert block == [Span("tuning", 0, 100)]
    assert ring.oldest == block[0]
    ring.release()
    assert ring.oldest == Span("tuning", 100, 50)


def test_radios_at_other_carriers_or_rates_do_not_hear_each_other():
    air = bands()
    air.send("a", Place(2.4e9, FS), tone(1000), 0, 0.0)
    assert air.incident("b", PLACE, 0) is None
    assert air.incident("b", Place(2.4e9, 2e6), 0) is None
    np.testing.assert_allclose(air.incident("b", Place(2.4e9, FS), 0), tone(1000), atol=1e-5)


def test_a_receiver_hears_its_share_of_a_band_beside_it():
    air = bands()
    air.send("a", PLACE, tone(1000, 48_000), 0, 0.0)  # at 20.8 kHz
    heard = air.incident("b", Place(CARRIER - 200e3, FS), 1)
    n = np.arange(16_000, 32_000)
    wanted = 0.5 * np.exp(2j * np.pi * n * (1000 / 48_000 + 0.2))
    assert np.abs(heard - wanted).max() < 5e-3
    air.send("b", Place(CARRIER + 100e3, FS), tone(21_600, 48_000), 0, 0.0)
    beyond = air.incident("a", Place(CARRIER - 100e3, FS), 1)
    assert np.abs(beyond).max() < 5e-3


def test_steps_of_synthesizers_do_not_part_radios():
    air = bands()
    air.send("a", Place(CARRIER + 1.2, FS), tone(1000), 0, 0.0)
    np.testing.assert_allclose(air.incident("b", PLACE, 0), tone(1000), atol=1e-5)


def test_a_corrected_clock_goes_on_without_a_jump_at_another_frequency():
    air = bands("pluto-tcxo")
    air.clock.wait_until(3.0)
    before = air.equipment("a").oscillator
    clock = air.sample_at("a", 3.0, FS)
    air.correct("a", 1 + 5e-6)
    after = air.equipment("a").oscillator
    assert air.sample_at("a", 3.0, FS) == pytest.approx(clock, abs=1)
    gained = after.fractional_frequency(4.0) - before.fractional_frequency(4.0)
    assert gained == pytest.approx(5e-6, rel=1e-4)
    air.clock.wait_until(4.0)
    air.correct("a", 1.0)
    again = air.equipment("a").oscillator
    assert again.fractional_frequency(4.0) == pytest.approx(before.fractional_frequency(4.0))
    assert again.time_error_s(4.0) == pytest.approx(after.time_error_s(4.0), abs=1e-12)


def test_what_nobody_needs_is_forgotten():
    air = bands()
    air.send("a", PLACE, tone(10), 0, 0.0)
    air.need("b", 0.0)
    assert air.incident("b", PLACE, 0) is not None
    air.clock.wait_until(5.0)
    air.need("b", 0.0)
    assert air.incident("b", PLACE, 0) is not None
    air.clock.wait_until(60.0)
    air.need("b", 0.0)
    assert air.incident("b", PLACE, 0) is None


def test_noise_of_a_silent_air_has_the_level_of_the_front_end():
    pluto = Pluto(bands("pluto-tcxo"), "a", HostLatency(0.0, 0.0))
    pluto.attributes.write(PHY, "in_voltage0_gain_control_mode", "manual")
    pluto.attributes.write(PHY, "in_voltage0_hardwaregain", "71")
    ring = pluto.open_rx(100_000)
    pluto.bands.clock.wait_until(1.0)
    codes = pluto.read(ring).astype(float)
    front_end = PRESETS["pluto-tcxo"].front_end
    variance = front_end.noise_var(30.72e6, 71.0) / 2 * 2**22 + 1 / 12
    assert codes.var(axis=0) == pytest.approx([variance, variance], rel=0.03)
    assert codes[:, 0].mean() == pytest.approx(front_end.rx_dc * 2**11, abs=0.1)


def test_two_clients_that_set_different_things_at_once_both_get_their_way():
    """A radio that is muted shall not be loud again because another client tuned it meanwhile."""
    pluto, threads = Pluto(bands(), "a"), []

    def mute():
        pluto.attributes.write(PHY, "out_voltage0_hardwaregain", "-89.75")

    def muted_meanwhile(settings):
        threads.append(threading.Thread(target=mute))
        threads[0].start()
        threads[0].join(0.2)  # it has to wait
        return settings.with_rx_lo(2.4e9)

    pluto.change(muted_meanwhile)
    threads[0].join()
    assert pluto.settings.tx_gain_db == -89.75
    assert pluto.settings.rx_lo_hz == pytest.approx(2.4e9, abs=3)


def test_automatic_gain_turns_also_while_nobody_reads():
    air = bands("pluto-tcxo", loss_db=0.0)
    sender, receiver = Pluto(air, "a"), Pluto(air, "b")
    sender.attributes.write(PHY, "out_altvoltage1_TX_LO_frequency", "2400000000")
    for tone in ("altvoltage0_TX1_I_F1", "altvoltage2_TX1_Q_F1"):
        sender.attributes.write(DAC, f"out_{tone}_frequency", "1000000")
        sender.attributes.write(DAC, f"out_{tone}_scale", "0.5")
        sender.attributes.write(DAC, f"out_{tone}_raw", "1")
    air.clock.wait_until(1.0)
    # Half of full scale at -10 dB, of which 7 dBm leave the radio; 6 dBm are full scale.
    assert -12 <= receiver.rx_gain_db() + 20 * np.log10(0.5) - 10 + (7 - 6) <= -10
    sender.attributes.write(PHY, "out_altvoltage1_TX_LO_powerdown", "1")
    air.clock.wait_until(2.0)
    assert receiver.rx_gain_db() > 60


def test_every_attribute_of_the_xml_can_be_read_and_there_are_no_others():
    pluto = Pluto(bands(), "a")
    known = {device: set() for device in (PHY, DAC, ADC)}
    for device in DEVICES:
        for channel in device.channels:
            known[device.id] |= set(channel.files.values())
        known[device.id] |= {*device.attributes, *device.debug}
        if device.scan:
            known[device.id] |= set(device.buffer)
        for file in known[device.id]:
            assert pluto.attributes.read(device.id, file)
    assert pluto.attributes.files == known
    with pytest.raises(IioError):
        pluto.attributes.read(ADC, "xo_correction")
    assert xml({"a": '"<&'}).count(b"<device ") == 3


def test_a_pace_is_positive_and_slows_the_clock():
    times = iter([10.0, 14.0, 14.0, 18.0])
    slept = []
    clock = WallClock.paced(0.25, lambda: next(times), slept.append)
    assert clock.present_s() == 1.0
    clock.wait_until(2.0)
    assert slept == [4.0]
    with pytest.raises(ValueError, match="pace must be positive"):
        WallClock.paced(0.0, lambda: 0.0, slept.append)


def test_latencies_are_never_below_their_least():
    rng = np.random.default_rng(0)
    draws = [HostLatency(2e-3, 1e-3).draw_s(rng) for _ in range(2000)]
    assert min(draws) >= 2e-3
    assert np.mean(draws) == pytest.approx(3e-3, rel=0.1)
    with pytest.raises(ValueError, match="finite"):
        HostLatency(-1.0, 0.0)
