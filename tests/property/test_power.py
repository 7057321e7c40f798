import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fl_core.power import AUTO, POLICIES, build_policy

LIMITS = st.floats(1e-6, 1e6)
AMPLITUDES = st.one_of(st.just(0.0), st.floats(0, 1e-30), st.floats(1e-3, 1e3))
NOISE = st.one_of(st.just(0.0), st.floats(1e-6, 1e6))
SCALES = st.one_of(st.just(0.0), st.floats(1e-12, 1e12))


@st.composite
def rounds(draw):
    r, m = draw(st.integers(1, 6)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    amplitudes = np.array(draw(st.lists(AMPLITUDES, min_size=r, max_size=r)))
    scales = np.array(draw(st.lists(SCALES, min_size=r, max_size=r)))
    gains = (amplitudes * np.exp(2j * np.pi * rng.random(r))).astype(np.complex64)
    symbols = (rng.standard_normal((r, m)) + 1j * rng.standard_normal((r, m))) * scales[:, None]
    return gains, symbols.astype(np.complex64)


def energies(symbols):
    return np.sum(np.abs(symbols.astype(np.complex128)) ** 2, axis=1)


DEAD = np.zeros(2, np.complex64), np.ones((2, 3), np.complex64)


@pytest.mark.parametrize("name", POLICIES)
@given(case=rounds(), limit=LIMITS, threshold=st.floats(0, 1) | st.just(AUTO), noise_var=NOISE)
@example(case=DEAD, limit=1.0, threshold=0.5, noise_var=0.1)
def test_nobody_exceeds_the_limit_and_somebody_reaches_it(name, case, limit, threshold, noise_var):
    gains, symbols = case
    m = symbols.shape[1]
    plan = build_policy(name, limit, threshold).plan(gains, energies(symbols), m, noise_var)
    powers = energies(plan.precode(symbols)) / m
    assert np.all(powers <= limit * (1 + 1e-5))  # float32 symbols
    speaking = plan.active & (energies(symbols) > 0)
    assert (plan.scale > 0) == speaking.any()
    if speaking.any():
        assert powers.max() >= limit * (1 - 1e-5)
    assert not plan.precode(symbols)[~plan.active].any()


@pytest.mark.parametrize("name", POLICIES)
@given(case=rounds())
def test_what_arrives_is_the_weighted_sum(name, case):
    gains, symbols = case
    plan = build_policy(name, 1.0, 0.1).plan(gains, energies(symbols), symbols.shape[1], 0.1)
    arriving = gains.astype(np.complex128)[:, None] * plan.scale * plan.precoders[:, None] * symbols
    wanted = plan.scale * plan.weights(gains)[:, None] * symbols
    np.testing.assert_allclose(arriving, wanted, rtol=1e-5, atol=1e-12)


def test_phase_only_weighs_by_amplitude_and_divides_by_the_mean():
    gains = np.array([2, 1j, -0.5], np.complex64)
    plan = build_policy("phase_only", 4.0).plan(gains, [1.0, 9.0, 4.0], 16, 0.1)
    np.testing.assert_allclose(plan.precoders, [1, -1j, -1], atol=1e-12)
    assert plan.scale == pytest.approx(np.sqrt(4.0 * 16 / 9.0))
    np.testing.assert_allclose(plan.weights(gains), [2, 1, 0.5])
    assert plan.normaliser(0.9) == pytest.approx(2.7)
    assert plan.active.all()


def test_truncated_inversion_silences_the_weak():
    gains = np.array([2, 0.1j, -0.5], np.complex64)
    plan = build_policy("truncated_inversion", 1.0, 0.3).plan(gains, [1.0, 100.0, 1.0], 4, 0.1)
    np.testing.assert_array_equal(plan.active, [True, False, True])
    np.testing.assert_allclose(plan.precoders, [0.5, 0, -2])
    assert plan.scale == pytest.approx(np.sqrt(4) / 2)
    np.testing.assert_allclose(plan.weights(gains), [1, 0, 1])
    assert plan.normaliser(0.9) == 2


def test_full_inversion_lets_the_weakest_set_the_scale():
    gains = np.array([2, 0.1j], np.complex64)
    plan = build_policy("full_inversion", 1.0, 0.3).plan(gains, [1.0, 1.0], 1, 0.1)
    assert plan.active.all()
    assert plan.scale == pytest.approx(0.1)
    assert plan.normaliser(0.9) == 2


def test_all_silent_leaves_nothing_to_recover():
    plan = build_policy("truncated_inversion", 1.0, 5.0).plan(
        np.ones(3, np.complex64), [1.0] * 3, 2, 0.1
    )
    assert plan.scale == 0
    assert plan.normaliser(0.9) == 0
    assert not plan.precode(np.ones((3, 2), np.complex64)).any()


def test_estimates_that_err_leave_the_error_in_the_weights():
    estimated, true = np.array([1 + 0j]), np.array([2j])
    plan = build_policy("truncated_inversion", 1.0, 0.5).plan(estimated, [1.0], 1, 0.1)
    np.testing.assert_allclose(plan.weights(true), [2.0])


@pytest.mark.parametrize(
    ("name", "limit", "threshold", "message"),
    [
        ("loudest", 1.0, 0.0, "there are phase_only"),
        ("phase_only", 0.0, 0.0, "power limit"),
        ("full_inversion", np.nan, 0.0, "power limit"),
        ("truncated_inversion", 1.0, -1.0, "threshold"),
    ],
)
def test_what_makes_no_policy(name, limit, threshold, message):
    with pytest.raises(ValueError, match=message):
        build_policy(name, limit, threshold)


@pytest.mark.parametrize(
    ("gains", "reported", "m", "noise_var", "message"),
    [
        ([1.0], [1.0, 2.0], 4, 0.1, "one energy a gain"),
        ([1.0], [-1.0], 4, 0.1, "energies finite and >= 0"),
        ([np.nan], [1.0], 4, 0.1, "gains must be finite"),
        ([1.0], [1.0], 0, 0.1, "num_symbols"),
        ([1.0], [1.0], 4, -0.1, "noise_var"),
        ([1.0], [1.0], 4, np.nan, "noise_var"),
    ],
)
def test_what_makes_no_plan(gains, reported, m, noise_var, message):
    with pytest.raises(ValueError, match=message):
        build_policy("phase_only", 1.0).plan(np.array(gains, np.complex64), reported, m, noise_var)
