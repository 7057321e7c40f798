"""A virtual Pluto on the bench of its vendor: what buffers, contexts and settings have to stand."""

import numpy as np
import pytest

from benchmarks.pluto_process import plutos

CHANGES = {  # by itself
    ("ad9361-phy", "temp0", "input"),
    ("ad9361-phy", "voltage0", "rssi"),
    ("ad9361-phy", "voltage0", "hardwaregain"),
    ("ad9361-phy", "voltage0", "hardwaregain_available"),
}
FREQUENCIES = {("ad9361-phy", lo, "frequency") for lo in ("altvoltage0", "altvoltage1")}


def wave(cycles, amplitude, n=2**14):
    return amplitude * 2**15 * np.exp(2j * np.pi * cycles * np.arange(n) / n)


def state(context):
    """Every attribute that can be read, by device, channel and name."""
    values = {}
    for device in context.devices:
        for name, attribute in device.attrs.items():
            values[device.name, "", name] = attribute.value
        for channel in device.channels:
            for name, attribute in channel.attrs.items():
                values[device.name, channel.id, name] = attribute.value
    return values


def test_buffers_of_any_length(pluto):
    for size in (1, 16, 25, 1000, 4097, 2**20):
        pluto.rx_destroy_buffer()
        pluto.rx_buffer_size = size
        iq = pluto.rx()
        assert iq.shape == (size,)
        assert iq.any() or size < 1000


def test_contexts_and_buffers_come_and_go(adi, cabled):
    for _ in range(10):
        sdr = adi.Pluto(cabled)
        for _ in range(3):
            assert sdr.rx().any()
            sdr.rx_destroy_buffer()
            sdr.tx(wave(100, 0.1))
            sdr.tx_destroy_buffer()
        del sdr


def test_samples_without_an_imaginary_part_leave_q_at_zero(pluto, listen):
    pluto.loopback = 1
    pluto.tx_cyclic_buffer = True
    pluto.tx(wave(512, 0.5).real)
    iq = listen(pluto)
    assert np.abs(iq.real).max() == pytest.approx(2**10, abs=1)
    assert not iq.imag.any()


@pytest.mark.parametrize("loopback", [0, 1])
def test_a_level_survives_new_buffers_and_a_rate_that_is_set_again(pluto, listen, loopback):
    pluto.sample_rate = 7_500_000
    pluto.tx_hardwaregain_chan0 = -20
    pluto.rx_hardwaregain_chan0 = 50
    pluto.loopback = loopback
    pluto.tx_cyclic_buffer = True
    levels = []
    for again in (False, True, True, False, True):
        if again:
            pluto.sample_rate = 7_500_000
        pluto.tx_destroy_buffer()
        pluto.tx(wave(136, 0.5, 1024))
        levels.append(np.sqrt(np.mean(np.abs(listen(pluto)) ** 2)))
    # Half of full scale; 7 dBm at 0 dB, 40 dB for the cable, 6 dBm are full scale.
    path_db = 0 if loopback else -20 + (7 - 6) - 40 + 50
    assert levels == pytest.approx([2**10 * 10 ** (path_db / 20)] * 5, rel=0.02)


def test_carriers_that_move_change_nothing_else(pluto):
    before = state(pluto.ctx)
    pluto.rx_lo = pluto.tx_lo = 2_000_000_000
    after = state(pluto.ctx)
    assert before.keys() == after.keys()
    changed = {key for key in before if before[key] != after[key]}
    assert changed - CHANGES == FREQUENCIES


def test_silence_is_weak_and_turns_the_gain_up(pluto, listen):
    pluto.sample_rate = 30_720_000
    pluto.gain_control_mode_chan0 = "slow_attack"
    assert listen(pluto).any()
    assert 60 <= pluto.rx_hardwaregain_chan0 <= 80
    assert 80 <= pluto._get_iio_attr("voltage0", "rssi", False) <= 150


@pytest.mark.parametrize("ahead", [0, 2])  # I or Q
def test_tones_of_i_and_q_turn_the_way_that_their_phases_say(pluto, listen, spectrum, ahead):
    pluto.loopback = 1
    phases = [0, 0, 0, 0]
    phases[ahead] = 90_000
    pluto.dds_enabled = [1, 1, 1, 1]
    pluto.dds_frequencies = [62_500, 0, 62_500, 0]
    pluto.dds_scales = [1, 0, 1, 0]
    pluto.dds_phases = phases
    frequencies, levels = spectrum(listen(pluto), 4e6)
    expected_hz = 62_500 if ahead == 0 else -62_500
    assert frequencies[levels.argmax()] == pytest.approx(expected_hz, abs=4e6 / 2**13)
    assert levels.max() == pytest.approx(0, abs=0.1)
    assert levels[abs(frequencies + expected_hz) < 1000].max() < -60


@pytest.fixture(scope="module")
def four():
    """URIs of four Plutos, each of them cabled to itself and out of the others' reach."""
    with plutos(4, cable_db=40.0, loss_db=200.0) as served:
        yield served.uris


def test_every_radio_has_its_dynamic_range(opened, four, listen, spectrum):
    for uri in four:
        sdr = opened(uri)
        sdr.sample_rate = 4_000_000
        sdr.rx_lo = sdr.tx_lo = 1_000_000_000
        sdr.gain_control_mode_chan0 = "slow_attack"
        sdr.tx_hardwaregain_chan0 = -20
        sdr.tx_cyclic_buffer = True
        sdr.tx(wave(1638, 0.9))
        sdr.rx_buffer_size = 2**15
        frequencies, levels = spectrum(listen(sdr), 4e6)
        near = np.abs(frequencies - 1638 / 2**14 * 4e6) < 20_000  # with its phase noise
        assert levels[near].max() == pytest.approx(-11, abs=1.5)
        assert levels[near].max() - levels[~near].max() >= 40


def test_the_context_says_what_it_is(pluto):
    told = pluto.ctx.attrs
    assert told["ad9361-phy,model"] == "ad9363a"
    assert "virtual" in told["hw_model"]
    assert told["hw_serial"] and told["fw_version"]
    assert told["uri"].startswith("ip:127.")
