import numpy as np
import pytest
from scipy import fft

from radio.waveform.level import papr_db
from radio.waveform.numerology import Numerology
from radio.waveform.ofdm import modulate
from radio.waveform.preamble import Preamble

NUMEROLOGY = Numerology()


def _ambiguity(values):
    """Likeness of a period to itself over all delays and frequency shifts of whole carriers.

    Row s, column d: shifted by s - 40 carriers, delayed by d/4 samples; 1 at the origin.
    """
    spectrum = np.zeros(1024, complex)
    spectrum[NUMEROLOGY.carriers] = values
    shifted = np.stack([np.roll(spectrum, s) for s in range(-40, 41)])
    return np.abs(fft.ifft(shifted * spectrum.conj())) * 1024 / np.sum(np.abs(values) ** 2)


def test_the_ambiguity_function_is_a_thumbtack_where_zadoff_chu_has_a_ridge():
    ours = _ambiguity(Preamble(NUMEROLOGY, repeats=2).values)
    chirp = np.exp(-1j * np.pi * np.arange(201) * np.arange(1, 202) / 201)
    zadoff_chu = _ambiguity(np.delete(chirp, 100))
    for surface in (ours, zadoff_chu):
        assert surface[40, 0] == pytest.approx(1)
    off_origin = np.delete(ours, 40, axis=0)
    assert off_origin.max() < 0.35
    # A chirp shifted by s carriers is itself delayed, as far as the two overlap: 0.8 at s = 40.
    ridge = np.delete(zadoff_chu, 40, axis=0).max(axis=1)
    assert ridge.min() > 0.75


@pytest.mark.parametrize("repeats", [1, 2, 8])
def test_samples_are_whole_symbols_behind_a_guard(repeats):
    preamble = Preamble(NUMEROLOGY, repeats)
    assert preamble.guard == 32
    assert preamble.iq.dtype == preamble.values.dtype == np.complex64
    assert preamble.iq.shape == (preamble.length,) == (32 + 256 * repeats,)
    np.testing.assert_allclose(np.abs(preamble.values), 1, rtol=1e-6)
    symbol = modulate(preamble.values[None], NUMEROLOGY)
    np.testing.assert_allclose(preamble.iq[:288], symbol, atol=1e-6)
    np.testing.assert_array_equal(preamble.iq[32:], np.tile(preamble.iq[32:288], repeats))
    power = np.mean(np.abs(preamble.iq[32:]) ** 2)
    assert power == pytest.approx(200 / 256, rel=1e-5)


def test_a_guard_of_its_own():
    assert Preamble(NUMEROLOGY, 2, guard=0).length == 512
    assert Preamble(NUMEROLOGY, 2, guard=64).iq.size == 576


def test_the_crest_is_low_among_random_draws():
    random = np.exp(0.5j * np.pi * np.random.default_rng(0).integers(0, 4, (200, 1, 200)))
    crests = [papr_db(draw) for draw in modulate(random.astype(np.complex64), NUMEROLOGY)]
    assert papr_db(Preamble(NUMEROLOGY, 1).iq) < np.quantile(crests, 0.1)


def test_other_seeds_and_other_repeats_are_other_sequences():
    preambles = [Preamble(NUMEROLOGY, 2), Preamble(NUMEROLOGY, 2, seed=1), Preamble(NUMEROLOGY, 8)]
    likeness = np.abs([[np.vdot(a.values, b.values) / 200 for a in preambles] for b in preambles])
    assert np.max(likeness - np.eye(3)) < 0.25
    again = Preamble(Numerology(), 2).values
    np.testing.assert_array_equal(again, preambles[0].values)


@pytest.mark.parametrize("repeats", [2, 8])
def test_bounds_agree_with_their_closed_forms(repeats):
    bounds, snr = Preamble(NUMEROLOGY, repeats).bounds(100.0), 100.0
    ramp = np.sum((2 * np.pi * NUMEROLOGY.carriers / 256) ** 2)
    assert bounds.start == pytest.approx(1 / (2 * snr * repeats * ramp), rel=0.01)
    span_s = repeats * 256 / 1e6
    energy = repeats * 200
    offset = 6 / ((2 * np.pi) ** 2 * snr * energy * span_s**2)
    assert bounds.cfo_hz == pytest.approx(offset, rel=0.05)
    assert bounds.phase == pytest.approx(1 / (2 * snr * energy), rel=0.01)
    assert bounds.gain == pytest.approx(1 / (2 * snr * energy), rel=0.01)


@pytest.mark.parametrize("wrong", [{"repeats": 0}, {"seed": -1}, {"guard": -1}, {"guard": 257}])
def test_what_cannot_be_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Preamble(NUMEROLOGY, **{"repeats": 2, **wrong})
    with pytest.raises(ValueError, match="snr"):
        Preamble(NUMEROLOGY, 2).bounds(0.0)
