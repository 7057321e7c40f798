"""What all nodes share: events in, actions out, and the loop between them.

A node is a pure `step(state, event) -> (state, actions)`. Its shell has what is not pure: sockets,
a radio, files and the clock. It gives the step one event after the other, performs the actions in
order, and gives back what came of each.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from testbed.nodes.messages import Message
from testbed.nodes.transport import Denied, Joined, Lost

POLL_S = 0.2  # between two looks at deadlines and at whether to stop

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tick:
    """Nothing came; deadlines may have passed."""


@dataclass(frozen=True)
class Halt:
    """Somebody wants the node to end, on this machine."""


@dataclass(frozen=True)
class Event:
    """Something happened.

    Attributes:
        now_s: when, monotonic.
        what: a message, a change of a connection, `Tick`, `Halt`, or what came of an action.
    """

    now_s: float
    what: Any


@dataclass(frozen=True)
class End:
    """The node ends.

    Attributes:
        code: exit code: 0 done, 1 failed, 2 refused, 130 stopped.
        reason: for a person.
    """

    code: int
    reason: str


class State(Protocol):
    """What a step goes on from."""

    @property
    def ended(self) -> End | None:
        """Set by the last step."""


class Ears(Protocol):
    """The receiving half of a `Hub` or a `Spoke`."""

    def receive(self, timeout_s: float) -> Message | Joined | Lost | Denied | None:
        """The next event; None when the time is over."""


S = TypeVar("S", bound=State)


def run(
    state: S,
    step: Callable[[S, Event], tuple[S, Sequence[Any]]],
    perform: Callable[[Any], Any],
    ears: Ears,
    clock: Callable[[], float],
    stop: Callable[[], bool],
    look: Callable[[S], None] = lambda state: None,
) -> S:
    """Run a node until its state says that it has ended.

    Args:
        state: to begin with.
        step: pure.
        perform: does an action; what it returns, unless None, is an event.
        ears: where messages come in.
        clock: monotonic, s.
        stop: whether somebody wants the node to end; told to the step once.
        look: called with the state after each event.
    """
    told = False
    while state.ended is None:
        heard = ears.receive(POLL_S)
        # What is waiting comes before deadlines: a machine that slept finds its answers first.
        queue: deque[Any] = deque([Tick() if heard is None else heard])
        if stop() and not told:
            told = True
            queue.append(Halt())
        while queue and state.ended is None:
            state, actions = step(state, Event(clock(), queue.popleft()))
            for action in actions:
                outcome = perform(action)
                if outcome is not None:
                    queue.append(outcome)
            look(state)
    _log.info("ended: %s", state.ended.reason)
    return state
