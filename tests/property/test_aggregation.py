"""Power control of least aggregation error, beside brute force, other solvers and simulation."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from fl_core.aggregation import aggregation_error, least_error_scale, least_error_threshold
from fl_core.power import AUTO, POLICIES, Inversion, build_policy

SNRS_DB = st.floats(-10, 40)
MEAN_GAIN = math.sqrt(math.pi) / 2


@st.composite
def rounds(draw, equal=False, most=8):
    r = draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    gains = (rng.standard_normal((r, 2)) @ (1, 1j)) / math.sqrt(2)
    return gains, np.ones(r) if equal else 10 ** rng.uniform(-1, 1, r)


def error_of(plan, gains, energies, m, noise_var):
    weights = plan.weights(gains)
    return aggregation_error(
        weights, energies, plan.normaliser(MEAN_GAIN), m * noise_var / plan.scale**2
    )


@pytest.mark.parametrize("name", POLICIES)
def test_the_error_is_what_a_simulation_finds(name):
    rng = np.random.default_rng(5)
    r, m, noise_var, trials = 6, 40, 0.02, 4000
    gains = np.array([1.3, 0.9, 0.7, 0.5, 0.25, 0.1]) * np.exp(2j * np.pi * rng.random(r))
    energies = np.array([3.0, 1.0, 2.0, 4.0, 1.0, 0.5])
    plan = build_policy(name, 1.0, 0.2).plan(gains, energies, m, noise_var)
    found = 0.0
    for _ in range(trials):
        # Of exactly these energies, uncorrelated.
        symbols = rng.standard_normal((r, m, 2)) @ (1, 1j)
        symbols *= np.sqrt(energies / np.sum(np.abs(symbols) ** 2, axis=1))[:, None]
        noise = math.sqrt(noise_var / 2) * (rng.standard_normal((m, 2)) @ (1, 1j))
        received = gains @ (plan.scale * plan.precoders[:, None] * symbols) + noise
        mean = received / (plan.scale * plan.normaliser(MEAN_GAIN))
        found += np.sum(np.abs(mean - symbols.mean(axis=0)) ** 2) / trials
    error = error_of(plan, gains, energies, m, noise_var)
    assert error.total == pytest.approx(found, rel=0.02)
    assert (error.missing > 0) == (name == "truncated_inversion")


@given(rounds(), SNRS_DB)
@settings(max_examples=40, deadline=None)
def test_no_threshold_of_a_fine_grid_errs_less_than_auto(case, snr_db):
    gains, energies = case
    noise_var = 10 ** (-snr_db / 10)

    def error(threshold):
        plan = Inversion(1.0, threshold).plan(gains, energies, 50, noise_var)
        return error_of(plan, gains, energies, 50, noise_var).total

    grid = np.linspace(0, 0.9999 * np.abs(gains).max(), 200)
    assert error(AUTO) <= min(map(error, grid)) * (1 + 1e-9)


@given(rounds(equal=True), SNRS_DB)
@settings(max_examples=40, deadline=None)
def test_for_equal_energies_no_other_choice_of_devices_errs_less(case, snr_db):
    gains, energies = case
    noise_var, m = 10 ** (-snr_db / 10), 50
    plan = Inversion(1.0, AUTO).plan(gains, energies, m, noise_var)
    best = math.inf
    for active in product((False, True), repeat=gains.size):
        chosen = np.array(active)
        if chosen.any():
            scale2 = m * np.min(np.abs(gains[chosen]) ** 2 / energies[chosen])
            noise = m * noise_var / scale2
            error = aggregation_error(chosen.astype(float), energies, chosen.sum(), noise)
            best = min(best, error.total)
    assert error_of(plan, gains, energies, m, noise_var).total == pytest.approx(best)


@given(rounds(), SNRS_DB, st.floats(1e-3, 1e3))
@settings(max_examples=40, deadline=None)
def test_no_scale_of_a_fine_grid_errs_less_than_the_capped_inversion(case, snr_db, limit):
    gains, energies = case
    amplitudes, m = np.abs(gains), 50
    noise = m * limit * 10 ** (-snr_db / 10)
    best = least_error_scale(amplitudes, energies, limit * m, noise)
    reach = np.sqrt(limit * m / energies) * amplitudes

    def error(scale):
        weights = np.minimum(1, reach / scale)
        return aggregation_error(weights, energies, len(gains), noise / scale**2).total

    assert error(best) <= min(error(best * step) for step in np.geomspace(0.02, 50, 201))
    plan = build_policy("capped_inversion", limit).plan(gains, energies, m, noise / m)
    assert plan.scale == pytest.approx(best)
    np.testing.assert_allclose(plan.weights(gains), np.minimum(1, reach / best))


@given(rounds(most=5), SNRS_DB)
@settings(max_examples=25, deadline=None)
def test_no_weights_at_all_err_less_than_the_capped_inversion(case, snr_db):
    """The least J over weights, silence and divisor is a convex program: another solver's turn."""
    gains, energies = case
    r, m, noise_var = len(gains), 50, 10 ** (-snr_db / 10)
    reach = np.sqrt(m / energies) * np.abs(gains)

    def error(x):  # received amplitudes over eta, and 1/eta
        return r * (energies @ (x[:-1] - 1 / r) ** 2 + m * noise_var * (x[-1] / unit) ** 2)

    unit = reach.mean()  # so that all unknowns are of one size
    limits = {"type": "ineq", "fun": lambda x: reach / unit * x[-1] - x[:-1]}
    found = minimize(
        error, np.zeros(r + 1), method="SLSQP", bounds=[(0, None)] * (r + 1), constraints=limits,
        options={"ftol": 1e-12, "maxiter": 500},
    )  # fmt: skip
    plan = build_policy("capped_inversion", 1.0).plan(gains, energies, m, noise_var)
    ours = r * error_of(plan, gains, energies, m, noise_var).total
    assert ours == pytest.approx(found.fun, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", ["truncated_inversion", "capped_inversion"])
def test_without_noise_nobody_is_left_out(name):
    gains, energies = np.array([1.0, 0.3j, -0.01]), [1.0, 2.0, 3.0]
    plan = build_policy(name, 1.0, AUTO).plan(gains, energies, 8, 0.0)
    full = build_policy("full_inversion", 1.0).plan(gains, energies, 8, 0.0)
    assert plan.active.all()
    assert plan.scale == pytest.approx(full.scale)
    np.testing.assert_allclose(plan.precoders, full.precoders)


@pytest.mark.parametrize("name", ["truncated_inversion", "capped_inversion"])
def test_dead_channels_and_nothing_to_send(name):
    policy = build_policy(name, 1.0, AUTO)
    dead = policy.plan(np.zeros(3), [1.0] * 3, 8, 0.1)
    assert (dead.scale, dead.active.any()) == (0, False)
    idle = policy.plan(np.ones(3), [0.0] * 3, 8, 0.1)
    assert (idle.scale, idle.active.all()) == (0, True)
    one = policy.plan(np.array([0.0, 0.0, 0.5]), [1.0, 0.0, 0.0], 8, 0.1)
    assert (one.scale, one.active.tolist()) == (0, [False, False, True])
    some = policy.plan(np.array([0.0, 0.5, 1.0]), [1.0, 4.0, 0.0], 8, 0.01)
    assert some.scale > 0
    assert not some.active[0]


def test_equals_are_silenced_together_or_not_at_all():
    assert least_error_threshold(np.array([1.0, 0.1, 0.1]), np.ones(3), 0.1) == 0.1
    assert least_error_threshold(np.array([1.0, 1.0, 1.0]), np.ones(3), 1e3) == 0
