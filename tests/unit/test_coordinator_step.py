import copy

import numpy as np
import pytest
from obedient_bench import (
    SILENCE,
    Led,
    Leg,
    acks,
    burst_heard,
    estimate,
    names,
    obey,
    of,
    one_round,
    soundings,
)
from stepping import RUN

from testbed.nodes.coordinator import step
from testbed.nodes.coordinator_messages import (
    Ack,
    Begin,
    Grant,
    HearBurst,
    HearSoundings,
    Listen,
    Mark,
    Params,
    Recover,
    Send,
    SendBeacon,
    Sound,
    Stop,
)
from testbed.nodes.coordinator_state import Broken, Committed, Paced, Tell
from testbed.nodes.device_messages import Ask, Bye, Heard, Ready, Report, Trouble
from testbed.nodes.messages import Message
from testbed.nodes.receiver_messages import Status
from testbed.nodes.shell import End, Event, Halt, Tick
from testbed.nodes.transport import Lost


def test_a_run_without_faults():
    bench = Led()
    told = bench.gathered()
    assert [c.round for c in bench.commits] == [0, 1]
    for commit in bench.commits:
        # Two devices with gain 1 and a sum of 2 everywhere: a mean of 1.
        np.testing.assert_array_equal(commit.params, np.full(3, -1.0 - commit.round))
        assert commit.last_applied.tolist() == [commit.round] * 2
        assert commit.row["participation"] == 1
        assert commit.channel_uses == 8 * (commit.round + 1)
    assert acks(told) == {"d0": True, "d1": True, "rx": True}
    assert len(of(Params, told)) == 4
    assert names(Stop, told) == ["rx", "d0", "d1"]
    assert bench.state.ending == End(0, "the run is over")
    assert bench.state.ended is None
    for name in ("rx", "d0", "d1"):
        bench.says(name, Bye("done"))
    assert bench.state.ended == End(0, "the run is over")


def test_it_asks_in_the_order_of_the_air():
    bench = one_round()
    bench.gathered()
    order = [(t.to, type(t.body).__name__) for t in bench.told]
    begin = order.index(("rx", "Begin"))
    assert order[begin : begin + 4] == [
        ("rx", "Begin"),
        ("d0", "Mark"),
        ("d1", "Mark"),
        ("rx", "SendBeacon"),
    ]
    # The receiver has armed all its beacons before anybody listens.
    assert max(k for k, (_, name) in enumerate(order) if name == "SendSync") < order.index(
        ("d0", "Listen")
    )
    kinds = [name for to, name in order if to in ("rx", "d1")]
    assert kinds.index("Sound") < kinds.index("HearSoundings") < kinds.index("Grant")
    assert kinds.index("Grant") < kinds.index("Send") < kinds.index("HearBurst")
    assert of(Mark, bench.told)[0].body.ahead == 7


# Who misses a deadline


def test_a_device_without_an_update_is_left_out_of_the_round():
    bench = one_round()
    bench.odd["d0", Params] = SILENCE
    assert of(Begin, bench.gathered()) == []
    assert bench.wait(39) == []
    bench.odd["rx", HearSoundings] = soundings(0, True)
    bench.odd["rx", HearBurst] = lambda ask: burst_heard(0, ask.burst, True)
    told = bench.wait(2)
    assert of(Begin, told)[0].body.devices.tolist() == [1]
    assert names(Mark, told) == ["d1"]
    assert acks(told) == {"d0": False, "d1": True, "rx": True}
    assert bench.faults("d0") == {"update": 1}
    assert bench.commits[0].row["participation"] == 0.5


def test_a_round_without_updates_is_over():
    bench = one_round()
    bench.odd |= {("d0", Params): SILENCE, ("d1", Params): SILENCE}
    bench.gathered()
    told = bench.wait(41)
    assert names(Begin, told) == []
    assert bench.commits[0].row["failed"]
    assert acks(told) == {"d0": False, "d1": False, "rx": True}


