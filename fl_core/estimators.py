"""Estimators of a sparse sum from superposed symbols: OAMP and what it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fl_core.compression import ComplexArray, Equations, PartialDFT, RealArray, inner
from fl_core.denoisers import BernoulliGaussian, Bimodal, Denoiser, SoftThreshold
from fl_core.oamp import Estimate, oamp

_DENOISERS: dict[str, Denoiser] = {
    "bernoulli_gaussian": BernoulliGaussian(),
    "bimodal": Bimodal(),
    "soft_threshold": SoftThreshold(),
}
_WITHHELD = 32  # every how many rows one is withheld
_PARTS = (32, 16, 8, 4, 3, 2)  # equations per entry that iterative hard thresholding tries


class Estimator(Protocol):
    """Recovers x, real [d], from ``y = operator.forward(x) + noise``."""

    def __call__(
        self, y: ComplexArray, operator: PartialDFT, noise_var: float | RealArray
    ) -> Estimate:
        """Estimate x from y, complex [M]; noise_var is E|z|^2 per symbol, one or [M]."""


@dataclass(frozen=True)
class OAMP:
    """`oamp` with a prior learnt afresh in every call."""

    denoiser: Denoiser
    max_iterations: int = 50

    def __call__(
        self, y: ComplexArray, operator: PartialDFT, noise_var: float | RealArray
    ) -> Estimate:
        """See `Estimator`."""
        return oamp(y, operator, noise_var, self.denoiser, self.max_iterations)


@dataclass(frozen=True)
class MatchedFilter:
    """``B^T y``: all that was measured, noise included, and zero for what was not."""

    def __call__(
        self, y: ComplexArray, operator: PartialDFT, noise_var: float | RealArray
    ) -> Estimate:
        """See `Estimator`."""
        return _linear(operator, operator.fold(y, noise_var), wiener=False)


@dataclass(frozen=True)
class LMMSE:
    """The best linear estimate for an x of known power: the matched filter, shrunk by the noise."""

    def __call__(
        self, y: ComplexArray, operator: PartialDFT, noise_var: float | RealArray
    ) -> Estimate:
        """See `Estimator`."""
        return _linear(operator, operator.fold(y, noise_var), wiener=True)


def _linear(operator: PartialDFT, equations: Equations, wiener: bool) -> Estimate:
    power = equations.signal_power()
    if power == 0:
        return _estimate(operator, np.zeros(operator.dim, operator.dtype), nmse=0.0, power=0.0)
    noise = equations.noise_var / power
    gains = equations.observed / (1 + noise) if wiener else equations.observed
    x = operator.synthesise(gains * equations.values)
    nmse = float(np.mean((1 - gains) ** 2 + gains**2 * noise))
    return _estimate(operator, x, nmse=nmse, power=power)


@dataclass(frozen=True)
class IterativeHardThresholding:
    """Gradient steps that keep the largest entries, with the step size exact on the support.

    A few rows are withheld at first: what they say of the result is its predicted error, and
    decides how many entries to keep where that is unknown. All rows make the final result, so near
    the transition the prediction is pessimistic by several dB.

    Attributes:
        nonzeros: entries to keep; None tries fractions of the number of equations.
        max_iterations: gradient steps, at least 1.

    Source:
        Blumensath and Davies, "Normalized iterative hard thresholding", IEEE J. Sel. Topics Signal
        Process. 2010; cross validation: Ward, IEEE Trans. Inf. Theory 2009.
    """

    nonzeros: int | None = None
    max_iterations: int = 100

    def __call__(
        self, y: ComplexArray, operator: PartialDFT, noise_var: float | RealArray
    ) -> Estimate:
        """See `Estimator`."""
        equations = operator.fold(y, noise_var)
        power = equations.signal_power()
        x, iterations = np.zeros(operator.dim, operator.dtype), 0
        if power == 0:
            return _estimate(operator, x, nmse=0.0, power=0.0)
        everything = _WeightedProblem(operator, equations)
        withheld = np.zeros(operator.length, bool)
        withheld.reshape(-1, 2)[operator.rows[: -(-operator.num_symbols // _WITHHELD)]] = True
        fitted, judge = everything.only(~withheld), everything.only(withheld)
        sizes, steps = [equations.count // part for part in _PARTS], self.max_iterations // 4 + 1
        if self.nonzeros is not None:
            sizes, steps = [self.nonzeros], self.max_iterations
        error, kept = float("inf"), 1
        for size in (min(max(size, 1), operator.dim) for size in sizes):
            trial, spent, _ = self._descend(fitted, np.zeros_like(x), size, steps)
            iterations += spent
            found = judge.error(trial)
            if found < error:
                x, kept, error = trial, size, found
        x, spent, converged = self._descend(everything, x, kept, self.max_iterations)
        # The withheld rows show the error where nothing was measured; where something was, least
        # squares leaves what was not kept and the share of the noise that the kept can follow.
        share, noise = equations.undersampling, float(equations.noise_var.max())
        seen = share * everything.error(x) + noise * kept / operator.length
        nmse = ((1 - share) * error + seen) / power
        return _estimate(
            operator,
            x,
            nmse=nmse,
            power=power,
            iterations=iterations + spent,
            converged=converged,
        )

    def _descend(
        self, problem: _WeightedProblem, x: RealArray, kept: int, steps: int
    ) -> tuple[RealArray, int, bool]:
        """From x to a fixed point with `kept` entries; the steps spent and whether it is one."""
        support = x != 0 if x.any() else _largest(problem.gradient(x), kept)
        for iteration in range(1, steps + 1):
            gradient = problem.gradient(x)
            direction = np.where(support, gradient, 0)
            curvature = inner(direction, problem.normal(direction))
            step = inner(direction, direction) / curvature if curvature > 0 else 1.0
            moved = x + step * gradient
            support = _largest(moved, kept)
            moved[~support] = 0
            change = inner(moved - x, moved - x)
            x = moved
            if change <= 4e-6 * inner(x, x):
                return x, iteration, True
        return x, steps, False


@dataclass(frozen=True)
class Genie:
    """Least squares on the true support, by conjugate gradients: what no receiver can know.

    Attributes:
        support: bool [d], where x is not zero.
    """

    support: npt.NDArray[np.bool_]
    max_iterations: int = 300

    def __call__(
        self, y: ComplexArray, operator: PartialDFT, noise_var: float | RealArray
    ) -> Estimate:
        """See `Estimator`.

        Raises:
            ValueError: support is not bool [d].
        """
        if self.support.shape != (operator.dim,) or self.support.dtype != np.bool_:
            raise ValueError(f"support must be bool [{operator.dim}]")
        problem = _WeightedProblem(operator, operator.fold(y, noise_var))
        power = problem.equations.signal_power()
        x = np.zeros(operator.dim, operator.dtype)
        residual = np.where(self.support, problem.gradient(x), 0)
        direction = residual.copy()
        energy = start = inner(residual, residual)
        iterations = 0
        while iterations < self.max_iterations and energy > 1e-10 * start:
            image = np.where(self.support, problem.normal(direction), 0)
            step = energy / inner(direction, image)
            x += step * direction
            residual -= step * image
            before, energy = energy, inner(residual, residual)
            direction = residual + (energy / before) * direction
            iterations += 1
        kept = int(np.count_nonzero(self.support))
        nmse = problem.least_squares_error(x, kept) / power if power else 0.0
        return _estimate(
            operator,
            x,
            nmse=nmse,
            power=power,
            iterations=iterations,
            converged=energy <= 1e-10 * start,
        )


class _WeightedProblem:
    """min over x of ``sum w (y - B x)^2``, w the precision relative to the best equation."""

    def __init__(self, operator: PartialDFT, equations: Equations) -> None:
        self.operator = operator
        self.equations = equations
        precision = equations.precision()
        self.weights = precision / precision.max()

    def gradient(self, x: RealArray) -> RealArray:
        """``B^T w (y - B x)``, [d]."""
        residual = self.equations.values - self.operator.analyse(x)
        return self.operator.synthesise(self.weights * residual)

    def normal(self, x: RealArray) -> RealArray:
        """``B^T w B x``, [d]."""
        return self.operator.synthesise(self.weights * self.operator.analyse(x))

    def only(self, chosen: npt.NDArray[np.bool_]) -> _WeightedProblem:
        """The same without the equations that are not chosen, bool [D]."""
        part = _WeightedProblem(self.operator, self.equations)
        part.weights = self.weights * chosen
        return part

    def error(self, x: RealArray) -> float:
        """What the residual of x shows beyond the noise, per equation, at least 0."""
        residual = np.square(self.equations.values - self.operator.analyse(x))
        excess = inner(self.weights, residual - self.equations.noise_var)
        return max(excess / float(self.weights.sum(dtype=np.float64)), 0.0)

    def least_squares_error(self, x: RealArray, kept: int) -> float:
        """Mean square error over D of least squares with `kept` unknowns.

        For m of D orthonormal equations it is ``noise s (1 - s) / (m/D - s)``, s = kept/D, and the
        residual tells the noise: ``mean (y - B x)^2 = noise (1 - s D/m)``.
        """
        equations = self.equations
        total = float(self.weights.sum(dtype=np.float64))
        residual = np.square(equations.values - equations.observed * self.operator.analyse(x))
        share, occupied = equations.undersampling, kept / equations.values.size
        free = max(share - occupied, 1e-6)
        noise = inner(self.weights, residual) / total * share / free
        return noise * occupied * (1 - occupied) / free


def _largest(values: RealArray, count: int) -> npt.NDArray[np.bool_]:
    support = np.zeros(values.size, bool)
    support[np.argpartition(np.abs(values), -count)[-count:]] = True
    return support


def _estimate(
    operator: PartialDFT,
    x: RealArray,
    *,
    nmse: float,
    power: float,
    iterations: int = 1,
    converged: bool = True,
) -> Estimate:
    """What estimators without a state evolution can say; they know of no transition."""
    return Estimate(
        x=x,
        nmse_predicted=nmse,
        tau2=(),
        iterations=iterations,
        converged=converged,
        beyond_transition=False,
        density=float(np.count_nonzero(x)) / operator.dim,
        signal_power=power * operator.length / operator.dim,
    )


def build_estimator(name: str, denoiser: str, max_iterations: int) -> Estimator:
    """The estimator a configuration names.

    Args:
        name: ``oamp``, ``iht``, ``lmmse`` or ``matched_filter``.
        denoiser: ``bernoulli_gaussian``, ``bimodal`` or ``soft_threshold``; used by OAMP only.
        max_iterations: limit of the iterative ones, >= 1.

    Raises:
        ValueError: an unknown name.
    """
    if denoiser not in _DENOISERS:
        raise ValueError(f"denoiser is {denoiser!r}; must be one of {', '.join(_DENOISERS)}")
    estimators: dict[str, Estimator] = {
        "oamp": OAMP(_DENOISERS[denoiser], max_iterations),
        "iht": IterativeHardThresholding(max_iterations=max_iterations),
        "lmmse": LMMSE(),
        "matched_filter": MatchedFilter(),
    }
    if name not in estimators:
        raise ValueError(f"estimator is {name!r}; must be one of {', '.join(estimators)}")
    return estimators[name]
