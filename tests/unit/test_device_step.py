import copy

import pytest
from stepping import (
    CODE,
    CONFIG,
    RUN,
    Stepped,
    beacon,
    grant,
    mark,
    params,
    send,
    sound,
)

from testbed.nodes.coordinator_messages import Ack, Refused, SetGains, Stop, Welcome
from testbed.nodes.device import (
    Compute,
    Computed,
    DeviceState,
    DiskRefused,
    Diverged,
    Done,
    MakeReady,
    Mute,
    OnAir,
    Prepare,
    Prepared,
    RadioRefused,
    Say,
    Settle,
    Settled,
    Unfit,
    step,
)
from testbed.nodes.device_messages import Armed, Ask, Bye, Hello, Ready, Trouble
from testbed.nodes.shell import End, Event, Halt, Tick
from testbed.nodes.transport import Denied, Joined, Lost

ASK = Say(Ask(), RUN, 0)
MINE = Welcome("x: 1", 1)


def welcomed(pending=None, settled=-1):
    """Device 1 of a run, with what its disk says."""
    node = Stepped(step, DeviceState(CODE, 1e-3, 20.0, 5.0))
    node(Joined("coordinator"))
    assert node.told(MINE) == [Prepare(RUN, "x: 1", 1)]
    asked = [] if pending is None else [Say(Ask(), RUN, pending)]
    assert node(Prepared(CONFIG, pending, settled)) == [*asked, MakeReady()]
    return node


def computed(round_index=0):
    """The same with an update."""
    node = welcomed()
    assert node.told(params(), round_index) == [Mute(), Compute(round_index, params())]
    assert node(Computed(round_index, 2.0, 0.5)) == [Say(Ready(2.0, 0.5), RUN, round_index)]
    return node


def test_a_gain_is_set_with_the_mark_of_its_call_and_no_other():
    node, gains = computed(), SetGains(0, -12.5, 30.0)
    assert node.told(gains) == []
    assert node.told(mark()) == [OnAir(mark(), gains=gains)]
    assert node.told(SetGains(0, -99.0, 0.0)) == []  # of a call that was marked already
    assert node.told(beacon()) == [OnAir(beacon())]
    assert node.told(mark(call=1)) == [OnAir(mark(call=1))]
    assert node.told(SetGains(3, -99.0, 0.0)) == []
    assert node.told(mark(call=2)) == [OnAir(mark(call=2))]


def granted():
    """The same with a grant for call 0."""
    node = computed()
    for told in (mark(), beacon(), sound()):
        assert node.told(told) == [OnAir(told)]
    assert node.told(grant()) == []
    return node


def test_it_says_hello_whenever_it_is_connected():
    node = Stepped(step, DeviceState(CODE, 1e-3, 20.0, 5.0))
    assert node(Joined("coordinator")) == [Say(Hello(CODE, "0" * 64, -1, 1e-3), "none", 0)]
    again = welcomed(settled=3)
    assert again(Lost("coordinator")) == [Mute()]
    assert again(Joined("coordinator")) == [Say(Hello(CODE, CONFIG, 3, 1e-3), RUN, 0)]
    assert again.told(MINE) == []


def test_an_unanswered_hello_is_said_again():
    node = Stepped(step, DeviceState(CODE, 1e-3, 20.0, 5.0))
    hello = node(Joined("coordinator"))
    assert node.after(0.9, Tick()) == []
    assert node.after(0.2, Tick()) == hello
    assert node.after(0.9, Tick()) == []


def test_it_waits_longer_for_a_first_coordinator_than_for_a_lost_one():
    node = Stepped(step, DeviceState(CODE, 1e-3, 20.0, 5.0))
    node(Tick())
    node.after(19, Tick())
    assert node.state.ended is None
    node.after(2, Tick())
    assert node.state.ended == End(1, "no coordinator for 20 s")
    node = welcomed()
    node.after(50, Lost("coordinator"))
    node.after(4, Tick())
    assert node.state.ended is None
    node.after(2, Tick())
    assert node.state.ended == End(1, "no coordinator for 5 s")


@pytest.mark.parametrize(("run", "round_index"), [("r-2", 0), (RUN, 1)])
def test_what_is_said_of_another_run_or_round_is_ignored(run, round_index):
    node = computed()
    for body in (mark(), beacon(), sound(), grant(), send(), Ack(True)):
        assert node.told(body, round_index, run) == []
    assert node.state.call is None
    assert node.state.pending == 0


def test_it_sends_with_the_grant_of_the_call_only():
    node = granted()
    assert node.told(send()) == [OnAir(send(), grant())]
    assert node.told(send(call=1)) == []
    assert node.told(mark(call=1)) == [OnAir(mark(call=1))]
    assert node.told(send(call=1)) == []
    assert node.told(grant(call=0)) == []
    assert node.told(send(call=1)) == []
    node.told(grant(call=1))
    assert node.told(send(call=1)) == [OnAir(send(call=1), grant(call=1))]
    assert node.told(sound(call=0)) == []


def test_a_mark_that_comes_twice_does_not_begin_the_call_again():
    node = granted()
    assert node.told(mark()) == []
    assert node.told(send()) == [OnAir(send(), grant())]
    node(RadioRefused("x", final=False))
    assert node.told(mark()) == []
    assert node.told(mark(call=1)) == [OnAir(mark(call=1))]


def test_without_an_update_it_takes_no_part():
    node = welcomed()
    assert node.told(params(0, 2)) == [Mute()]  # it is not asked
    for told in (mark(), grant(), send()):
        assert node.told(told) == []


