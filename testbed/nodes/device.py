"""What a device does, as a pure step: it computes, listens, sounds and sends when it is told.

It settles what became of its last update before it computes the next one (docs/adr/0003), and it
never sends without a grant. What it cannot do it leaves out: the coordinator has deadlines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from testbed.nodes.coordinator_messages import (
    Ack,
    Grant,
    Listen,
    Mark,
    Params,
    Refused,
    Send,
    SetGains,
    Sound,
    Stop,
    Welcome,
)
from testbed.nodes.device_messages import Ask, Bye, Hello, Ready, Trouble
from testbed.nodes.member import AGAIN_S, NO_CONFIG, Mute, Say, Unfit
from testbed.nodes.messages import NO_RUN, Body, Message
from testbed.nodes.shell import End, Event, Halt, Tick
from testbed.nodes.transport import Denied, Joined, Lost

FAREWELL_S = 0.3  # in which the last update may still be settled when the run ends


@dataclass(frozen=True)
class Prepare:
    """Build the experiment and open the memory; comes back as `Prepared`, or as `Unfit`."""

    run: str
    config: str
    device: int


@dataclass(frozen=True)
class Compute:
    """The update of a round; comes back as `Computed`, `Diverged` or `DiskRefused`."""

    round: int
    params: Params


@dataclass(frozen=True)
class Settle:
    """What became of the update of a round; comes back as `Settled` or `DiskRefused`."""

    round: int
    applied: bool


@dataclass(frozen=True)
class OnAir:
    """Use the radio as told; comes back as `Done`, or as `RadioRefused`."""

    told: Mark | Listen | Sound | Send
    grant: Grant | None = None
    gains: SetGains | None = None


@dataclass(frozen=True)
class Prepared:
    """In the run. `pending` is the round of an update that nobody has settled."""

    config_sha256: str
    pending: int | None
    settled: int


@dataclass(frozen=True)
class Computed:
    """The update waits, on the disk."""

    round: int
    energy: float
    loss: float


@dataclass(frozen=True)
class Diverged:
    """The update is not finite."""

    round: int


@dataclass(frozen=True)
class DiskRefused:
    """Nothing was written, nothing has changed."""

    reason: str


@dataclass(frozen=True)
class Settled:
    """It is on the disk."""

    round: int


@dataclass(frozen=True)
class Done:
    """What the radio did: the words to be said about it, in order."""

    call: int
    say: tuple[Body, ...]


@dataclass(frozen=True)
class MakeReady:
    """Open the radio, if it can be, and set it up, before a call waits for that."""


@dataclass(frozen=True)
class RadioRefused:
    """The radio did not do it and is muted.

    Attributes:
        reason: for a person.
        final: it is lost, or will never do that.
        misfit: it is not the radio that the bench was calibrated with, or its profile is of no use.
    """

    reason: str
    final: bool
    misfit: bool = False


@dataclass(frozen=True)
class DeviceState:
    """All that a device knows beside its arrays.

    Attributes:
        code: hash of its code.
        turnaround_s: of its radio.
        gather_s: how long it waits for a coordinator at first.
        rejoin_s: how long it waits for one that it has lost.
        run: that it belongs to.
        device: its number there.
        config_sha256: of the experiment.
        pending: round of the update that is not settled.
        settled: last round that is.
        waiting: parameters of a round that can begin once that is settled.
        round: under way.
        call: under way.
        marked: last call of the round that was marked; a beacon of its is not to come again.
        grant: of the call.
        gains: of the call that comes next, or under way.
        since_s: since when there has been no coordinator, or no answer.
        leaving_s: when the run ended, while the last update is to be settled.
        farewell: why it ended.
    """

    code: str
    turnaround_s: float
    gather_s: float
    rejoin_s: float
    run: str = NO_RUN
    device: int | None = None
    config_sha256: str = NO_CONFIG
    pending: int | None = None
    settled: int = -1
    waiting: Compute | None = None
    round: int = -1
    call: int | None = None
    marked: int = -1
    grant: Grant | None = None
    gains: SetGains | None = None
    joined: bool = False
    since_s: float = field(default=-1.0)
    leaving_s: float | None = None
    farewell: str = ""
    ended: End | None = None


Actions = Sequence[Any]
Stepped = tuple[DeviceState, Actions]


def step(state: DeviceState, event: Event) -> Stepped:
    """One event at a device."""
    state = state if state.since_s >= 0 else replace(state, since_s=event.now_s)
    what, now_s = event.what, event.now_s
    match what:
        case Message():
            return _told(state, what, now_s)
        case Joined():
            return _hello(replace(state, joined=True), now_s)
        case Lost():
            return replace(state, joined=False, since_s=now_s, call=None), [Mute()]
        case Denied(reason=reason, final=True):
            return _end(state, 2, f"the coordinator refuses the connection: {reason}")
        case Halt():
            return _bye(state, "stopped", End(130, "stopped"))
        case Tick():
            return _waited(state, now_s)
        case Prepared(config_sha256, pending, settled):
            state = replace(state, config_sha256=config_sha256, pending=pending, settled=settled)
            return state, [*([] if pending is None else [_ask(state)]), MakeReady()]
        case Unfit(reason):
            return _bye(state, "disk", End(2, reason))
        case Computed(round_index, energy, loss):
            return replace(state, pending=round_index), [
                Say(Ready(energy, loss), state.run, round_index)
            ]
        case Diverged(round_index):
            return _bye(state, "diverged", End(2, f"the update of round {round_index} diverges"))
        case Settled(round_index):
            state = replace(state, pending=None, settled=max(state.settled, round_index))
            if state.leaving_s is not None:
                return _bye(state, "done", End(0, state.farewell))
            waiting, state = state.waiting, replace(state, waiting=None)
            return state, [] if waiting is None else [waiting]
        case Done(call, say) if call == state.call:
            return state, [Say(body, state.run, state.round) for body in say]
        case RadioRefused(reason, final, misfit):
            if misfit:
                return _bye(state, "calibration", End(2, reason))
            if final:
                return _bye(state, "radio", End(1, reason))
            if state.call is None:
                return state, [MakeReady()]
            trouble = Say(Trouble(state.call), state.run, state.round)
            return replace(state, call=None), [trouble, MakeReady()]
    return state, []


def _told(state: DeviceState, message: Message, now_s: float) -> Stepped:
    body, round_index = message.body, message.round
    match body:
        case Welcome(config, device) if device is not None:
            same = message.run == state.run and state.config_sha256 != NO_CONFIG
            state = replace(state, run=message.run, device=device, since_s=now_s)
            if not same:
                return state, [Prepare(message.run, config, device)]
            return state, [] if state.pending is None else [_ask(state)]
        case Refused(reason):
            return _end(state, 2, f"the coordinator refuses this node: {reason}")
    if message.run != state.run or state.config_sha256 == NO_CONFIG:
        return state, []
    match body:
        case Params() if round_index < state.round:
            return state, []  # overtaken by those of a later round
        case Params(devices=devices):
            state = replace(
                state,
                round=round_index,
                call=None,
                marked=-1,
                grant=None,
                gains=None,
                waiting=None,
            )
            if state.device not in devices or round_index <= state.settled:
                return state, [Mute()]
            compute = Compute(round_index, body)
            # The update of this very round waits already: the coordinator begins it once more.
            if state.pending is None or state.pending == round_index:
                return state, [Mute(), compute]
            return replace(state, waiting=compute, since_s=now_s), [Mute(), _ask(state)]
        case Ack(applied) if round_index == state.pending:
            return replace(state, call=None), [Settle(round_index, applied)]
        case Stop(reason):
            state = replace(state, call=None, waiting=None, leaving_s=now_s, since_s=now_s)
            state = replace(state, farewell=reason)
            if state.pending is None:
                return _bye(state, "done", End(0, reason))
            return state, [Mute(), _ask(state)]
    if round_index != state.round or state.pending != round_index:
        return state, []
    match body:
        case Mark(call=call) if call > state.marked:
            gains = state.gains if state.gains and state.gains.call == call else None
            state = replace(state, call=call, marked=call, grant=None)
            return state, [OnAir(body, gains=gains)]
        case SetGains(call=call) if call > state.marked:
            return replace(state, gains=body), []
        case Grant(call=call) if call == state.call:
            return replace(state, grant=body), []
        case Listen(call=call) | Sound(call=call) if call == state.call:
            return state, [OnAir(body)]
        case Send(call=call) if call == state.call and state.grant is not None:
            return state, [OnAir(body, state.grant)]
    return state, []


def _waited(state: DeviceState, now_s: float) -> Stepped:
    waited_s = now_s - state.since_s
    patience_s = state.gather_s if state.run == NO_RUN else state.rejoin_s
    if not state.joined and waited_s > patience_s:
        return _end(state, 1, f"no coordinator for {patience_s:g} s")
    if state.leaving_s is not None and now_s - state.leaving_s > FAREWELL_S:
        return _bye(state, "done", End(0, f"{state.farewell}; the last update is to be settled"))
    if not state.joined or waited_s < AGAIN_S:
        return state, []
    if state.run == NO_RUN:
        return _hello(state, now_s)
    unanswered = state.waiting is not None or state.leaving_s is not None
    if unanswered and state.pending is not None:
        return replace(state, since_s=now_s), [_ask(state)]
    return state, []


def _hello(state: DeviceState, now_s: float) -> Stepped:
    hello = Hello(state.code, state.config_sha256, state.settled, state.turnaround_s)
    return replace(state, since_s=now_s), [Say(hello, state.run, 0)]


def _ask(state: DeviceState) -> Say:
    assert state.pending is not None
    return Say(Ask(), state.run, state.pending)


def _bye(state: DeviceState, reason: Any, end: End) -> Stepped:
    return replace(state, ended=end), [Mute(), Say(Bye(reason), state.run, max(state.round, 0))]


def _end(state: DeviceState, code: int, reason: str) -> Stepped:
    return replace(state, ended=End(code, reason)), [Mute()]
