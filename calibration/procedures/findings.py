"""What procedures found of both ends."""

from __future__ import annotations

from dataclasses import dataclass

from calibration.measured import Json, Measured
from radio.json_object import JsonObject

NOTHING = Measured()


@dataclass(frozen=True)
class Findings:
    """What is known of both ends of a setup. A radio alone is both.

    Attributes:
        sender: as it sends, and of its clock and its path to the receiver.
        receiver: as it receives.
    """

    sender: Measured = NOTHING
    receiver: Measured = NOTHING

    def joined(self, other: Findings) -> Findings:
        """All of both; what the other one has of the same name counts."""
        return Findings(self.sender.joined(other.sender), self.receiver.joined(other.receiver))

    def to_json(self) -> Json:
        """As plain values."""
        return {"sender": self.sender.to_json(), "receiver": self.receiver.to_json()}

    @classmethod
    def from_json(cls, keys: JsonObject) -> Findings:
        """From plain values; the error of `keys` for what is missing or wrong."""
        return cls(*(Measured.from_json(keys.object(end)) for end in ("sender", "receiver")))
