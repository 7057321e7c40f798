"""What lies between two radios: loss, delay and fading, the same both ways."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim_fallback.tapped_delay import TappedDelayLine

SPEED_OF_LIGHT = 299_792_458.0


def free_space_loss_db(distance_m: float, carrier_hz: float) -> float:
    """Loss between isotropic antennas, 20 log10(4 pi d f / c).

    Friis, "A note on a simple transmission formula", 1946.

    Raises:
        ValueError: distance or carrier are not positive.
    """
    if not distance_m > 0 or not carrier_hz > 0:
        raise ValueError(f"distance and carrier must be positive, not {distance_m}, {carrier_hz}")
    return 20 * math.log10(4 * math.pi * distance_m * carrier_hz / SPEED_OF_LIGHT)


def log_distance_loss_db(
    distance_m: float, carrier_hz: float, exponent: float, reference_m: float = 1.0
) -> float:
    """Free space up to a reference distance, then 10 `exponent` dB per decade.

    Rappaport, "Wireless Communications", 1996: exponent 2 is free space, 3 to 4 a building.

    Raises:
        ValueError: the distance is shorter than the reference, or that is not positive.
    """
    if not distance_m >= reference_m:
        raise ValueError(f"distance {distance_m} m is nearer than the reference, {reference_m} m")
    beyond = 10 * exponent * math.log10(distance_m / reference_m)
    return free_space_loss_db(reference_m, carrier_hz) + beyond


@dataclass(frozen=True)
class PathResponse:
    """A path at some times.

    Attributes:
        gains: of the taps, with the loss, complex128 [B, T].
        rates: their derivatives in 1/s, complex128 [B, T].
        delays_s: of the taps, with the propagation, float64 [T].
    """

    gains: npt.NDArray[np.complex128]
    rates: npt.NDArray[np.complex128]
    delays_s: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Path:
    """What joins one pair of radios, in either direction.

    The phase that the carrier gathers on the way is part of the fading: a tap's gain is the gain
    of the baseband.

    Attributes:
        fading: of mean power 1.
        loss_db: mean loss.
        delay_s: propagation delay, >= 0.
        seed: of the air.
        index: of the device, which names its fading.
    """

    fading: TappedDelayLine
    loss_db: float = 0.0
    delay_s: float = 0.0
    seed: int = 0
    index: int = 0

    def __post_init__(self) -> None:
        if not math.isfinite(self.loss_db):
            raise ValueError(f"loss_db must be finite, not {self.loss_db}")
        if not 0 <= self.delay_s < math.inf:
            raise ValueError(f"delay_s must be finite and >= 0, not {self.delay_s}")
        if self.seed < 0 or self.index < 0:
            raise ValueError(f"seed and index must be >= 0, not {self.seed} and {self.index}")

    @classmethod
    def ideal(cls) -> Path:
        """A gain of 1 without delay."""
        return cls(TappedDelayLine(kind="awgn"))

    @property
    def delays_s(self) -> npt.NDArray[np.float64]:
        """Of the taps, with the propagation, float64 [T]."""
        return self.delay_s + np.array(self.fading.delays_s)

    @property
    def doppler_hz(self) -> float:
        """Largest Doppler shift."""
        return self.fading.doppler_hz

    def response(self, t: npt.NDArray[np.float64]) -> PathResponse:
        """The path at true times t in seconds, float64 [B]."""
        gains, rates = self.fading.gains_and_rates(self.seed, self.index, t)
        amplitude = 10 ** (-self.loss_db / 20)
        return PathResponse(amplitude * gains, amplitude * rates, self.delays_s)
