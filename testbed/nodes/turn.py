"""One step of the coordinator under way: the state so far, and the actions so far."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from testbed.nodes.call import Stage
from testbed.nodes.coordinator_messages import Ack, Grant, SetGains, Stop
from testbed.nodes.coordinator_state import CoordinatorState, Pace, Phase, Tell
from testbed.nodes.device_messages import Report
from testbed.nodes.messages import Body
from testbed.nodes.receiver_messages import Soundings
from testbed.nodes.round_now import RoundNow
from testbed.nodes.shell import End
from testbed.on_air.held_gains import HeldGains
from testbed.on_air.receiver import levels_db

FAREWELL_S = 0.7  # in which nodes may say goodbye


class Turn:
    """What all of the coordinator's decisions are made of.

    Attributes:
        state: so far.
        actions: so far.
    """

    def __init__(self, state: CoordinatorState, now_s: float) -> None:
        self.state = state
        self.actions: list[Any] = []
        self._now_s = now_s
        self.brief = state.brief

    def change(self, **fields: Any) -> None:
        """Set fields of the state."""
        self.state = replace(self.state, **fields)

    def wait(self, phase: Phase, seconds: float) -> None:
        """From now on wait for something else, and for so long."""
        self.change(phase=phase, until_s=self._now_s + seconds)

    def pace(self) -> None:
        """Go on when it is time for a call."""
        self.wait("pace", math.inf)
        self.actions.append(Pace(self.state.round))

    @property
    def is_late(self) -> bool:
        """Whether what is waited for should have come."""
        return self._now_s >= self.state.until_s

    def tell(self, to: str, body: Body) -> None:
        """Say something about the round under way."""
        self.actions.append(Tell(to, body, self.brief.run, self.state.round))

    def ask(self, phase: Phase, stage: Stage, told: bool = False) -> None:
        """Put a question to those whom it concerns and who are here.

        Args:
            phase: that waits for the answers.
            stage: the question.
            told: whether they have it already.
        """
        asked = [name for name in self._concerned(stage) if self.state.is_here(name)]
        self.change(stage=stage, unanswered=frozenset(asked), answers={})
        self.wait(phase, self.brief.patience_s(stage))
        for name in () if told else asked:
            for ask in stage.asks:
                self.tell(name, ask)

    def grant(self, now: RoundNow, soundings: Soundings) -> None:
        """Tell those that were heard how to send, and keep what was heard of them."""
        assert now.power is not None
        if now.power.scale == 0:  # nobody has anything to send
            return
        for slot, number in enumerate(now.slots):
            name = self.brief.devices[number]
            gain, snr_db = float(soundings.gains[slot]), float(soundings.snr_db[slot])
            self.figures(name, gain=gain, snr_db=snr_db)
            if number in now.senders:
                grant = Grant(
                    now.call,
                    float(now.power.scale),
                    float(now.power.precoders[slot].real),
                    soundings.equalisers[slot],
                    float(soundings.delays[slot]),
                )
                self.tell(name, grant)

    def set_gains(self, now: RoundNow) -> None:
        """Tell the devices of a call their transmit gains, where there is a plan of them."""
        if self.state.gains is not None:
            for number in now.slots:
                name = self.brief.devices[number]
                gains = self.state.gains.tx_gain_db(name), self.state.gains.rx_gain_db(name)
                self.tell(name, SetGains(now.call, *gains))

    def gain_figures(self, now: RoundNow) -> dict[str, dict[str, float]]:
        """The transmit gains of a round, for the run folder."""
        if self.state.gains is None:
            return {}
        names = {str(number): self.brief.devices[number] for number in now.slots}
        return {"tx_gains_db": self.state.gains.figures(names)}

    def gains_after(self, now: RoundNow) -> HeldGains | None:
        """The transmit gains after a round, by what was sounded in it."""
        gains, heard = self.state.gains, now.soundings
        if gains is None or heard is None:
            return gains
        names = [self.brief.devices[number] for number in now.slots]
        levels = levels_db(heard.powers)
        applied = {self.brief.devices[i]: gain for i, gain in now.tx_gains_db.items()}
        carriers = heard.equalisers.shape[1]
        after = gains.after(names, levels, heard.snr_db, carriers, applied)
        for name in after.at_limit_db.keys() - gains.at_limit_db.keys():
            self.blame(name, "gain at its limit")
        return after

    def tell_fate(self, name: str, round_index: int) -> None:
        """Of an update that a device asks after; of one under way nobody knows yet."""
        if name != self.brief.receiver and round_index < self.state.round:
            applied = bool(self.state.last_applied[self.state.number(name)] == round_index)
            self.actions.append(Tell(name, Ack(applied), self.brief.run, round_index))

    def blame(self, name: str, fault: str) -> None:
        """Count a fault."""
        faults = self.state.nodes[name].faults
        self.note(name, faults={**faults, fault: faults.get(fault, 0) + 1})

    def figures(self, name: str, **figures: float) -> None:
        """Keep what was last heard of a node."""
        self.note(name, figures={**self.state.nodes[name].figures, **figures})

    def report(self, name: str, report: Report, now: RoundNow) -> None:
        """Keep what a device tells of its part in a call."""
        self.figures(name, cfo_hz=report.cfo_hz, phase_deg=report.phase_deg)
        self.change(now=now.clipping(report.clipped))
        if report.missed:
            self.blame(name, "sync beacon")

    def note(self, name: str, **fields: Any) -> None:
        """Set fields of a node."""
        node = replace(self.state.nodes[name], **fields)
        self.change(nodes={**self.state.nodes, name: node})

    def end(self, end: End) -> None:
        """Tell everybody, and wait for their goodbyes; the first reason counts."""
        if self.state.ending is not None:
            return
        self.change(ending=end, stage=None, unanswered=frozenset(), now=None)
        self.wait("ending", FAREWELL_S)
        for name, node in self.state.nodes.items():
            if node.here:
                self.tell(name, Stop(end.reason[:200]))
        self.end_if_alone()

    def end_if_alone(self) -> None:
        """Nobody is left to say goodbye."""
        if not self.state.is_here(*self.state.nodes):
            self.change(ended=self.state.ending)

    def _concerned(self, stage: Stage) -> list[str]:
        if stage.to == "receiver":
            return [self.brief.receiver]
        now = self.state.now
        assert now is not None
        devices: Iterable[int] = {
            "active": now.active,
            "slots": now.slots,
            "granted": now.senders,
        }[stage.to]
        return [self.brief.devices[i] for i in sorted(devices)]
