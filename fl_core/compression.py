"""Linear compression: random rows of a DFT after random signs, as a matrix-free operator."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any, TypeVar

import ducc0
import numpy as np
import numpy.typing as npt

Number = TypeVar("Number", bound=np.inexact[Any])
RealArray = npt.NDArray[np.floating[Any]]
ComplexArray = npt.NDArray[np.complexfloating[Any, Any]]


def rotate(signal: RealArray, out: RealArray | None = None) -> RealArray:
    """Unitary DFT of adjacent pairs, ``z[k] = signal[2k] + i signal[2k+1]``; orthonormal.

    A real DFT of length D computes exactly this first and then untangles conjugate halves; leaving
    the untangling out keeps the map orthonormal and gives D/2 rows that are all alike.

    Args:
        signal: [..., D], D even, float32 or float64, contiguous in the last axis.
        out: where to put the result, as `signal`; may be `signal` itself.

    Returns:
        [..., D]; real and imaginary parts of the D/2 coefficients in turn.
    """
    return _unitary_dft(signal, forward=True, out=out)


def unrotate(spectrum: RealArray, out: RealArray | None = None) -> RealArray:
    """Inverse (and transpose) of `rotate`; same shapes."""
    return _unitary_dft(spectrum, forward=False, out=out)


def inner(a: RealArray, b: RealArray) -> float:
    """Inner product on one thread: BLAS would take several, and their number would change it."""
    return float(np.sum(a * b, dtype=np.float64))


def energy(symbols: ComplexArray) -> float:
    """Sum of |s|^2 of one device's symbols, complex [M]; in float64."""
    real, imag = symbols.real.astype(np.float64), symbols.imag.astype(np.float64)
    return float(np.sum(real**2 + imag**2))


def _unitary_dft(values: RealArray, forward: bool, out: RealArray | None) -> RealArray:
    paired = np.complex64 if values.dtype == np.float32 else np.complex128
    target = np.empty_like(values) if out is None else out
    given, found = values.view(paired), target.view(paired)
    # One by one: several at a time are rounded otherwise than each alone, and a device has but one.
    for index in np.ndindex(*values.shape[:-1]):
        ducc0.fft.c2c(given[index], forward=forward, inorm=1, out=found[index])
    return target


@dataclass(frozen=True)
class Equations:
    """What M symbols say about x, as orthonormal real equations ``values = B x + noise``.

    Every array has length D = `PartialDFT.length` and stands in the order of `rotate`, so that B is
    "sign, pad, rotate, mask" and no solver has to gather or scatter.

    Attributes:
        values: measured coefficients, 0 where nothing was measured.
        noise_var: noise variance of each real equation, 0 where nothing was measured.
        observed: 1 for measured coefficients, else 0.
    """

    values: RealArray
    noise_var: RealArray
    observed: RealArray

    @property
    def count(self) -> int:
        """Number m of real equations."""
        return int(np.count_nonzero(self.observed))

    @property
    def undersampling(self) -> float:
        """m / D: 1 when B is invertible."""
        return self.count / self.observed.size

    @property
    def uniform(self) -> bool:
        """Whether all equations are equally noisy."""
        total = float(self.noise_var.sum(dtype=np.float64))
        return total >= (1 - 1e-6) * float(self.noise_var.max()) * self.count

    def precision(self) -> RealArray:
        """Relative weight of each equation, 1/noise up to a factor; 0 where nothing was measured.

        Noise below a millionth of the largest counts as that, so that none takes all the weight.
        """
        largest = float(self.noise_var.max())
        if largest == 0:
            return self.observed
        weights: RealArray = self.observed / (self.noise_var / largest + 1e-6)
        return weights

    def signal_power(self) -> float:
        """Mean square of the D entries of x, at least a thousandth of what was received.

        Weighting by precision keeps a faded symbol from drowning the rest.
        """
        weights = self.precision()
        total = float(weights.sum(dtype=np.float64))
        received = inner(weights, np.square(self.values)) / total
        return max(received - inner(weights, self.noise_var) / total, 1e-3 * received)


