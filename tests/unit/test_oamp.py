from dataclasses import replace

import numpy as np
import pytest

from fl_core.compression import PartialDFT
from fl_core.denoisers import BernoulliGaussian, Bimodal, SoftThreshold
from fl_core.estimators import (
    LMMSE,
    OAMP,
    Genie,
    IterativeHardThresholding,
    MatchedFilter,
    build_estimator,
)
from fl_core.oamp import oamp
from fl_core.theory import state_evolution


def sum_of_topk(dim, density, rng, devices=10):
    total = np.zeros(dim)
    k = round(density * dim)
    for _ in range(devices):
        vector = rng.standard_normal(dim)
        kept = np.argpartition(-np.abs(vector), k)[:k]
        total[kept] += vector[kept]
    return total


def receive(x, compression, snr_db, rng, *, rows="half", dtype=np.float64):
    operator = PartialDFT(x.size, round(compression * x.size), rng, rows, dtype)
    clean = operator.forward(x.astype(dtype))
    noise_var = float(np.mean(np.abs(clean) ** 2)) / 10 ** (snr_db / 10)
    noise = rng.standard_normal((clean.size, 2)) @ [1, 1j] * np.sqrt(noise_var / 2)
    return (clean + noise).astype(operator.complex_dtype), operator, noise_var


def nmse_db(estimate, x):
    return 10 * np.log10(np.mean((estimate - x) ** 2) / np.mean(x**2))


def dense_vamp(matrix, measured, *, noise_var, density, variance, iterations=40):
    """Vector AMP with its precisions from posterior variances, by an eigendecomposition."""
    dim = matrix.shape[1]
    singular, right = np.linalg.eigh(matrix.T @ matrix)
    projected = right.T @ (matrix.T @ measured)
    r, tau2 = np.zeros(dim), density * variance
    x, v2 = r, density * variance
    for _ in range(iterations):
        posterior = 1 / (singular / noise_var + 1 / v2)
        linear = right @ (posterior * (projected / noise_var + (right.T @ x) / v2))
        linear_var = float(posterior.mean())
        tau2 = 1 / (1 / linear_var - 1 / v2)
        r = tau2 * (linear / linear_var - x / v2)
        spike = (1 - density) / np.sqrt(tau2) * np.exp(-(r**2) / (2 * tau2))
        wide = variance + tau2
        slab = density / np.sqrt(wide) * np.exp(-(r**2) / (2 * wide))
        active = slab / (slab + spike)
        mean = variance / wide * r
        estimate = active * mean
        error = active * (variance * tau2 / wide + mean**2) - estimate**2
        eta_var = float(error.mean())
        v2 = 1 / (1 / eta_var - 1 / tau2)
        x = v2 * (estimate / eta_var - r / tau2)
    return estimate


@pytest.mark.parametrize(("snr_db", "num_symbols"), [(10, 320), (19, 266), (30, 266)])
def test_equals_a_dense_vamp(snr_db, num_symbols):
    rng = np.random.default_rng(snr_db)
    x = rng.standard_normal(800) * (rng.random(800) < 0.2)
    y, operator, noise_var = receive(x, num_symbols / 800, snr_db, rng)
    basis = np.array([operator.analyse(row) for row in np.eye(800)]).T
    folded = operator.fold(y, noise_var)
    seen = folded.observed > 0
    reference = dense_vamp(
        basis[seen], folded.values[seen], noise_var=noise_var, density=0.2, variance=1.0
    )
    prior = BernoulliGaussian(density=0.2, variance=1.0)
    found = oamp(y, operator, noise_var, prior, max_iterations=50, learn=False)
    assert nmse_db(found.x, x) == pytest.approx(nmse_db(reference, x), abs=0.05)


# (k/d, M/d, SNR in dB): what a prototype reached at d = 65,536, in dB.
CELLS = {(0.01, 0.4, 19): -27.7, (0.04, 0.4, 19): -21.5, (0.10, 0.8, 30): -33.2}


