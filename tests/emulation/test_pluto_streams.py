"""Samples to and from a virtual Pluto through pyadi-iio, as its vendor tests its own hardware."""

import numpy as np
import pytest

RATE = 4_000_000
STATUS, OVERFLOW, UNDERFLOW = 0x80000088, 1 << 2, 1 << 0


def tone(frequency_hz, amplitude, n=2**12):
    """A whole number of periods, in 16-bit full scale; and the frequency that has."""
    cycles = round(frequency_hz / RATE * n)
    wave = amplitude * 2**15 * np.exp(2j * np.pi * cycles * np.arange(n) / n)
    return wave, cycles * RATE / n


def ramp():
    """Different in I and Q, and 12 bits wide."""
    counts = np.arange(2**11) << 4
    return counts + 1j * (-counts - 1.0)


def test_received_samples_are_twelve_bits_of_noise(pluto, listen):
    pluto.rx_hardwaregain_chan0 = 70
    iq = listen(pluto)
    assert iq.shape == (2**14,)
    assert 0 < np.abs(iq.real).max() < 2**11
    assert iq.real.std() == pytest.approx(iq.imag.std(), rel=0.05)


@pytest.mark.parametrize("name", ["Pluto", "ad9364"])
def test_digital_loopback_of_a_cyclic_buffer_loses_no_sample(opened, cabled, listen, name):
    sdr = opened(cabled, name)
    sdr.loopback = 1
    sdr.tx_cyclic_buffer = True
    sdr.rx_buffer_size = 2**12
    sdr.tx(ramp())
    iq = listen(sdr)
    start = int(np.flatnonzero(iq.real == 0)[0])
    counts = (np.arange(2**12) - start) % 2**11
    np.testing.assert_array_equal(iq.real, counts)
    np.testing.assert_array_equal(iq.imag, -counts - 1)


def test_successive_buffers_follow_without_a_gap(pluto):
    pluto.loopback = 1
    pluto.tx_cyclic_buffer = True
    pluto.sample_rate = 1_000_000  # a busy machine may let it wait for 65 ms: four buffers
    pluto.rx_buffer_size = 2**14
    pluto.tx(ramp())
    buffers = np.concatenate([pluto.rx() for _ in range(20)]).real
    buffers = buffers[5 * 2**14 :]
    assert set(np.diff(buffers)) <= {1.0, 1.0 - 2**11}


def test_streamed_buffers_follow_without_a_gap(pluto):
    pluto.loopback = 1
    counts = np.arange(6 * 500) % 2**11
    pluto.rx_buffer_size = 2**16
    pluto._rxadc.set_kernel_buffers_count(1)
    pluto.rx()  # so that the next one begins at once
    blocks = (counts << 4).reshape(6, 500)
    for block in blocks[:3]:  # as many as go without waiting, so that time stands still
        pluto.tx(block + 0j)
    iq = pluto.rx().real
    start = int(np.flatnonzero(iq == 1)[0])
    np.testing.assert_array_equal(iq[start : start + 1499], counts[1:1500])
    assert not iq[start + 1499 :].any()


def test_a_second_cyclic_buffer_waits_for_the_first_to_be_destroyed(pluto):
    pluto.tx_cyclic_buffer = True
    pluto.tx(ramp())
    with pytest.raises(Exception, match="must be destroyed first"):
        pluto.tx(ramp())
    pluto.tx_destroy_buffer()
    pluto.tx(ramp())


def test_a_cyclic_buffer_is_one_clients_alone(opened, cabled, pluto):
    pluto.tx_cyclic_buffer = True
    pluto.tx(ramp())
    other = opened(cabled)
    with pytest.raises(OSError) as refused:
        other.tx(ramp())
    assert refused.value.errno == 16
    pluto.tx_destroy_buffer()
    other.tx(ramp())


def test_the_length_of_a_buffer_is_fixed(pluto):
    pluto.tx(ramp())
    with pytest.raises(Exception, match="Cannot change buffer length"):
        pluto.tx(ramp()[:100])


def test_zeros_are_zeros(pluto, listen):
    pluto.loopback = 1
    pluto.dds_single_tone(100_000, 0.5)
    pluto.tx_enabled_channels = []
    pluto.tx()
    pluto.dds_enabled = [0, 0, 0, 0]
    assert not listen(pluto).any()
    pluto.tx_enabled_channels = [0]


