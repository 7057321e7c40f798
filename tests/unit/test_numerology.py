import numpy as np
import pytest

from radio.waveform.numerology import Numerology


def test_defaults_are_those_of_the_air_interface():
    numerology = Numerology()
    assert numerology.symbol_length == 288
    assert numerology.carrier_spacing_hz == 3906.25
    carriers = numerology.carriers
    assert carriers.dtype == np.int64
    np.testing.assert_array_equal(carriers, [*range(-100, 0), *range(1, 101)])
    np.testing.assert_array_equal(numerology.bins[[0, 99, 100, 199]], [156, 255, 1, 100])


@pytest.mark.parametrize("used", [2, 52, 200, 254])
def test_null_bins_are_neither_used_nor_dc(used):
    numerology = Numerology(used_carriers=used)
    assert numerology.null_bins.size >= 1
    assert not set(numerology.null_bins) & {0, *numerology.bins}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"sample_rate_hz": 0.0}, "sample_rate_hz"),
        ({"sample_rate_hz": float("nan")}, "sample_rate_hz"),
        ({"fft_size": 255}, "fft_size"),
        ({"cyclic_prefix": -1}, "cyclic_prefix"),
        ({"cyclic_prefix": 257}, "cyclic_prefix"),
        ({"used_carriers": 199}, "used_carriers"),
        ({"used_carriers": 256}, "used_carriers"),
        ({"used_carriers": 0}, "used_carriers"),
    ],
)
def test_what_cannot_be_is_refused_by_name(wrong, says):
    with pytest.raises(ValueError, match=says):
        Numerology(**wrong)


def test_arrays_shared_by_everybody_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        Numerology().carriers[0] = 7
