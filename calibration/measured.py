"""What was measured of one radio, and the same as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from calibration.curve import Curve
from calibration.estimate import Estimate
from radio.json_object import JsonObject

Json = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """Numbers and curves by the names of `calibration.profiles.quantity`.

    Attributes:
        scalars: one number each.
        curves: a number over a setting each.
    """

    scalars: Mapping[str, Estimate] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)

    def joined(self, other: Measured) -> Measured:
        """All of both; what the other one has of the same name counts."""
        return Measured({**self.scalars, **other.scalars}, {**self.curves, **other.curves})

    def to_json(self) -> Json:
        """As plain values, sorted by name."""
        return {
            "scalars": {name: asdict(one) for name, one in sorted(self.scalars.items())},
            "curves": {
                name: asdict(one) | {"linear": [one.linear.low, one.linear.high]}
                for name, one in sorted(self.curves.items())
            },
        }

    @classmethod
    def from_json(cls, keys: JsonObject) -> Measured:
        """From an object that has `scalars` and `curves`; the error of `keys` for what is wrong."""
        scalars, curves = keys.object("scalars"), keys.object("curves")
        return cls(
            {name: _estimate(scalars.object(name)) for name in scalars.values},
            {name: _curve(curves.object(name)) for name in curves.values},
        )


def _estimate(keys: JsonObject) -> Estimate:
    keys.require_known("value", "uncertainty", "unit")
    with keys.naming():
        return Estimate(keys.number("value"), keys.number("uncertainty"), keys.text("unit"))


def _curve(keys: JsonObject) -> Curve:
    keys.require_known("settings", "values", "uncertainties", "unit", "linear")
    with keys.naming():
        return Curve(
            tuple(keys.numbers("settings")),
            tuple(keys.numbers("values")),
            tuple(keys.numbers("uncertainties")),
            keys.text("unit"),
            keys.span("linear"),
        )
