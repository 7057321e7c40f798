"""How a gain setting becomes a level: of a transmitter's gain or attenuation, of a receiver's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from calibration.curve import Curve
from calibration.estimate import COVERAGE, Estimate, MeasurementError
from radio.api import Range

RealArray = npt.NDArray[np.float64]

TOLERANCE_DB = 0.5


def gain_curve(
    settings: Sequence[float],
    levels: Sequence[Estimate | None],
    reference: Estimate,
    tolerance_db: float = TOLERANCE_DB,
) -> Curve:
    """The curve of a gain setting, and over which settings a dB of it makes a dB of level.

    What was added to make levels of one kind of another, `reference`, is the same error at all
    settings: it is in the uncertainty of the curve, and no reason to call it bent.

    Args:
        settings: as the radio counts them, dB, ascending.
        levels: at each, as of `tone_levels`; None where it was lost in noise or saturated the
            receiver.
        reference: added to all levels: what makes the curve one of dBm at a connector
            (`tx_power`), or one of dBFS over dBm (`rx_gain`). Its unit is the curve's.
        tolerance_db: by which levels may stray from a line of slope 1, to either side.

    Raises:
        MeasurementError: fewer than two levels, or none that keep to a line.
        ValueError: not as many levels as settings, or settings that do not ascend.
    """
    if len(settings) != len(levels):
        raise ValueError(f"{len(levels)} levels for {len(settings)} settings; each takes one")
    linear = linear_range(settings, levels, tolerance_db)
    heard = [(x, level) for x, level in zip(settings, levels, strict=True) if level is not None]
    shifted = [level.plus(reference, reference.unit) for _, level in heard]
    return Curve(
        settings=tuple(float(x) for x, _ in heard),
        values=tuple(level.value for level in shifted),
        uncertainties=tuple(level.uncertainty for level in shifted),
        unit=reference.unit,
        linear=linear,
    )


def linear_range(
    settings: Sequence[float], levels: Sequence[Estimate | None], tolerance_db: float
) -> Range:
    """The longest stretch of settings over which a dB of setting makes a dB of level.

    Each level leaves open where the line of slope 1 lies: within the tolerance and twice its
    uncertainty around it. A stretch is linear where one line does for all of its levels. A level
    that is less certain than the tolerance tells nothing and ends a stretch, as does one that is
    missing.

    Args:
        settings: dB, ascending.
        levels: at each; None where there is none.
        tolerance_db: to either side of the line.

    Raises:
        MeasurementError: no two neighbours keep to a line.
    """
    if not tolerance_db > 0:
        raise ValueError(f"tolerance_db should be positive, not {tolerance_db}")
    best: tuple[float, float] | None = None
    for first, start in enumerate(settings):
        lowest, highest = -np.inf, np.inf
        for setting, level in zip(settings[first:], levels[first:], strict=True):
            if level is None or level.uncertainty > tolerance_db:
                break
            offset = level.value - setting
            reach = tolerance_db + COVERAGE * level.uncertainty
            lowest, highest = max(lowest, offset - reach), min(highest, offset + reach)
            if lowest > highest:
                break
            if best is None or setting - start > best[1] - best[0]:
                best = (start, setting)
    if best is None or best[0] == best[1]:
        heard = sum(level is not None for level in levels)
        raise MeasurementError(
            f"no two neighbours of {len(settings)} settings, {heard} of which were heard, differ "
            f"by as much as their levels within {tolerance_db:g} dB; lower what is sent where the "
            "receiver saturates, raise it where noise hides it, or measure longer"
        )
    return Range(float(best[0]), float(best[1]))
