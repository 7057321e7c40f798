"""What the receiver says, always to the coordinator. Amplitudes are relative to the reference gain.

It hears superpositions only: nothing here is the update of one device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt

from testbed.nodes.device_messages import Beacon, Bye, Call, Hash, Index, Samples
from testbed.nodes.messages import Body
from testbed.nodes.rules import Array, Flag, Maybe, Real, Text, Whole

Flags = Annotated[npt.NDArray[np.bool_], Array("bool", "r")]
Variance = Annotated[float, Real(0)]


@dataclass(frozen=True, eq=False)
class ReceiverHello(Body):
    """First word, and again after every reconnection.

    Attributes:
        code: SHA-256 of the code it runs.
        config: SHA-256 of the experiment it was last welcomed to, 64 zeros when there is none.
        turnaround_s: of its radio.
    """

    code: Hash
    config: Hash
    turnaround_s: Annotated[float, Real(0, 10)]


@dataclass(frozen=True, eq=False)
class Begun(Body):
    """A call is planned.

    Attributes:
        call: which call of the round.
        start: of the call, on the receiver's own clock; names it in a recording.
        ahead: samples from the receiver's now until then.
    """

    call: Call
    start: Annotated[int, Whole(0, 2**62)]
    ahead: Samples


@dataclass(frozen=True, eq=False)
class Sent(Body):
    """A beacon is with the radio.

    Attributes:
        call: which call of the round.
        what: the beacon that opens it, or a sync beacon.
        index: of the sync beacon in the call, from 0; 0 for a beacon.
        clipped: samples at full scale.
    """

    call: Call
    what: Beacon
    index: Index
    clipped: Samples


@dataclass(frozen=True, eq=False)
class Soundings(Body):
    """What was learnt of the channels, by slot.

    Attributes:
        call: which call of the round.
        gains: float64 [r], amplitude that each device's symbols will arrive with; 0 if not heard.
        powers: float64 [r], mean power of each channel over its carriers; 0 if not heard.
        heard: bool [r].
        snr_db: float64 [r], of each pilot, kept within -200 and 200; -200 if not heard.
        delays: float64 [r], samples by which each device was late: its timing advance.
        equalisers: complex64 [r, K], to be granted.
        noise_var: per carrier and symbol.
    """

    call: Call
    gains: Annotated[npt.NDArray[np.float64], Array("float64", "r", 0)]
    powers: Annotated[npt.NDArray[np.float64], Array("float64", "r", 0)]
    heard: Flags
    snr_db: Annotated[npt.NDArray[np.float64], Array("float64", "r", -200, 200)]
    delays: Annotated[npt.NDArray[np.float64], Array("float64", "r", -1e6, 1e6)]
    equalisers: Annotated[npt.NDArray[np.complex64], Array("complex64", ("r", "K"))]
    noise_var: Variance


@dataclass(frozen=True, eq=False)
class BurstHeard(Body):
    """A burst was received.

    Attributes:
        call: which call of the round.
        burst: its number in the call, from 0.
        present: bool [r], devices that took part, by slot.
        noise_var: per symbol, what does not belong to the superposition.
        late: samples by which it came late, taken out.
    """

    call: Call
    burst: Index
    present: Flags
    noise_var: Variance
    late: Annotated[float, Real(-1e6, 1e6)]


@dataclass(frozen=True, eq=False)
class Estimate(Body):
    """The recovered weighted sum of the round.

    Attributes:
        call: the last of the round, at whose end it was asked for.
        estimate: float32 [d]; zeros where the estimator gave no finite numbers.
        nmse_predicted: as the estimator believes it, linear; None where it is no finite number,
            and then the round has failed.
        iterations: that were spent.
        beyond_transition: too few symbols for this density.
        snr: signal over noise of the received symbols, linear; None without noise.
        noise_var: mean per symbol.
    """

    call: Call
    estimate: Annotated[npt.NDArray[np.float32], Array("float32", "d")]
    nmse_predicted: Annotated[float | None, Maybe(Real(0))]
    iterations: Annotated[int, Whole(0, 10**6)]
    beyond_transition: Annotated[bool, Flag()]
    snr: Annotated[float | None, Maybe(Real(0))]
    noise_var: Variance


@dataclass(frozen=True, eq=False)
class Status(Body):
    """How the receiver fares: on request of nobody, when something is worth saying.

    Attributes:
        overdriven: samples at full scale in this call so far.
        trouble: why it could not do what it was last told, for a person; empty when it could.
    """

    overdriven: Samples
    trouble: Annotated[str, Text(500)]


FROM_RECEIVER = frozenset(
    {ReceiverHello, Begun, Sent, Soundings, BurstHeard, Estimate, Status, Bye}
)
