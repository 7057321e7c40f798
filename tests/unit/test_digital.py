import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_core.baselines.digital import (
    DigitalAccess,
    digital_round,
    entries_that_fit,
    message_bits,
    quantise,
    shannon_rates,
)
from sim_fallback.symbol_uplink import SymbolUplink

SEEDS = st.integers(0, 2**32)
WIDTHS = st.integers(2, 16)


def a_round(seed=0, dim=500, num_active=4, bits_per_value=4, **change):
    rng = np.random.default_rng(seed)
    shape = num_active, dim
    # Ten decades of magnitudes: small values beside large ones are what float32 loses first.
    spread = 10.0 ** rng.uniform(-8, 2, shape)
    updates = (rng.standard_normal(shape) * spread).astype(np.float32)
    memories = (rng.standard_normal(shape) * spread).astype(np.float32)
    h = (rng.standard_normal((num_active, 2)) @ [1, 1j] / math.sqrt(2)).astype(np.complex64)
    air = {"gains": h, "noise_var": 0.1, "power": 1.0, "num_symbols": 300} | change
    result = digital_round(updates, memories, **air, rng=rng, bits_per_value=bits_per_value)
    return updates, memories, air, result


@given(seed=SEEDS, width=WIDTHS, num_symbols=st.integers(1, 5000), noise_var=st.floats(1e-6, 1e3))
def test_bits_never_exceed_the_rate(seed, width, num_symbols, noise_var):
    _, _, air, got = a_round(
        seed, dim=60, bits_per_value=width, num_symbols=num_symbols, noise_var=noise_var
    )
    share = num_symbols / 4
    rates = share * np.log2(1 + np.abs(air["gains"].astype(complex)) ** 2 / noise_var)
    assert np.all(got.bits <= rates * (1 + 1e-12))
    np.testing.assert_array_equal(
        got.bits, [message_bits(k, 60, width) for k in got.entries.tolist()]
    )
    assert np.all(np.count_nonzero(got.sent, axis=1) <= got.entries)


@given(seed=SEEDS, width=WIDTHS)
def test_nothing_is_lost(seed, width):
    updates, memories, _, got = a_round(seed, bits_per_value=width, noise_var=0.01)
    np.testing.assert_array_equal(got.sent + got.memories, memories + updates)
    assert got.entries.any()


def test_the_largest_entries_go_first():
    updates, memories, _, got = a_round()
    for i, k in enumerate(got.entries):
        largest = np.argsort(-np.abs(memories[i] + updates[i]))[:k]
        assert set(np.flatnonzero(got.sent[i])) <= set(largest)


def test_without_a_rate_nothing_is_sent():
    gains = np.array([0, 1e-4, 1, 2], np.complex64)
    updates, memories, _, got = a_round(gains=gains)
    np.testing.assert_array_equal(got.entries[:2], 0)
    np.testing.assert_array_equal(got.bits[:2], 0)
    assert not got.sent[:2].any()
    np.testing.assert_array_equal(got.memories[:2], memories[:2] + updates[:2])
    assert got.entries[3] > got.entries[2] > 0


def test_without_noise_everything_fits():
    gains = np.array([0, 1e-4, 1, 2], np.complex64)
    _, _, _, got = a_round(gains=gains, noise_var=0.0)
    np.testing.assert_array_equal(got.entries, [0, 500, 500, 500])


def test_rate_is_shannons_in_an_equal_share():
    rates = shannon_rates(np.array([1j, 0.5]), 0.25, 2.0, 100)
    np.testing.assert_allclose(rates, [50 * math.log2(9), 50 * math.log2(3)])


@pytest.mark.parametrize(("dim", "k"), [(1, 1), (10, 3), (1000, 10), (28_485, 1140), (64, 64)])
def test_message_is_positions_values_scale_and_number(dim, k):
    positions = math.log2(math.comb(dim, k))
    number = dim.bit_length()  # of 0..dim
    assert message_bits(k, dim, 4) == pytest.approx(positions + 4 * k + 32 + number, rel=1e-9)


@given(dim=st.integers(1, 80), width=WIDTHS, rate=st.floats(0, 3000))
def test_as_many_entries_as_fit(dim, width, rate):
    fitting = [k for k in range(dim + 1) if message_bits(k, dim, width) <= rate]
    assert entries_that_fit(rate, dim, width) == max(fitting)