@pytest.mark.parametrize("kind", [Mark, Sound])
def test_a_device_that_does_not_answer_is_left_out_of_the_call(kind):
    bench = one_round()
    bench.odd["d1", kind] = SILENCE
    bench.odd["rx", HearSoundings] = soundings(0, True, True)  # its pilot was heard
    bench.odd["rx", HearBurst] = lambda ask: burst_heard(0, ask.burst, True, False)
    bench.gathered()
    told = bench.wait(11)
    assert names(Grant, told) == ["d0"]
    assert set(names(Send, told)) == {"d0"}
    assert acks(bench.told) == {"d0": True, "d1": False, "rx": True}


@pytest.mark.parametrize("kind", [Mark, Sound])
def test_a_device_whose_radio_fails_is_not_waited_for(kind):
    bench = one_round()
    bench.odd["d1", kind] = Trouble(0)
    bench.odd["rx", HearSoundings] = soundings(0, True, True)  # its pilot was heard
    bench.odd["rx", HearBurst] = lambda ask: burst_heard(0, ask.burst, True, False)
    told = bench.gathered()
    assert names(Grant, told) == ["d0"]
    assert set(names(Send, told)) == {"d0"}
    assert acks(told) == {"d0": True, "d1": False, "rx": True}
    assert bench.faults("d1") == {"radio": 1}


def test_a_radio_that_fails_between_two_questions_is_asked_no_more():
    bench = one_round()
    bench.odd["rx", HearSoundings] = SILENCE
    bench.gathered()
    bench.says("d1", Trouble(0))
    bench.odd["rx", HearBurst] = lambda ask: burst_heard(0, ask.burst, True, False)
    told = bench.says("rx", soundings(0, True, True))  # its pilot was heard
    assert names(Grant, told) == ["d0"]
    assert set(names(Send, told)) == {"d0"}
    assert acks(told) == {"d0": True, "d1": False, "rx": True}


def test_a_trouble_of_another_call_is_only_counted():
    bench = one_round()
    bench.odd["d1", Mark] = Trouble(7)
    bench.odd["rx", HearSoundings] = soundings(0, True, False)
    bench.odd["rx", HearBurst] = lambda ask: burst_heard(0, ask.burst, True, False)
    assert acks(bench.gathered()) == {}  # d1 may still answer
    assert acks(bench.wait(11)) == {"d0": True, "d1": False, "rx": True}
    assert bench.faults("d1") == {"radio": 1, "mark": 1}


def test_a_device_that_did_not_hear_the_beacon_is_not_waited_for():
    bench = one_round()
    deaf = Heard(0, "beacon", 0, heard=False)
    bench.odd["d1", Listen] = lambda ask: deaf if ask.what == "beacon" else SILENCE
    bench.odd["d1", Sound] = SILENCE
    bench.odd["rx", HearSoundings] = soundings(0, True, False)
    bench.odd["rx", HearBurst] = lambda ask: burst_heard(0, ask.burst, True, False)
    told = bench.gathered()
    assert names(Grant, told) == ["d0"]
    assert set(names(Send, told)) == {"d0"}
    assert acks(told)["d1"] is False
    assert bench.faults("d1") == {}


def test_a_device_that_was_not_in_all_bursts_is_not_acknowledged():
    bench = one_round()
    bench.odd["rx", HearBurst] = lambda ask: burst_heard(0, ask.burst, ask.burst == 0, True)
    assert acks(bench.gathered()) == {"d0": False, "d1": True, "rx": True}
    assert bench.commits[0].last_applied.tolist() == [-1, 0]


def test_what_is_waited_for_no_more_is_counted_and_ignored():
    bench = Led()
    bench.odd["rx", SendBeacon] = SILENCE
    bench.gathered()
    before = bench.state
    for name, body, words in (
        ("d0", Ready(9.0, 0.5), {}),
        ("d0", Ready(9.0, 0.5), {"round_index": 1}),
        ("d0", Ready(9.0, 0.5), {"run": "r-2"}),
        ("rx", estimate(0), {}),
        ("rx", obey(SendBeacon(1)), {}),
    ):
        assert bench.says(name, body, **words) == []
    assert bench.faults("d0") == {"late": 2, "stale": 1}
    assert bench.faults("rx") == {"late": 2}
    assert (bench.state.now, bench.state.stage) == (before.now, before.stage)
    assert bench.state.unanswered == before.unanswered == {"rx"}