class PartialDFT:
    """The compression A: real [d] to complex [M], ``A x = +-F[rows] (signs * x) / sqrt(2)``.

    F is the unitary DFT of the sign-flipped vector's D/2 adjacent pairs (see `rotate`). It stands
    for the non-redundant half spectrum of a real vector: each of its D/2 complex rows is two
    orthonormal real equations. A row is sent at most twice, hence ``||A||_2 <= 1``, and
    ``E ||A x||^2 = (M / D) ||x||^2`` for every M and in both modes.

    Half of the symbols, at random, are sent as their complex conjugates (see `mirrors`).

    - ``rows="half"``: no row a second time before every row was sent once; M complex symbols are
      2M real equations up to M = D/2, from where on they are invertible and repeats average noise.
    - ``rows="full"``: the plain draw of M from all D rows of a real vector's DFT. There every row
      of the half spectrum stands twice, as itself and as its conjugate; a row drawn twice tells
      nothing new and `fold` averages the two.

    Any d >= 2 is allowed. D is the next even length with small prime factors, D <= 1.1 d for
    d >= 100; the D - d zeros behind x are known, so A restricted to x keeps its norm, its adjoint
    and its noise exactly, and only B B^T = I holds on R^D rather than on R^d.

    Args:
        dim: d, length of the vectors.
        num_symbols: M, complex symbols sent, 1 <= M <= d.
        rng: draws signs, rows and their order; both ends of a link pass equal streams.
        rows: which rows may be drawn.
        dtype: float32 or float64; what the operator computes in.

    Raises:
        ValueError: dim < 2, M outside 1..d, another row mode or another dtype.
    """

    def __init__(
        self,
        dim: int,
        num_symbols: int,
        rng: np.random.Generator,
        rows: str = "half",
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        if dim < 2:
            raise ValueError(f"dim is {dim}; a vector to compress has at least 2 entries")
        if not 1 <= num_symbols <= dim:
            raise ValueError(f"num_symbols is {num_symbols}; must be from 1 to dim = {dim}")
        if rows not in ("half", "full"):
            raise ValueError(f"rows is {rows!r}; must be 'half' or 'full'")
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise ValueError(f"dtype is {np.dtype(dtype)}; must be float32 or float64")
        self.dim = dim
        self.num_symbols = num_symbols
        self.dtype = np.dtype(dtype)
        self.complex_dtype = np.dtype(np.complex64 if self.dtype == np.float32 else np.complex128)
        half = int(ducc0.fft.good_size((dim + 1) // 2, False))
        self.length = 2 * half
        self.signs = (2 * rng.integers(0, 2, size=dim, dtype=np.int8) - 1).astype(self.dtype)
        if rows == "full":
            self.rows = rng.permutation(2 * half)[:num_symbols] % half
        else:
            again = max(num_symbols - half, 0)
            self.rows = np.concatenate([rng.permutation(half), rng.permutation(half)[:again]])
            self.rows = self.rows[:num_symbols]
        # Random signs here too: the first pair of entries adds the same constant to all of F's
        # rows, which an OFDM modulator would turn into a spike.
        signs = 2 * rng.integers(0, 2, size=num_symbols, dtype=np.int8) - 1
        self.symbol_gains = (signs * sqrt(0.5)).astype(self.dtype)
        # A phase error turns every row by j, which swaps the entries of a pair and looks like
        # another sparse vector. With half of the rows mirrored it turns them either way, at
        # random, and is spread over all entries like noise, which an estimator can tell apart.
        self.mirrors = (2 * rng.integers(0, 2, size=num_symbols, dtype=np.int8) - 1).astype(
            self.dtype
        )

    def forward(self, x: RealArray) -> ComplexArray:
        """``A x``: real [..., d] to complex [..., M]."""
        spectrum = self.analyse(x).view(self.complex_dtype)
        symbols = spectrum[..., self.rows]
        symbols *= self.symbol_gains
        symbols.imag *= self.mirrors
        return symbols

    def adjoint(self, symbols: ComplexArray) -> RealArray:
        """The transpose under ``<a, b> = Re sum conj(a) b``: complex [M] to real [d]."""
        if symbols.shape != (self.num_symbols,):
            raise ValueError(f"symbols have shape {symbols.shape}; expected ({self.num_symbols},)")
        total = self._sum_copies(self._unmirror(symbols * self.symbol_gains))
        return self.synthesise(total.astype(self.complex_dtype, copy=False).view(self.dtype))

    def analyse(self, x: RealArray) -> RealArray:
        """All D coefficients of x before any is left out: [..., d] to [..., D], an isometry."""
        if x.shape[-1] != self.dim:
            raise ValueError(f"the vector has {x.shape[-1]} entries, the operator {self.dim}")
        padded = np.zeros((*x.shape[:-1], self.length), self.dtype)
        np.multiply(x, self.signs, out=padded[..., : self.dim], casting="same_kind")
        return rotate(padded, out=padded)

    def synthesise(self, spectrum: RealArray) -> RealArray:
        """Transpose of `analyse`: [D] to [d]."""
        x: RealArray = unrotate(spectrum)[: self.dim] * self.signs
        return x

    def fold(self, y: ComplexArray, noise_var: float | RealArray) -> Equations:
        """Turn received symbols ``y = A x + z`` into orthonormal real equations.

        Copies of a row are averaged with weights 1/noise_var. A symbol's two real equations both
        have its full noise variance, because sqrt(2) y is what is orthonormal in x.

        Args:
            y: complex [M], already divided by the common scale.
            noise_var: E|z|^2 per complex symbol, >= 0; one number, or [M] > 0, e.g. from fading.

        Raises:
            ValueError: shapes do not fit, or a noise variance is out of range.
        """
        per_symbol = np.asarray(noise_var, np.float64)
        if y.shape != (self.num_symbols,):
            raise ValueError(f"y has shape {y.shape}; expected ({self.num_symbols},)")
        if per_symbol.shape not in ((), y.shape):
            raise ValueError(f"noise_var has shape {per_symbol.shape}; expected () or {y.shape}")
        if not np.all(np.isfinite(per_symbol)) or np.any(per_symbol < 0):
            raise ValueError("noise_var must be finite and not negative")
        if per_symbol.ndim and not np.all(per_symbol > 0):
            raise ValueError("noise_var per symbol must be positive: it weights the symbols")
        common = float(per_symbol.mean())
        weights = np.ones(y.shape, self.dtype)
        if per_symbol.ndim:
            weights *= common / per_symbol
        precision = self._sum_copies(weights)
        observed = precision > 0
        inverse = np.divide(1, precision, out=np.zeros_like(precision), where=observed)
        weighted = self._unmirror(y * (weights * self.symbol_gains))
        values = self._sum_copies(weighted) * (2 * inverse)
        return Equations(
            values=values.astype(self.complex_dtype, copy=False).view(self.dtype),
            noise_var=np.repeat((common * inverse).astype(self.dtype, copy=False), 2),
            observed=np.repeat(observed.astype(self.dtype), 2),
        )

    def _unmirror(self, symbols: ComplexArray) -> ComplexArray:
        """Conjugates, in place, what was sent conjugated."""
        symbols.imag *= self.mirrors
        return symbols

    def _sum_copies(self, values: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """Values of the symbols, [M], added up by row, [D/2]."""
        total = np.zeros(self.length // 2, values.dtype)
        np.add.at(total, self.rows, values)
        return total