@pytest.mark.parametrize("width", [2, 4, 8])
def test_quantiser_is_unbiased_where_it_draws(width):
    rng = np.random.default_rng(2)
    peak, levels, draws = 3.0, 2 ** (width - 1) - 1, 4000
    values = (np.linspace(-1, 1, 41) * peak).astype(np.float32)
    drawn = np.array([quantise(values, width, rng) for _ in range(draws)])
    step = peak / levels
    worth = np.abs(values) >= step * 0.501
    tolerance = 4.5 * step / 2 / math.sqrt(draws)
    np.testing.assert_allclose(drawn.mean(axis=0)[worth], values[worth], atol=tolerance)
    assert not drawn[:, np.abs(values) < step * 0.499].any()
    # At most 2^b - 1 levels a step apart, none beyond the peak.
    np.testing.assert_allclose(drawn / step, np.rint(drawn / step), atol=1e-3 * levels)
    assert np.abs(drawn).max() == pytest.approx(peak, rel=1e-5)
    assert np.max(np.abs(drawn - values)) <= step * (1 + 1e-5)


def test_the_error_of_rounding_is_a_float32_number():
    rng = np.random.default_rng(3)
    for width in range(2, 17):
        values = (rng.standard_normal(2000) * 10.0 ** rng.uniform(-6, 0, 2000)).astype(np.float32)
        for scale in (1.0, 1e-40):  # also among the subnormal numbers
            exact = (values * scale).astype(np.float32)
            got = quantise(exact, width, rng)
            error = exact.astype(np.float64) - got
            np.testing.assert_array_equal(error.astype(np.float32), error)
            top = np.abs(exact).max() * (1 + 1e-6) + 1e-44 * 2**width
            assert np.abs(got).max() <= top


def test_zeros_stay_zero():
    assert not quantise(np.zeros(5, np.float32), 4, np.random.default_rng(0)).any()
    *_, got = a_round(num_active=1, dim=3)
    assert got.entries[0] == 3
    silent = np.zeros((1, 3), np.float32)
    got = digital_round(
        silent,
        silent,
        np.ones(1, np.complex64),
        noise_var=0.1,
        power=1.0,
        num_symbols=100,
        rng=np.random.default_rng(0),
    )
    assert not got.sent.any()
    assert not got.memories.any()


def test_same_generator_same_round():
    one, two = a_round(5)[-1], a_round(5)[-1]
    np.testing.assert_array_equal(one.sent, two.sent)
    assert not np.array_equal(one.sent, a_round(6)[-1].sent)


def test_inputs_stay_as_they_are():
    rng = np.random.default_rng(0)
    updates, memories = rng.standard_normal((2, 3, 50)).astype(np.float32)
    before = updates.copy(), memories.copy()
    digital_round(updates, memories, np.ones(3), noise_var=0.0, power=1.0, num_symbols=9, rng=rng)
    np.testing.assert_array_equal(updates, before[0])
    np.testing.assert_array_equal(memories, before[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise_var": -0.1}, "noise_var must be"),
        ({"power": 0.0}, "power > 0"),
        ({"num_symbols": 0}, "num_symbols >= 1"),
        ({"bits_per_value": 1}, r"bits_per_value must lie in 2\.\.16"),
        ({"gains": np.ones(3)}, "expected"),
    ],
)
def test_what_makes_no_round(change, message):
    with pytest.raises(ValueError, match=message):
        a_round(**change)


def an_access(snr_db=20.0):
    return DigitalAccess(3, SymbolUplink(3, 8, snr_db), num_symbols=400, power=1.0)


def test_access_delivers_the_mean_and_remembers_the_rest():
    rng = np.random.default_rng(0)
    devices, memory, delivered = np.array([1, 4, 6]), {}, np.zeros(300)
    total, stages = np.zeros(300), []
    for t in range(40):
        updates = rng.standard_normal((3, 300)).astype(np.float32)
        got = an_access().combine(t, devices, updates, memory, stages.append)
        memory = got.memory
        total += updates.mean(axis=0)
        delivered += got.mean_update
        assert got.symbols == 400
        assert got.record["entries_per_device"] > 0
        assert not got.record["failed"]
    assert set(memory) == {1, 4, 6}
    kept = np.mean(list(memory.values()), axis=0)
    np.testing.assert_allclose(delivered + kept, total, atol=1e-4)
    assert stages == ["digital"] * 40
    json.dumps(got.record)


def test_access_fails_where_no_bit_gets_through():
    updates = np.ones((2, 9), np.float32)
    got = an_access(snr_db=-60).combine(0, np.array([0, 7]), updates, {}, lambda _: None)
    assert got.record["failed"]
    assert not got.mean_update.any()
    np.testing.assert_array_equal(got.memory[7], updates[1])