@pytest.mark.parametrize("words", [{"round_index": 1}, {"run": "r-2"}])
def test_an_answer_of_another_round_or_run_is_none(words):
    bench = Led()
    bench.odd["d0", Params] = SILENCE
    bench.gathered()
    assert bench.says("d0", Ready(9.0, 0.5), **words) == []
    assert bench.state.unanswered == {"d0"}


# Asking after an update


def test_the_last_commits_answer_who_asks():
    bench = Led(first_round=7, last_applied=(6, 4), rounds=9)
    bench.odd["rx", Begin] = SILENCE
    bench.gathered()
    assert acks(bench.says("d0", Ask(), 6)) == {"d0": True}
    assert acks(bench.says("d1", Ask(), 4)) == {"d1": True}
    assert acks(bench.says("d1", Ask(), 6)) == {"d1": False}
    assert acks(bench.says("d1", Ask(), 3)) == {"d1": False}
    assert bench.says("d0", Ask(), 6)[0].round == 6


def test_of_the_round_under_way_nobody_knows():
    bench = Led()
    bench.odd["rx", Recover] = SILENCE
    bench.gathered()
    assert bench.says("d0", Ask()) == []
    # Neither before the commit is on the disk.
    committing, actions = step(bench.state, Event(0.0, _estimated(bench)))
    assert committing.phase == "commit"
    assert [type(a).__name__ for a in actions] == ["Commit"]
    _, actions = step(committing, Event(0.0, _asked(bench)))
    assert actions == []
    done, _ = step(committing, Event(0.0, Committed()))
    _, actions = step(done, Event(0.0, _asked(bench)))
    assert actions == [Tell("d0", Ack(True), RUN, 0)]


def _estimated(bench):
    return Message(RUN, bench.state.round, "rx", 0, estimate(0))


def _asked(bench):
    return Message(RUN, 0, "d0", 0, Ask())


# Calls that fail


def test_a_call_is_made_again_up_to_a_limit():
    bench = one_round()
    bench.odd["rx", Recover] = lambda ask: estimate(ask.call, predicted=3.0)
    told = bench.gathered()
    assert [t.body.call for t in of(Begin, told)] == [0, 1, 2]
    row = bench.commits[0].row
    assert (row["failed"], row["calls"], row["symbols"]) == (True, 3, 24)
    assert acks(told) == {"d0": False, "d1": False, "rx": True}
    np.testing.assert_array_equal(bench.commits[0].params, np.zeros(3))


def test_each_call_waits_for_its_time():
    bench = one_round()
    bench.odd["rx", Recover] = lambda ask: estimate(ask.call, predicted=3.0)
    bench.odd["pace"] = SILENCE
    assert of(Begin, bench.gathered()) == []
    for call in range(3):
        assert bench.paces == call + 1
        told = bench.go(Paced())
        assert [t.body.call for t in of(Begin, told)] == [call]
    assert bench.commits[0].row["failed"]


def test_so_is_one_in_which_nothing_is_heard():
    bench = one_round()
    bench.odd["rx", SendBeacon] = Status(0, "broken")
    told = bench.gathered()
    assert [t.body.call for t in of(Begin, told)] == [0, 1, 2]
    assert bench.commits[0].row["failed"]
    assert bench.commits[0].row["symbols"] == 24


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        (SendBeacon, Status(0, "broken")),
        (HearBurst, lambda ask: burst_heard(ask.call, ask.burst, False, False)),
        (HearSoundings, lambda ask: soundings(ask.call, False, False)),
        (Recover, lambda ask: estimate(ask.call, predicted=None)),
    ],
)
def test_the_second_call_can_succeed(kind, answer):
    bench = one_round()

    def first(ask):
        return obey(ask) if ask.call else (answer(ask) if callable(answer) else answer)

    bench.odd["rx", kind] = first
    told = bench.gathered()
    assert [t.body.call for t in of(Begin, told)] == [0, 1]
    assert acks(told) == {"d0": True, "d1": True, "rx": True}
    assert not bench.commits[0].row["failed"]


