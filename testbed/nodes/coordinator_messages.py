"""What the coordinator says: to devices, and to the receiver.

Times are samples on the receiver's clock from the start of a call, unless said otherwise. A call
is a beacon and what follows it up to the last burst of its leg. A round is cut into legs, each with
a part of the symbols; a leg that fails is called again, under the next number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt

from testbed.nodes.device_messages import Beacon, Call, Index, Samples
from testbed.nodes.messages import Body
from testbed.nodes.rules import Array, Flag, Maybe, Real, Text, Whole

Devices = Annotated[npt.NDArray[np.int64], Array("int64", "r", 0, 2**31 - 1)]
Reason = Annotated[str, Text(500)]
Legs = Annotated[int, Whole(0, 9999)]
Scale = Annotated[float, Real(0)]
GainDb = Annotated[float, Real(-200, 200)]


@dataclass(frozen=True, eq=False)
class Welcome(Body):
    """A device or the receiver belongs to the run now; the answer to its hello.

    Attributes:
        config: the resolved experiment, YAML.
        device: number of the device in the experiment; None for the receiver.
    """

    config: Annotated[str, Text(2**16 - 1, lines=True)]
    device: Annotated[int | None, Maybe(Whole())]


@dataclass(frozen=True, eq=False)
class Refused(Body):
    """A node does not belong to the run.

    Attributes:
        reason: for a person.
    """

    reason: Reason


@dataclass(frozen=True, eq=False)
class Params(Body):
    """A round begins; the same to all devices.

    Attributes:
        params: theta, float32 [d].
        meta_lr: step size of this round.
        devices: int64 [r], numbers of the active ones.
    """

    params: Annotated[npt.NDArray[np.float32], Array("float32", "d")]
    meta_lr: Annotated[float, Real(0)]
    devices: Devices


@dataclass(frozen=True, eq=False)
class Mark(Body):
    """A call is coming: a device shall note when its beacon will, and answer `Marked`.

    Nobody listens before all have answered: in virtual time, listening is what moves clocks on.

    Attributes:
        call: which call of the round; a beacon opens it.
        leg: which part of the symbols it is for.
        devices: int64 [r], by slot.
        ahead: samples from now on until the beacon. The device counts them on its own clock, whose
            relation to the receiver's nobody knows yet.
    """

    call: Call
    leg: Legs
    devices: Devices
    ahead: Samples


@dataclass(frozen=True, eq=False)
class SetGains(Body):
    """The gains of a device in the call that follows. Nothing comes back.

    Attributes:
        call: which call of the round.
        tx_gain_db: to be set with `Mark`; that of the bench where nobody names another.
        rx_gain_db: the same.
    """

    call: Call
    tx_gain_db: GainDb
    rx_gain_db: GainDb


@dataclass(frozen=True, eq=False)
class Listen(Body):
    """A device shall listen for a beacon and answer `Heard`.

    Attributes:
        call: which call of the round.
        what: the beacon that opens it, or a sync beacon.
        index: of the sync beacon in the call, from 0; 0 for a beacon.
        at: when a sync beacon leaves; 0 for a beacon.
    """

    call: Call
    what: Beacon
    index: Index
    at: Samples


@dataclass(frozen=True, eq=False)
class Sound(Body):
    """A device shall send its pilot in its slot and answer `Armed`.

    Attributes:
        call: which call of the round.
    """

    call: Call


@dataclass(frozen=True, eq=False)
class Grant(Body):
    """How a device sends the bursts of a call. Nothing comes back.

    Attributes:
        call: which call of the round.
        scale: common to all devices, c.
        precoder: of this device, real, since the equaliser takes the phase; 0 is silence.
        equaliser: complex64 [K].
        advance: samples to send earlier.
    """

    call: Call
    scale: Scale
    precoder: Scale
    equaliser: Annotated[npt.NDArray[np.complex64], Array("complex64", "K")]
    advance: Annotated[float, Real(-1e6, 1e6)]


@dataclass(frozen=True, eq=False)
class Send(Body):
    """A device shall arm a burst and answer `Armed`.

    Attributes:
        call: which call of the round.
        burst: its number in the call, from 0.
    """

    call: Call
    burst: Index


@dataclass(frozen=True, eq=False)
class Ack(Body):
    """How the round in the envelope ended for a device.

    Attributes:
        applied: its update is part of the server's step, which is on the disk.
    """

    applied: Annotated[bool, Flag()]


@dataclass(frozen=True, eq=False)
class Stop(Body):
    """The run ends; RF off.

    Attributes:
        reason: for a person.
    """

    reason: Reason


@dataclass(frozen=True, eq=False)
class Begin(Body):
    """The receiver shall plan a call and answer `Begun`.

    Attributes:
        call: which call of the round.
        leg: which part of the symbols it carries.
        devices: int64 [r], by slot.
        num_symbols: M, of the whole round.
    """

    call: Call
    leg: Legs
    devices: Devices
    num_symbols: Annotated[int, Whole(1, 2**24)]


@dataclass(frozen=True, eq=False)
class SendBeacon(Body):
    """The receiver shall send the beacon of a call and answer `Sent`.

    Attributes:
        call: which call of the round.
    """

    call: Call


@dataclass(frozen=True, eq=False)
class SendSync(Body):
    """The receiver shall send a sync beacon and answer `Sent`.

    Attributes:
        call: which call of the round.
        index: of the sync beacon in the call, from 0.
        start: when it leaves.
    """

    call: Call
    index: Index
    start: Samples


@dataclass(frozen=True, eq=False)
class HearSoundings(Body):
    """The receiver shall listen to all slots and answer `Soundings`.

    Attributes:
        call: which call of the round.
    """

    call: Call


@dataclass(frozen=True, eq=False)
class HearBurst(Body):
    """The receiver shall listen to a burst and answer `BurstHeard`.

    Attributes:
        call: which call of the round.
        burst: its number in the call, from 0.
    """

    call: Call
    burst: Index


@dataclass(frozen=True, eq=False)
class Recover(Body):
    """The receiver shall recover the weighted sum from all legs and answer `Estimate`.

    Attributes:
        call: the last of the round.
        scale: c of the round, > 0.
    """

    call: Call
    scale: Annotated[float, Real(float(np.finfo(np.float64).tiny))]


TO_DEVICE = frozenset(
    {Welcome, Refused, Params, SetGains, Mark, Listen, Sound, Grant, Send, Ack, Stop}
)
TO_RECEIVER = frozenset(
    {Welcome, Refused, Begin, SendBeacon, SendSync, HearSoundings, HearBurst, Recover, Ack, Stop}
)
