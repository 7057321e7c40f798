"""What a procedure found of both radios, and the same as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from calibration.curve import Curve
from calibration.estimate import Estimate
from radio.api import Range
from radio.json_object import JsonObject

Json = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """What is known of one radio, by the names that profiles use.

    Attributes:
        scalars: one number each.
        curves: a number over a setting each.
    """

    scalars: Mapping[str, Estimate] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)

    def joined(self, other: Measured) -> Measured:
        """All of both; what the other one has of the same name counts."""
        return Measured({**self.scalars, **other.scalars}, {**self.curves, **other.curves})


@dataclass(frozen=True)
class Findings:
    """What is known of both ends of a setup. A radio alone is both.

    Attributes:
        sender: as it sends, and of its clock and its path to the receiver.
        receiver: as it receives.
    """

    sender: Measured = Measured()
    receiver: Measured = Measured()

    def joined(self, other: Findings) -> Findings:
        """All of both; what the other one has of the same name counts."""
        return Findings(self.sender.joined(other.sender), self.receiver.joined(other.receiver))

    def to_json(self) -> Json:
        """As plain values."""
        return {"sender": _to_json(self.sender), "receiver": _to_json(self.receiver)}

    @classmethod
    def from_json(cls, keys: JsonObject) -> Findings:
        """From plain values; the error of `keys` where one is missing or wrong."""
        return cls(_from_json(keys.object("sender")), _from_json(keys.object("receiver")))


def _to_json(measured: Measured) -> Json:
    return {
        "scalars": {name: asdict(one) for name, one in measured.scalars.items()},
        "curves": {
            name: asdict(one) | {"linear": [one.linear.low, one.linear.high]}
            for name, one in measured.curves.items()
        },
    }


def _from_json(keys: JsonObject) -> Measured:
    scalars, curves = keys.object("scalars"), keys.object("curves")
    return Measured(
        {name: _estimate(scalars.object(name)) for name in scalars.values},
        {name: _curve(curves.object(name)) for name in curves.values},
    )


def _estimate(keys: JsonObject) -> Estimate:
    return Estimate(keys.number("value"), keys.number("uncertainty"), keys.text("unit"))


def _curve(keys: JsonObject) -> Curve:
    low, high = keys.numbers("linear")
    return Curve(
        tuple(keys.numbers("settings")),
        tuple(keys.numbers("values")),
        tuple(keys.numbers("uncertainties")),
        keys.text("unit"),
        Range(low, high),
    )