@pytest.mark.parametrize(("cell", "figure"), CELLS.items())
def test_reaches_the_table_and_its_own_state_evolution(cell, figure):
    density, compression, snr_db = cell
    rng = np.random.default_rng(11)
    x = sum_of_topk(65_536, density, rng)
    y, operator, noise_var = receive(x, compression, snr_db, rng, dtype=np.float32)
    estimate = oamp(y, operator, noise_var, BernoulliGaussian())
    reached = nmse_db(estimate.x, x)
    assert reached < figure + 0.3
    assert 10 * np.log10(estimate.nmse_predicted) == pytest.approx(reached, abs=0.4)
    assert estimate.converged
    assert not estimate.beyond_transition
    folded = operator.fold(y, noise_var)
    noise = folded.noise_var[folded.observed > 0]
    theory = state_evolution(x, folded.undersampling, noise, BernoulliGaussian(), rng)
    assert 10 * np.log10(theory.nmse[-1]) == pytest.approx(reached, abs=0.4)
    steps = min(5, estimate.iterations)
    np.testing.assert_allclose(estimate.tau2[:steps], theory.tau2[:steps], rtol=0.15)


@pytest.mark.parametrize(
    ("density", "compression", "snr_db", "beyond"),
    [
        (0.04, 0.2, 10, True),
        (0.04, 0.2, 30, True),
        (0.10, 0.4, 10, True),
        (0.10, 0.4, 30, True),
        (0.04, 0.4, 10, False),
        (0.01, 0.2, 10, False),
        (0.10, 0.8, 10, False),
    ],
)
def test_flags_what_lies_beyond_the_transition(density, compression, snr_db, beyond):
    rng = np.random.default_rng(12)
    x = sum_of_topk(16_384, density, rng)
    for denoiser in (BernoulliGaussian(), Bimodal()):
        estimate = oamp(*receive(x, compression, snr_db, rng), denoiser)
        assert estimate.beyond_transition == beyond


def test_bimodal_prior_gains_on_vectors_with_a_magnitude_gap_and_costs_little_elsewhere():
    rng = np.random.default_rng(13)
    for x, least in (
        (sum_of_topk(32_768, 0.01, rng), 2.0),
        (rng.standard_normal(32_768) * (rng.random(32_768) < 0.1), -0.2),
    ):
        problem = receive(x, 0.4, 10, rng)
        gaussian, bimodal = (oamp(*problem, prior).x for prior in (BernoulliGaussian(), Bimodal()))
        assert nmse_db(gaussian, x) - nmse_db(bimodal, x) > least


def test_soft_threshold_equals_the_oracle_lasso():
    rng = np.random.default_rng(14)
    x = sum_of_topk(4096, 0.02, rng)
    y, operator, noise_var = receive(x, 0.4, 19, rng)
    folded = operator.fold(y, noise_var)
    best = np.inf
    for level in np.sqrt(noise_var) * np.geomspace(0.1, 3, 12):
        lasso = np.zeros(4096)
        for _ in range(300):  # proximal gradient; the step is 1 because ||B|| = 1
            gradient = operator.synthesise(
                folded.observed * (folded.values - operator.analyse(lasso))
            )
            moved = lasso + gradient
            lasso = np.sign(moved) * np.maximum(np.abs(moved) - level, 0)
        best = min(best, nmse_db(lasso, x))
    found = oamp(y, operator, noise_var, SoftThreshold())
    assert nmse_db(found.x, x) == pytest.approx(best, abs=0.3)


def test_single_precision_equals_double():
    rng = np.random.default_rng(15)
    x = sum_of_topk(16_384, 0.02, rng)
    y, operator, noise_var = receive(x, 0.4, 19, rng)
    single = PartialDFT(16_384, operator.num_symbols, np.random.default_rng(0))
    single.rows, single.signs = operator.rows, operator.signs.astype(np.float32)
    single.symbol_gains = operator.symbol_gains.astype(np.float32)
    single.mirrors = operator.mirrors.astype(np.float32)
    double = oamp(y, operator, noise_var, BernoulliGaussian())
    found = oamp(y.astype(np.complex64), single, noise_var, BernoulliGaussian())
    assert found.x.dtype == np.float32
    assert nmse_db(found.x, x) == pytest.approx(nmse_db(double.x, x), abs=0.005)


def test_lengths_that_need_padding_lose_nothing():
    rng = np.random.default_rng(16)
    prime = sum_of_topk(16_411, 0.02, rng)
    problem = receive(prime, 0.4, 19, rng)
    assert problem[1].length > prime.size
    padded = nmse_db(oamp(*problem, BernoulliGaussian()).x, prime)
    smooth = prime[:16_384]
    plain = nmse_db(oamp(*receive(smooth, 0.4, 19, rng), BernoulliGaussian()).x, smooth)
    assert padded == pytest.approx(plain, abs=0.4)


