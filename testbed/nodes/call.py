"""A call: what is asked of whom, in which order, from the beacon to the last burst of a leg."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np

from testbed.nodes.coordinator_messages import (
    Begin,
    HearBurst,
    HearSoundings,
    Listen,
    Mark,
    Params,
    Recover,
    Send,
    SendBeacon,
    SendSync,
    Sound,
)
from testbed.nodes.device_messages import Armed, Heard, Marked, Ready
from testbed.nodes.messages import Body
from testbed.nodes.receiver_messages import Begun, BurstHeard, Estimate, Sent, Soundings
from testbed.on_air.timeline import Timeline

Who = Literal["receiver", "active", "slots", "granted"]


@dataclass(frozen=True)
class Stage:
    """Questions to some nodes.

    What is asked of a node is asked at once: it does one thing after the other by its own clock,
    and no message has to travel between a beacon and the answer to it.

    Attributes:
        name: for people; what a node that does not answer is blamed for.
        to: the receiver; or devices: active in the round, of all slots, or those with a grant.
        asks: the same to all of them, in order.
    """

    name: str
    to: Who
    asks: tuple[Body, ...]

    def takes(self, said: Body, before: Sequence[Body]) -> bool:
        """Whether this answers something that was not answered before."""
        return any(
            is_answer(ask, said) and not any(is_answer(ask, one) for one in before)
            for ask in self.asks
        )

    def is_over(self, said: Sequence[Body]) -> bool:
        """Whether a node that said this has nothing more to say.

        Of a device the last answer tells that all went before; one that is deaf has no other. The
        receiver's answers are all needed.
        """
        if any(map(is_deaf, said)):
            return True
        needed = self.asks if self.to == "receiver" else self.asks[-1:]
        return all(any(is_answer(ask, one) for one in said) for ask in needed)


def stages(call: int, leg: int, devices: Sequence[int], timeline: Timeline, m: int) -> list[Stage]:
    """Everything that is asked in a call, in order; grants are sent behind the soundings.

    The receiver arms its beacons before anybody listens, and listens when all have armed.

    Args:
        call: its number in the round.
        leg: which part of the symbols it carries.
        devices: numbers by slot.
        timeline: of the leg.
        m: symbols of the whole round, M.
    """
    slots = np.array(devices, np.int64)
    around = () if timeline.shared_clock else (timeline.early_sync, timeline.late_sync)
    starts = [*around, *(start for group in timeline.syncs for start in group)]
    syncs = [Listen(call, "sync", index, start) for index, start in enumerate(starts)]
    early, coming = syncs[:1], iter(syncs[1:])
    sending: list[Body] = list(islice(coming, len(around[1:])))
    for burst, group in enumerate(timeline.syncs):
        sending += [*islice(coming, len(group)), Send(call, burst)]
    beacons = [SendSync(call, index, start) for index, start in enumerate(starts)]
    bursts = [HearBurst(call, burst) for burst in range(len(timeline.layouts))]
    return [
        Stage("begin", "receiver", (Begin(call, leg, slots, m),)),
        Stage("mark", "slots", (Mark(call, leg, slots, 0),)),
        Stage("beacons", "receiver", (SendBeacon(call), *beacons)),
        Stage("sounding", "slots", (Listen(call, "beacon", 0, 0), *early, Sound(call))),
        Stage("soundings", "receiver", (HearSoundings(call),)),
        Stage("burst", "granted", tuple(sending)),
        Stage("bursts", "receiver", tuple(bursts)),
    ]


def is_deaf(said: Body) -> bool:
    """Without its beacon a device knows neither time nor frequency."""
    return isinstance(said, Heard) and said.what == "beacon" and not said.heard


def is_answer(ask: Body, said: Body) -> bool:
    """Whether this is the answer to that."""
    match ask, said:
        case (
            (Begin(call=asked), Begun(call=answered))
            | (Mark(call=asked), Marked(call=answered))
            | (SendBeacon(call=asked), Sent(call=answered, what="beacon"))
            | (Sound(call=asked), Armed(call=answered, what="sounding"))
            | (HearSoundings(call=asked), Soundings(call=answered))
            | (Recover(call=asked), Estimate(call=answered))
        ):
            return asked == answered
        case (
            (Send(call=asked, burst=number), Armed(call=answered, what="burst", index=same))
            | (HearBurst(call=asked, burst=number), BurstHeard(call=answered, burst=same))
            | (
                SendSync(call=asked, index=number),
                Sent(call=answered, what="sync", index=same),
            )
        ):
            return asked == answered and number == same
        case Listen(), Heard():
            return (ask.call, ask.what, ask.index) == (said.call, said.what, said.index)
        case Params(), Ready():
            return True
    return False
