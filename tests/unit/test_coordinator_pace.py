"""When a call may begin, by the clock of the bench."""

from types import SimpleNamespace

import pytest

from radio.api import RadioError, RadioSettings
from testbed.nodes.coordinator_node import CoordinatorNode
from testbed.nodes.coordinator_state import Broken, Pace, Paced

RATE_HZ = 1000.0


class Clock:
    settings = RadioSettings(sample_rate_hz=RATE_HZ)

    def __init__(self, now):
        self.at, self.listened = now, []

    def now(self):
        return self.at

    def receive(self, n, at):
        if self.at < 0:
            raise RadioError("gone")
        self.listened.append((n, at))


def paced(clock, index):
    """What comes of waiting for a round; rounds begin at 100 ms, 600 ms, 1.1 s, ..."""
    plan = SimpleNamespace(virtual=SimpleNamespace(start_s=lambda turn: 0.1 + 0.5 * turn))
    node = CoordinatorNode(None, None, None, None, plan, clock, None)
    return node.perform(Pace(index))


@pytest.mark.parametrize(
    ("now", "until"),
    [
        (0, 1099),  # just before its start
        (1099, 1099),
        (1100, None),  # at once
        (1101, 1599),  # too late for this stretch
        (2700, 3099),
    ],
)
def test_a_call_begins_with_its_stretch_or_a_later_one(now, until):
    clock = Clock(now)
    assert paced(clock, 2) == Paced()
    assert clock.listened == ([] if until is None else [(1, until)])


def test_without_a_clock_it_begins_at_once():
    assert paced(None, 2) == Paced()


def test_a_clock_that_is_gone_ends_the_run():
    broken = paced(Clock(-5), 2)
    assert isinstance(broken, Broken)
    assert broken.reason.startswith("the clock of the bench: gone")
