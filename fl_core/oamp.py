"""Orthogonal approximate message passing: recover a sparse sum from superposed symbols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fl_core.compression import ComplexArray, Equations, PartialDFT, RealArray, rotate, unrotate
from fl_core.denoisers import BLOCK, Denoiser, blocks

_TOLERANCE = 5e-4
_PATIENCE = 3  # iterations in a row that are worse than the best before the solver gives up
_RECOVERED = 1e-3  # interference below this share of the power is no failure even without noise


@dataclass(frozen=True)
class Estimate:
    """A recovered vector and how far it is to be trusted.

    Attributes:
        x: real [d].
        nmse_predicted: E||x - x_true||^2 / E||x_true||^2 as the estimator believes it, linear.
        tau2: effective noise variance per entry at each iteration.
        iterations: how many were spent.
        converged: the predicted error stood still before the iterations ran out.
        beyond_transition: too few symbols for this density; see `oamp`.
        density: fitted fraction of non-zeros.
        signal_power: estimated mean square of the true entries.
    """

    x: npt.NDArray[np.floating[Any]]
    nmse_predicted: float
    tau2: tuple[float, ...]
    iterations: int
    converged: bool
    beyond_transition: bool
    density: float
    signal_power: float


class _LinearStage:
    """Linear step on spectra: ``r = x + W (y - B x)``; W averages to 1 over D coefficients.

    With equal noise W is D/m on what was measured. With unequal noise W follows the gains
    v2 / (v2 + noise) of the LMMSE estimate. Either way, for errors of variance v2 in x, the mean
    square of ``W (y - B x)`` over D is v2 + tau2, which is how tau2 is measured.
    """

    def __init__(self, equations: Equations, power: float) -> None:
        self.equations = equations
        self.length = equations.values.size
        self.uniform = equations.uniform
        self.tiny = 1e-12 * power  # rounding: nothing is known better than this
        self.weights = equations.observed
        self._normalise()

    def weigh(self, v2: float) -> None:
        """Set W for errors of variance v2 in x."""
        if not self.uniform:
            self.weights = self.equations.observed / (1 + self.equations.noise_var / v2)
            self._normalise()

    def _normalise(self) -> None:
        self.weights = self.weights * (self.length / float(self.weights.sum(dtype=np.float64)))
        squares = np.square(self.weights)
        self.square = float(squares.sum(dtype=np.float64))
        np.multiply(squares, self.equations.noise_var, out=squares)
        self.noise = float(squares.sum(dtype=np.float64))

    def step(
        self, estimate: RealArray, spectrum: RealArray, alpha: float, beta: float
    ) -> tuple[float, float]:
        """Replace `spectrum`, that of r, by that of the next r; x is ``alpha estimate - beta r``.

        Returns:
            v2 as the residual shows it, and tau2.
        """
        total = 0.0
        buffer = np.empty(min(BLOCK, self.length), spectrum.dtype)
        for part in blocks(self.length):
            s = spectrum[part]
            work = buffer[: s.size]
            np.multiply(estimate[part], alpha, out=work)
            np.multiply(s, beta, out=s)
            np.subtract(work, s, out=s)
            np.subtract(self.equations.values[part], s, out=work)
            np.multiply(work, self.weights[part], out=work)
            total += float(np.dot(work, work))
            np.add(s, work, out=s)
        floor = 1e-6 * total / self.square + self.tiny
        v2 = max((total - self.noise) / self.square, floor)
        return v2, max(total / self.length - v2, floor)


def oamp(
    y: ComplexArray,
    operator: PartialDFT,
    noise_var: float | RealArray,
    denoiser: Denoiser,
    max_iterations: int = 50,
    *,
    learn: bool = True,
) -> Estimate:
    """Recover x from ``y = A x + z``.

    Alternates the linear step ``r = x + (D/m) B^T (y - B x)`` with the denoiser in its
    divergence-free form ``x = (eta(r) - <eta'> r) / (1 - <eta'>)``; the plain ``eta(r)`` is the
    result. Everything stays in the sign-flipped domain (the priors are even) and the linear step is
    done on spectra, so an iteration is two FFTs of D/2 points and two blocked passes.

    The effective noise of the fixed point is ``tau2 = (D-m)/m v2 + D/m noise``: interference of
    what is not yet known, and noise. `beyond_transition` says that the first exceeds the second:
    then more signal-to-noise ratio would not help, the round needs more symbols or fewer non-zeros.

    Args:
        y: complex [M], already divided by the common scale.
        operator: the compression A of the round.
        noise_var: E|z|^2 per complex symbol, or one per symbol, [M].
        denoiser: the prior.
        max_iterations: limit, >= 1; 4 to 16 are used, 30 to 50 near the transition.
        learn: start the prior blindly from the data and fit it as r improves; else keep it.

    Source:
        Ma and Ping, "Orthogonal AMP", IEEE Access 2017; Rangan, Schniter, Fletcher, "Vector AMP",
        IEEE Trans. Inf. Theory 2019.
    """
    if max_iterations < 1:
        raise ValueError(f"max_iterations is {max_iterations}; must be at least 1")
    equations = operator.fold(y, noise_var)
    dim, length = operator.dim, operator.length
    spectrum, r, best, trial = np.zeros((4, length), operator.dtype)
    if not equations.values.any():
        return Estimate(best[:dim], 0.0, (), 0, True, False, 0.0, 0.0)
    power = equations.signal_power()
    linear = _LinearStage(equations, power)
    prior, tau2s, errors = denoiser, list[float](), list[float]()
    alpha, beta, v2, best_tau2, failures = 0.0, 0.0, power, float("inf"), 0
    predicted, interference, density, converged = 1.0, 0.0, 0.0, False
    while len(tau2s) < max_iterations and failures < _PATIENCE and not converged:
        linear.weigh(v2)
        _, tau2 = linear.step(r, spectrum, alpha, beta)
        unrotate(spectrum, out=r)
        if learn and not tau2s:
            prior = prior.blind(r[:dim], tau2)
        if learn:
            prior = prior.refit(r[:dim], tau2)
        outcome = prior.denoise(r[:dim], tau2, out=trial[:dim])
        # Averages over all D entries: those behind x are known zeros.
        divergence = min(outcome.divergence, 0.999) * dim / length
        error = outcome.error * dim / length
        converged = bool(tau2s) and _still(tau2s[-1], tau2) and _still(errors[-1], error)
        tau2s.append(tau2)
        errors.append(error)
        rotate(trial, out=r)
        if tau2 < 1.02 * best_tau2:
            best_tau2, failures = min(tau2, best_tau2), 0
            predicted, density = error, outcome.density
            interference = tau2 - linear.noise / length
            best, trial = trial, best
        else:
            failures += 1
        alpha = 1 / (1 - divergence)
        beta = alpha * divergence
        v2 = max((error - divergence**2 * tau2) * alpha**2, 1e-6 * tau2)
        if learn:
            prior = outcome.fitted
    noise = linear.noise / length
    return Estimate(
        x=best[:dim] * operator.signs,
        nmse_predicted=predicted / power,
        tau2=tuple(tau2s),
        iterations=len(tau2s),
        converged=converged,
        beyond_transition=interference > noise + _RECOVERED * power,
        density=density,
        signal_power=power * length / dim,
    )


def _still(before: float, now: float) -> bool:
    return abs(now - before) <= _TOLERANCE * now
