import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fl_core.errors import InputError
from fl_core.sparsifier import Identity, RandomK, TopK, sparsify, withhold

FINITE = st.floats(-(2.0**50), 2.0**50, width=32)
# Small integers are full of ties and zeros; the floats reach over thirty decades.
ENTRIES = st.one_of(FINITE, st.integers(-3, 3).map(float))
VECTORS = st.integers(1, 40).flatmap(lambda d: arrays(np.float32, d, elements=ENTRIES))


@st.composite
def vector_and_k(draw):
    v = draw(VECTORS)
    return v, draw(st.integers(1, v.size))


def generator():
    return np.random.default_rng(1)


def reference_top_k(v, k):
    """Stable sort by falling magnitude: of equal ones the first."""
    return np.sort(np.argsort(-np.abs(v), kind="stable")[:k])


def squared_norm(v):
    return float(np.sum(v.astype(np.float64) ** 2))


@given(vector_and_k())
def test_top_k_is_the_sorted_reference(case):
    v, k = case
    np.testing.assert_array_equal(TopK(k).indices(v), reference_top_k(v, k))


@pytest.mark.parametrize("d", [8192, 131_073, 400_000])
@pytest.mark.parametrize("density", [1e-4, 0.01, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("kind", ["gaussian", "ties", "mostly_zero", "ramp", "rare_spikes"])
def test_top_k_of_a_long_vector_is_the_sorted_reference(d, density, kind):
    rng = generator()
    gaussian = rng.standard_normal(d)
    v = {
        "gaussian": gaussian,
        "ties": np.round(4 * gaussian) / 4,
        "mostly_zero": np.where(rng.random(d) < 0.002, gaussian, 0.0),
        "ramp": np.arange(d) - d / 2,
        # Every sixteenth entry, which is where a strided sample looks, is large: the guess is
        # too high and nothing may be lost by it.
        "rare_spikes": np.where(np.arange(d) % 16 == 0, 1e6, gaussian),
    }[kind].astype(np.float32)
    k = max(1, round(density * d))
    np.testing.assert_array_equal(TopK(k).indices(v), reference_top_k(v, k))


def test_top_k_survives_a_sample_that_sees_only_the_largest():
    d, k = 1 << 16, 1 << 13  # the sample is every sixteenth entry: 4096 of them, all spikes
    v = np.ones(d, np.float32)
    v[::16] = np.arange(d // 16) + 2
    np.testing.assert_array_equal(TopK(k).indices(v), reference_top_k(v, k))


def test_top_k_reads_strided_views():
    v = generator().standard_normal(40_000).astype(np.float32)[::3]
    np.testing.assert_array_equal(TopK(100).indices(v), reference_top_k(v, 100))


@given(vector_and_k())
def test_top_k_contracts(case):
    v, k = case
    rest = squared_norm(v - TopK(k)(v, generator()))
    assert rest <= (1 - k / v.size) * squared_norm(v) * (1 + 1e-12)


def test_random_k_draws_every_subset_equally_often():
    # Then E||v - C(v)||^2 = (1 - k/d) ||v||^2 for every v.
    d, k, draws = 5, 2, 20_000
    rng, contraction = generator(), RandomK(k)
    v = np.arange(1, d + 1, dtype=np.float32)
    counts = Counter(tuple(np.flatnonzero(contraction(v, rng))) for _ in range(draws))
    subsets = list(itertools.combinations(range(d), k))
    expected = draws / len(subsets)
    chi_squared = sum((counts[s] - expected) ** 2 / expected for s in subsets)
    assert sum(counts[s] for s in subsets) == draws
    assert chi_squared < 27.9  # 99.9 % quantile with 9 degrees of freedom


@pytest.mark.parametrize("k", [1, 7, 20, 39, 40])
def test_random_k_contracts_in_the_mean(k):
    rng, draws = generator(), 4000
    v = rng.standard_normal(40).astype(np.float32)
    rests = [squared_norm(v - RandomK(k)(v, rng)) for _ in range(draws)]
    slack = 4 * np.std(rests) / np.sqrt(draws)
    assert np.mean(rests) == pytest.approx((1 - k / 40) * squared_norm(v), abs=slack + 1e-12)


@given(vector_and_k())
def test_identity_keeps_everything(case):
    v, _ = case
    sparse, memory = sparsify(Identity(), v, None, generator())
    np.testing.assert_array_equal(sparse, v)
    assert not memory.any()


@pytest.mark.parametrize("family", [TopK, RandomK])
@given(case=vector_and_k(), seed=st.integers(0, 2**32))
def test_nothing_is_lost(family, case, seed):
    update, k = case
    rng = np.random.default_rng(seed)
    memory = rng.standard_normal(update.size).astype(np.float32)
    before = update.copy(), memory.copy()
    sparse, kept = sparsify(family(k), update, memory, rng)
    owed = withhold(update, memory)
    np.testing.assert_array_equal(owed, memory + update)
    np.testing.assert_array_equal(sparse + kept, owed)
    assert not np.any((sparse != 0) & (kept != 0))
    assert np.count_nonzero(sparse) <= k
    assert sparse.dtype == kept.dtype == np.float32
    np.testing.assert_array_equal(update, before[0])
    np.testing.assert_array_equal(memory, before[1])


def test_memory_delivers_every_entry_in_the_end():
    # The same update each round: top-1 of d entries goes round, so that what is owed stays bounded.
    d, rounds = 6, 600
    update = np.linspace(1, 2, d).astype(np.float32)
    memory, sent = None, np.zeros(d)
    for _ in range(rounds):
        sparse, memory = sparsify(TopK(1), update, memory, generator())
        sent += sparse
    np.testing.assert_allclose(sent + memory, rounds * update, rtol=1e-5)
    assert memory.max() < 2 * update.sum()


def test_withheld_memory_is_a_new_array():
    update = np.ones(3, np.float32)
    kept = withhold(update, None)
    kept[0] = 7
    assert update[0] == 1


@pytest.mark.parametrize("contraction", [Identity(), RandomK(2), TopK(2)])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("d", [10, 20_000])
def test_undefined_entries_are_refused(contraction, bad, d):
    v = np.ones(d, np.float32)
    v[d // 3] = bad
    with pytest.raises(ValueError, match="infinite or undefined"):
        contraction(v, generator())


@pytest.mark.parametrize("family", [TopK, RandomK])
def test_k_outside_one_to_d_is_refused(family):
    with pytest.raises(ValueError, match="at least 1"):
        family(0)
    with pytest.raises(InputError, match="k = 4 exceeds the dimension d = 3"):
        family(4)(np.ones(3, np.float32), generator())


@pytest.mark.parametrize(
    "v", [np.ones(3), np.ones((2, 2), np.float32), np.ones(0, np.float32)], ids=repr
)
def test_only_float32_vectors_are_taken(v):
    with pytest.raises(ValueError, match="float32 vector"):
        TopK(1)(v, generator())
