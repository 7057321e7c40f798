import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_core.compression import PartialDFT
from fl_core.denoisers import BernoulliGaussian, Bimodal, SoftThreshold
from fl_core.oamp import oamp


@st.composite
def operators(draw, max_dim=400):
    dim = draw(st.integers(2, max_dim))
    num_symbols = draw(st.integers(1, dim))
    rows = draw(st.sampled_from(["half", "full"]))
    seed = draw(st.integers(0, 2**32 - 1))
    return PartialDFT(dim, num_symbols, np.random.default_rng(seed), rows, np.float64)


@given(operators(), st.integers(0, 1000))
@settings(max_examples=80, deadline=None)
def test_adjoint_is_the_transpose_under_the_real_inner_product(operator, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(operator.dim)
    s = rng.standard_normal((2, operator.num_symbols)).T @ [1, 1j]
    np.testing.assert_allclose(
        np.vdot(operator.forward(x), s).real, operator.adjoint(s) @ x, atol=1e-10 * operator.dim
    )


@given(operators(max_dim=60))
@settings(max_examples=40, deadline=None)
def test_norm_is_at_most_one(operator):
    columns = operator.forward(np.eye(operator.dim))
    real = np.concatenate([columns.real, columns.imag], axis=1)
    assert np.linalg.norm(real, 2) <= 1 + 1e-12


@given(operators(), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_noiseless_symbols_fold_to_the_measured_part_of_the_rotated_vector(operator, seed):
    x = np.random.default_rng(seed).standard_normal(operator.dim)
    folded = operator.fold(operator.forward(x), 1.0)
    np.testing.assert_allclose(folded.values, folded.observed * operator.analyse(x), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(operator.analyse(x)), np.linalg.norm(x), rtol=1e-12)
    assert operator.num_symbols <= folded.count <= 2 * operator.num_symbols


@given(
    operators(),
    st.sampled_from([BernoulliGaussian(), Bimodal(), SoftThreshold()]),
    st.sampled_from([0.0, 1e-12, 1.0, 1e6]),
    st.sampled_from([0.0, 1e-6, 1.0, 1e6]),
    st.integers(0, 1000),
)
@settings(max_examples=120, deadline=None)
def test_recovery_is_finite_whatever_arrives(operator, denoiser, scale, noise_var, seed):
    rng = np.random.default_rng(seed)
    y = scale * (rng.standard_normal((2, operator.num_symbols)).T @ [1, 1j])
    estimate = oamp(y, operator, noise_var, denoiser, max_iterations=20)
    assert estimate.x.shape == (operator.dim,)
    assert np.all(np.isfinite(estimate.x))
    assert np.isfinite(estimate.nmse_predicted)
    assert estimate.iterations == len(estimate.tau2) <= 20
