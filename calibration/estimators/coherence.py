"""For how long a channel stays as it is: changes of phase and amplitude over time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft, special

from calibration.estimate import COVERAGE, Estimate, MeasurementError, root_of
from calibration.track import Track

IndexArray = npt.NDArray[np.int64]
RealArray = npt.NDArray[np.float64]

LEAST = 32  # beacons
LEAST_FREEDOM = 2.0
SEEN = 0.5  # share of the pairs of beacons that have to have been heard
LONGEST = 8  # lags reach to this part of the track: what is longer was seen too few times
PHASE_DEG = 10.0  # rms, which costs a sum over the air a tenth of its power at most
LAGS_AN_OCTAVE = 2


@dataclass(frozen=True)
class Change:
    """How much a channel changes within a lag.

    Attributes:
        lag_s: between two looks.
        phase: rms difference of phase, deg, without noise and carrier offset.
        amplitude: rms difference of level, dB, without noise.
    """

    lag_s: float
    phase: Estimate
    amplitude: Estimate


@dataclass(frozen=True)
class Coherence:
    """Stability of a channel, both oscillators and the path in it.

    Attributes:
        changes: over lags that grow by the root of 2.
        time: lag at which the rms change of phase reaches the limit, s. None where it does not
            within the lags that the track can tell.
        longer_than_s: lag up to which the change surely stays below the limit; 0 where it exceeds
            it from one beacon to the next.
    """

    changes: tuple[Change, ...]
    time: Estimate | None
    longer_than_s: float

    def at(self, lag_s: float) -> Change:
        """The change over the lag nearest to this one, by their ratio."""
        return min(self.changes, key=lambda change: abs(math.log(change.lag_s / lag_s)))


def coherence(track: Track, limit_deg: float = PHASE_DEG) -> Coherence:
    """Changes of phase and amplitude from beacon to beacon, over lags up to an eighth of a track.

    A constant carrier offset, which rounds correct, is taken off: the straight line through the
    phases of the track. Noise adds twice its variance to a mean square difference; that much is
    taken off. How many independent differences there are follows from their spectrum (the
    equivalent degrees of freedom of Gaussian processes; Percival and Walden, "Spectral analysis
    for physical applications", section 6.10): a channel that fades twice within a track says
    little, however many beacons there are.

    The coherence time lies where the change crosses the limit. How much sooner or later it would if
    the change were larger or smaller by its uncertainty is that of the time. What the track was too
    short for is left open.

    Args:
        track: of at least 32 beacons at even distances; some may have been lost.
        limit_deg: rms change of phase up to which a channel counts as the same.

    Raises:
        MeasurementError: fewer beacons, or too far apart for their phases.
        ValueError: no limit of 0 to 180.
    """
    if not 0 < limit_deg < 180:
        raise ValueError(f"limit_deg should be between 0 and 180, not {limit_deg}")
    if len(track) < LEAST:
        raise MeasurementError(
            f"{len(track)} beacons are too few for a coherence time; {LEAST} are needed"
        )
    spacing = float(np.min(np.diff(track.sent)))
    slots = np.round((track.sent - track.sent[0]) / spacing).astype(np.int64)
    spacing_s = float(track.times_s[-1] - track.times_s[0]) / slots[-1]
    line = np.polynomial.Polynomial.fit(track.times_s, track.phases, 1)
    phases = np.degrees(track.phases - line(track.times_s))
    phase_var = math.degrees(1) ** 2 * float(track.phase_vars.mean())
    amplitudes = np.abs(track.gains)
    levels = 20 * np.log10(amplitudes)
    # Half of E|error|^2 is along the gain.
    level_var = (20 / math.log(10)) ** 2 * float(np.mean(track.gain_vars / 2 / amplitudes**2))
    changes = []
    for lag in _lags(int(slots[-1]) + 1):
        phase = _rms(slots, phases, lag, 2 * phase_var, "deg")
        level = _rms(slots, levels, lag, 2 * level_var, "dB")
        changes.append(Change(lag * spacing_s, phase, level))
    time, longer_than_s = _crossing(changes, limit_deg)
    return Coherence(tuple(changes), time, longer_than_s)


def _lags(slots: int) -> list[int]:
    """In slots, from 1 to an eighth of the track."""
    longest = slots // LONGEST
    count = 1 + math.floor(LAGS_AN_OCTAVE * math.log2(longest))
    return sorted({round(2 ** (k / LAGS_AN_OCTAVE)) for k in range(count)})


def _rms(slots: IndexArray, values: RealArray, lag: int, noise: float, unit: str) -> Estimate:
    """Root of the mean square difference over a lag, less the noise in it."""
    grid = np.full(slots[-1] + 1, np.nan)
    grid[slots] = values
    differences = grid[lag:] - grid[:-lag]
    seen = np.isfinite(differences)
    if np.mean(seen) < SEEN:
        raise MeasurementError("too many beacons were lost for a coherence time; measure again")
    differences[~seen] = 0.0
    square = float(differences @ differences) / np.count_nonzero(seen)
    # The squares of an autocorrelation add up to those of its spectrum; those of a periodogram
    # are twice as large on average.
    spectrum = np.abs(fft.rfft(differences, 2 * differences.size)) ** 2
    alike = differences.size * float(np.sum(spectrum**2)) / float(np.sum(spectrum)) ** 2 / 2
    freedom = max(np.count_nonzero(seen) / max(alike, 1.0), LEAST_FREEDOM)
    high = square * freedom / special.chdtri(freedom, special.ndtr(COVERAGE))
    return root_of(square - noise, (high - square) / COVERAGE, unit)


def _crossing(changes: list[Change], limit_deg: float) -> tuple[Estimate | None, float]:
    """Where the change of phase reaches a limit, and the lag until when it surely stays below."""
    lags = np.array([change.lag_s for change in changes])
    value = np.array([change.phase.value for change in changes])
    error = np.array([change.phase.uncertainty for change in changes])
    sure = _reaches(lags, value + COVERAGE * error, limit_deg)
    low, time, high = (
        # By a factor to both sides: the distribution of a deviation is steeper below.
        _reaches(lags, value * (1 + error / np.maximum(value, 1e-9)) ** k, limit_deg)
        for k in (1, 0, -1)
    )
    longer_than_s = float(lags[-1]) if sure is None else sure
    if low is None or time is None or high is None or low == 0:
        return None, longer_than_s
    return Estimate(time, (high - low) / 2, "s"), longer_than_s


def _reaches(lags: RealArray, changes: RealArray, limit: float) -> float | None:
    """The first lag at which a limit is reached, between lags by a power law; 0 at the first."""
    beyond = np.flatnonzero(changes >= limit)
    if not beyond.size:
        return None
    k = int(beyond[0])
    if k == 0:
        return 0.0
    low, high = max(changes[k - 1], limit * 1e-3), changes[k]
    share = math.log(limit / low) / math.log(high / low)
    return float(lags[k - 1] * (lags[k] / lags[k - 1]) ** share)