@pytest.mark.parametrize("frequency_hz", [-1_000_000, 62_500, 500_000, 1_500_000])
def test_a_tone_of_the_dds_has_its_frequency_and_level(pluto, listen, spectrum, frequency_hz):
    scale = 0.25
    pluto.dds_single_tone(frequency_hz, scale)
    frequencies, levels = spectrum(listen(pluto), RATE)
    peak = np.argmax(levels)
    assert frequencies[peak] == pytest.approx(frequency_hz, abs=RATE / 2**13)
    # 7 dBm at 0 dB leave the radio, 40 dB the cable takes, 6 dBm are full scale.
    expected = 20 * np.log10(scale) - 10 + (7 - 6) - 40 + 20
    assert levels[peak] == pytest.approx(expected, abs=0.3)


def test_two_tones_of_the_dds(pluto, listen, spectrum):
    pluto.loopback = 1
    pluto.dds_dual_tone(500_000, 0.5, -1_000_000, 0.25)
    frequencies, levels = spectrum(listen(pluto), RATE)
    for frequency_hz, scale in ((500_000, 0.5), (-1_000_000, 0.25)):
        near = np.abs(frequencies - frequency_hz) < 1000
        assert levels[near].max() == pytest.approx(20 * np.log10(scale), abs=0.1)


def test_the_dds_reads_back_in_its_steps(pluto):
    pluto.dds_frequencies = [100_000, 200_001, 0, 1_999_999]
    pluto.dds_scales = [0.1, 1.0, 0.0, 0.5]
    pluto.dds_phases = [0, 90_000, 180_000, 359_999]
    step = RATE / 2**16
    read = [int(f) for f in pluto.dds_frequencies]
    assert read == pytest.approx([100_000, 200_001, 0, 1_999_999], abs=step)
    assert [float(s) for s in pluto.dds_scales] == pytest.approx([0.1, 1.0, 0.0, 0.5], abs=1e-4)
    assert [int(p) for p in pluto.dds_phases] == [0, 90_000, 180_000, 359_999]
    with pytest.raises(OSError):
        pluto.dds_scales = [1.5, 0, 0, 0]
    with pytest.raises(OSError):
        pluto.dds_frequencies = [RATE, 0, 0, 0]


def test_the_dds_plays_only_while_there_is_no_buffer(pluto, listen):
    pluto.loopback = 1
    pluto.dds_single_tone(500_000, 0.5)
    assert listen(pluto).any()
    pluto.dds_scales = [0.5, 0, 0.5, 0]
    pluto.tx_cyclic_buffer = True
    pluto.tx(0 * ramp())
    pluto.dds_enabled = [1, 1, 1, 1]
    assert not listen(pluto).any()
    pluto.tx_destroy_buffer()
    assert listen(pluto).any()


@pytest.mark.parametrize("lo_hz", [400_000_000, 915_000_000, 2_400_000_000, 3_500_000_000])
def test_a_tone_comes_back_at_any_carrier(pluto, listen, spectrum, lo_hz):
    pluto.rx_lo = pluto.tx_lo = lo_hz
    wave, frequency_hz = tone(700_000, 0.5)
    pluto.tx_cyclic_buffer = True
    pluto.tx(wave)
    frequencies, levels = spectrum(listen(pluto), RATE)
    peak = np.argmax(levels)
    assert frequencies[peak] == pytest.approx(frequency_hz, abs=RATE / 2**13)
    assert levels[peak] == pytest.approx(20 * np.log10(0.5) - 10 + 1 - 40 + 20, abs=0.3)


def test_a_receiver_tuned_elsewhere_hears_a_tone_shifted_or_not_at_all(pluto, listen, spectrum):
    wave, frequency_hz = tone(700_000, 0.5)
    pluto.tx_cyclic_buffer = True
    pluto.tx(wave)
    floor = spectrum(listen(pluto), RATE)[1]
    for away_hz, heard in ((500_000, True), (-1_500_000, False), (10_000_000, False)):
        pluto.rx_lo = 1_000_000_000 + away_hz
        frequencies, levels = spectrum(listen(pluto), RATE)
        peak = np.argmax(levels)
        if heard:
            assert frequencies[peak] == pytest.approx(frequency_hz - away_hz, abs=RATE / 2**13)
            assert levels[peak] == pytest.approx(floor.max(), abs=0.3)
        else:  # nothing but the receiver's own offset
            assert levels[np.abs(frequencies) > 10_000].max() < floor.max() - 40