def test_a_receiver_that_does_not_answer_costs_the_call():
    bench = one_round()
    bench.odd["rx", HearSoundings] = lambda ask: obey(ask) if ask.call else SILENCE
    bench.gathered()
    assert bench.wait(9) == []
    told = bench.wait(2)
    assert [t.body.call for t in of(Begin, told)] == [1]
    assert bench.faults("rx") == {"soundings": 1}
    assert not bench.commits[0].row["failed"]


def test_an_estimate_of_an_earlier_call_is_late():
    bench = one_round()
    bench.odd["rx", Recover] = SILENCE
    bench.gathered()
    bench.wait(21)
    assert bench.says("rx", estimate(0)) == []
    assert bench.commits == []
    bench.says("rx", estimate(1))
    assert bench.commits[0].row["calls"] == 2


def test_a_device_that_was_not_in_all_legs_is_not_acknowledged():
    bench = one_round(legs=lambda _: (Leg(), Leg()), num_symbols=16)
    bench.odd["rx", HearBurst] = lambda ask: burst_heard(ask.call, ask.burst, ask.call > 0, True)
    assert acks(bench.gathered()) == {"d0": False, "d1": True, "rx": True}


def test_a_round_is_called_from_its_first_leg_when_its_estimate_is_poor():
    bench = one_round(legs=lambda _: (Leg(), Leg()), num_symbols=16)
    bench.odd["rx", Recover] = lambda ask: estimate(ask.call, 0.01 if ask.call > 1 else 3.0)
    told = bench.gathered()
    assert [(t.body.call, t.body.leg) for t in of(Begin, told)] == [(0, 0), (1, 1), (2, 0), (3, 1)]
    assert not bench.commits[0].row["failed"]


def test_a_leg_that_fails_is_called_again_alone():
    bench = one_round(legs=lambda _: (Leg(), Leg()), num_symbols=16)
    bench.odd["rx", HearSoundings] = lambda ask: soundings(ask.call, *[ask.call != 1] * 2)
    told = bench.gathered()
    assert [(t.body.call, t.body.leg) for t in of(Begin, told)] == [(0, 0), (1, 1), (2, 1)]
    assert acks(told)["d0"] is True


def test_a_disk_that_refuses_a_commit_acknowledges_nothing():
    bench = one_round()
    bench.odd["rx", Recover] = SILENCE
    bench.gathered()
    state, _ = step(bench.state, Event(0.0, _estimated(bench)))
    state, actions = step(state, Event(0.0, Broken(1, "disk full")))
    assert {type(a.body) for a in actions} == {Stop}
    assert state.round == 0
    state, actions = step(state, Event(0.0, _asked(bench)))
    assert actions == []


def test_figures_of_the_air_are_kept():
    bench = Led()
    bench.odd["rx", SendBeacon] = SILENCE
    bench.gathered()
    bench.says("d0", Report(0, 3, 120.0, 40.0, 0))
    assert bench.state.nodes["d0"].figures == {"cfo_hz": 120.0, "phase_deg": 40.0}
    assert bench.state.now.clipped == 3


def test_a_step_leaves_its_state_as_it_was():
    bench = Led()
    bench.odd["rx", HearBurst] = SILENCE
    bench.gathered()
    before = bench.state
    kept = copy.deepcopy(before)
    events = [
        *(Event(5.0, what) for what in (Lost("rx"), Lost("d0"), Halt(), Paced(), Committed())),
        Event(99.0, Tick()),
    ]
    first = [step(before, event) for event in events]
    again = [step(before, event) for event in events]
    assert repr(again) == repr(first)
    assert repr(before) == repr(kept)


def test_trouble_says_nothing_of_how_loud_it_was():
    bench = Led()
    bench.odd["rx", SendBeacon] = SILENCE
    bench.gathered()
    bench.says("rx", Status(7, ""))
    bench.says("rx", Status(0, "broken"))
    assert bench.state.now.overdriven == {0: 7}
    assert bench.faults("rx") == {"radio": 1}


def test_sync_beacons_that_a_device_missed_are_counted_against_it():
    bench = Led()
    bench.odd["rx", SendBeacon] = SILENCE
    bench.gathered()
    bench.says("d0", Report(0, 0, 0.0, 0.0, 0))
    assert bench.faults("d0") == {}
    bench.says("d0", Report(0, 0, 0.0, 0.0, 2))
    assert bench.faults("d0") == {"sync beacon": 1}
