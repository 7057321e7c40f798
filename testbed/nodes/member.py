"""What device and receiver have in common as members of a run."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.nodes.messages import Body

NO_CONFIG = "0" * 64  # of a node that was never welcomed
AGAIN_S = 1.0  # until something that was not answered is said again


@dataclass(frozen=True)
class Say:
    """Tell the coordinator."""

    body: Body
    run: str
    round: int


@dataclass(frozen=True)
class Mute:
    """Leave the call: nothing more is sent in it."""


@dataclass(frozen=True)
class Unfit:
    """This node cannot take part in this run."""

    reason: str
