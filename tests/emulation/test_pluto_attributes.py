"""Attributes of a virtual Pluto through pyadi-iio, over their whole range."""

import numpy as np
import pytest

INVALID = 22


def draws(low, high, step, count=40):
    values = np.random.default_rng(0).integers(0, round((high - low) / step) + 1, count)
    return [low, high, *(low + step * values)]


@pytest.mark.parametrize("name", ["rx_lo", "tx_lo"])
def test_carriers_come_in_the_steps_of_the_synthesizer(pluto, name):
    for wanted in draws(325_000_000, 3_800_000_000, 1):
        setattr(pluto, name, int(wanted))
        assert abs(getattr(pluto, name) - wanted) <= 3


@pytest.mark.parametrize("wanted", [324_999_999, 3_800_000_001, -1])
def test_a_carrier_out_of_range_is_refused_and_the_old_one_stays(pluto, wanted):
    with pytest.raises(OSError) as refused:
        pluto.rx_lo = wanted
    assert refused.value.errno == INVALID
    assert pluto.rx_lo == 1_000_000_000


def test_attenuation_over_its_range(pluto):
    for wanted in draws(-89.75, 0.0, 0.25):
        pluto.tx_hardwaregain_chan0 = float(wanted)
        assert pluto.tx_hardwaregain_chan0 == wanted
    pluto.tx_hardwaregain_chan0 = -10.1
    assert pluto.tx_hardwaregain_chan0 == -10
    for wrong in (0.25, -90.0):
        with pytest.raises(OSError):
            pluto.tx_hardwaregain_chan0 = wrong


@pytest.mark.parametrize(
    ("lo_hz", "low", "high"),
    [(400_000_000, -1, 73), (2_400_000_000, -3, 71), (3_800_000_000, -3, 71)],
)
def test_receive_gains_follow_the_band(pluto, lo_hz, low, high):
    pluto.rx_lo = lo_hz
    for wanted in range(low, high + 1):
        pluto.rx_hardwaregain_chan0 = wanted
        assert pluto.rx_hardwaregain_chan0 == wanted
    for wrong in (low - 1, high + 1):
        with pytest.raises(OSError):
            pluto.rx_hardwaregain_chan0 = wrong


def test_a_gain_out_of_the_new_band_is_drawn_into_it(pluto):
    pluto.rx_hardwaregain_chan0 = 73
    pluto.rx_lo = 2_000_000_000
    assert pluto.rx_hardwaregain_chan0 == 71


def test_sample_rates_over_their_range_with_the_filter_that_each_needs(pluto):
    for wanted in (521_000, 1_000_000, 2_500_000, *draws(2_084_000, 61_440_000, 1, 20)):
        pluto.sample_rate = int(wanted)
        assert abs(pluto.sample_rate - wanted) <= 1
        assert pluto._get_iio_attr("out", "voltage_filter_fir_en", False) == 1


def test_low_rates_need_the_filter(pluto):
    pluto.sample_rate = 3_000_000
    pluto._set_iio_attr("out", "voltage_filter_fir_en", False, 0)
    rate = ("voltage0", "sampling_frequency", False)
    assert pluto._get_iio_attr_str(*rate[:1], "sampling_frequency_available", False) == (
        "[2083333 1 61440000]"
    )
    with pytest.raises(OSError):
        pluto._set_iio_attr(*rate, 1_000_000)
    pluto._set_iio_attr("out", "voltage_filter_fir_en", False, 1)
    pluto._set_iio_attr(*rate, 1_000_000)
    with pytest.raises(OSError):
        pluto._set_iio_attr("out", "voltage_filter_fir_en", False, 0)


@pytest.mark.parametrize(
    "text",
    ["", "RX 3 GAIN -6 DEC 4", "RX 3 GAIN -6 DEC 3\nTX 3 GAIN 0 INT 3\n" + "1,1\n" * 16, "1,2,3"],
)
def test_a_filter_that_is_none_is_refused(pluto, text):
    with pytest.raises(OSError):
        pluto._set_iio_dev_attr_str("filter_fir_config", text)


def test_a_changed_rate_resets_the_transmit_gain(pluto):
    pluto.tx_hardwaregain_chan0 = -30
    pluto.sample_rate = 5_000_000
    assert pluto.tx_hardwaregain_chan0 == -10


def test_rates_behind_the_transceiver(pluto):
    pluto.sample_rate = 8_000_000
    assert not pluto.rx_dec8_filter_en
    pluto.rx_dec8_filter_en = True
    pluto.tx_int8_filter_en = True
    assert pluto.rx_dec8_filter_en and pluto.tx_int8_filter_en
    assert pluto._get_iio_attr("voltage0", "sampling_frequency", False, pluto._rxadc) == 1_000_000
    pluto.rx_dec8_filter_en = False
    pluto.tx_int8_filter_en = False


@pytest.mark.parametrize("way", ["rx", "tx"])
def test_bandwidths(pluto, way):
    for wanted in (200_000, 18_000_000, 40_000_000):
        setattr(pluto, f"{way}_rf_bandwidth", wanted)
        assert getattr(pluto, f"{way}_rf_bandwidth") == wanted
    with pytest.raises(OSError):
        setattr(pluto, f"{way}_rf_bandwidth", 199_999)


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_loopback_modes_read_back(pluto, mode):
    pluto.loopback = mode
    assert pluto.loopback == mode


def test_what_is_no_choice_is_refused(pluto):
    for name, wrong in (
        ("calib_mode", "sometimes"),
        ("ensm_mode", "asleep"),
        ("xo_correction", "39000000"),
        ("trx_rate_governor", ""),
        ("xo_correction", "1e9999"),
    ):
        with pytest.raises(OSError):
            pluto._set_iio_dev_attr_str(name, wrong)
    with pytest.raises(OSError):
        pluto.loopback = 3


def test_every_attribute_of_the_context_can_be_read(opened, cabled):
    sdr = opened(cabled, "ad9364")
    read = 0
    for device in sdr.ctx.devices:
        for attribute in (*device.attrs.values(), *device.debug_attrs.values()):
            assert attribute.value
            read += 1
        for channel in device.channels:
            for attribute in channel.attrs.values():
                assert attribute.value
                read += 1
    assert read > 70


def test_registers_hold_what_was_written(pluto):
    pluto._ctrl.reg_write(0x6, 0x5A)
    assert pluto._ctrl.reg_read(0x6) == 0x5A
    assert pluto._ctrl.reg_read(0x7) == 0
    with pytest.raises(OSError):
        pluto._set_iio_debug_attr_str("direct_reg_access", "six")


def test_temperature_is_that_of_a_chip(pluto):
    assert 20_000 < pluto._get_iio_attr("temp0", "input", False) < 80_000


def test_an_attribute_that_can_only_be_read(pluto):
    with pytest.raises(OSError) as refused:
        pluto._set_iio_dev_attr_str("tx_path_rates", "1")
    assert refused.value.errno == 13


def test_a_filter_file(pluto, tmp_path):
    taps = "\n".join(["RX 3 GAIN 0 DEC 2", "TX 3 GAIN 0 INT 2", *["5,5"] * 64, ""])
    (tmp_path / "lowpass.ftr").write_text(f"# made by hand\n{taps}")
    pluto.filter = str(tmp_path / "lowpass.ftr")
    assert pluto._get_iio_dev_attr_str("filter_fir_config") == "FIR Rx: 64,2 Tx: 64,2"
    assert pluto.sample_rate == 3_000_000