def test_full_rows_know_less_than_half_rows_and_average_their_pairs():
    rng = np.random.default_rng(17)
    x = sum_of_topk(16_384, 0.01, rng)
    half = nmse_db(oamp(*receive(x, 0.4, 19, rng), BernoulliGaussian()).x, x)
    full = nmse_db(oamp(*receive(x, 0.4, 19, rng, rows="full"), BernoulliGaussian()).x, x)
    assert half < full < -26.8


def test_noise_known_per_symbol_beats_its_average():
    rng = np.random.default_rng(18)
    x = sum_of_topk(16_384, 0.01, rng)
    _, operator, noise_var = receive(x, 0.4, 15, rng)
    noise = noise_var * rng.exponential(size=operator.num_symbols) ** -0.8
    z = rng.standard_normal((noise.size, 2)) @ [1, 1j] * np.sqrt(noise / 2)
    y = operator.forward(x) + z
    known = oamp(y, operator, noise, BernoulliGaussian())
    average = oamp(y, operator, float(noise.mean()), BernoulliGaussian())
    assert nmse_db(known.x, x) < nmse_db(average.x, x) - 2
    assert 10 * np.log10(known.nmse_predicted) == pytest.approx(nmse_db(known.x, x), abs=0.5)


def test_contiguous_rows_diverge_and_the_best_iterate_is_kept():
    rng = np.random.default_rng(19)
    x = sum_of_topk(8192, 0.01, rng)
    operator = PartialDFT(8192, 1638, rng, dtype=np.float64)
    operator.rows = np.arange(1638)
    clean = operator.forward(x)
    estimate = oamp(clean, operator, 1e-4, BernoulliGaussian())
    assert nmse_db(estimate.x, x) < 1
    assert estimate.beyond_transition or not estimate.converged


def test_without_noise_recovery_is_exact_and_silence_is_zero():
    rng = np.random.default_rng(20)
    x = sum_of_topk(8192, 0.005, rng)
    operator = PartialDFT(8192, 3277, rng, dtype=np.float64)
    estimate = oamp(operator.forward(x), operator, 0.0, BernoulliGaussian())
    assert nmse_db(estimate.x, x) < -50
    assert not estimate.beyond_transition
    silent = oamp(np.zeros(3277, complex), operator, 0.1, BernoulliGaussian())
    assert not silent.x.any()
    assert silent.nmse_predicted == 0


