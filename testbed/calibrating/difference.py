"""What changed from one profile of a radio to the next."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibration.curve import Curve
from calibration.estimate import Estimate
from calibration.profiles.profile import Profile, ProfileError
from calibration.profiles.quantity import CURVES, SCALARS


@dataclass(frozen=True)
class Change:
    """Of one quantity.

    Attributes:
        name, title, unit: of the quantity.
        old, new: None where a profile lacks it.
        setting: of a curve, where old and new differ most.
        tolerance: in `unit`; None where it is only to be known.
    """

    name: str
    title: str
    unit: str
    old: Estimate | None
    new: Estimate | None
    tolerance: float | None
    setting: float | None = None

    @property
    def difference(self) -> Estimate | None:
        """New less old; None where one of them is missing."""
        if self.old is None or self.new is None:
            return None
        return self.new.minus(self.old)

    @property
    def doubts(self) -> float | None:
        """How many of its standard uncertainties the difference is; inf where it has none."""
        if (change := self.difference) is None:
            return None
        if change.value == 0:
            return 0.0
        return abs(change.value) / change.uncertainty if change.uncertainty else math.inf

    @property
    def exceeds(self) -> bool:
        """Whether it changed by more than the tolerance."""
        change = self.difference
        if change is None or self.tolerance is None:
            return False
        return abs(change.value) > self.tolerance

    @property
    def verdict(self) -> str:
        """In words."""
        if self.old is None or self.new is None:
            return "only old" if self.new is None else "only new"
        if self.exceeds:
            return "exceeds"
        # Within two standard uncertainties, nobody can say that it changed at all.
        return "same" if (self.doubts or 0.0) <= 2 else "changed"

    def as_dict(self) -> dict[str, Any]:
        """As printed for programs; `doubts` is None where the uncertainty is 0."""
        change, doubts = self.difference, self.doubts
        return {
            "name": self.name,
            "unit": self.unit,
            "setting": self.setting,
            "old": None if self.old is None else self.old.value,
            "new": None if self.new is None else self.new.value,
            "change": None if change is None else change.value,
            "uncertainty": None if change is None else change.uncertainty,
            "doubts": doubts if doubts is not None and math.isfinite(doubts) else None,
            "tolerance": self.tolerance,
            "verdict": self.verdict,
        }


def changes(old: Profile, new: Profile) -> list[Change]:
    """Of every quantity that one of them has, as profiles list them.

    Raises:
        ProfileError: they are of two radios, or in two bands, or the same measurement.
    """
    new.require_radio(old.serial)
    old.require_covers(new.settings)
    if old == new:
        raise ProfileError(
            f"{new.source}: is the same measurement as {old.source}; earlier ones of a radio "
            "lie in the folder history beside its profile"
        )
    found = [
        Change(name, one.title, one.unit, o, n, one.tolerance)
        for name, one in SCALARS.items()
        if (o := old.scalars.get(name)) is not None or new.scalars.get(name) is not None
        for n in (new.scalars.get(name),)
    ]
    for name in CURVES:
        if name in old.curves or name in new.curves:
            found.append(_of_curves(name, old.curves.get(name), new.curves.get(name)))
    return found


def _of_curves(name: str, old: Curve | None, new: Curve | None) -> Change:
    """Where they differ most of all settings that both hold linear; else where they are."""
    relation = CURVES[name]
    title, unit, tolerance = relation.title, relation.unit, relation.tolerance
    if old is None or new is None:
        ends = [None if one is None else one.at(one.linear.high) for one in (old, new)]
        return Change(name, title, unit, ends[0], ends[1], tolerance)
    low = max(old.linear.low, new.linear.low)
    high = min(old.linear.high, new.linear.high)
    if low > high:
        raise ProfileError(
            f"{name}: the linear ranges {old.linear} and {new.linear} {relation.setting_unit} have "
            "nothing in common: the radio is not what it was"
        )
    both = {s for s in (*old.settings, *new.settings) if low <= s <= high} | {low, high}
    at = np.array(sorted(both))
    gaps = [abs(new.at(s).value - old.at(s).value) for s in at]
    worst = float(at[int(np.argmax(gaps))])
    return Change(name, title, unit, old.at(worst), new.at(worst), tolerance, worst)
