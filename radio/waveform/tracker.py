"""Phase of one free-running radio against another, followed from beacon to beacon.

Between two oscillators the phase is that of a frequency which takes a random walk, so that phases
and frequencies at any times are jointly Gaussian, and a few beacons predict all others by
conditioning. It is what a Kalman filter and smoother compute (Zucca and Tavella, "The clock model
and its relationship with the Allan and related variances", IEEE UFFC 2005), without a grid of time
steps: the same few lines look ahead to the data and back to the sounding.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

RealArray = npt.NDArray[np.float64]

_ALLAN_TAU_S = 0.1  # where an oscillator's Allan deviation is quoted
_PRIOR_PHASE = 10.0  # rad, around the first beacon's: next to nothing is known before it
_PRIOR_RATE = 1e3  # rad/s, around the first beacon's
_KEPT = 16  # beacons remembered; a long update has hundreds of bursts


@dataclass(frozen=True)
class Observation:
    """One beacon: when it was heard, and its phase and rate with their variances."""

    time_s: float
    phase: float
    phase_var: float
    rate: float
    rate_var: float


@dataclass
class PhaseTracker:
    """Predicts the phase of a radio's beacons, in rad over seconds of one's own clock.

    Attributes:
        carrier_hz: carrier that both radios derive from their oscillators.
        allan_deviation: of each oscillator at 0.1 s, for a random walk of frequency; what is
            expected of them, not what they have.
        phase_noise_var: rad^2 of a beacon's phase that neither oscillator nor noise explains.
    """

    carrier_hz: float
    allan_deviation: float
    phase_noise_var: float = 1e-5
    observations: list[Observation] = field(default_factory=list)

    def observe(
        self, time_s: float, phase: float, phase_var: float, cfo_hz: float, span_s: float
    ) -> None:
        """Take in a beacon; times never decrease.

        Args:
            time_s: its centre.
            phase: there, rad, any multiple of 2 pi off.
            phase_var: rad^2, from noise.
            cfo_hz: its frequency.
            span_s: its length, which with the phase's variance tells that of its frequency:
                12 phase_var / span^2 (Rife and Boorstyn, IEEE Trans. Inf. Theory 1974).
        """
        variance = phase_var + self.phase_noise_var
        if self.observations:
            expected = self.phase(np.array([time_s]))[0][0]
            phase = expected + float(np.angle(np.exp(1j * (phase - expected))))
        rate_var = 12 * variance / span_s**2
        seen = Observation(time_s, phase, variance, 2 * np.pi * cfo_hz, rate_var)
        self.observations.append(seen)
        if len(self.observations) > _KEPT:
            # The first ones hold the phase at the sounding, the last ones the present.
            del self.observations[_KEPT // 2]

    def phase(self, times_s: RealArray) -> tuple[RealArray, RealArray]:
        """Expected phase and its variance at these times, [n] each, none before the first beacon.

        Raises:
            ValueError: nothing was observed yet, or a time lies before it.
        """
        if not self.observations:
            raise ValueError("no beacon was observed yet")
        origin = self.observations[0].time_s
        seen = np.array([o.time_s for o in self.observations]) - origin
        asked = np.asarray(times_s, np.float64) - origin
        if asked.size and asked.min() < 0:
            raise ValueError("asked for a time before the first beacon")
        values = np.array(
            [o.phase for o in self.observations] + [o.rate for o in self.observations]
        )
        noise = np.array(
            [o.phase_var for o in self.observations] + [o.rate_var for o in self.observations]
        )
        first = self.observations[0]
        mean = np.concatenate([first.phase + first.rate * seen, np.full(seen.size, first.rate)])
        prior = np.block(
            [
                [self._phases(seen, seen), self._phase_rate(seen, seen)],
                [self._phase_rate(seen, seen).T, self._rates(seen, seen)],
            ]
        )
        cross = np.hstack([self._phases(asked, seen), self._phase_rate(asked, seen)])
        weights = np.linalg.solve(prior + np.diag(noise), cross.T).T
        expected = first.phase + first.rate * asked + weights @ (values - mean)
        variance = np.diag(self._phases(asked, asked)) - np.sum(weights * cross, axis=1)
        return expected, variance

    def cfo_hz(self, time_s: float, span_s: float = 1e-3) -> float:
        """Expected frequency at this time, from the slope of the expected phase."""
        (before, after), _ = self.phase(np.array([time_s, time_s + span_s]))
        return float(after - before) / (2 * np.pi * span_s)

    @property
    def _walk(self) -> float:
        """q, rad^2/s^3: Allan variance of a walk is D tau / 3; two oscillators walk."""
        walk = 3 * self.allan_deviation**2 / _ALLAN_TAU_S
        return 2 * (2 * np.pi * self.carrier_hz) ** 2 * walk

    def _phases(self, s: RealArray, t: RealArray) -> RealArray:
        """Covariance of phase at s with phase at t: q m^2 (3 M - m) / 6, m <= M the two times."""
        low, high = np.minimum.outer(s, t), np.maximum.outer(s, t)
        start = _PRIOR_PHASE**2 + _PRIOR_RATE**2 * np.multiply.outer(s, t)
        covariance: RealArray = start + self._walk * low**2 * (3 * high - low) / 6
        return covariance

    def _phase_rate(self, s: RealArray, t: RealArray) -> RealArray:
        """Covariance of phase at s with rate at t: q (m^2/2 + m (s - m))."""
        low = np.minimum.outer(s, t)
        walked = low**2 / 2 + low * (s[:, None] - low)
        covariance: RealArray = _PRIOR_RATE**2 * s[:, None] + self._walk * walked
        return covariance

    def _rates(self, s: RealArray, t: RealArray) -> RealArray:
        """Covariance of rate at s with rate at t."""
        covariance: RealArray = _PRIOR_RATE**2 + self._walk * np.minimum.outer(s, t)
        return covariance
