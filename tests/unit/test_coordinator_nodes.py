import pytest
from obedient_bench import (
    HELLO,
    RECEIVER_HELLO,
    SILENCE,
    Led,
    burst_heard,
    names,
    of,
    one_round,
    soundings,
)
from stepping import CODE, CONFIG

from testbed.nodes.coordinator_messages import (
    Begin,
    HearBurst,
    HearSoundings,
    Mark,
    Params,
    Refused,
    SendBeacon,
    Stop,
    Welcome,
)
from testbed.nodes.coordinator_state import Broken
from testbed.nodes.device_messages import Bye, Hello, Ready
from testbed.nodes.receiver_messages import ReceiverHello
from testbed.nodes.shell import End, Halt, Tick
from testbed.nodes.transport import Lost

# Nodes that come and go


def test_a_receiver_that_is_lost_costs_the_call_and_the_round_begins_anew():
    bench = one_round()
    bench.odd["rx", HearBurst] = SILENCE
    bench.gathered()
    assert bench.go(Lost("rx")) == []
    assert bench.state.phase == "gather"
    del bench.odd["rx", HearBurst]
    told = bench.says("rx", RECEIVER_HELLO)
    assert names(Params, told) == ["d0", "d1"]
    assert of(Params, told)[0].round == 0
    # No number twice, and its symbols were sent.
    assert [t.body.call for t in of(Begin, told)] == [1]
    assert bench.commits[0].row["symbols"] == 16
    assert not bench.commits[0].row["failed"]


def test_a_receiver_that_stays_away_ends_the_run():
    bench = Led()
    bench.odd["rx", Begin] = SILENCE
    bench.gathered()
    bench.go(Lost("rx"))
    assert bench.wait(29) == []
    told = bench.wait(2)
    assert names(Stop, told) == ["d0", "d1"]
    assert bench.state.ending == End(1, "the receiver rx is not there")
    bench.wait(2)
    assert bench.state.ended == bench.state.ending


def test_a_device_that_is_lost_is_waited_for_no_longer():
    bench = one_round()
    bench.odd["d1", Params] = SILENCE
    bench.odd["rx", HearSoundings] = soundings(0, True)
    bench.odd["rx", HearBurst] = lambda ask: burst_heard(0, ask.burst, True)
    bench.gathered()
    assert set(names(Mark, bench.go(Lost("d1")))) == {"d0"}
    assert bench.faults("d1") == {"lost": 1}


def test_a_device_that_comes_back_may_make_the_deadline():
    bench = one_round()
    bench.odd |= {("d0", Params): SILENCE, ("d1", Params): SILENCE}
    bench.gathered()
    bench.go(Lost("d1"))
    del bench.odd["d1", Params]
    told = bench.says("d1", HELLO)
    assert [type(t.body) for t in told] == [Welcome, Params]
    bench.says("d0", Ready(2.0, 0.5))
    assert bench.commits[0].row["participation"] == 1


def test_a_device_that_comes_back_later_waits_for_the_next_round():
    bench = Led()
    bench.odd["rx", SendBeacon] = SILENCE
    bench.gathered()
    bench.go(Lost("d1"))
    assert [type(t.body) for t in bench.says("d1", HELLO)] == [Welcome]


def test_it_begins_without_those_who_do_not_come():
    bench = one_round()
    bench.odd["rx", HearSoundings] = soundings(0, True)
    bench.odd["rx", HearBurst] = lambda ask: burst_heard(0, ask.burst, True)
    bench.go(Tick())
    bench.says("rx", RECEIVER_HELLO)
    assert of(Params, bench.says("d0", HELLO)) == []
    assert bench.wait(59) == []
    assert names(Params, bench.wait(2)) == ["d0"]
    assert len(bench.commits) == 1


# Nodes that do not belong to the run


@pytest.mark.parametrize(
    ("name", "hello", "says"),
    [
        ("d0", Hello("e" * 64, "0" * 64, -1, 1e-3), "d0 runs other code"),
        ("d0", Hello(CODE, "e" * 64, -1, 1e-3), "d0 belongs to a run of another experiment"),
        ("d0", Hello(CODE, CONFIG, -1, 2e-3), "takes 0.002 s to answer a beacon"),
        ("rx", ReceiverHello("e" * 64, "0" * 64, 1e-3), "rx runs other code"),
    ],
)
def test_who_is_refused(name, hello, says):
    bench = Led()
    (refused, *_) = bench.says(name, hello)
    assert refused.to == name
    assert isinstance(refused.body, Refused)
    assert says in refused.body.reason
    assert bench.state.ended.code == 2
    # Once a run has begun it goes on without.
    bench = Led()
    bench.odd["rx", SendBeacon] = SILENCE
    bench.gathered()
    assert [type(t.body) for t in bench.says(name, hello)] == [Refused]
    assert bench.state.ending is None


# Ends


@pytest.mark.parametrize(
    ("what", "end"),
    [(Halt(), End(130, "stopped")), (Broken(1, "disk full"), End(1, "disk full"))],
)
def test_everybody_is_told_of_the_end(what, end):
    bench = Led()
    bench.odd["rx", SendBeacon] = SILENCE
    bench.gathered()
    told = bench.go(what)
    assert names(Stop, told) == ["rx", "d0", "d1"]
    assert (bench.state.ending, bench.state.ended) == (end, None)
    assert bench.go(Broken(2, "something else")) == []
    bench.wait(2)
    assert bench.state.ended == end


def test_nobody_is_waited_for_where_nobody_is():
    bench = Led()
    bench.go(Halt())
    assert bench.state.ended == End(130, "stopped")


def test_a_radio_in_the_wrong_place_ends_the_run():
    bench = Led()
    bench.odd["d1", Params] = Bye("calibration")
    bench.gathered()
    assert bench.state.ending == End(2, "d1 does not fit the calibration: see its log")
    assert bench.commits == []


def test_an_update_that_diverges_ends_the_run():
    bench = Led()
    bench.odd["d1", Params] = Bye("diverged")
    bench.gathered()
    assert bench.state.ending == End(2, "the updates of d1 diverge: meta_lr")
    assert bench.commits == []
