import numpy as np
import pytest

from fl_core.compression import PartialDFT, energy, rotate, unrotate


def dense(operator):
    """A from its definition: signs, adjacent pairs, signed rows of the DFT, mirrored, / sqrt(2)."""
    half = operator.length // 2
    pairs = np.zeros((half, operator.dim), complex)
    for entry in range(operator.dim):
        pairs[entry // 2, entry] = operator.signs[entry] * (1j if entry % 2 else 1)
    index = np.arange(half)
    dft = np.exp(-2j * np.pi * np.outer(index, index) / half) / np.sqrt(half)
    signed = np.sign(operator.symbol_gains)[:, None] * (dft @ pairs)[operator.rows] / np.sqrt(2)
    return np.where(operator.mirrors[:, None] > 0, signed, signed.conj())


@pytest.mark.parametrize("rows", ["half", "full"])
@pytest.mark.parametrize(("dim", "num_symbols"), [(40, 11), (97, 90), (101, 30), (2, 1)])
def test_forward_and_adjoint_equal_the_dense_matrix(dim, num_symbols, rows):
    rng = np.random.default_rng(dim)
    operator = PartialDFT(dim, num_symbols, rng, rows, np.float64)
    matrix = dense(operator)
    x = rng.standard_normal((3, dim))
    s = rng.standard_normal(num_symbols) + 1j * rng.standard_normal(num_symbols)
    np.testing.assert_allclose(operator.forward(x), x @ matrix.T, atol=1e-12)
    np.testing.assert_allclose(operator.adjoint(s), (matrix.conj().T @ s).real, atol=1e-12)


@pytest.mark.parametrize(("dim", "devices"), [(1941, 50), (28_485, 10)])
def test_a_device_alone_has_the_symbols_that_it_has_among_others(dim, devices):
    """To the last bit: a device that is a process of its own knows no others."""
    rng = np.random.default_rng(dim)
    operator = PartialDFT(dim, dim // 3, rng)
    x = rng.standard_normal((devices, dim)).astype(np.float32)
    together = operator.forward(x)
    for one, symbols in zip(x, together, strict=True):
        alone = operator.forward(one[None])[0]
        np.testing.assert_array_equal(alone, symbols)
        assert energy(alone) == energy(symbols)


def test_the_rotation_tells_as_much_as_the_real_dft():
    x = np.random.default_rng(0).standard_normal(24)
    spectrum = np.fft.rfft(x)
    paired = rotate(x).view(complex) * np.sqrt(12)
    flipped = np.conj(np.roll(paired[::-1], 1))
    twiddle = np.exp(-2j * np.pi * np.arange(12) / 24)
    untangled = (paired + flipped) / 2 - 0.5j * twiddle * (paired - flipped)
    np.testing.assert_allclose(untangled, spectrum[:12], atol=1e-12)
    np.testing.assert_allclose(unrotate(rotate(x)), x, atol=1e-14)


def test_half_rows_repeat_only_after_all_were_sent():
    rng = np.random.default_rng(1)
    below, above = PartialDFT(1000, 500, rng), PartialDFT(1000, 800, rng)
    assert np.unique(below.rows).size == 500
    assert np.unique(above.rows).size == 500
    assert np.bincount(above.rows).max() == 2


def test_full_rows_come_in_conjugate_pairs_at_the_rate_of_a_plain_draw():
    operator = PartialDFT(100_000, 40_000, np.random.default_rng(2), "full")
    copies = np.bincount(operator.rows, minlength=50_000)
    assert copies.max() == 2
    np.testing.assert_allclose(np.mean(copies == 2), 0.4**2, atol=0.006)
    np.testing.assert_allclose(np.mean(copies == 0), 0.6**2, atol=0.006)


@pytest.mark.parametrize(("rows", "num_symbols"), [("half", 300), ("half", 800), ("full", 700)])
def test_folded_equations_are_orthonormal_and_their_noise_is_as_told(rows, num_symbols):
    rng = np.random.default_rng(3)
    operator = PartialDFT(1000, num_symbols, rng, rows, np.float64)
    x = rng.standard_normal(1000)
    clean = operator.fold(operator.forward(x), 0.2)
    np.testing.assert_allclose(clean.values, clean.observed * operator.analyse(x), atol=1e-12)
    assert clean.count == 2 * np.unique(operator.rows).size

    basis = np.array([operator.analyse(row) for row in np.eye(1000)]).T[clean.observed > 0]
    np.testing.assert_allclose(basis @ basis.T, np.eye(clean.count), atol=1e-12)

    shape = (400, num_symbols)
    noise = np.sqrt(0.1) * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    folded = np.array([operator.fold(z, 0.2).values for z in noise])
    for var in np.unique(clean.noise_var[clean.observed > 0]):
        chosen = (clean.noise_var == var) & (clean.observed > 0)
        np.testing.assert_allclose(np.mean(folded[:, chosen] ** 2), var, rtol=0.02)


def test_a_phase_error_is_spread_like_noise():
    # Without mirrored rows it would come back as another sparse vector: 40 large entries.
    rng = np.random.default_rng(9)
    x = np.zeros(16_384, np.float32)
    x[rng.choice(x.size, 40, replace=False)] = 1
    operator = PartialDFT(x.size, x.size // 2, rng)
    error = operator.adjoint(np.complex64(1j) * operator.forward(x))
    rms = np.sqrt(np.mean(error**2))
    assert rms > 0.01 * np.sqrt(np.mean(x**2))
    assert np.abs(error).max() < 6 * rms


def test_copies_are_weighted_by_their_noise():
    operator = PartialDFT(8, 8, np.random.default_rng(4), "half", np.float64)
    first, second = np.flatnonzero(operator.rows == 0)
    noise = np.ones(8)
    noise[second] = 3.0
    y = np.zeros(8, complex)
    y[first], y[second] = 1.0, 5.0
    y *= np.sign(operator.symbol_gains)
    folded = operator.fold(y, noise)
    np.testing.assert_allclose(folded.values[0], np.sqrt(2) * (0.75 * 1 + 0.25 * 5))
    np.testing.assert_allclose(folded.noise_var[0], 1 / (1 / 1 + 1 / 3))


def test_equal_streams_draw_equal_operators_and_precision_changes_nothing_else():
    x = np.random.default_rng(5).standard_normal(112_261).astype(np.float32)
    single = PartialDFT(x.size, 9_999, np.random.default_rng(6))
    double = PartialDFT(x.size, 9_999, np.random.default_rng(6), dtype=np.float64)
    other = PartialDFT(x.size, 9_999, np.random.default_rng(7))
    assert single.forward(x).dtype == np.complex64
    assert double.forward(x).dtype == np.complex128
    np.testing.assert_allclose(single.forward(x), double.forward(x), atol=1e-5)
    assert not np.array_equal(single.rows, other.rows)
    assert not np.array_equal(single.signs, other.signs)


def test_symbols_of_a_sparse_vector_look_gaussian_in_time():
    x = np.zeros(4096, np.float32)
    x[:40] = 1.0
    symbols = PartialDFT(4096, 1024, np.random.default_rng(8)).forward(x)
    waveform = np.abs(np.fft.ifft(symbols)) ** 2
    assert waveform.max() / waveform.mean() < 3 * np.log(1024)


@pytest.mark.parametrize(
    ("dim", "num_symbols", "rows", "dtype", "message"),
    [
        (10, 0, "half", np.float32, "num_symbols is 0; must be from 1 to dim = 10"),
        (10, 11, "half", np.float32, "num_symbols is 11"),
        (1, 1, "half", np.float32, "at least 2 entries"),
        (10, 5, "some", np.float32, "'half' or 'full'"),
        (10, 5, "half", np.float16, "float32 or float64"),
    ],
)
def test_impossible_operators_are_refused(dim, num_symbols, rows, dtype, message):
    with pytest.raises(ValueError, match=message):
        PartialDFT(dim, num_symbols, np.random.default_rng(0), rows, dtype)


def test_arrays_that_do_not_fit_are_refused():
    operator = PartialDFT(10, 4, np.random.default_rng(0))
    y = np.ones(4, np.complex64)
    with pytest.raises(ValueError, match="11 entries"):
        operator.forward(np.ones(11, np.float32))
    with pytest.raises(ValueError, match=r"expected \(4,\)"):
        operator.fold(np.ones(5, np.complex64), 0.1)
    with pytest.raises(ValueError, match="noise_var has shape"):
        operator.fold(y, np.ones(3))
    with pytest.raises(ValueError, match="not negative"):
        operator.fold(y, -1.0)
    with pytest.raises(ValueError, match="positive"):
        operator.fold(y, np.array([1.0, 0.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match="expected"):
        operator.adjoint(np.ones(3, np.complex64))
