"""What the coordinator knows, and what it can do: the data of `coordinator.step`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from testbed.nodes.brief import Brief
from testbed.nodes.call import Stage
from testbed.nodes.device_messages import Marked
from testbed.nodes.messages import Body
from testbed.nodes.round_now import RoundNow
from testbed.nodes.shell import End
from testbed.on_air.held_gains import HeldGains

Phase = Literal["gather", "compute", "pace", "call", "recover", "commit", "ending"]
Vector = npt.NDArray[np.float32]
Rounds = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tell:
    """Say something to a node; nobody hears it who is not connected."""

    to: str
    body: Body
    run: str
    round: int


@dataclass(frozen=True)
class Pace:
    """Wait until a round may start, by the bench's clock; comes back as `Paced`."""

    round: int


@dataclass(frozen=True)
class Paced:
    """It may start."""


@dataclass(frozen=True)
class Commit:
    """Put a round on the disk; comes back as `Committed`, or as `Broken`.

    Attributes:
        round: that is over.
        params: after it, float32 [d].
        last_applied: as in `CoordinatorState`.
        channel_uses: so far.
        row: of the run folder.
        gains: of the devices from now on, where the bench has a plan of them.
    """

    round: int
    params: Vector
    last_applied: Rounds
    channel_uses: int
    row: Mapping[str, Any]
    gains: HeldGains | None = None


@dataclass(frozen=True)
class Committed:
    """It is on the disk."""


@dataclass(frozen=True)
class Broken:
    """An action failed, and the run ends before it.

    Attributes:
        code: exit code.
        reason: for a person.
    """

    code: int
    reason: str


@dataclass(frozen=True)
class Node:
    """A node as the coordinator sees it.

    Attributes:
        here: it is connected and was welcomed.
        faults: how often it failed to do what, by name.
        asked: rounds it was asked for an update in.
        applied: rounds its update was applied in.
        figures: the last heard of it: gain, snr_db, cfo_hz, phase_deg.
    """

    here: bool = False
    faults: Mapping[str, int] = field(default_factory=dict)
    asked: int = 0
    applied: int = 0
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CoordinatorState:
    """All that the coordinator knows.

    Attributes:
        brief: what does not change in a run.
        params: theta, float32 [d].
        round: under way, or next.
        last_applied: int64 [n], the last round each device's update was applied in, or -1.
        channel_uses: complex symbols sent so far.
        nodes: by name.
        gains: of the devices' transmitters, where the bench has a plan of them.
        phase: what is waited for: nodes to gather, updates, the clock, answers of a call, the
            estimate, the disk, or goodbyes.
        begun: nodes had gathered once.
        until_s: deadline of what is waited for; negative before the first event.
        stage: the question that is open, in a phase that asks one.
        unanswered: names of those who were asked and still have something to say.
        answers: so far.
        now: the round under way.
        given_up: the same round, when it was begun before and the receiver was lost.
        ending: how the run ends, once it does.
    """

    brief: Brief
    params: Vector
    round: int
    last_applied: Rounds
    channel_uses: int
    nodes: Mapping[str, Node]
    gains: HeldGains | None = None
    phase: Phase = "gather"
    begun: bool = False
    until_s: float = -1.0
    stage: Stage | None = None
    unanswered: frozenset[str] = frozenset()
    answers: Mapping[str, tuple[Body, ...]] = field(default_factory=dict)
    now: RoundNow | None = None
    given_up: RoundNow | None = None
    ending: End | None = None
    ended: End | None = None

    @classmethod
    def begin(
        cls,
        brief: Brief,
        params: Vector,
        round_index: int,
        last_applied: Rounds,
        uses: int,
        gains: HeldGains | None = None,
    ) -> CoordinatorState:
        """Before the first node has come."""
        nodes = {name: Node() for name in (brief.receiver, *brief.devices)}
        return cls(brief, params, round_index, last_applied, uses, nodes, gains)

    def number(self, name: str) -> int:
        """Of a device."""
        return self.brief.devices.index(name)

    def applied_gains(self, said: Mapping[str, Sequence[Body]]) -> dict[int, float]:
        """Transmit gains that devices told, by number."""
        marks = ((n, b) for n, bodies in said.items() for b in bodies if isinstance(b, Marked))
        return {self.number(name): mark.tx_gain_db for name, mark in marks}

    def is_here(self, *names: str) -> bool:
        """Whether any of these nodes is connected."""
        return any(self.nodes[name].here for name in names)
