"""What the coordinator does, as a pure step: it alone knows the order of a round.

It asks, waits for the answers or for the deadline, and asks the next thing (docs/adr/0003). A
device that does not answer is left out; a receiver that does not, or a burst in which nobody was
heard, costs the call, which is then made again, up to a limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fl_core import server
from testbed.nodes.call import Stage, is_deaf, stages
from testbed.nodes.coordinator_messages import Ack, Mark, Params, Recover, Refused, Welcome
from testbed.nodes.coordinator_state import Broken, Commit, Committed, CoordinatorState, Paced
from testbed.nodes.device_messages import Ask, Bye, Hello, Ready, Report, Trouble
from testbed.nodes.messages import Body, Message
from testbed.nodes.receiver_messages import (
    Begun,
    BurstHeard,
    Estimate,
    ReceiverHello,
    Sent,
    Soundings,
    Status,
)
from testbed.nodes.round_now import RoundNow
from testbed.nodes.shell import End, Event, Halt, Tick
from testbed.nodes.transport import Lost
from testbed.nodes.turn import Turn


def step(state: CoordinatorState, event: Event) -> tuple[CoordinatorState, Sequence[Any]]:
    """One event at the coordinator."""
    turn = _Turn(state, event.now_s)
    if state.until_s < 0:
        turn.wait("gather", state.brief.deadlines.gather_s)
    turn.take(event.what)
    return turn.state, turn.actions


class _Turn(Turn):
    def take(self, what: Any) -> None:
        match what:
            case Message():
                self._heard(what)
            case Lost(name):
                self._lost(name, "lost")
            case Tick() if self.is_late:
                self._late()
            case Paced() if self.state.phase == "pace":
                assert self.state.now is not None
                self._call(self.state.now.leg)
            case Committed() if self.state.phase == "commit":
                self._committed()
            case Broken(code, reason):
                self.end(End(code, reason))
            case Halt():
                self.end(End(130, "stopped"))

    def _heard(self, message: Message) -> None:
        name, body, state = message.sender, message.body, self.state
        if isinstance(body, Hello | ReceiverHello):
            self._hello(name, body)
        elif message.run != self.brief.run:
            self.blame(name, "stale")
        elif isinstance(body, Ask):
            self.tell_fate(name, message.round)
        elif isinstance(body, Bye):
            self._bye(name, body.reason)
        elif message.round != state.round or state.now is None:
            self.blame(name, "late")
        elif isinstance(body, Trouble):
            self._out_of_call(name, body.call)
        elif isinstance(body, Report):
            self.report(name, body, state.now)
        elif isinstance(body, Status):
            if body.trouble:
                self._troubled(name)
            else:
                self.change(now=state.now.overdriving(body.overdriven))
        elif not self._answered(name, body):
            self.blame(name, "late")

    def _answered(self, name: str, body: Body) -> bool:
        """Whether this was asked."""
        stage, before = self.state.stage, self.state.answers.get(name, ())
        if stage is None or name not in self.state.unanswered or not stage.takes(body, before):
            return False
        said = (*before, body)
        self.change(answers={**self.state.answers, name: said})
        if stage.is_over(said):
            self._spare(name)
        return True

    def _spare(self, name: str) -> None:
        """Wait for this node no longer."""
        if name in self.state.unanswered:
            self.change(unanswered=self.state.unanswered - {name})
            self._go_on()

    def _hello(self, name: str, hello: Hello | ReceiverHello) -> None:
        """Somebody is here, for the first time or again."""
        reason = self.brief.objection(name, hello)
        if reason:
            self.blame(name, "refused")
            self.tell(name, Refused(reason))
            if not self.state.begun:  # a bench that is set up wrong is better mended than run
                self.end(End(2, reason))
            return
        brief, state = self.brief, self.state
        self.note(name, here=True)
        number = None if name == brief.receiver else state.number(name)
        self.tell(name, Welcome(brief.config, number))
        if state.phase == "gather":
            enough = any if state.begun else all
            devices = enough(self.state.is_here(device) for device in brief.devices)
            if devices and self.state.is_here(brief.receiver):
                self._begin()
        elif state.phase == "compute" and state.now and number in state.now.active:
            # It was away, and may still make this round's deadline.
            assert state.stage is not None
            if name not in state.answers:
                self.change(unanswered=state.unanswered | {name})
                for ask in state.stage.asks:
                    self.tell(name, ask)

    def _bye(self, name: str, reason: str) -> None:
        if reason == "diverged":
            self.end(End(2, f"the updates of {name} diverge: {self.brief.diverged}"))
        elif reason == "calibration":
            self.end(End(2, f"{name} does not fit the calibration: see its log"))
        self._lost(name, reason)

    def _lost(self, name: str, why: str) -> None:
        """A node is gone, for now."""
        self.note(name, here=False)
        if self.state.ending is not None:
            self.end_if_alone()
            return
        self.blame(name, why)
        self._spare(name)

    def _troubled(self, receiver: str) -> None:
        """The receiver could not do what it was told."""
        self.blame(receiver, "radio")
        if receiver in self.state.unanswered:
            self._failed()

    def _out_of_call(self, name: str, call: int) -> None:
        """A device's radio has left it; the call goes on without."""
        self.blame(name, "radio")
        now = self.state.now
        if now is not None and self.state.phase == "call" and call == now.call:
            self.change(now=now.without(self.state.number(name)))
            self._spare(name)

    def _late(self) -> None:
        """A deadline has passed."""
        state = self.state
        if state.phase == "ending":
            self.change(ended=state.ending)
        elif state.phase == "gather":
            if not state.is_here(self.brief.receiver):
                self.end(End(1, f"the receiver {self.brief.receiver} is not there"))
            elif not state.is_here(*self.brief.devices):
                self.end(End(1, "no device is there"))
            else:
                self._begin()
        elif state.stage is not None:
            for name in state.unanswered:
                self.blame(name, state.stage.name)
            self.change(unanswered=frozenset())
            self._go_on()

    # A round, from its parameters to its commit

    def _begin(self) -> None:
        brief, index = self.brief, self.state.round
        active = server.draw_devices(brief.seed, index, len(brief.devices), brief.num_active)
        params = Params(self.state.params, brief.meta_lr(index), active)
        for name in brief.devices:
            if self.state.is_here(name):
                self.tell(name, params)
        now, last = RoundNow(tuple(int(i) for i in active)), self.state.given_up
        if last is not None:  # no number twice: what was said in its calls may still come
            now = replace(now, calls=last.calls, symbols=last.symbols)
        self.change(now=now, begun=True)
        self.ask("compute", Stage("update", "active", (params,)), told=True)
        self._go_on()

    def _call(self, leg: int) -> None:
        """Call the devices for a leg, the first time or again."""
        now = self.state.now
        assert now is not None
        now = now.calling(leg, self.brief.legs(len(now.slots)))
        todo = stages(now.call, leg, now.slots, now.legs[leg], self.brief.num_symbols)
        self.change(now=replace(now, todo=tuple(todo)))
        self._next()

    def _next(self) -> None:
        """Ask what comes next in the call."""
        now = self.state.now
        assert now is not None
        if now.todo:
            stage, todo = now.todo[0], now.todo[1:]
            if isinstance(stage.asks[0], Mark):
                stage = replace(stage, asks=(replace(stage.asks[0], ahead=now.ahead),))
                self.set_gains(now)
            self.change(now=replace(now, todo=todo))
            self.ask("call", stage)
            self._go_on()
        elif not now.heard.any():
            self._failed()
        elif now.leg + 1 < len(now.legs):
            self._call(now.leg + 1)
        else:
            assert now.power is not None
            recover = Recover(now.call, float(now.power.scale))
            self.ask("recover", Stage("estimate", "receiver", (recover,)))
            self._go_on()

    def _go_on(self) -> None:
        """Take the answers once nobody is waited for any more."""
        state = self.state
        if state.unanswered or state.stage is None or state.now is None:
            return
        stage, now = state.stage, state.now
        self.change(stage=None)
        over = {n: said for n, said in state.answers.items() if stage.is_over(said)}
        if stage.to == "receiver":
            if self.brief.receiver in over:
                self._learnt(now, over[self.brief.receiver])
            else:
                self._failed()
        elif stage.to == "active":
            updates = {state.number(n): a for n, (a, *_) in over.items() if isinstance(a, Ready)}
            self._computed(now, updates)
        else:
            if stage.to == "slots":
                here = {state.number(n) for n, said in over.items() if not any(map(is_deaf, said))}
                now = replace(now, synchronised=now.synchronised & here)
                now = now.marked(state.applied_gains(over))
            self.change(now=now)
            if now.synchronised:
                self._next()
            else:
                self._failed()

    def _computed(self, now: RoundNow, updates: dict[int, Ready]) -> None:
        self.change(now=now.ready(updates))
        if not updates:
            self._commit(None)
            return
        self.pace()

    def _learnt(self, now: RoundNow, answers: Sequence[Body]) -> None:
        """The receiver did what it was told."""
        for answer in answers:
            match answer:
                case Begun(ahead=ahead):
                    now = replace(now, ahead=ahead)
                case Sent(clipped=clipped):
                    now = now.clipping(clipped)
                case BurstHeard():
                    now = now.burst(answer)
                case Soundings():
                    now = now.sounded(answer, self.brief)
                    self.grant(now, answer)
                case Estimate(nmse_predicted=predicted):
                    good = predicted is not None and predicted <= self.brief.fail_above
                    if good or now.failures >= self.brief.retries:
                        self._commit(answer)
                    else:
                        self._failed()
                    return
        self.change(now=now)
        if now.power is not None and now.power.scale == 0:  # nobody has anything to send
            self._commit(None)
        else:
            self._next()

    def _failed(self) -> None:
        """What was tried came to nothing: once more from the beacon, or not at all."""
        now = self.state.now
        assert now is not None
        again = now.again(from_start=self.state.phase == "recover")
        self.change(now=again, stage=None, unanswered=frozenset())
        if not self.state.is_here(self.brief.receiver):
            self._gather()
        elif now.failures >= self.brief.retries:
            self._commit(None)
        else:
            self.pace()

    def _gather(self) -> None:
        """Wait for nodes, and begin the round anew: updates that are ready will be once more."""
        self.change(now=None, given_up=self.state.now)
        self.wait("gather", self.brief.deadlines.rejoin_s)

    def _commit(self, estimate: Estimate | None) -> None:
        state = self.state
        assert state.now is not None
        result = state.now.result(estimate, self.brief)
        last_applied = state.last_applied.copy()
        last_applied[list(result.applied)] = state.round
        params = state.params
        if result.mean_update is not None:
            params = server.step(params, result.mean_update)
        uses = state.channel_uses + result.symbols
        row = {
            "round": state.round,
            "meta_lr": self.brief.meta_lr(state.round),
            **result.row,
            **self.gain_figures(state.now),
            "symbols": result.symbols,
            "channel_uses": uses,
        }
        gains = self.gains_after(state.now)
        self.change(params=params, last_applied=last_applied, channel_uses=uses, gains=gains)
        self.wait("commit", math.inf)
        self.actions.append(Commit(state.round, params, last_applied, uses, row, gains))

    def _committed(self) -> None:
        state, brief = self.state, self.brief
        assert state.now is not None
        for number in state.now.active:
            name, applied = brief.devices[number], state.last_applied[number] == state.round
            node = self.state.nodes[name]
            self.note(name, asked=node.asked + 1, applied=node.applied + int(applied))
            self.tell(name, Ack(bool(applied)))
        self.tell(brief.receiver, Ack(applied=True))
        self.change(round=state.round + 1, now=None, given_up=None, stage=None)
        if self.state.round == brief.rounds:
            self.end(End(0, "the run is over"))
        elif state.is_here(brief.receiver) and state.is_here(*brief.devices):
            self._begin()
        else:
            self._gather()
