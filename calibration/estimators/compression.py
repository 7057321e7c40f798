"""1 dB compression of a transmitter, from the levels that a tone in steps arrives with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.curve import Curve
from calibration.estimate import Estimate, MeasurementError
from calibration.estimators.gain_curve import TOLERANCE_DB, linear_range

RealArray = npt.NDArray[np.float64]

LEAST = 5  # levels: three parameters, and some to see whether they do
SMOOTHNESSES = 40  # that are weighed at once
ANY_SMOOTHNESS = (0.4, 8.0)  # amplifiers have 0.7 to 4
PASSES = 3  # of narrowing them to those that are likely
STEPS = 12  # of Gauss and Newton; from a fair start 4 do
LOST_DB = (-3.0, 40.0)  # between which the gain lost at the highest drive is sought
SLIGHT_DB = 1e-3
GRID = 201  # drives that are looked at for the highest that is safe
IN_DB = 10 / math.log(10)


@dataclass(frozen=True)
class Compression:
    """Gain of a transmitter over drive.

    Attributes:
        gain: of small signals: level at the receiver over drive, dB.
        drive: gain over that of small signals in dB, over drive in dBFS (`tx_drive`); linear where
            it changes by no more than 1 dB.
        strongest: gain lost at the highest drive, dB.
        point: drive at which 1 dB of gain is lost, dBFS. None where the drive did not reach it.
        above_db: drive in dBFS, of those measured, above which the point surely lies: what is
            known of it where it was not reached.
    """

    gain: Estimate
    drive: Curve
    strongest: Estimate
    point: Estimate | None
    above_db: float

    def require_point(self) -> Estimate:
        """The 1 dB point.

        Raises:
            MeasurementError: it was not reached.
        """
        if self.point is None:
            raise MeasurementError(
                f"the drive did not reach 1 dB of compression: at {self.drive.measured.high:g} "
                f"dBFS the gain has dropped by {self.strongest.value:.2f} dB; the 1 dB point lies "
                f"above {self.above_db:.2f} dBFS, which may be taken as the limit"
            )
        return self.point


def compression(drives_db: Sequence[float], levels: Sequence[Estimate | None]) -> Compression:
    """The point from levels over drive, whatever the amplifier's smoothness.

    Fits level = gain + drive - (10/p) log10(1 + (10^(p k / 10) - 1) 10^(p (drive - highest)/10)):
    Rapp's law ("Effects of HPA-nonlinearity on a 4-DPSK/OFDM-signal for a digital sound
    broadcasting system", 1991), with the gain k that is lost at the highest drive in place of the
    saturation, so that an amplifier without compression is no special case. Gain and k follow by
    least squares for each smoothness p, and smoothnesses are weighed by their likelihood: where
    levels do not tell p, the uncertainty has it. Where residuals are larger than the uncertainties
    of levels, as of an amplifier with another law, all uncertainties grow by as much.

    Args:
        drives_db: as sent, over full scale, ascending or descending.
        levels: at each, of `tone_levels`; None where it was lost in noise.

    Raises:
        MeasurementError: fewer than 5 levels, or within less than 6 dB of drive.
        ValueError: not as many levels as drives.
    """
    if len(drives_db) != len(levels):
        raise ValueError(f"{len(levels)} levels for {len(drives_db)} drives; each takes one")
    heard = sorted(
        (float(drive), level)
        for drive, level in zip(drives_db, levels, strict=True)
        if level is not None
    )
    span = heard[-1][0] - heard[0][0] if heard else 0.0
    if len(heard) < LEAST or span < 6:
        raise MeasurementError(
            f"{len(heard)} levels over {span:g} dB of drive are too few for a compression point; "
            f"{LEAST} over at least 6 dB are needed"
        )
    drive = np.array([x for x, _ in heard])
    level = np.array([y.value for _, y in heard])
    error = np.array([y.uncertainty for _, y in heard])
    fits = _fits(drive - drive[-1], level - drive, error)
    gain, strongest = fits.gain(), fits.lost(0.0)
    point = fits.point() if strongest.value >= 1 else None
    curve = Curve(
        settings=tuple(drive.tolist()),
        values=tuple((level - drive - gain.value).tolist()),
        uncertainties=tuple(np.hypot(error, gain.uncertainty).tolist()),
        unit="dB",
        linear=linear_range(drive.tolist(), [y for _, y in heard], TOLERANCE_DB),
    )
    return Compression(
        gain=gain,
        drive=curve,
        strongest=strongest,
        point=None
        if point is None
        else Estimate(point.value + drive[-1], point.uncertainty, "dBFS"),
        above_db=float(drive[-1]) + fits.safe(drive[0] - drive[-1]),
    )


def _fits(drive: RealArray, gain: RealArray, error: RealArray) -> _Fits:
    """Fits over the smoothnesses that gains over drive let be likely."""
    low, high = np.log(ANY_SMOOTHNESS)
    for _ in range(PASSES):
        fits = _Fits.of(np.exp(np.linspace(low, high, SMOOTHNESSES)), drive, gain, error)
        logs, step = np.log(fits.smoothness), (high - low) / SMOOTHNESSES
        middle = float(fits.weights @ logs)
        reach = 4 * math.sqrt(float(fits.weights @ (logs - middle) ** 2)) + 2 * step
        low, high = max(middle - reach, low), min(middle + reach, high)
    return fits


@dataclass(frozen=True, eq=False)
class _Fits:
    """A fit for each of some smoothnesses, [p]; drives are below the highest, dB.

    Attributes:
        smoothness: of each.
        gains, losts: of small signals, and what is lost of it at the highest drive, dB.
        covariances: of the two, [p, 2, 2].
        weights: how likely each is, of sum 1.
    """

    smoothness: RealArray
    gains: RealArray
    losts: RealArray
    covariances: RealArray
    weights: RealArray

    @classmethod
    def of(
        cls, smoothness: RealArray, drive: RealArray, gain: RealArray, error: RealArray
    ) -> _Fits:
        """From gains [n] over drive and their uncertainties."""
        found = np.empty((smoothness.size, 2))
        found[:] = gain[0], gain[0] - gain[-1]
        weight = 1 / error**2
        for _ in range(STEPS):
            lost, slope = _lost(smoothness, found[:, 1], drive)
            basis = np.stack([np.ones_like(slope), -slope], axis=2)
            rest = gain - (found[:, :1] - lost)
            weighted = basis * weight[:, None]
            inverse = np.linalg.inv(weighted.transpose(0, 2, 1) @ basis)
            covariances = np.asarray(inverse, np.float64)
            found += np.einsum("pij,pnj,pn->pi", covariances, weighted, rest)
            found[:, 1] = np.clip(found[:, 1], *LOST_DB)
        rest = gain - (found[:, :1] - _lost(smoothness, found[:, 1], drive)[0])
        squares = np.sum(weight * rest**2, axis=1)
        excess = max(float(squares.min()) / max(drive.size - 3, 1), 1.0)
        likely = np.exp(-(squares - squares.min()) / 2 / excess)
        likely *= np.sqrt(np.linalg.det(covariances))
        weights = likely / likely.sum()
        return cls(smoothness, found[:, 0], found[:, 1], covariances * excess, weights)

    def gain(self) -> Estimate:
        """Of small signals, dB."""
        return self._weighed(self.gains, self.covariances[:, 0, 0], "dB")

    def lost(self, drive: float) -> Estimate:
        """Gain that is lost at a drive, dB."""
        lost, slope = _lost(self.smoothness, self.losts, np.array([drive]))
        return self._weighed(lost[:, 0], slope[:, 0] ** 2 * self.covariances[:, 1, 1], "dB")

    def point(self) -> Estimate:
        """Drive at which 1 dB is lost, of amplifiers that do lose it."""
        losts = np.maximum(self.losts, SLIGHT_DB)
        bent = np.expm1(self.smoothness * losts / IN_DB)
        points = IN_DB / self.smoothness * np.log(np.expm1(self.smoothness / IN_DB) / bent)
        slopes = (1 + bent) / bent
        return self._weighed(points, slopes**2 * self.covariances[:, 1, 1], "dBFS")

    def safe(self, lowest: float) -> float:
        """Highest drive, from the lowest one to 0, up to which less than 1 dB is surely lost."""
        drives = np.linspace(lowest, 0.0, GRID)
        sure = [self.lost(float(drive)).high < 1 for drive in drives]
        return float(drives[max(int(np.argmin([*sure, False])) - 1, 0)])

    def _weighed(self, values: RealArray, variances: RealArray, unit: str) -> Estimate:
        """Of all smoothnesses."""
        value = float(self.weights @ values)
        variance = float(self.weights @ (variances + (values - value) ** 2))
        return Estimate(value, math.sqrt(variance), unit)


def _lost(
    smoothness: RealArray, strongest: RealArray, drive: RealArray
) -> tuple[RealArray, RealArray]:
    """Gain lost at drives [n] for strongest [p], dB, and how it grows with that, [p, n]."""
    power = smoothness[:, None] / IN_DB
    driven = np.exp(power * drive)
    bent = 1 + np.expm1(power * strongest[:, None]) * driven
    lost: RealArray = np.log(bent) / power
    slope: RealArray = np.exp(power * strongest[:, None]) * driven / bent
    return lost, slope
