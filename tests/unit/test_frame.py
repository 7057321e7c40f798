import numpy as np
import pytest

from radio.waveform.frame import BurstLayout
from radio.waveform.numerology import Numerology
from radio.waveform.ofdm import demodulate, modulate

NUMEROLOGY = Numerology()
LAYOUT = BurstLayout(NUMEROLOGY, data_symbols=57, num_devices=10)


def gaussian(n, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(2 * n).astype(np.float32).view(np.complex64)
    return values / np.sqrt(np.float32(2))


def test_the_default_frame_carries_the_symbols_of_a_round():
    assert LAYOUT.capacity == 11_400
    assert LAYOUT.num_symbols == 60
    assert LAYOUT.length == 60 * 288
    assert LAYOUT.pilot_rows.tolist() == [1, 59]
    assert LAYOUT.pack(gaussian(LAYOUT.capacity), 3).shape == (60, 200)


def test_what_is_packed_is_collected():
    symbols = gaussian(11_394)
    values = LAYOUT.pack(symbols, 7)
    back = LAYOUT.collect(values[LAYOUT.data_rows], symbols.size)
    np.testing.assert_array_equal(back, symbols)
    # Over the waveform too: nothing of a burst depends on its neighbours.
    received = demodulate(modulate(values, NUMEROLOGY), NUMEROLOGY, 16)
    back = LAYOUT.collect(received[LAYOUT.data_rows], symbols.size)
    np.testing.assert_allclose(back, symbols, atol=2e-6)


def test_symbols_lie_in_a_seeded_order_all_over_the_burst():
    symbols = np.arange(1, 101).astype(np.complex64)
    data = LAYOUT.lay(symbols)
    rows, carriers = np.nonzero(data)
    assert len(rows) == 100
    # Neighbours are strangers: no carrier and no OFDM symbol holds more than a few of a hundred.
    assert np.bincount(rows).max() <= 10
    assert np.bincount(carriers).max() <= 6
    other = BurstLayout(NUMEROLOGY, 57, 10, seed=1)
    assert not np.array_equal(other.lay(symbols), data)
    assert not np.array_equal(other.pilots, LAYOUT.pilots)
    np.testing.assert_array_equal(BurstLayout(NUMEROLOGY, 57, 10).lay(symbols), data)


@pytest.mark.parametrize("num_devices", [1, 2, 3, 7, 10, 50, 99, 100])
def test_every_pilot_carrier_has_one_owner(num_devices):
    layout = BurstLayout(NUMEROLOGY, 2, num_devices)
    sent = np.stack([layout.pack(gaussian(10), i)[layout.pilot_rows] for i in range(num_devices)])
    owners = np.count_nonzero(sent, axis=0)
    np.testing.assert_array_equal(owners, 1)
    np.testing.assert_array_equal(np.argmax(np.abs(sent), axis=0), layout.owners)
    np.testing.assert_array_equal(sent.sum(axis=0), layout.pilots)
    # As even as it can be, at least two each, and spread over the band.
    counts = np.stack([np.bincount(row, minlength=num_devices) for row in layout.owners])
    assert counts.min() >= 2
    assert counts.max() - counts.min() <= 1
    for row in layout.owners:
        for device in range(num_devices):
            assert np.diff(np.flatnonzero(row == device)).max() == num_devices


@pytest.mark.parametrize("num_devices", [1, 3, 10, 50, 100])
def test_a_devices_pilots_have_the_power_of_a_full_symbol(num_devices):
    layout = BurstLayout(NUMEROLOGY, 2, num_devices)
    for device in range(num_devices):
        pilots = layout.pack(gaussian(10), device)[layout.pilot_rows]
        power = np.sum(np.abs(pilots) ** 2, axis=1)
        np.testing.assert_allclose(power, NUMEROLOGY.used_carriers, rtol=1e-5)


@pytest.mark.parametrize("num_devices", [2, 3, 10, 50, 100])
def test_the_two_pilot_symbols_see_other_carriers(num_devices):
    first, last = BurstLayout(NUMEROLOGY, 2, num_devices).owners
    assert not np.any(first == last)


def test_all_devices_together_are_as_loud_in_the_preamble_as_in_the_data():
    symbols = [gaussian(LAYOUT.capacity, seed) for seed in range(10)]
    packed = np.sum([LAYOUT.pack(s, i) for i, s in enumerate(symbols)], axis=0)
    preamble, data = np.abs(packed[0]) ** 2, np.abs(packed[LAYOUT.data_rows]) ** 2
    assert np.mean(preamble) == pytest.approx(10, rel=1e-5)
    assert np.mean(data) == pytest.approx(10, rel=4 / np.sqrt(data.size))


def test_carriers_without_a_symbol_stay_empty():
    layout = BurstLayout(NUMEROLOGY, 1, 1)
    assert np.count_nonzero(layout.pack(gaussian(150), 0)[layout.data_rows]) == 150
    assert layout.pack(np.zeros(0, np.complex64), 0)[layout.data_rows].any() == np.False_


@pytest.mark.parametrize(
    ("data_symbols", "num_devices", "message"),
    [
        (0, 10, "data_symbols must be at least 1, not 0"),
        (57, 0, r"num_devices = 0 must lie in 1\.\.100"),
        (57, 101, r"num_devices = 101 must lie in 1\.\.100"),
    ],
)
def test_what_makes_no_burst(data_symbols, num_devices, message):
    with pytest.raises(ValueError, match=message):
        BurstLayout(NUMEROLOGY, data_symbols, num_devices)
