import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.bench_sync import arriving
from radio.waveform.chanest import delay_samples
from radio.waveform.level import clip
from radio.waveform.numerology import Numerology
from radio.waveform.ofdm import demodulate, modulate
from radio.waveform.preamble import Preamble
from radio.waveform.sync import detect, measure

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def numerologies(draw, least=2):
    size = 2 * draw(st.integers(least // 2 + 1, 150))
    return Numerology(
        sample_rate_hz=draw(st.floats(1e5, 1e8)),
        fft_size=size,
        cyclic_prefix=draw(st.integers(0, size)),
        used_carriers=2 * draw(st.integers(least // 2, size // 2 - 1)),
    )


@settings(max_examples=60, deadline=None)
@given(numerologies(), SEEDS, st.integers(0, 4), st.integers(0, 3), st.data())
def test_demodulation_inverts_modulation(numerology, seed, symbols, batch, data):
    rng = np.random.default_rng(seed)
    shape = (batch, symbols, numerology.used_carriers, 2)
    values = (rng.standard_normal(shape) @ (1, 1j)).astype(np.complex64)
    iq = modulate(values, numerology)
    assert iq.shape == (batch, symbols * numerology.symbol_length)
    advance = data.draw(st.integers(0, numerology.cyclic_prefix))
    np.testing.assert_allclose(demodulate(iq, numerology, advance), values, atol=2e-5)


@settings(max_examples=60, deadline=None)
@given(numerologies(least=6), st.floats(-0.45, 0.45), st.floats(0, 6.3))
def test_delay_of_a_flat_channel_is_found_anywhere(numerology, part, phase):
    delay = part * numerology.fft_size
    turns = 2 * np.pi * numerology.carriers * delay / numerology.fft_size
    found = delay_samples(np.exp(1j * (phase - turns)), numerology)
    assert abs(found - delay) < 1e-6 * numerology.fft_size


@settings(max_examples=30, deadline=None)
@given(numerologies(least=60), SEEDS, st.integers(2, 5), st.floats(-0.2, 0.2), st.data())
def test_a_strong_preamble_is_found_under_any_numerology(numerology, seed, repeats, turn, data):
    rng = np.random.default_rng(seed)
    # A guard of most of a period would be one more repeat.
    preamble = Preamble(numerology, repeats, seed % 7, numerology.cyclic_prefix // 3)
    start = data.draw(st.floats(0, 300))
    cfo_hz = turn * numerology.sample_rate_hz
    n = preamble.length + 400
    iq = arriving(preamble, n, start, rng, cfo_hz, 0.3j, 1e-3 * 0.09, dc=0.1)
    found = detect(iq, preamble, 0.2 * numerology.sample_rate_hz)
    bounds = preamble.bounds(1e3)
    assert found is not None
    assert abs(found.start - start) < 6 * np.sqrt(bounds.start)
    assert abs(found.cfo_hz - cfo_hz) < 6 * np.sqrt(bounds.cfo_hz)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.floats(0, 50), st.floats(-5e4, 5e4), st.floats(1e-3, 10), st.floats(-3, 3))
def test_gain_phase_and_delay_move_the_estimate_and_nothing_else(seed, start, cfo_hz, gain, phase):
    preamble = Preamble(Numerology(), 2)
    rng = np.random.default_rng(seed)
    iq = arriving(preamble, 700, 20 + start, rng, cfo_hz, 1.0, 0.01)
    one = measure(iq, preamble, 20 + start, cfo_hz)
    scaled = measure(
        (gain * np.exp(1j * phase) * iq).astype(np.complex64), preamble, 20 + start, cfo_hz
    )
    assert abs(scaled.start - one.start) < 1e-4
    assert abs(scaled.cfo_hz - one.cfo_hz) < 0.1
    assert abs(np.angle(np.exp(1j * (scaled.phase - one.phase - phase)))) < 1e-3
    assert abs(scaled.gain / one.gain / gain - 1) < 1e-3
    assert abs(scaled.snr / one.snr - 1) < 1e-3


@given(SEEDS, st.integers(0, 50), st.floats(0.1, 2))
def test_clipping_twice_is_clipping_once(seed, n, limit):
    rng = np.random.default_rng(seed)
    iq = (rng.standard_normal((n, 2)) @ (1, 1j)).astype(np.complex64)
    clipped, count = clip(iq, limit)
    again, more = clip(clipped, limit * (1 + 1e-6))
    np.testing.assert_array_equal(again, clipped)
    assert more == 0
    assert count == np.sum(np.maximum(np.abs(iq.real), np.abs(iq.imag)) > np.float32(limit))
