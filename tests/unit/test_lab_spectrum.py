import numpy as np
import pytest

from radio.api import Capture, RadioSettings
from testbed.lab.levels import Levels
from testbed.lab.spectrum import Spectrum
from testbed.lab.spectrum_view import HEIGHT, figure, render

FS, N, BINS = 1e6, 1 << 16, 1024
SETTINGS = RadioSettings(rx_gain_db=-3.0)


def tone(hz, level_db, noise=1e-4, seed=0):
    rng = np.random.default_rng(seed)
    parts = rng.standard_normal((N, 2)) * noise / np.sqrt(2)
    exact = 10 ** (level_db / 20) * np.exp(2j * np.pi * hz / FS * np.arange(N))
    return (exact + parts.view(np.complex128)[:, 0]).astype(np.complex64)


def levels_of(iq, bits=12):
    levels = Levels(bits)
    levels.add(Capture(iq, 0, 0))
    return levels


@pytest.mark.parametrize("hz", [100e3, 100e3 + 0.5 * FS / BINS, -499.9e3, 123_456.7, 4_000.0])
def test_a_tone_is_found_where_it_is_and_as_strong_as_it_is(hz):
    offset_hz, power = Spectrum.of(tone(hz, -20.0), FS, BINS).peak
    assert offset_hz == pytest.approx(hz, abs=0.1)
    assert 10 * np.log10(power) == pytest.approx(-20.0, abs=0.02)


@pytest.mark.parametrize("bins", [64, 1024, 8192])
def test_noise_has_the_density_it_has(bins):
    spectrum = Spectrum.of(tone(100e3, -60.0, noise=0.01), FS, bins)
    density = 10 * np.log10(spectrum.floor / spectrum.resolution_hz)
    assert density == pytest.approx(10 * np.log10(0.01**2 / FS), abs=0.2)


@pytest.mark.parametrize("hz", [-200e3, 4_000.0])
def test_dc_is_no_tone(hz):
    offset_hz, power = Spectrum.of(tone(hz, -50.0) + np.complex64(0.5), FS, BINS).peak
    assert offset_hz == pytest.approx(hz, abs=1)
    assert 10 * np.log10(power) == pytest.approx(-50.0, abs=0.05)
    assert Spectrum.of(np.full(N, 0.5, np.complex64), FS, BINS).peak[1] < 1e-12


def test_silence_has_no_peak_and_no_level():
    silent = np.zeros(N, np.complex64)
    spectrum, levels = Spectrum.of(silent, FS, BINS), levels_of(silent)
    assert spectrum.peak[1] == spectrum.floor == 0
    assert levels.as_dict()["rms_dbfs"] is levels.as_dict()["peak_dbfs"] is None
    assert "silence" in render(spectrum, SETTINGS, levels, 80).plain
    assert figure(spectrum, SETTINGS).startswith(b"\x89PNG")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_picture_fits_and_stands_highest_at_the_tone(width):
    iq = tone(250e3, -6.0)
    lines = render(Spectrum.of(iq, FS, BINS), SETTINGS, levels_of(iq), width).plain.splitlines()
    drawn = [line.partition("│")[2] for line in lines[:HEIGHT]]
    assert {len(line) for line in lines[:HEIGHT]} == {width}
    columns = width - 7
    # 6 dB below full scale of a picture of 140 dB: in the first of 16 rows.
    assert [k for k, block in enumerate(drawn[0]) if block != " "] == [int(0.75 * columns)]
    assert all(len(line) <= width for line in lines) or width < 80
    assert all(block != " " for block in drawn[-1][1:])


def test_the_figures_below_the_picture():
    iq = tone(250e3, -6.0)
    text = render(Spectrum.of(iq, FS, BINS), SETTINGS, levels_of(iq), 80).plain
    assert "915.000000 MHz, 1 MS/s, gain −3 dB" in text
    assert "peak beside DC −6.0 dBFS at +250.000 kHz, 915.250000 MHz" in text
    assert "rms −6.0 dBFS, peak −6.0 dBFS" in text
    assert "0 clipped, 0 lost" in text


def test_levels_of_pieces_are_those_of_the_whole():
    iq = tone(100e3, -3.0, noise=0.05) + np.complex64(0.1j)
    whole, pieces = levels_of(iq), Levels(12)
    for k in range(0, N, 10_000):
        pieces.add(Capture(iq[k : k + 10_000], k, lost := int(k == 20_000)))
    assert pieces.as_dict() == pytest.approx(whole.as_dict() | {"lost": 1})
    assert lost == 0
    exact = iq.astype(np.complex128)
    assert whole.mean_power == pytest.approx(np.mean(np.abs(exact) ** 2))
    assert whole.peak_power == pytest.approx(np.max(np.abs(exact)) ** 2)
    assert whole.dc_power == pytest.approx(abs(exact.mean()) ** 2)


def test_the_highest_step_of_a_converter_counts_as_clipped():
    steps = np.array([2047, -2048, 2046, -2046j, 2047j, 0]) / 2048
    assert levels_of(steps.astype(np.complex64), 12).clipped == 3
    assert levels_of(steps.astype(np.complex64), 24).clipped == 1
