"""What the front ends make of the same path in one direction and in the other."""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.estimate import Estimate, MeasurementError, in_db, jackknife

RealArray = npt.NDArray[np.float64]

LEAST = 8  # pairs
CHANCE = 1e-3  # with which phases without any relation are taken to have one


@dataclass(frozen=True)
class Reciprocity:
    """The complex factor between the up- and the downlink gain of a pair of radios.

    Attributes:
        gain: of up over down, dB.
        phase: of up over down, degrees, -180 to 180.
    """

    gain: Estimate
    phase: Estimate


def reciprocity(
    up: npt.ArrayLike, down: npt.ArrayLike, up_vars: npt.ArrayLike, down_vars: npt.ArrayLike
) -> Reciprocity:
    """From pairs of soundings, both ways so close in time that the path between is the same.

    Air is reciprocal, so that paths cancel in up times the conjugate of down, be they fading: its
    mean has the phase, pairs heard well counting most. The powers of both, noise taken off, have
    the gain. Leaving out a pair at a time tells the uncertainty: what the path changes within a
    pair is in it. Let up come first in every other pair only: what drifts steadily then cancels.

    Args:
        up, down: complex gains as of `Track.gains`, [n >= 8], pair by pair.
        up_vars, down_vars: variances of their noise, E|error|^2, [n].

    Raises:
        MeasurementError: fewer pairs, lost in noise, or phases without a relation from pair to
            pair: a test for uniform directions (Rayleigh; Mardia and Jupp, "Directional
            statistics", section 6.3.1) does not tell them from chance.
        ValueError: not as many of one as of the other.
    """
    above, below = np.asarray(up, np.complex128), np.asarray(down, np.complex128)
    noise = [np.asarray(v, np.float64) for v in (up_vars, down_vars)]
    if above.ndim != 1 or not above.shape == below.shape == noise[0].shape == noise[1].shape:
        raise ValueError(
            f"pairs take as many gains up as down, and variances: {above.shape}, {below.shape}, "
            f"{noise[0].shape}, {noise[1].shape}"
        )
    if above.size < LEAST:
        raise MeasurementError(
            f"{above.size} pairs are too few for a reciprocity factor; {LEAST} are needed"
        )
    powers = [np.abs(g) ** 2 - v for g, v in zip((above, below), noise, strict=True)]
    if min(float(power.sum()) for power in powers) <= 0:
        raise MeasurementError("one of the directions is lost in noise; raise its gain")
    products = above * below.conj()
    _require_relation(products)
    turn = cmath.phase(complex(products.sum()))
    products *= cmath.exp(-1j * turn)
    sums = np.stack([products.real, products.imag, *powers], axis=1)
    phase = jackknife(lambda s: math.degrees(math.atan2(s[1], s[0])), sums, "deg")
    ratio = jackknife(lambda s: s[2] / s[3], sums, "")
    degrees = math.remainder(math.degrees(turn) + phase.value, 360)
    return Reciprocity(
        gain=in_db(ratio.value, ratio.uncertainty, "dB"),
        phase=Estimate(degrees, phase.uncertainty, "deg"),
    )


def _require_relation(products: npt.NDArray[np.complex128]) -> None:
    """MeasurementError where directions may as well be random."""
    weights = np.abs(products)
    pairs = float(weights.sum() ** 2 / np.sum(weights**2))  # that count
    together = abs(complex(products.sum())) / float(weights.sum())
    if pairs * together**2 < -math.log(CHANCE):
        raise MeasurementError(
            f"phases of {products.size} pairs have no relation (mean direction of length "
            f"{together:.2f}): the oscillators run free, or turn between up and down; let the "
            "radios share a clock, or take the soundings of a pair closer to each other"
        )
