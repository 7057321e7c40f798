"""State evolution: the error OAMP should have, from scalars and one vector of samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fl_core.denoisers import Denoiser

RealArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Evolution:
    """Prediction per iteration: effective noise variance tau2, and NMSE (linear) of the output."""

    tau2: tuple[float, ...]
    nmse: tuple[float, ...]


def state_evolution(
    signal: RealArray,
    undersampling: float,
    noise_var: float | RealArray,
    denoiser: Denoiser,
    rng: np.random.Generator,
    *,
    iterations: int = 30,
) -> Evolution:
    """Predict OAMP without an operator: every iteration sees ``signal + N(0, tau2)`` afresh.

    ``tau2 = v2 (1 / (undersampling * mean gain) - 1)`` with gains ``v2 / (v2 + noise_var)``, for
    equal noise ``(D-m)/m v2 + D/m noise_var``. v2 is the error of the divergence-free estimate,
    measured against the signal, so that a prior which does not fit is predicted as well.

    Args:
        signal: [n] draws from a prior, or the true vector itself: its empirical distribution.
        undersampling: m/D, real equations per entry, in (0, 1]; `Equations.undersampling`.
        noise_var: of a real equation, or the noise variances of all of them.
        denoiser: as given to `oamp`; fitted blindly in the same way.
        rng: draws the effective noise.
        iterations: at least 1.

    Raises:
        ValueError: undersampling, noise or iterations out of range, or a signal of zeros.

    Source:
        Ma and Ping, "Orthogonal AMP", IEEE Access 2017; Rangan, Schniter, Fletcher, "Vector AMP",
        IEEE Trans. Inf. Theory 2019.
    """
    if not 0 < undersampling <= 1:
        raise ValueError(f"undersampling is {undersampling}; must be above 0 and at most 1")
    if iterations < 1:
        raise ValueError(f"iterations is {iterations}; must be at least 1")
    noise = np.asarray(noise_var, np.float64)
    if np.any(noise < 0):
        raise ValueError("noise_var must not be negative")
    x = np.asarray(signal, np.float64)
    power = float(np.mean(x**2))
    if power == 0:
        raise ValueError("the signal is zero everywhere; its relative error is undefined")
    v2, prior = power, denoiser
    tau2s, nmses = list[float](), list[float]()
    estimate = np.empty_like(x)
    for iteration in range(iterations):
        gain = float(np.mean(v2 / (v2 + noise)))
        tau2 = max(v2 * (1 / (undersampling * gain) - 1), 1e-12 * power)
        r = x + np.sqrt(tau2) * rng.standard_normal(x.size)
        if iteration == 0:
            prior = prior.blind(r, tau2)
        prior = prior.refit(r, tau2)
        outcome = prior.denoise(r, tau2, out=estimate)
        prior = outcome.fitted
        tau2s.append(tau2)
        nmses.append(float(np.mean((estimate - x) ** 2)) / power)
        divergence = min(outcome.divergence, 0.999)
        unbiased = (estimate - divergence * r) / (1 - divergence)
        v2 = max(float(np.mean((unbiased - x) ** 2)), 1e-12 * power)
    return Evolution(tuple(tau2s), tuple(nmses))
