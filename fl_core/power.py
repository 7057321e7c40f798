"""Power control: what each device multiplies its symbols with, so that none exceeds its limit.

Device i sends x_i = c p_i s_i with its precoder p_i and a scale c common to all, so that the
superposition stays proportional to the wanted sum:

- ``phase_only`` (Wen, Xing and Simeone, arXiv 2406.11569): p_i = exp(-j angle h_i). The update
  of device i is weighted by |h_i|; the server divides by r E|h|.
- ``truncated_inversion`` (Zhu, Wang and Huang, "Broadband Analog Aggregation for Low-Latency
  Federated Edge Learning", IEEE TWC 2020): p_i = 1/h_i, silent where |h_i| is below a threshold.
  All weights are 1; the server divides by the number of devices that are not silent.
  The threshold is given, or the one of least aggregation error in the round (`AUTO`).
- ``full_inversion``: the same with only a dead channel silent; the weakest device sets the scale.
- ``capped_inversion`` (Cao, Zhu, Xu and Huang, "Optimized Power Control for Over-the-Air
  Computation in Fading Channels", IEEE TWC 2020): p_i = 1/h_i as far as the limit goes. Who is too
  weak for the scale sends with all it has; the scale is that of least aggregation error.

`fl_core.aggregation` has the error and what makes it least.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from fl_core.aggregation import least_error_scale, least_error_threshold

ComplexArray = npt.NDArray[np.complexfloating]
RealArray = npt.NDArray[np.float64]

POLICIES: Sequence[str] = (
    "phase_only",
    "truncated_inversion",
    "full_inversion",
    "capped_inversion",
)
AUTO: Final = "auto"  # threshold: of least aggregation error


@dataclass(frozen=True)
class PowerPlan:
    """What the devices of one round do.

    Attributes:
        precoders: complex128 [r], p_i; 0 for a silent device.
        scale: c, common to all; 0 when no device has anything to send, and then the server has
            nothing to recover.
        active: bool [r]; False where power control silences a device, which then keeps all of its
            update in memory.
        inverts: whether the precoders undo the channel's amplitude, not only its phase.
    """

    precoders: npt.NDArray[np.complex128]
    scale: float
    active: npt.NDArray[np.bool_]
    inverts: bool

    def precode(self, symbols: ComplexArray) -> npt.NDArray[np.complex64]:
        """Transmitted x, complex64 [r, M], of the symbols s of the devices, complex [r, M]."""
        return (symbols * (self.scale * self.precoders)[:, None]).astype(np.complex64)

    def weights(self, true_gains: ComplexArray) -> RealArray:
        """Weight of each update in the received sum by intent, |h_i| |p_i|, float64 [r].

        Args:
            true_gains: channel the symbols go through, complex [r]. Its phase is taken as perfectly
                undone: what is left of it is an error of the round, not a weight.
        """
        weights: RealArray = np.abs(true_gains.astype(np.complex128)) * np.abs(self.precoders)
        return weights

    def normaliser(self, mean_gain: float) -> float:
        """What the server divides c^-1 times the recovered sum by to step with an average.

        Args:
            mean_gain: mu_h = E|h| over fading and devices.

        Returns:
            mu_h r where the channel weights the updates, the number of devices that are not
            silent where it is inverted (0 if all are).
        """
        return float(np.count_nonzero(self.active)) * (1.0 if self.inverts else mean_gain)


class PowerPolicy(Protocol):
    """Chooses precoders from estimated channels, and the largest scale that the limit permits."""

    def plan(
        self, gains: ComplexArray, energies: npt.ArrayLike, num_symbols: int, noise_var: float
    ) -> PowerPlan:
        """Plan a round so that ||x_i||^2 / M <= limit for every device.

        Args:
            gains: estimated channel of each device, complex [r].
            energies: ||s_i||^2 of each device, [r], the one scalar it reports.
            num_symbols: M, channel uses of the round.
            noise_var: sigma^2 of the receiver per symbol, as far as it is known.

        Raises:
            ValueError: shapes differ, a value is not finite, an energy or the noise is negative,
                or M < 1.
        """


@dataclass(frozen=True)
class PhaseOnly:
    """Undoes the phase of the channel and leaves its amplitude.

    Attributes:
        limit: P, permitted mean power per symbol.
    """

    limit: float

    def __post_init__(self) -> None:
        _require_limit(self.limit)

    def plan(
        self, gains: ComplexArray, energies: npt.ArrayLike, num_symbols: int, noise_var: float
    ) -> PowerPlan:
        """As `PowerPolicy.plan`; nobody is silent, a dead channel counts with weight 0."""
        reported = _checked_energies(gains, energies, num_symbols, noise_var)
        precoders = np.exp(-1j * np.angle(gains.astype(np.complex128)))
        scale = _largest_scale(precoders, reported, self.limit * num_symbols)
        return PowerPlan(precoders, scale, np.ones(gains.shape, np.bool_), inverts=False)


@dataclass(frozen=True)
class Inversion:
    """Undoes phase and amplitude of every channel stronger than the threshold.

    Attributes:
        limit: P, permitted mean power per symbol.
        threshold: amplitude |h| at and below which a device is silent; 0 inverts every channel
            that is not dead, `AUTO` chooses anew each round.
    """

    limit: float
    threshold: float | Literal["auto"] = 0.0

    def __post_init__(self) -> None:
        _require_limit(self.limit)
        if self.threshold != AUTO and not 0 <= self.threshold < math.inf:
            raise ValueError(f"threshold must be an amplitude >= 0, not {self.threshold}")

    def plan(
        self, gains: ComplexArray, energies: npt.ArrayLike, num_symbols: int, noise_var: float
    ) -> PowerPlan:
        """As `PowerPolicy.plan`."""
        reported = _checked_energies(gains, energies, num_symbols, noise_var)
        channel = gains.astype(np.complex128)
        amplitudes, threshold = np.abs(channel), self.threshold
        if threshold == AUTO:
            threshold = least_error_threshold(amplitudes, reported, noise_var / self.limit)
        active = amplitudes > threshold
        precoders = _inverse(channel, active)
        scale = _largest_scale(precoders, reported, self.limit * num_symbols)
        return PowerPlan(precoders, scale, active, inverts=True)


@dataclass(frozen=True)
class CappedInversion:
    """Undoes phase and amplitude of every channel as far as the limit goes.

    Attributes:
        limit: P, permitted mean power per symbol.
    """

    limit: float

    def __post_init__(self) -> None:
        _require_limit(self.limit)

    def plan(
        self, gains: ComplexArray, energies: npt.ArrayLike, num_symbols: int, noise_var: float
    ) -> PowerPlan:
        """As `PowerPolicy.plan`; only a dead channel is silent, a weak one has a smaller weight."""
        reported = _checked_energies(gains, energies, num_symbols, noise_var)
        channel, budget = gains.astype(np.complex128), self.limit * num_symbols
        amplitudes = np.abs(channel)
        active = amplitudes > 0
        scale = least_error_scale(amplitudes, reported, budget, num_symbols * noise_var)
        # The weight that a device reaches with all its power is above 1 where it has to spare.
        wanted, reached = scale * np.sqrt(reported), math.sqrt(budget) * amplitudes
        weights = np.ones_like(amplitudes)
        np.divide(reached, wanted, out=weights, where=wanted > reached)
        return PowerPlan(weights * _inverse(channel, active), scale, active, inverts=True)


def build_policy(name: str, limit: float, threshold: float | Literal["auto"] = 0.0) -> PowerPolicy:
    """The policy of this name, one of `POLICIES`.

    Args:
        name: see the module's docstring.
        limit: P, permitted mean power per symbol, > 0.
        threshold: of `truncated_inversion`, an amplitude or `AUTO`; the others ignore it.
    """
    if name == "phase_only":
        return PhaseOnly(limit)
    if name == "truncated_inversion":
        return Inversion(limit, threshold)
    if name == "full_inversion":
        return Inversion(limit)
    if name == "capped_inversion":
        return CappedInversion(limit)
    raise ValueError(f"no power policy {name!r}; there are {', '.join(POLICIES)}")


def _inverse(
    channel: npt.NDArray[np.complex128], active: npt.NDArray[np.bool_]
) -> npt.NDArray[np.complex128]:
    """1/h_i of the active devices, 0 of the others."""
    precoders = np.zeros_like(channel)
    np.divide(1.0, channel, out=precoders, where=active)
    return precoders


def _largest_scale(
    precoders: npt.NDArray[np.complex128], energies: RealArray, budget: float
) -> float:
    """The largest c with c^2 |p_i|^2 ||s_i||^2 <= budget = P M for all i; 0 if nothing is sent."""
    loudest = float(np.max(np.abs(precoders) * np.sqrt(energies), initial=0.0))
    return math.sqrt(budget) / loudest if loudest > 0 else 0.0


def _checked_energies(
    gains: ComplexArray, energies: npt.ArrayLike, num_symbols: int, noise_var: float
) -> RealArray:
    reported: RealArray = np.asarray(energies, np.float64)
    if gains.ndim != 1 or reported.shape != gains.shape:
        raise ValueError(f"expected one energy a gain, got {reported.shape} for {gains.shape}")
    if not (np.isfinite(gains).all() and np.isfinite(reported).all() and (reported >= 0).all()):
        raise ValueError("gains must be finite and energies finite and >= 0")
    if num_symbols < 1:
        raise ValueError(f"num_symbols must be at least 1, not {num_symbols}")
    if not 0 <= noise_var < math.inf:
        raise ValueError(f"noise_var must be finite and >= 0, not {noise_var}")
    return reported


def _require_limit(limit: float) -> None:
    if not 0 < limit < math.inf:
        raise ValueError(f"power limit must be positive and finite, not {limit}")
