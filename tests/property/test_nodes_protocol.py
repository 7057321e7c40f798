"""Whatever is lost, repeated, late, broken or dead: every update counts once, and the run goes on.

`pytest tests/property/test_nodes_protocol.py --hypothesis-profile=long` looks for hours' worth.
"""

from fake_bench import Bench, Fault
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.nodes.receiver_messages import Estimate

NODES = ("rx", "d0", "d1", "d2")
KINDS = {
    **dict.fromkeys(["crash", "hang", "halt", "jump"], ("coordinator", *NODES)),
    **dict.fromkeys(["drop up", "drop down", "twice up", "twice down"], NODES),
    **dict.fromkeys(["delay up", "delay down", "pass up", "pass down"], NODES),
    **dict.fromkeys(["cut", "radio"], NODES),
    "disk": ("coordinator", *NODES[1:]),
    **dict.fromkeys(["deaf", "unheard", "absent"], NODES[1:]),
    "poor": ("rx",),
    "gone": ("d2",),
}
CHOICES = [(kind, name) for kind, names in KINDS.items() for name in names]
SPAN = 1500  # actions and events of an undisturbed run, and some more
ENOUGH = 10_000  # for any run to end in, once nothing goes wrong any more

faults = st.builds(
    lambda at, choice, amount: Fault(at, *choice, amount),
    st.integers(0, SPAN),
    st.sampled_from(CHOICES),
    st.integers(1, 16),
)
LONG = settings.get_current_profile_name() == "long"


def finish(bench):
    """Run through the faults and then without any to the end; how many events that took.

    Everybody ends with the run.
    """
    while not bench.done and bench.faults:
        bench.advance()
    bench.heal()
    healed = bench.count
    while not bench.done or bench.alive:
        assert bench.count - healed < ENOUGH, "the run does not end"
        bench.advance()
    bench.disks.check()
    assert bench.disks.round == bench.brief.rounds
    return bench.count


def test_an_undisturbed_run_applies_every_update():
    bench = Bench(1)
    assert finish(bench) < SPAN
    assert all(owed.settled == 3 and owed.pending is None for owed in bench.disks.owed[:1])
    assert sum(map(len, bench.disks.rounds_applied)) == 12


def test_an_estimate_of_an_earlier_call_is_not_that_of_the_last():
    bench = Bench(1)

    def say(name, body, run, round_index):
        if isinstance(body, Estimate) and body.call == 0:
            # It comes when that of the next call is waited for, in which d0 takes no part.
            bench.strike(Fault(0, "pass up", "rx", 11))
            bench.strike(Fault(0, "absent", "d0", 1))
        Bench.say(bench, name, body, run, round_index)

    bench.say = say
    finish(bench)
    assert bench.disks.rounds_applied[0] == []
    assert bench.disks.rounds_applied[1] == [0, 1, 2, 3]


@given(
    seed=st.integers(0, 2**32 - 1),
    schedule=st.lists(faults, max_size=60),
    num_active=st.integers(1, 3),
    num_legs=st.integers(1, 2),
)
@settings(deadline=None, max_examples=20_000 if LONG else 250)
def test_every_update_counts_once(seed, schedule, num_active, num_legs):
    finish(Bench(seed, schedule, num_active=num_active, num_legs=num_legs))
