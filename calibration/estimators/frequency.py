"""Carrier frequency offset, from the phases of beacons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.estimate import Estimate, MeasurementError, widening
from calibration.track import Track

RealArray = npt.NDArray[np.float64]

LEAST = 6  # beacons
RATIOS = 49  # strengths of the walk that are weighed against each other
WEAKEST, STRONGEST = 1e-3, 1e5  # phase that the walk adds over the track, over noise: variances
LEANING = 0.25  # power of that ratio in its prior: halfway between flat in its logarithm and root
LEANING = 0.25  # power of that ratio in its prior: halfway from flat in its logarithm to its root


@dataclass(frozen=True)
class Frequency:
    """Carrier offset of a sender at a receiver.

    Attributes:
        cfo: Hz by the receiver's clock, positive where the sender's carrier is high. Both
            oscillators are in it: no receiver tells its own offset from the sender's.
        at_s: time on the receiver's clock at which it was so.
    """

    cfo: Estimate
    at_s: float


def frequency(track: Track) -> Frequency:
    """The offset in the middle of a track, in spite of oscillators that wander.

    Phases are phi(t) = a + 2 pi f t + q^(1/2) W(t) + noise, where W is the integral of a Wiener
    process that is 0 at the middle of the track, once to each side, so that f is the frequency
    there. f follows by generalised least squares. How strong the walk is beside the noise nobody
    knows beforehand: strengths are weighed by their restricted likelihood (Harville, "Maximum
    likelihood approaches to variance component estimation", JASA 1977), so that the uncertainty
    holds with and without a walk. A few beacons hardly tell one, and to overlook it is the worse
    mistake: beforehand a stronger walk counts as somewhat more likely.

    Args:
        track: of at least 6 beacons.

    Raises:
        MeasurementError: fewer beacons, or too far apart for their phases.
    """
    if len(track) < LEAST:
        raise MeasurementError(
            f"{len(track)} beacons are too few for a frequency; {LEAST} are needed"
        )
    middle_s = float(track.times_s[0] + track.times_s[-1]) / 2
    half = float(track.times_s[-1] - track.times_s[0]) / 2
    time = (track.times_s - middle_s) / half
    slope, error = _slope(time, track.phases)
    hertz = 1 / (2 * np.pi * half)
    return Frequency(Estimate(slope * hertz, error * hertz, "Hz"), middle_s)


def _slope(time: RealArray, values: RealArray) -> tuple[float, float]:
    """Slope at time 0 of a line plus integrated walk plus noise, and its standard uncertainty."""
    n = time.size
    line = np.stack([np.ones(n), time], axis=1)
    walk = _walk_covariance(time)
    # Orthogonal to any line, and such that walk and noise are independent from entry to entry.
    beside = np.linalg.qr(line, mode="complete")[0][:, 2:]
    strengths, turn = np.linalg.eigh(beside.T @ walk @ beside)
    strengths = np.maximum(strengths, 0.0)
    squares = (turn.T @ (beside.T @ values)) ** 2
    ratios = np.concatenate([[0.0], np.geomspace(WEAKEST, STRONGEST, RATIOS)])
    slopes, variances, likelihoods = np.empty((3, ratios.size))
    for k, ratio in enumerate(ratios):
        spread = 1 + ratio * strengths
        noise_var = float(np.mean(squares / spread))
        likelihoods[k] = -0.5 * ((n - 2) * np.log(noise_var) + np.sum(np.log(spread)))
        weighted = np.linalg.solve(np.eye(n) + ratio * walk, line)
        inverse = np.linalg.inv(line.T @ weighted)
        slopes[k] = (inverse @ (weighted.T @ values))[1]
        variances[k] = noise_var * inverse[1, 1]
    weights = np.exp(likelihoods - likelihoods.max())
    weights *= np.maximum(ratios, WEAKEST) ** LEANING
    weights /= weights.sum()
    slope = float(weights @ slopes)
    variance = float(weights @ (variances + (slopes - slope) ** 2))
    return slope, float(np.sqrt(variance)) * widening(n - 2)


def _walk_covariance(time: RealArray) -> RealArray:
    """Of the integral of a two-sided Wiener process from 0: low^2 (3 high - low) / 6."""
    low = np.minimum.outer(np.abs(time), np.abs(time))
    high = np.maximum.outer(np.abs(time), np.abs(time))
    same_side = np.multiply.outer(time, time) > 0
    covariance: RealArray = np.where(same_side, low**2 * (3 * high - low) / 6, 0.0)
    return covariance
