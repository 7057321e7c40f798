"""A coordinator's step among nodes that answer as they should, unless a test says otherwise."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from stepping import CODE, CONFIG, DIM, RUN, Stepped

from fl_core.power import PhaseOnly
from testbed.bench_config import DeadlinesConfig
from testbed.nodes import coordinator
from testbed.nodes.brief import Brief
from testbed.nodes.coordinator_messages import (
    Ack,
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
    SetGains,
    Sound,
)
from testbed.nodes.coordinator_state import Commit, Committed, CoordinatorState, Pace, Paced, Tell
from testbed.nodes.device_messages import Armed, Heard, Hello, Marked, Ready
from testbed.nodes.messages import Message
from testbed.nodes.receiver_messages import (
    Begun,
    BurstHeard,
    Estimate,
    ReceiverHello,
    Sent,
    Soundings,
)
from testbed.nodes.shell import Tick

SILENCE = None
HELLO = Hello(CODE, "0" * 64, -1, 1e-3)
RECEIVER_HELLO = ReceiverHello(CODE, "0" * 64, 1e-3)
NODES = ("rx", "d0", "d1")


@dataclass(frozen=True)
class Leg:
    """As much of a timeline as the coordinator looks at."""

    num_symbols: int = 8
    shared_clock: bool = False
    early_sync: int = 10
    late_sync: int = 30
    layouts: tuple[None, ...] = (None, None)
    syncs: tuple[tuple[int, ...], ...] = ((50,), (70,))
    airtime_s: float = 0.5


def brief(**changes):
    values = {
        "run": RUN,
        "config": "x: 1",
        "config_sha256": CONFIG,
        "code_sha256": CODE,
        "receiver": "rx",
        "devices": ("d0", "d1"),
        "seed": 1,
        "rounds": 2,
        "num_active": 2,
        "num_symbols": 8,
        "turnaround_s": 1e-3,
        "fail_above": 0.5,
        "retries": 2,
        "deadlines": DeadlinesConfig(
            gather_s=60.0, compute_s=40.0, answer_s=10.0, recover_s=20.0, rejoin_s=30.0
        ),
        "policy": PhaseOnly(1.0),
        "meta_lr": lambda _: 0.5,
        "legs": lambda _: (Leg(),),
        "diverged": "meta_lr",
    }
    return Brief(**(values | changes))


def soundings(call, *heard):
    heard = np.array(heard)
    ones = np.ones(heard.size)
    equalisers = np.ones((heard.size, 2), np.complex64)
    return Soundings(call, ones * heard, ones * heard, heard, 20 * ones, 0 * ones, equalisers, 0.1)


def burst_heard(call, burst, *present):
    return BurstHeard(call, burst, np.array(present), 0.1, 0.0)


def estimate(call, predicted=0.01):
    return Estimate(call, np.full(DIM, 2, np.float32), predicted, 3, False, None, 0.1)


class Led(Stepped):
    """A coordinator and the nodes it leads.

    Attributes:
        odd: what nodes answer instead, by name and kind of the question; `SILENCE` for nothing.
        told: everything so far.
        commits: so far.
        paces: how often it has waited for the time of a call.
    """

    def __init__(self, first_round=0, last_applied=(-1, -1), gains=None, **changes):
        self.brief = brief(**changes)
        last = np.array(last_applied, np.int64)
        params = np.zeros(DIM, np.float32)
        state = CoordinatorState.begin(self.brief, params, first_round, last, 0, gains)
        super().__init__(coordinator.step, state)
        self.odd, self.told, self.commits, self.paces = {}, [], [], 0
        self.tx_gains_db = {}

    def go(self, *events):
        """Events, and all that follows from them; what was told meanwhile."""
        before, queue = len(self.told), deque(events)
        while queue:
            for action in self(queue.popleft()):
                reply = self._reply(action)
                if reply is not None:
                    queue.append(reply)
        return self.told[before:]

    def gathered(self):
        """Everybody says hello, and the run begins."""
        return self.says("rx", RECEIVER_HELLO) + self.says("d0", HELLO) + self.says("d1", HELLO)

    def says(self, name, body, round_index=None, run=RUN):
        """One node says something, and all that follows; the present round unless told."""
        index = self.state.round if round_index is None else round_index
        return self.go(Message(run, index, name, 0, body))

    def wait(self, seconds):
        """Time passes."""
        self.now_s += seconds
        return self.go(Tick())

    def faults(self, name):
        return dict(self.state.nodes[name].faults)

    def _reply(self, action):
        match action:
            case Tell(name, body, run, round_index):
                self.told.append(action)
                if isinstance(body, SetGains):
                    self.tx_gains_db[name] = body.tx_gain_db
                answer = self.odd.get((name, type(body)), obey)
                if callable(answer):
                    answer = answer(body)
                if isinstance(answer, Marked):
                    answer = replace(answer, tx_gain_db=self.tx_gains_db.get(name, 0.0))
                if answer is not None:
                    return Message(run, round_index, name, 0, answer)
            case Pace():
                self.paces += 1
                return self.odd.get("pace", Paced())
            case Commit():
                self.commits.append(action)
                return Committed()
        return None


def obey(body):
    """The answer of a node without faults."""
    match body:
        case Params():
            return Ready(2.0, 0.5)
        case Begin(call=call):
            return Begun(call, 0, 7)
        case Mark(call=call):
            return Marked(call, 0.0)
        case SendBeacon(call):
            return Sent(call, "beacon", 0, 0)
        case SendSync(call, index):
            return Sent(call, "sync", index, 0)
        case Listen(call, what, index):
            return Heard(call, what, index, heard=True)
        case Sound(call):
            return Armed(call, "sounding", 0)
        case HearSoundings(call):
            return soundings(call, True, True)
        case Send(call, burst):
            return Armed(call, "burst", burst)
        case HearBurst(call, burst):
            return burst_heard(call, burst, True, True)
        case Recover(call):
            return estimate(call)
    return None


def of(kind, told, name=None):
    """What was told of a kind, to a node."""
    return [t for t in told if isinstance(t.body, kind) and name in (None, t.to)]


def names(kind, told):
    return [t.to for t in of(kind, told)]


def acks(told):
    return {t.to: t.body.applied for t in of(Ack, told)}


def one_round(**changes):
    return Led(rounds=1, **changes)
