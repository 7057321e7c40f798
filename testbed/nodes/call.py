"""A call: what is asked of whom, in which order, from the beacon to the last burst of a leg."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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

Who = Literal["receiver", "active", "slots", "synchronised", "granted"]


@dataclass(frozen=True)
class Stage:
    """A question to some nodes.

    Attributes:
        name: for people; what a node that does not answer is blamed for.
        to: the receiver; or devices: active in the round, of all slots, those that heard the
            beacon, or those that have a grant.
        ask: the same to all of them.
    """

    name: str
    to: Who
    ask: Body


def stages(call: int, leg: int, devices: Sequence[int], timeline: Timeline, m: int) -> list[Stage]:
    """Everything that is asked in a call, in order; grants are sent behind the last sounding.

    Args:
        call: its number in the round.
        leg: which part of the symbols it carries.
        devices: numbers by slot.
        timeline: of the leg.
        m: symbols of the whole round, M.
    """
    return list(_stages(call, leg, devices, timeline, m))


def _stages(
    call: int, leg: int, devices: Sequence[int], timeline: Timeline, m: int
) -> Iterator[Stage]:
    slots = np.array(devices, np.int64)
    yield Stage("begin", "receiver", Begin(call, leg, slots, m))
    yield Stage("mark", "slots", Mark(call, leg, slots, 0))
    yield Stage("beacon", "receiver", SendBeacon(call))
    yield Stage("beacon", "slots", Listen(call, "beacon", 0, 0))
    around = () if timeline.shared_clock else (timeline.early_sync, timeline.late_sync)
    starts = [*around, *(start for group in timeline.syncs for start in group)]
    syncs = [
        (
            Stage("sync beacon", "receiver", SendSync(call, index, start)),
            Stage("sync beacon", "synchronised", Listen(call, "sync", index, start)),
        )
        for index, start in enumerate(starts)
    ]
    coming = iter(syncs)
    if around:
        yield from next(coming)
    yield Stage("sounding", "synchronised", Sound(call))
    yield Stage("sounding", "receiver", HearSoundings(call))
    if around:
        yield from next(coming)
    for burst, group in enumerate(timeline.syncs):
        for _ in group:
            yield from next(coming)
        yield Stage("burst", "granted", Send(call, burst))
        yield Stage("burst", "receiver", HearBurst(call, burst))


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
