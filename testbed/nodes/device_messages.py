"""What a device says, always to the coordinator. Scalars and a few fixed words, nothing else.

Updates travel by radio: no kind here has a field that could carry one, and a test pins all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from testbed.nodes.messages import Body
from testbed.nodes.rules import Choice, Flag, Real, Whole, Word

Hash = Annotated[str, Word(r"[0-9a-f]{64}", 64)]  # SHA-256
Call = Annotated[int, Whole(0, 9999)]  # beacons of a round that open a leg, repeated ones too
Index = Annotated[int, Whole(0, 9999)]
Samples = Annotated[int, Whole(0, 2**40)]
Beacon = Annotated[Literal["beacon", "sync"], Choice(("beacon", "sync"))]


@dataclass(frozen=True, eq=False)
class Hello(Body):
    """First word, and again after every reconnection.

    Attributes:
        code: SHA-256 of the code it runs.
        config: SHA-256 of the experiment it was last welcomed to, 64 zeros when there is none.
        committed: last round whose ack was seen and stored; -1 when there is none.
        turnaround_s: of its radio, from hearing a beacon to sending with it.
    """

    code: Hash
    config: Hash
    committed: Annotated[int, Whole(-1)]
    turnaround_s: Annotated[float, Real(0, 10)]


@dataclass(frozen=True, eq=False)
class Ready(Body):
    """Its update is computed, compressed and waiting.

    Attributes:
        energy: ||s||^2 of all its symbols before power control.
        loss: mean over its local steps, before the update.
    """

    energy: Annotated[float, Real(0)]
    loss: Annotated[float, Real()]


@dataclass(frozen=True, eq=False)
class Marked(Body):
    """It has noted by its own clock when the beacon of a call will come.

    Attributes:
        call: which call of the round.
        tx_gain_db: as its radio applied it.
    """

    call: Call
    tx_gain_db: Annotated[float, Real(-200, 200)]


@dataclass(frozen=True, eq=False)
class Heard(Body):
    """It listened for a beacon.

    Attributes:
        call: which call of the round.
        what: the beacon that opens it, or a sync beacon.
        index: of the sync beacon in the call, from 0; 0 for a beacon.
        heard: whether it was there.
    """

    call: Call
    what: Beacon
    index: Index
    heard: Annotated[bool, Flag()]


@dataclass(frozen=True, eq=False)
class Armed(Body):
    """Its radio holds what it will send; the receiver may capture.

    Attributes:
        call: which call of the round.
        what: the pilot symbol in its sounding slot, or a burst.
        index: of the burst in the call, from 0; 0 for a sounding.
    """

    call: Call
    what: Annotated[Literal["sounding", "burst"], Choice(("sounding", "burst"))]
    index: Index


@dataclass(frozen=True, eq=False)
class Trouble(Body):
    """Its radio did not do what it was told; it sends nothing more in this call.

    Attributes:
        call: which call of the round.
    """

    call: Call


@dataclass(frozen=True, eq=False)
class Report(Body):
    """What became of its part of a call.

    Attributes:
        call: which call of the round.
        clipped: samples at full scale.
        cfo_hz: the receiver's carrier minus its own.
        phase_deg: by which its phase was turned back at the last burst, against its sounding.
        missed: sync beacons it did not hear.
    """

    call: Call
    clipped: Samples
    cfo_hz: Annotated[float, Real(-1e7, 1e7)]
    phase_deg: Annotated[float, Real(-1e6, 1e6)]
    missed: Annotated[int, Whole(0, 9999)]


@dataclass(frozen=True, eq=False)
class Ask(Body):
    """Was the round in the envelope committed with its update? Answered with `Ack`."""


@dataclass(frozen=True, eq=False)
class Bye(Body):
    """It leaves.

    Attributes:
        reason: the run is over, somebody stopped it, its radio or its disk refused, its update was
            not finite, or its radio is not the one that the bench was calibrated with.
    """

    reason: Annotated[
        Literal["done", "stopped", "radio", "disk", "diverged", "calibration"],
        Choice(("done", "stopped", "radio", "disk", "diverged", "calibration")),
    ]


FROM_DEVICE = frozenset({Hello, Ready, Marked, Heard, Armed, Trouble, Report, Ask, Bye})
