import copy

import pytest
from stepping import CODE, CONFIG, RUN, Stepped, begin

from testbed.nodes.coordinator_messages import (
    Ack,
    HearBurst,
    HearSoundings,
    Recover,
    Refused,
    SendBeacon,
    SendSync,
    Stop,
    Welcome,
)
from testbed.nodes.device import Mute, Say, Unfit
from testbed.nodes.device_messages import Bye
from testbed.nodes.receiver import (
    Do,
    Done,
    Failed,
    Finish,
    Prepare,
    Prepared,
    ReceiverState,
    step,
)
from testbed.nodes.receiver_messages import ReceiverHello, Sent, Status
from testbed.nodes.shell import End, Event, Halt, Tick
from testbed.nodes.transport import Denied, Joined, Lost

QUESTIONS = (SendBeacon(0), SendSync(0, 1, 9), HearSoundings(0), HearBurst(0, 0), Recover(0, 1.0))
TROUBLE = Status(0, "broken")


def new():
    return Stepped(step, ReceiverState(CODE, 1e-3, 20.0, 5.0))


def welcomed():
    node = new()
    assert node(Joined("coordinator")) == [Say(ReceiverHello(CODE, "0" * 64, 1e-3), "none", 0)]
    assert node.told(Welcome("x: 1", None)) == [Prepare(RUN, "x: 1")]
    assert node(Prepared(CONFIG)) == []
    return node


def begun(round_index=2):
    node = welcomed()
    assert node.told(begin(), round_index) == [Do(round_index, begin())]
    return node


def test_it_does_what_it_is_told_in_the_round_that_was_begun():
    node = begun()
    for told in QUESTIONS:
        assert node.told(told, 2) == [Do(2, told)]
        assert node.told(told, 1) == []
        assert node.told(told, 3) == []
        assert node.told(told, 2, run="r-2") == []
    sent = Sent(0, "beacon", 0, 0)
    assert node(Done((sent, TROUBLE))) == [Say(sent, RUN, 2), Say(TROUBLE, RUN, 2)]
    assert node.told(Ack(True), 2) == [Finish(2)]


def test_nothing_is_done_before_it_is_welcome():
    node = new()
    for told in (begin(), *QUESTIONS, Ack(True), Stop("over")):
        assert node.told(told) == []


def test_the_welcome_of_a_device_is_not_its_own():
    node = new()
    assert node.told(Welcome("x: 1", 0)) == []


def test_it_is_welcome_again_without_building_everything_again():
    node = begun()
    assert node(Lost("coordinator")) == [Mute()]
    assert node(Joined("coordinator")) == [Say(ReceiverHello(CODE, CONFIG, 1e-3), RUN, 0)]
    assert node.told(Welcome("x: 1", None)) == []
    assert node.told(Welcome("x: 1", None), run="r-2") == [Prepare("r-2", "x: 1")]


def test_an_unanswered_hello_is_said_again():
    node = new()
    hello = node(Joined("coordinator"))
    assert node.after(0.9, Tick()) == []
    assert node.after(0.2, Tick()) == hello


@pytest.mark.parametrize(("first", "patience_s"), [(new, 20), (welcomed, 5)])
def test_it_does_not_wait_for_ever(first, patience_s):
    node = first()
    node.after(1, Lost("coordinator"))
    node.after(patience_s - 1, Tick())
    assert node.state.ended is None
    node.after(2, Tick())
    assert node.state.ended == End(1, f"no coordinator for {patience_s} s")


def test_trouble_is_said_and_is_the_end_if_the_radio_stays_away():
    node = begun()
    assert node(Failed(TROUBLE, 0, final=False)) == [Say(TROUBLE, RUN, 2)]
    assert node.state.ended is None
    bye = Say(Bye("radio"), RUN, 2)
    assert node(Failed(TROUBLE, 0, final=True)) == [Say(TROUBLE, RUN, 2), Mute(), bye]
    assert node.state.ended == End(1, "broken")


def test_nothing_more_is_done_in_a_call_that_broke():
    """One trouble is enough: others would be taken for troubles of the next call."""
    node = begun()
    node(Failed(TROUBLE, 0, final=False))
    for told in QUESTIONS:
        assert node.told(told, 2) == []
    assert node.told(begin(call=1), 2) == [Do(2, begin(call=1))]
    assert node.told(HearSoundings(1), 2) == [Do(2, HearSoundings(1))]
    node(Failed(TROUBLE, 1, final=False))
    # A coordinator that came back counts calls from the start.
    assert node.told(begin(call=1), 2) == [Do(2, begin(call=1))]
    assert node.told(HearSoundings(1), 2) == [Do(2, HearSoundings(1))]


@pytest.mark.parametrize(
    ("what", "code", "bye"),
    [
        (Denied("coordinator", "keys do not fit", final=True), 2, None),
        (Halt(), 130, "stopped"),
        (Unfit("no such experiment"), 2, "disk"),
    ],
)
def test_ends(what, code, bye):
    node = begun()
    assert node(what) == [Mute(), *([] if bye is None else [Say(Bye(bye), RUN, 2)])]
    assert node.state.ended.code == code


def test_it_ends_with_the_run_and_when_it_is_refused():
    node = begun()
    assert node.told(Stop("over"), 3) == [Mute(), Say(Bye("done"), RUN, 2)]
    assert node.state.ended == End(0, "over")
    node = begun()
    assert node.told(Refused("other code"), run="none") == [Mute()]
    assert node.state.ended.code == 2


def test_a_step_leaves_its_state_as_it_was():
    node = begun()
    before = node.state
    kept = copy.deepcopy(before)
    events = [Event(9.0, what) for what in (Lost("coordinator"), Halt(), Tick(), Prepared("e"))]
    first = [step(before, event) for event in events]
    assert [step(before, event) for event in events] == first
    assert before == kept
