"""A bench in one heap of events: nodes that live and die, and the network between them.

The steps are the real ones. Time is a number; whoever dies loses everything but its disk, and is
started again. Like the transport it stands for, the network keeps the order of a connection, loses
what is under way when that ends, and hands no message on twice, unless a fault says otherwise.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from fake_nodes import CODE, CONFIG, Air, Disks, FakeDevice, FakeReceiver, FakeServer, Leg

from fl_core.power import PhaseOnly
from testbed.bench_config import DeadlinesConfig
from testbed.nodes import coordinator, device, receiver
from testbed.nodes.brief import Brief
from testbed.nodes.coordinator_messages import TO_DEVICE, TO_RECEIVER, Begin
from testbed.nodes.coordinator_state import CoordinatorState
from testbed.nodes.device_messages import FROM_DEVICE
from testbed.nodes.messages import Message
from testbed.nodes.receiver_messages import FROM_RECEIVER
from testbed.nodes.shell import Event, Halt, Tick
from testbed.nodes.transport import Joined, Lost

RUN, TICK_S = "r-1", 0.1
WAITS = {"gather_s": 5.0, "compute_s": 2.0, "answer_s": 1.0, "recover_s": 1.0, "rejoin_s": 3.0}


class Fault(NamedTuple):
    """What goes wrong.

    Attributes:
        at: how many actions and events before.
        kind: see `Bench.strike`.
        name: of the node.
        amount: how badly; half seconds, where it takes time.
    """

    at: int
    kind: str
    name: str
    amount: int


class Process:
    """A life of a node."""

    def __init__(self, bench, name, step, state, fake):
        self.bench, self.name, self.step, self.state, self.fake = bench, name, step, state, fake
        self.inbox, self.changes = deque(), deque()
        self.seen, self.routes = set(), {}
        self.number = bench.random.getrandbits(40)
        self.hung_s = self.jumped_s = 0.0
        self.halted = self.waits = False
        self.wakes = 0
        self.work = self._live()

    def _live(self):
        """As `shell.run`; yields how long it takes until the next action or event."""
        while self.state.ended is None:
            queue = deque([self._next()])
            if self.halted:
                self.halted = False
                queue.append(Halt())
            while queue and self.state.ended is None:
                event = Event(self.bench.now_s + self.jumped_s, queue.popleft())
                self.state, actions = self.step(self.state, event)
                for action in actions:
                    yield self.bench.random.random() * 2e-3
                    outcome = self.fake.perform(action)
                    if outcome is not None:
                        queue.append(outcome)
            self.waits = not (self.inbox or self.changes)
            yield TICK_S if self.waits else 1e-4
            self.waits = False

    def _next(self):
        """What a socket holds may be read before or after the news of its connection."""
        if self.changes and not (self.inbox and self.bench.random.random() < 0.5):
            return self.changes.popleft()
        return self.inbox.popleft() if self.inbox else Tick()

    def hear(self, event, first=False):
        (self.inbox.appendleft if first else self.inbox.append)(event)
        self._rouse()

    def change(self, event):
        self.changes.append(event)
        self._rouse()

    def _rouse(self):
        if self.waits:
            self.waits = False
            self.bench.wake(self, 1e-4)


class Bench:
    """A run on a bench with a schedule of faults."""

    def __init__(self, seed, faults=(), num_devices=3, num_active=3, rounds=4, num_legs=1):
        self.random = random.Random(seed)
        self.devices = tuple(f"d{i}" for i in range(num_devices))
        self.nodes = ("rx", *self.devices)
        self.num_legs = num_legs
        self.disks, self.air = Disks(num_devices, np.random.default_rng(seed)), Air()
        self.brief = Brief(
            run=RUN,
            config="x: 1",
            config_sha256=CONFIG,
            code_sha256=CODE,
            receiver="rx",
            devices=self.devices,
            seed=seed,
            rounds=rounds,
            num_active=num_active,
            num_symbols=8 * num_legs,
            turnaround_s=1e-3,
            fail_above=0.5,
            retries=2,
            deadlines=DeadlinesConfig(**WAITS),
            policy=PhaseOnly(1.0),
            meta_lr=lambda _: 0.5,
            legs=lambda _: (Leg(),) * num_legs,
            diverged="x",
        )
        self.now_s, self.count, self.done = 0.0, 0, False
        self.gone: frozenset[str] = frozenset()  # for ever
        self.faults = sorted(faults, reverse=True)
        self.due: Counter[tuple[str, str]] = Counter()
        self.delays: dict[tuple[str, str], float] = {}
        self.passes: dict[tuple[str, str], int] = {}  # how many messages the next one lets pass
        self._held: dict[tuple[str, str], tuple[int, Callable[[], None]]] = {}
        self.met: Counter[str] = Counter()
        self._heap, self._order = [], 0
        self._alive: dict[str, Process] = {}
        self._links: dict[str, int | None] = dict.fromkeys(self.nodes)  # its session, if it stands
        self._sessions = 0
        self._last_s: Counter[tuple[str, str]] = Counter()  # when a direction was last used
        self._attempt, self._told = 0, {}
        for name in ("coordinator", *self.nodes):
            self._start(name)

    @property
    def alive(self):
        """Who is."""
        return frozenset(self._alive)

    # Time

    def advance(self):
        """The next thing happens."""
        self.now_s, _, what = heappop(self._heap)
        what()

    def heal(self):
        """No faults from now on."""
        self.faults.clear()
        self.due.clear()

    def wake(self, process, after_s):
        process.wakes += 1
        token = process.wakes
        self._after(after_s, partial(self._resume, process, token))

    def _after(self, seconds, what):
        self._order += 1
        heappush(self._heap, (self.now_s + seconds, self._order, what))

    def _some(self, low_s, high_s):
        return self.random.uniform(low_s, high_s)

    def _resume(self, process, token):
        if self._alive.get(process.name) is not process or token != process.wakes:
            return
        self.count += 1
        while self.faults and self.faults[-1].at <= self.count:
            self.strike(self.faults.pop())
            if self._alive.get(process.name) is not process:
                return
        if process.hung_s:
            process.hung_s, pause_s = 0.0, process.hung_s
            process.waits = False
            self.wake(process, pause_s)
            return
        pause_s = next(process.work, None)
        if pause_s is None:
            self._ended(process)
        elif process.wakes == token:
            self.wake(process, pause_s)

    # Life and death

    def _start(self, name):
        if self.done or name in self._alive or name in self.gone:
            return
        if name == "coordinator":
            disks = self.disks
            if disks.round == self.brief.rounds:  # died after its last commit
                self.done = True
                return
            state = CoordinatorState.begin(
                self.brief, disks.params, disks.round, disks.last_applied, disks.uses
            )
            process = Process(self, name, coordinator.step, state, FakeServer(self))
        elif name == "rx":
            state = receiver.ReceiverState(CODE, 1e-3, WAITS["gather_s"], WAITS["rejoin_s"])
            process = Process(self, name, receiver.step, state, FakeReceiver(self, name))
        else:
            number = self.devices.index(name)
            state = device.DeviceState(CODE, 1e-3, WAITS["gather_s"], WAITS["rejoin_s"])
            process = Process(self, name, device.step, state, FakeDevice(self, name, number))
        self._alive[name] = process
        self.wake(process, 1e-4)
        for node in self.nodes if name == "coordinator" else (name,):
            self._connect_later(node)

    def _ended(self, process):
        end = process.state.ended
        self.met[f"{process.name} ends {end.code}"] += 1
        if process.name == "coordinator" and end.code == 0:
            assert self.disks.round == self.brief.rounds
            self.done = True
        self._die(process.name, linger_s=0.2)

    def _die(self, name, linger_s=0.0):
        """Its process is gone, and its connections with it; it is started again."""
        del self._alive[name]
        for node in self.nodes if name == "coordinator" else (name,):
            self._after(linger_s, partial(self._cut, node, self._links[node]))
        self._after(linger_s + self._some(0.3, 2), partial(self._start, name))

    def strike(self, fault):
        _, kind, name, amount = fault
        process = self._alive.get(name)
        self.met[kind] += 1
        match kind:
            case "drop up" | "drop down" | "twice up" | "twice down":
                self.due[kind, name] += 1
            case "delay up" | "delay down":
                self.delays[kind, name] = amount / 2
                self.due[kind, name] += 1
            case "pass up" | "pass down" if name in self._links:
                self.passes[kind, name] = amount
                self.due[kind, name] += 1
            case "disk" | "radio" | "deaf" | "unheard" | "absent" | "poor":
                self.due[kind, name] += 1
            case "cut" if name in self._links:
                self._cut(name, self._links[name])
            case "crash" if process:
                self._die(name)
            case "gone":
                self.gone |= {name}
                if process:
                    self._die(name)
            case "hang" if process:
                process.hung_s = amount / 2
            case "halt" if process:
                process.halted = True
            case "jump" if process:
                process.jumped_s += amount / 2

    def takes(self, kind, name):
        """Whether a fault of this kind is due; it is over then."""
        if self.due[kind, name]:
            self.due[kind, name] -= 1
            self.met[f"{kind}, met"] += 1
            return True
        return False

    # The network

    def _connect_later(self, name):
        self._after(self._some(0.01, 0.5), partial(self._connect, name))

    def _connect(self, name):
        spoke = self._alive.get(name)
        if spoke is None or "coordinator" not in self._alive or self._links[name] is not None:
            return
        self._sessions += 1
        self._links[name] = self._sessions
        spoke.change(Joined("coordinator"))

    def _cut(self, name, session):
        if session is None or self._links[name] != session:
            return
        self._links[name] = None
        spoke, hub = self._alive.get(name), self._alive.get("coordinator")
        if spoke is not None:
            spoke.change(Lost("coordinator"))
        if hub is not None:
            self._after(self._some(0, 1), partial(self._forget, hub, name, session))
        self._connect_later(name)

    def _forget(self, hub, name, session):
        """The hub finds out that a connection is gone."""
        if self._alive.get("coordinator") is hub and hub.routes.get(name) == session:
            del hub.routes[name]
            rest = any(isinstance(e, Message) and e.sender == name for e in hub.inbox)
            first = self.random.random() < 0.5
            hub.hear(Lost(name), first)
            if first and rest:  # which is heard as if it was back, until that is found out
                hub.hear(Lost(name))

    def say(self, name, body, run, round_index):
        """A node speaks to the coordinator."""
        assert type(body) in (FROM_RECEIVER if name == "rx" else FROM_DEVICE)
        process, session = self._alive[name], self._links[name]
        message = Message(run, round_index, name, process.number, body)
        process.number += 1
        if session is not None:
            self._post("up", name, session, message)

    def tell(self, to, body, run, round_index):
        """The coordinator speaks to a node."""
        assert type(body) in (TO_RECEIVER if to == "rx" else TO_DEVICE)
        self._attempt += isinstance(body, Begin)
        self._told[id(body)] = self._attempt, body
        hub = self._alive["coordinator"]
        message = Message(run, round_index, "coordinator", hub.number, body)
        hub.number += 1
        session = hub.routes.get(to)
        if session is not None and session == self._links[to]:
            self._post("down", to, session, message)
        elif session is not None:
            self._forget(hub, to, session)

    def attempt_of(self, body):
        """How many calls had begun when the coordinator said this."""
        return self._told[id(body)][0]

    def _post(self, way, name, session, message):
        if self.takes(f"drop {way}", name):
            return
        delay_s = self._some(1e-4, 5e-3)
        at_s = max(self.now_s + delay_s, self._last_s[way, name])
        if self.takes(f"delay {way}", name):  # others pass it
            at_s = self.now_s + self.delays[f"delay {way}", name]
        else:
            self._last_s[way, name] = at_s
        self._release(way, name, at_s - self.now_s)
        arrive = self._arrive_up if way == "up" else self._arrive_down
        if self.takes(f"pass {way}", name):
            count = self.passes[f"pass {way}", name]
            self._held[way, name] = count, partial(arrive, name, session, message)
            return
        self._after(at_s - self.now_s, partial(arrive, name, session, message))
        if self.takes(f"twice {way}", name):
            # Once so that the transport knows it, and once as if it did not.
            again_s = at_s - self.now_s + self._some(0, 1)
            self._after(again_s, partial(arrive, name, session, message))
            self._after(again_s, partial(arrive, name, session, message, unknown=True))

    def _release(self, way, name, after_s):
        """What was held back goes on once enough others have passed."""
        if (way, name) in self._held:
            count, go_on = self._held.pop((way, name))
            if count > 1:
                self._held[way, name] = count - 1, go_on
            else:
                self._after(after_s + 1e-4, go_on)

    def _arrive_up(self, name, session, message, unknown=False):
        hub = self._alive.get("coordinator")
        if hub is None or self._links[name] != session:
            return
        last = hub.routes.get(name)
        if last not in (None, session):
            self._forget(hub, name, last)
        hub.routes[name] = session
        self._hand_on(hub, message, unknown)

    def _arrive_down(self, name, session, message, unknown=False):
        spoke = self._alive.get(name)
        if spoke is not None and self._links[name] == session:
            self._hand_on(spoke, message, unknown)

    def _hand_on(self, process, message, unknown):
        key = message.sender, message.number
        if unknown or key not in process.seen:
            process.seen.add(key)
            process.hear(message)
