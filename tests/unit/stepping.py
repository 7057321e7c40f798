"""What tests of the nodes' steps share: a node that is told things, and the words for them."""

import numpy as np

from testbed.nodes.coordinator_messages import Begin, Grant, Listen, Mark, Params, Send, Sound
from testbed.nodes.messages import Message
from testbed.nodes.shell import Event

RUN, CODE, CONFIG = "r-1", "d" * 64, "c" * 64
DIM = 3


class Stepped:
    """A step, the state it has come to, and the time.

    Attributes:
        state: after the last event.
        now_s: of the next.
    """

    def __init__(self, step, state):
        self.step, self.state, self.now_s = step, state, 0.0

    def __call__(self, *events):
        """Events, one after the other; the actions of all of them."""
        done = []
        for what in events:
            self.state, actions = self.step(self.state, Event(self.now_s, what))
            done += actions
        return done

    def after(self, seconds, *events):
        """The same, later."""
        self.now_s += seconds
        return self(*events)

    def told(self, body, round_index=0, run=RUN, sender="coordinator"):
        """A message."""
        return self(Message(run, round_index, sender, 0, body))


def params(*devices):
    return Params(np.arange(DIM, dtype=np.float32), 0.5, np.array(devices or (0, 1)))


def begin(call=0, leg=0, devices=(0, 1)):
    return Begin(call, leg, np.array(devices), 8)


def mark(call=0, devices=(0, 1)):
    return Mark(call, 0, np.array(devices), 7)


def beacon(call=0):
    return Listen(call, "beacon", 0, 0)


def sound(call=0):
    return Sound(call)


def grant(call=0):
    return Grant(call, 1.0, 1.0, np.ones(2, np.complex64), 0.0)


def send(call=0, burst=0):
    return Send(call, burst)
