"""Oscillator drift: Allan deviation over averaging times, with confidence limits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from calibration.estimate import COVERAGE, Estimate, MeasurementError
from calibration.track import Track

RealArray = npt.NDArray[np.float64]

LEAST = 16  # points
UNEVEN = 0.01  # of the spacing by which points may lie elsewhere


@dataclass(frozen=True)
class AllanPoint:
    """Allan deviation at one averaging time.

    Attributes:
        tau_s: averaging time.
        deviation: of fractional frequency, without the noise of the measurement.
        low, high: limits that cover the truth with about 95 %; chi-squared, so not symmetric.
        noise: deviation that the noise of the measurement alone would show: where it exceeds
            `deviation`, the oscillators were not seen at this averaging time.
    """

    tau_s: float
    deviation: Estimate
    low: float
    high: float
    noise: float


def allan_of_track(track: Track, carrier_hz: float) -> tuple[AllanPoint, ...]:
    """Drift of both oscillators of a track against each other.

    Variances of the two add up: of two alike each has 1/sqrt(2) of the deviation. Phase noise of
    the synthesizers shows as noise of the measurement at the shortest averaging times.

    Args:
        track: of beacons at even distances, none lost.
        carrier_hz: that the oscillators make.

    Raises:
        MeasurementError: fewer than 16 beacons, or gaps between them.
    """
    spacing_s = float(np.median(np.diff(track.times_s))) if len(track) > 1 else 0.0
    if len(track) < LEAST:
        raise MeasurementError(f"{len(track)} beacons are too few for drift; {LEAST} are needed")
    if np.max(np.abs(np.diff(track.times_s) - spacing_s)) > UNEVEN * spacing_s:
        raise MeasurementError("beacons of a drift measurement were lost; measure again")
    turn = 2 * math.pi * carrier_hz
    noise_var_s2 = float(track.phase_vars.mean()) / turn**2
    return allan_deviation(track.phases / turn, spacing_s, noise_var_s2)


def allan_deviation(
    time_error_s: RealArray, spacing_s: float, noise_var_s2: float = 0.0
) -> tuple[AllanPoint, ...]:
    """Overlapping Allan deviation at averaging times spacing_s times 1, 2, 4, ...

    sigma^2(m tau0) = sum (x_{i+2m} - 2 x_{i+m} + x_i)^2 / (2 (m tau0)^2 (N - 2m)), less
    3 noise_var / tau^2 for white noise of the time error. Degrees of freedom are those of a
    random walk of frequency, the fewest of all kinds of noise (Riley, "Handbook of frequency
    stability analysis", NIST SP 1065, equation 10 and table 5); averaging times end where they get
    fewer than 4.

    Args:
        time_error_s: of one clock against another, float64 [N >= 16], evenly spaced.
        spacing_s: of the points.
        noise_var_s2: variance of the error of each point, s^2.

    Raises:
        ValueError: fewer points, or a spacing or variance that is none.
    """
    x = np.asarray(time_error_s, np.float64)
    if x.ndim != 1 or x.size < LEAST:
        raise ValueError(f"drift takes at least {LEAST} points, not {list(x.shape)}")
    if not spacing_s > 0 or not noise_var_s2 >= 0:
        raise ValueError(f"no spacing and variance: {spacing_s}, {noise_var_s2}")
    points = []
    m = 1
    while 2 * m < x.size and (freedom := _freedom(x.size, m)) >= 4:
        tau_s = m * spacing_s
        second = x[2 * m :] - 2 * x[m:-m] + x[: -2 * m]
        variance = float(np.mean(second**2)) / (2 * tau_s**2)
        noise = 3 * noise_var_s2 / tau_s**2
        points.append(_point(tau_s, variance, noise, freedom))
        m *= 2
    return tuple(points)


def _point(tau_s: float, variance: float, noise: float, freedom: float) -> AllanPoint:
    outside = float(special.ndtr(-COVERAGE))
    low, high = (
        math.sqrt(max(variance * freedom / special.chdtri(freedom, share) - noise, 0.0))
        for share in (outside, 1 - outside)
    )
    deviation = math.sqrt(max(variance - noise, 0.0))
    uncertainty = (high - low) / (2 * COVERAGE)
    return AllanPoint(tau_s, Estimate(deviation, uncertainty, ""), low, high, math.sqrt(noise))


def _freedom(n: int, m: int) -> float:
    """Of the overlapping estimate from n phases at m spacings, for a random walk of frequency."""
    if n < 4:
        return 0.0
    return (n - 2) / m * ((n - 1) ** 2 - 3 * m * (n - 1) + 4 * m**2) / (n - 3) ** 2