@pytest.mark.parametrize(
    "prior", [BernoulliGaussian(0.3, 2.0), Bimodal(0.3, 1.5, 0.2), Bimodal(0.05, 4.0, 1e-3)]
)
@pytest.mark.parametrize("tau2", [0.01, 0.5, 4.0])
def test_denoisers_equal_bayes_by_quadrature(prior, tau2):
    grid = np.linspace(-16, 16, 160_001)
    modes = [prior.mean, -prior.mean] if isinstance(prior, Bimodal) else [0.0]
    slab = sum(np.exp(-((grid - mode) ** 2) / (2 * prior.variance)) for mode in modes)
    slab *= prior.density / slab.sum()
    for value in (-3.7, -0.2, 0.0, 0.9, 5.0):
        likelihood = np.exp(-((value - grid) ** 2) / (2 * tau2))
        spike = (1 - prior.density) * np.exp(-(value**2) / (2 * tau2))
        total = spike + (slab * likelihood).sum()
        mean = (slab * likelihood * grid).sum() / total
        var = (slab * likelihood * grid**2).sum() / total - mean**2
        out = np.empty(1)
        outcome = prior.denoise(np.array([value]), tau2, out)
        assert out[0] == pytest.approx(mean, rel=1e-6, abs=1e-9)
        assert outcome.divergence == pytest.approx(var / tau2, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("prior", [BernoulliGaussian(), Bimodal(), SoftThreshold()])
def test_divergence_and_predicted_error_hold_for_a_signal_the_prior_does_not_fit(prior):
    rng = np.random.default_rng(21)
    x = rng.laplace(size=100_000) * (rng.random(100_000) < 0.3)
    tau2, step = 0.2, 1e-5
    r = x + np.sqrt(tau2) * rng.standard_normal(x.size)
    prior = prior.blind(r, tau2).refit(r, tau2)
    out, moved = np.empty_like(r), np.empty_like(r)
    outcome = prior.denoise(r, tau2, out)
    prior.denoise(r + step, tau2, moved)
    assert outcome.divergence == pytest.approx(np.mean(moved - out) / step, rel=1e-3)
    assert outcome.error == pytest.approx(np.mean((out - x) ** 2), rel=0.03)


@pytest.mark.parametrize("truth", [BernoulliGaussian(0.1, 3.0), Bimodal(0.2, 2.0, 0.3)])
def test_em_finds_the_prior_from_a_blind_start(truth):
    rng = np.random.default_rng(22)
    x = np.sqrt(truth.variance) * rng.standard_normal(100_000)
    if isinstance(truth, Bimodal):
        x += truth.mean * rng.choice([-1, 1], x.size)
    x *= rng.random(x.size) < truth.density
    r = x + 0.3 * rng.standard_normal(x.size)
    fitted = truth.blind(r, 0.09)
    for _ in range(30):
        fitted = fitted.denoise(r, 0.09, np.empty_like(r)).fitted
    assert fitted.density == pytest.approx(truth.density, rel=0.03)
    assert fitted.variance == pytest.approx(truth.variance, rel=0.05)
    assert getattr(fitted, "mean", 0) == pytest.approx(getattr(truth, "mean", 0), rel=0.02)


def test_state_evolution_of_a_gaussian_is_its_closed_form():
    rng = np.random.default_rng(23)
    x = rng.standard_normal(100_000)
    theory = state_evolution(x, 0.5, 0.1, BernoulliGaussian(), rng, iterations=10)
    assert theory.nmse[-1] == pytest.approx(1 - 0.5 / 1.1, rel=0.01)


def test_linear_estimators_predict_their_error():
    rng = np.random.default_rng(24)
    x = sum_of_topk(16_384, 0.04, rng)
    for compression in (0.3, 0.8):
        problem = receive(x, compression, 5, rng)
        errors = []
        for estimator in (LMMSE(), MatchedFilter()):
            estimate = estimator(*problem)
            errors.append(nmse_db(estimate.x, x))
            assert 10 * np.log10(estimate.nmse_predicted) == pytest.approx(errors[-1], abs=0.2)
        assert errors[0] < errors[1]


def test_genie_equals_dense_least_squares():
    rng = np.random.default_rng(25)
    x = sum_of_topk(800, 0.02, rng)
    y, operator, noise_var = receive(x, 0.3, 15, rng)
    folded = operator.fold(y, noise_var)
    seen, support = folded.observed > 0, x != 0
    basis = np.array([operator.analyse(row) for row in np.eye(800)]).T[np.ix_(seen, support)]
    expected = np.linalg.lstsq(basis, folded.values[seen])[0]
    found = Genie(support)(y, operator, noise_var)
    np.testing.assert_allclose(found.x[support], expected, atol=1e-3)
    with pytest.raises(ValueError, match="support must be bool"):
        Genie(support[:5])(y, operator, noise_var)


def test_estimators_stand_in_the_known_order():
    rng = np.random.default_rng(26)
    x = sum_of_topk(16_384, 0.02, rng)
    problem = receive(x, 0.4, 19, rng)
    ladder = [
        LMMSE(),
        IterativeHardThresholding(),
        IterativeHardThresholding(nonzeros=np.count_nonzero(x)),
        OAMP(BernoulliGaussian()),
        Genie(x != 0),
    ]
    errors = [nmse_db(estimator(*problem).x, x) for estimator in ladder]
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < -20


def test_estimators_are_built_by_name():
    assert build_estimator("oamp", "bimodal", 7) == OAMP(Bimodal(), 7)
    assert build_estimator("lmmse", "bimodal", 7) == LMMSE()
    with pytest.raises(ValueError, match="must be one of oamp, iht"):
        build_estimator("amp", "bimodal", 7)
    with pytest.raises(ValueError, match="must be one of bernoulli_gaussian"):
        build_estimator("oamp", "laplace", 7)


def test_impossible_parameters_are_refused():
    with pytest.raises(ValueError, match="density is 1"):
        BernoulliGaussian(density=1.0)
    with pytest.raises(ValueError, match="variance is nan"):
        replace(Bimodal(), variance=float("nan"))
    with pytest.raises(ValueError, match="threshold is 0"):
        SoftThreshold(threshold=0)
    operator = PartialDFT(10, 4, np.random.default_rng(0))
    with pytest.raises(ValueError, match="max_iterations is 0"):
        oamp(np.ones(4, np.complex64), operator, 0.1, BernoulliGaussian(), max_iterations=0)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="undersampling is 2"):
        state_evolution(np.ones(4), 2, 0.1, BernoulliGaussian(), rng)
    with pytest.raises(ValueError, match="zero everywhere"):
        state_evolution(np.zeros(4), 0.5, 0.1, BernoulliGaussian(), rng)