def test_what_the_radio_did_is_said_in_its_call_only():
    node = granted()
    armed = Armed(0, "burst", 0)
    assert node(Done(0, (armed,))) == [Say(armed, RUN, 0)]
    node.told(mark(call=1))
    assert node(Done(0, (armed,))) == []


@pytest.mark.parametrize(
    ("broken", "does"),
    [
        (RadioRefused("x", final=False), [Say(Trouble(0), RUN, 0), MakeReady()]),
        (Lost("coordinator"), [Mute()]),
    ],
    ids=["radio", "connection"],
)
def test_it_leaves_a_call_in_which_something_broke(broken, does):
    node = granted()
    assert node(broken) == does
    assert node.told(send()) == []
    assert node.state.pending == 0
    assert node.state.ended is None


def test_a_radio_that_cannot_be_opened_again_is_the_end():
    node = computed()
    assert node(RadioRefused("gone", final=True)) == [Mute(), Say(Bye("radio"), RUN, 0)]
    assert node.state.ended == End(1, "gone")


@pytest.mark.parametrize("applied", [True, False])
def test_an_ack_settles_the_round_it_is_about(applied):
    node = granted()
    assert node.told(Ack(applied), round_index=1) == []
    assert node.told(Ack(applied)) == [Settle(0, applied)]
    assert node(Settled(0)) == []
    assert (node.state.pending, node.state.settled) == (None, 0)
    assert node.told(Ack(not applied)) == []
    assert node.told(params()) == [Mute()]  # the round is over


def test_an_update_is_settled_before_the_next_is_computed():
    node = welcomed(pending=3, settled=1)
    assert node.told(params(), 5) == [Mute(), Say(Ask(), RUN, 3)]
    assert node.after(0.5, Tick()) == []
    assert node.after(0.6, Tick()) == [Say(Ask(), RUN, 3)]
    assert node.told(mark(), 5) == []
    assert node.told(Ack(True), 3) == [Settle(3, True)]
    assert node(Settled(3)) == [Compute(5, params())]
    assert node(Computed(5, 1.0, 0.5)) == [Say(Ready(1.0, 0.5), RUN, 5)]


def test_the_same_round_again_takes_the_update_that_waits():
    node = granted()
    assert node.told(params()) == [Mute(), Compute(0, params())]
    assert node.told(send()) == []
    node = welcomed(pending=3)
    assert node.told(params(), 3) == [Mute(), Compute(3, params())]


def test_parameters_that_were_overtaken_are_ignored():
    node = computed(round_index=4)
    assert node.told(params(), 2) == []
    assert node.told(mark(), 4) == [OnAir(mark())]
    # Neither is a round computed that was to wait, and was overtaken meanwhile.
    node = welcomed(pending=3)
    node.told(params(), 5)
    assert node.told(params(0, 2), 6) == [Mute()]
    node.told(Ack(True), 3)
    assert node(Settled(3)) == []


def test_a_disk_that_refuses_changes_nothing():
    node = computed()
    node.told(Ack(True))
    assert node(DiskRefused("full")) == []
    assert node.state.pending == 0
    assert node.told(params(), 1) == [Mute(), ASK]
    assert node.told(Ack(True)) == [Settle(0, True)]


def test_it_is_asked_again_after_the_coordinator_came_back():
    node = computed()
    node(Lost("coordinator"), Joined("coordinator"))
    assert node.told(MINE) == [ASK]


def test_stop_ends_it():
    node = welcomed()
    assert node.told(Stop("over"), 4) == [Mute(), Say(Bye("done"), RUN, 0)]
    assert node.state.ended.code == 0


def test_stop_leaves_time_to_settle_the_last_update():
    node = computed()
    assert node.told(Stop("over"), 1) == [Mute(), ASK]
    assert node.state.ended is None
    assert node.told(Ack(True)) == [Settle(0, True)]
    assert node(Settled(0)) == [Mute(), Say(Bye("done"), RUN, 0)]
    assert node.state.ended == End(0, "over")


def test_but_not_for_ever():
    node = computed()
    node.told(Stop("over"), 1)
    assert node.after(0.2, Tick()) == []
    assert node.after(0.2, Tick()) == [Mute(), Say(Bye("done"), RUN, 0)]
    assert node.state.ended.code == 0
    assert node.state.pending == 0


@pytest.mark.parametrize(
    ("what", "code", "bye"),
    [
        (Denied("coordinator", "keys do not fit", final=True), 2, None),
        (Halt(), 130, "stopped"),
        (Unfit("no such experiment"), 2, "disk"),
        (Diverged(0), 2, "diverged"),
        (RadioRefused("another radio", True, misfit=True), 2, "calibration"),
    ],
)
def test_ends(what, code, bye):
    node = computed()
    assert node(what) == [Mute(), *([] if bye is None else [Say(Bye(bye), RUN, 0)])]
    assert node.state.ended.code == code


def test_it_ends_when_it_is_refused_and_goes_on_when_that_is_not_final():
    node = welcomed()
    assert node(Denied("coordinator", "broke off", final=False)) == []
    assert node.state.ended is None
    assert node.told(Refused("other code"), run="none") == [Mute()]
    assert node.state.ended == End(2, "the coordinator refuses this node: other code")


def test_a_step_leaves_its_state_as_it_was():
    node = granted()
    before = node.state
    kept = copy.deepcopy(before)
    events = [Event(9.0, what) for what in (Lost("coordinator"), Halt(), Tick(), Settled(0))]
    first = [step(before, event) for event in events]
    assert [step(before, event) for event in events] == first
    assert before == kept
