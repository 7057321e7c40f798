"""Scalar denoisers of OAMP: estimate x from r = x + N(0, tau2) under a prior learnt from r itself.

Every pass runs in blocks that stay in the cache, with preallocated buffers: at 10^6 entries the
solver is bound by memory traffic otherwise. A block is also short enough for BLAS to stay on one
thread: on a busy machine its threads wait for each other, a thousand times longer than they work,
and sums would depend on the number of cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import log, sqrt
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

RealArray = npt.NDArray[np.floating[Any]]
Prior = TypeVar("Prior", bound="Denoiser")

BLOCK = 8192
_MIN_DENSITY, _MAX_DENSITY = 1e-6, 0.999
# One EM step per iteration needs 40 iterations where these few more on a sample need 15.
_SAMPLE, _SAMPLE_STEPS = BLOCK, 5


class Denoised(NamedTuple, Generic[Prior]):
    """Outcome of one pass over r.

    Attributes:
        divergence: mean of d estimate / d r.
        error: mean squared error by Stein's unbiased formula, which does not trust the prior, yet
            no lower than a quarter of what the prior claims.
        density: mean probability of a non-zero.
        fitted: the prior after one EM step.
    """

    divergence: float
    error: float
    density: float
    fitted: Prior


class Denoiser(Protocol):
    """A prior and the estimate it implies; a value, never changed in place."""

    def blind(self, r: RealArray, tau2: float) -> Self:
        """Parameters to start from when nothing but r, float [d], is known."""

    def refit(self, r: RealArray, tau2: float) -> Self:
        """Parameters that fit r better, found on a sample of it."""

    def denoise(self, r: RealArray, tau2: float, out: RealArray) -> Denoised[Self]:
        """Write the estimate of x, [d], to `out` (not r itself) for noise variance tau2 > 0."""


def blocks(size: int) -> Iterator[slice]:
    """Slices that cover 0..size in steps of BLOCK."""
    return (slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK))


def _stein(removed: float, divergence: float, tau2: float, claimed: float) -> float:
    """Risk of an estimate from the mean of (estimate - r)^2 and the divergence, with a floor."""
    return max(removed + (2 * divergence - 1) * tau2, 0.25 * claimed, 1e-6 * tau2)


def sparsity_from_moments(r: RealArray, tau2: float) -> tuple[float, float]:
    """Density and second moment of a Bernoulli-Gaussian x, from moments of r = x + N(0, tau2).

    E x^2 = E r^2 - tau2 and E x^4 = E r^4 - 6 tau2 E x^2 - 3 tau2^2 = 3 (E x^2)^2 / density.
    """
    rms = sqrt(sum(float(np.dot(r[part], r[part])) for part in blocks(r.size)) / r.size)
    fourth = 0.0
    for part in blocks(r.size):
        square = np.square(r[part] / rms)
        fourth += float(np.dot(square, square))
    noise = tau2 / rms**2
    power = max(1 - noise, 1e-3)
    excess = fourth / r.size - 6 * noise * power - 3 * noise**2
    # The floor keeps a start that sampling noise pushed too low from locking EM at "almost empty".
    density = 3 * power**2 / excess if excess > 0 else 1.0
    return min(max(density, 0.02), 0.7), power * rms**2


@dataclass(frozen=True)
class _Mixture(Denoiser):
    """A spike at zero and a slab."""

    density: float = 0.1

    def refit(self, r: RealArray, tau2: float) -> Self:
        """EM on a sample, then the density, halved at most, of the least error by Stein's formula.

        The likeliest prior is not the best where none fits: sums of top-k vectors have no small
        entries, EM takes noise for them, and up to 1 dB is lost. The minimum of a parabola through
        three densities, unlike the best of a list, moves smoothly: the solver can converge.
        """
        sample, prior = _sample(r), self
        unused = np.empty_like(sample)
        for _ in range(_SAMPLE_STEPS):
            prior = prior.denoise(sample, tau2, out=unused).fitted
        candidates = [replace(prior, density=prior.density * 2 ** (t / 2)) for t in (-2, -1, 0)]
        low, middle, high = (c.denoise(sample, tau2, out=unused).error for c in candidates)
        curvature = low - 2 * middle + high
        best = (low - high) / (2 * curvature) - 1 if curvature > 0 else -2.0 * (low < high)
        return replace(prior, density=prior.density * 2 ** (min(max(best, -2.0), 0.0) / 2))


@dataclass(frozen=True)
class BernoulliGaussian(_Mixture):
    """x = 0 with probability 1 - density, else N(0, variance). EM: Vila and Schniter (2013)."""

    variance: float = 1.0

    def __post_init__(self) -> None:
        _check("density", self.density, _MAX_DENSITY)
        _check("variance", self.variance)

    def blind(self, r: RealArray, tau2: float) -> Self:
        """See `Denoiser`."""
        density, power = sparsity_from_moments(r, tau2)
        return replace(self, density=density, variance=power / density)

    def denoise(self, r: RealArray, tau2: float, out: RealArray) -> Denoised[Self]:
        """See `Denoiser`."""
        shrink = self.variance / (self.variance + tau2)
        rate = -0.5 * shrink / tau2
        odds = self.density / (1 - self.density) * sqrt(1 - shrink)
        active = energy = explained = total = 0.0
        square, weight = np.empty((2, min(BLOCK, r.size)), r.dtype)
        ones = np.ones_like(square)
        for part in blocks(r.size):
            ri, oi = r[part], out[part]
            q, p = square[: ri.size], weight[: ri.size]
            np.square(ri, out=q)
            total += float(np.dot(ri, ri))
            np.multiply(q, rate, out=p)
            np.exp(p, out=p)
            np.add(p, odds, out=p)
            np.divide(odds * shrink, p, out=p)  # shrink times probability of not being zero
            active += float(np.dot(p, ones[: ri.size]))
            energy += float(np.dot(p, q))
            np.multiply(p, ri, out=oi)
            explained += float(np.dot(oi, oi))
        second = active * tau2 + energy * shrink  # sum of E[x^2 | r]
        claimed = max(second - explained, 0.0) / r.size
        removed = (total - 2 * energy + explained) / r.size
        density = active / shrink / r.size
        fitted = replace(
            self,
            density=min(max(density, _MIN_DENSITY), _MAX_DENSITY),
            variance=max(second * shrink / max(active, 1e-30), 1e-6 * tau2),
        )
        error = _stein(removed, claimed / tau2, tau2, claimed)
        return Denoised(claimed / tau2, error, density, fitted)


@dataclass(frozen=True)
class Bimodal(_Mixture):
    """x = 0 with probability 1 - density, else N(+mean, variance) or N(-mean, variance).

    Fits sums of top-k vectors, whose small entries are missing.
    """

    mean: float = 1.0
    variance: float = 0.1

    def __post_init__(self) -> None:
        _check("density", self.density, _MAX_DENSITY)
        _check("mean", self.mean)
        _check("variance", self.variance)

    def blind(self, r: RealArray, tau2: float) -> Self:
        """See `Denoiser`. Starts well apart: EM can join the two modes but never part them."""
        density, power = sparsity_from_moments(r, tau2)
        second = power / density
        return replace(self, density=density, mean=sqrt(0.75 * second), variance=0.25 * second)

    def denoise(self, r: RealArray, tau2: float, out: RealArray) -> Denoised[Self]:
        """See `Denoiser`."""
        spread = self.variance + tau2
        gain, pull = self.variance / spread, tau2 * self.mean / spread
        slope = self.mean / spread
        rate = -0.5 * gain / tau2
        # log of spike over slab at r = 0; with the factors 2 of cosh taken into the exponentials.
        offset = log(2 * (1 - self.density) / self.density)
        offset += 0.5 * log(spread / tau2) + 0.5 * self.mean * slope
        active = energy = signed = explained = total = 0.0
        buffers = np.empty((5, min(BLOCK, r.size)), r.dtype)
        for part in blocks(r.size):
            ri, oi = r[part], out[part]
            size, tilt, spike, slab, work = buffers[:, : ri.size]
            np.abs(ri, out=size)
            total += float(np.dot(size, size))
            np.multiply(size, -slope, out=tilt)
            np.multiply(size, rate, out=spike)
            np.multiply(spike, size, out=spike)
            np.add(spike, tilt, out=spike)
            np.add(spike, offset, out=spike)
            np.minimum(spike, 80.0, out=spike)
            np.exp(spike, out=spike)
            np.add(tilt, tilt, out=tilt)
            np.exp(tilt, out=tilt)  # e^{-2 slope |r|}: which of the two modes
            np.add(tilt, 1.0, out=slab)
            np.add(spike, slab, out=spike)
            np.subtract(1.0, tilt, out=tilt)
            np.divide(tilt, slab, out=tilt)  # tanh(slope |r|)
            np.divide(slab, spike, out=slab)  # probability that this entry is not zero
            np.multiply(slab, size, out=work)
            active += float(slab.sum())
            energy += float(np.dot(work, size))
            signed += float(np.dot(work, tilt))
            np.multiply(tilt, pull, out=tilt)
            np.multiply(size, gain, out=size)
            np.add(tilt, size, out=tilt)
            np.multiply(tilt, slab, out=tilt)
            explained += float(np.dot(tilt, tilt))
            np.copysign(tilt, ri, out=oi)
        second = active * (gain * tau2 + pull**2) + energy * gain**2 + 2 * gain * pull * signed
        claimed = max(second - explained, 0.0) / r.size
        removed = (total - 2 * (gain * energy + pull * signed) + explained) / r.size
        weight = max(active, 1e-30)
        mean = (gain * signed + pull * active) / weight
        variance = second / weight - mean**2
        density = active / r.size
        fitted = replace(
            self,
            density=min(max(density, _MIN_DENSITY), _MAX_DENSITY),
            mean=max(mean, 1e-6 * sqrt(tau2)),
            variance=max(variance, 1e-3 * mean**2, 1e-6 * tau2),
        )
        error = _stein(removed, claimed / tau2, tau2, claimed)
        return Denoised(claimed / tau2, error, density, fitted)


@dataclass(frozen=True)
class SoftThreshold:
    """sign(r) max(|r| - threshold sqrt(tau2), 0), threshold by Stein's unbiased risk estimate.

    With it OAMP ends where LASSO with the best regulariser ends (Donoho and Johnstone, 1995).
    """

    threshold: float = 1.5

    def __post_init__(self) -> None:
        _check("threshold", self.threshold)

    def blind(self, r: RealArray, tau2: float) -> Self:
        """See `Denoiser`."""
        return self.refit(r, tau2)

    def refit(self, r: RealArray, tau2: float) -> Self:
        """See `Denoiser`. The threshold of least estimated risk among the sample's magnitudes."""
        sample = np.sort(np.abs(_sample(r)).astype(np.float64)) / sqrt(tau2)
        above = np.arange(sample.size - 1, -1, -1)
        risk = np.cumsum(sample**2) + above * (sample**2 + 2)
        best = float(sample[int(np.argmin(risk))])
        return replace(self, threshold=min(max(best, 1e-3), 10.0))

    def denoise(self, r: RealArray, tau2: float, out: RealArray) -> Denoised[Self]:
        """See `Denoiser`."""
        level = self.threshold * sqrt(tau2)
        kept = 0
        removed = 0.0
        buffer = np.empty(min(BLOCK, r.size), r.dtype)
        for part in blocks(r.size):
            ri, oi = r[part], out[part]
            clipped = buffer[: ri.size]
            np.clip(ri, -level, level, out=clipped)
            np.subtract(ri, clipped, out=oi)
            removed += float(np.dot(clipped, clipped))
            kept += int(np.count_nonzero(oi))
        density = kept / r.size
        error = _stein(removed / r.size, density, tau2, claimed=0.0)
        return Denoised(density, error, density, self)


def _sample(r: RealArray) -> RealArray:
    return np.ascontiguousarray(r[:: -(-r.size // _SAMPLE)])


def _check(name: str, value: float, upper: float = float("inf")) -> None:
    if not 0 < value <= upper:
        raise ValueError(f"{name} is {value}; must be above 0 and at most {upper}")
