"""What the receiver does, as a pure step: it plans a call, beacons, listens and recovers when told.

It keeps nothing from round to round but the number of the last one that is done, so that none is
done twice: what it answers is a function of what it hears.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from testbed.nodes.coordinator_messages import (
    Ack,
    Begin,
    HearBurst,
    HearSoundings,
    Recover,
    Refused,
    SendBeacon,
    SendSync,
    Stop,
    Welcome,
)
from testbed.nodes.device_messages import Bye
from testbed.nodes.member import AGAIN_S, NO_CONFIG, Mute, Say, Unfit
from testbed.nodes.messages import NO_RUN, Body, Message
from testbed.nodes.receiver_messages import ReceiverHello, Status
from testbed.nodes.shell import End, Event, Halt, Tick
from testbed.nodes.transport import Denied, Joined, Lost

OnAir = Begin | SendBeacon | SendSync | HearSoundings | HearBurst | Recover


@dataclass(frozen=True)
class Prepare:
    """Build the experiment; comes back as `Prepared`, or as `Unfit`."""

    run: str
    config: str


@dataclass(frozen=True)
class Prepared:
    """In the run."""

    config_sha256: str


@dataclass(frozen=True)
class Do:
    """Do what was told; comes back as `Done`, or as `Failed`."""

    round: int
    told: OnAir


@dataclass(frozen=True)
class Done:
    """What is to be said about it."""

    say: tuple[Body, ...]


@dataclass(frozen=True)
class Failed:
    """It could not be done; the radio is muted.

    Attributes:
        status: to be said.
        call: in which it was to be done.
        final: the radio is lost, or will never do that.
    """

    status: Status
    call: int
    final: bool


@dataclass(frozen=True)
class Finish:
    """A round is over: keep its count, and its recording."""

    round: int


@dataclass(frozen=True)
class ReceiverState:
    """All that the receiver knows beside its arrays; other fields as in `device.DeviceState`.

    Attributes:
        broken: call in which something could not be done; nothing more is done in it.
    """

    code: str
    turnaround_s: float
    gather_s: float
    rejoin_s: float
    run: str = NO_RUN
    config_sha256: str = NO_CONFIG
    round: int = -1
    broken: int | None = None
    joined: bool = False
    since_s: float = -1.0
    ended: End | None = None


Stepped = tuple[ReceiverState, Sequence[Any]]


def step(state: ReceiverState, event: Event) -> Stepped:
    """One event at the receiver."""
    state = state if state.since_s >= 0 else replace(state, since_s=event.now_s)
    what, now_s = event.what, event.now_s
    match what:
        case Message():
            return _told(state, what, now_s)
        case Joined():
            return _hello(replace(state, joined=True), now_s)
        case Lost():
            return replace(state, joined=False, since_s=now_s), [Mute()]
        case Denied(reason=reason, final=True):
            return _end(state, 2, f"the coordinator refuses the connection: {reason}")
        case Halt():
            return _bye(state, "stopped", End(130, "stopped"))
        case Tick():
            waited_s = now_s - state.since_s
            patience_s = state.gather_s if state.run == NO_RUN else state.rejoin_s
            if not state.joined and waited_s > patience_s:
                return _end(state, 1, f"no coordinator for {patience_s:g} s")
            if state.joined and state.run == NO_RUN and waited_s >= AGAIN_S:
                return _hello(state, now_s)
        case Prepared(config_sha256):
            return replace(state, config_sha256=config_sha256), []
        case Unfit(reason):
            return _bye(state, "disk", End(2, reason))
        case Done(say):
            return state, [Say(body, state.run, state.round) for body in say]
        case Failed(status, call, final):
            trouble = Say(status, state.run, state.round)
            if not final:
                return replace(state, broken=call), [trouble]
            state, actions = _bye(state, "radio", End(1, status.trouble))
            return state, [trouble, *actions]
    return state, []


def _told(state: ReceiverState, message: Message, now_s: float) -> Stepped:
    body = message.body
    match body:
        case Welcome(config, None):
            same = message.run == state.run and state.config_sha256 != NO_CONFIG
            state = replace(state, run=message.run, since_s=now_s)
            return state, [] if same else [Prepare(message.run, config)]
        case Refused(reason):
            return _end(state, 2, f"the coordinator refuses this node: {reason}")
    if message.run != state.run or state.config_sha256 == NO_CONFIG:
        return state, []
    match body:
        case Begin():
            state = replace(state, round=message.round, broken=None)
            return state, [Do(message.round, body)]
        case SendBeacon() | SendSync() | HearSoundings() | HearBurst() | Recover():
            is_due = message.round == state.round and body.call != state.broken
            return state, [Do(message.round, body)] if is_due else []
        case Ack():
            return state, [Finish(message.round)]
        case Stop(reason):
            return _bye(state, "done", End(0, reason))
    return state, []


def _hello(state: ReceiverState, now_s: float) -> Stepped:
    hello = ReceiverHello(state.code, state.config_sha256, state.turnaround_s)
    return replace(state, since_s=now_s), [Say(hello, state.run, 0)]


def _bye(state: ReceiverState, reason: Any, end: End) -> Stepped:
    return replace(state, ended=end), [Mute(), Say(Bye(reason), state.run, max(state.round, 0))]


def _end(state: ReceiverState, code: int, reason: str) -> Stepped:
    return replace(state, ended=End(code, reason)), [Mute()]