def test_spurious_free_dynamic_range(pluto, listen, spectrum):
    pluto.gain_control_mode_chan0 = "slow_attack"
    pluto.tx_hardwaregain_chan0 = -20
    wave, frequency_hz = tone(500_000, 0.5)
    pluto.tx_cyclic_buffer = True
    pluto.tx(wave)
    pluto.rx_buffer_size = 2**15
    frequencies, levels = spectrum(listen(pluto), RATE)
    carrier = np.abs(frequencies - frequency_hz) < 20_000  # with its phase noise
    assert levels[carrier].max() - levels[~carrier].max() >= 40


@pytest.mark.parametrize("mode", ["slow_attack", "fast_attack", "hybrid"])
def test_automatic_gain_follows_the_level(pluto, listen, mode):
    pluto.gain_control_mode_chan0 = mode
    pluto.tx_cyclic_buffer = True
    gains = []
    for amplitude in (0.5, 0.05):
        pluto.tx(tone(500_000, amplitude)[0])
        iq = listen(pluto)
        level = 20 * np.log10(np.sqrt(np.mean(np.abs(iq) ** 2)) / 2**11)
        assert level == pytest.approx(-11, abs=1.2)
        gains.append(pluto.rx_hardwaregain_chan0)
        before = pluto._get_iio_attr("voltage0", "hardwaregain", False)
        pluto._set_iio_attr("voltage0", "hardwaregain", False, 5)
        assert pluto._get_iio_attr("voltage0", "hardwaregain", False) == before
        pluto.tx_destroy_buffer()
    assert gains[1] - gains[0] == pytest.approx(20, abs=4)


def test_signal_strength_is_told(pluto, listen):
    strengths = []
    pluto.tx_cyclic_buffer = True
    for amplitude in (0.5, 0.05):
        pluto.tx(tone(500_000, amplitude)[0])
        listen(pluto)
        strengths.append(pluto._get_iio_attr("voltage0", "rssi", False))
        pluto.tx_destroy_buffer()
    assert strengths == pytest.approx([6 + 10 - 1 + 40, 26 + 10 - 1 + 40], abs=0.5)


def test_one_part_of_a_sample_can_be_read_alone(pluto):
    import iio  # noqa: PLC0415 - which loads the library

    pluto.loopback = 1
    pluto.tx_cyclic_buffer = True
    pluto.tx(ramp())
    context = iio.Context(pluto.uri)
    device = context.find_device("cf-ad9361-lpc")
    device.find_channel("voltage1").enabled = True
    buffer = iio.Buffer(device, 2**12, False)
    for _ in range(5):
        buffer.refill()
    codes = np.frombuffer(buffer.read(), np.int16)
    assert codes.shape == (2**12,)
    assert codes.max() == -1
    assert codes.min() == -(2**11)
    del buffer, device, context


def test_a_deaf_or_sleeping_radio_receives_zeros(pluto, listen):
    pluto.rx_hardwaregain_chan0 = 70
    pluto._set_iio_attr("altvoltage0", "powerdown", True, 1)
    assert not listen(pluto).any()
    pluto._set_iio_attr("altvoltage0", "powerdown", True, 0)
    pluto._set_iio_dev_attr_str("ensm_mode", "alert")
    assert not listen(pluto).any()
    pluto._set_iio_dev_attr_str("ensm_mode", "fdd")
    assert listen(pluto).any()


def test_buffers_beyond_the_memory_of_the_device_are_refused(pluto):
    pluto.rx_buffer_size = 2**24
    with pytest.raises(OSError):
        pluto.rx()


def test_kernel_buffers_are_counted_before_a_stream_only(pluto):
    pluto.rx()
    with pytest.raises(OSError):
        pluto._rxadc.set_kernel_buffers_count(2)
    pluto.rx_destroy_buffer()
    with pytest.raises(OSError):
        pluto._rxadc.set_kernel_buffers_count(1000)


def test_crystal_correction_moves_nothing_between_a_radio_and_itself(pluto, listen, spectrum):
    wave, frequency_hz = tone(500_000, 0.5)
    pluto.tx_cyclic_buffer = True
    pluto.tx(wave)
    pluto._set_iio_dev_attr_str("xo_correction", 40_000_800)
    assert pluto._get_iio_dev_attr("xo_correction") == 40_000_800
    frequencies, levels = spectrum(listen(pluto), RATE)
    assert frequencies[np.argmax(levels)] == pytest.approx(frequency_hz, abs=RATE / 2**13)
    pluto._set_iio_dev_attr_str("xo_correction", 40_000_000)
