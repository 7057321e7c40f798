"""The closed loop of gains: bounded, quiet, convergent, and as steady as is claimed."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.power.loop import Followed, GainLoop, Level
from calibration.power.plan import GainPlan, Planned
from radio.api import Range

CARRIERS = 200
TO_DB = 10 / math.log(10)
RANGE = Range(-60.0, 0.0)


def plan(*steps, gain=-30.0, off=0.0, doubt=0.3):
    devices = tuple(
        Planned(f"d{i}", f"s{i}", gain, 50.0, RANGE, step, -70.0 + off, doubt, "meets", 0.0)
        for i, step in enumerate(steps)
    )
    return GainPlan("rx", 30.0, 10.0, -70.0, -40.0, 25.0, 20.0, devices, ("because",))


def heard(rng, level_db, snr_db, fading=0.0):
    """A sounding of all carriers: their mean power less that of noise, over the target's."""
    snr = 10 ** (snr_db / 10)
    power = 10 ** (level_db / 10)
    if fading:
        power *= rng.gamma(1 / fading, fading)
    noise = (rng.standard_normal((CARRIERS, 2)) @ (1, 1j)) / math.sqrt(2 * snr)
    found = np.mean(np.abs(math.sqrt(power) + noise) ** 2) - 1 / snr
    ratio = power * snr
    variance = (2 / ratio + 1 / ratio**2) / CARRIERS
    return Level(10 * math.log10(max(found, 1e-9)), TO_DB**2 * variance)


def run(loop, rng, paths_db, snr_db=20.0):
    """One device along a path; its true levels when rounds were sent, and its gains."""
    state, levels, gains = loop.start(), [], []
    for path_db in paths_db:
        level = path_db + state["d0"].tx_gain_db
        state, _ = loop.step(state, {"d0": heard(rng, level, snr_db, loop.fading)})
        levels.append(level)
        gains.append(state["d0"].tx_gain_db)
    return np.array(levels), np.array(gains)


@given(
    st.lists(st.one_of(st.none(), st.floats(-1000, 1000)), max_size=40),
    st.sampled_from([0.0, 0.25, 1.0, 7.0]),
    st.sampled_from([0.0, 1.0]),
    st.floats(0.05, 5),
)
@settings(max_examples=80, deadline=None)
def test_gains_stay_within_bounds_on_steps_and_turn_slowly_whatever_is_heard(
    offs, step, fading, turn_db
):
    low = -6 * step if step else -60.0
    one = Planned("d0", "s", low, 50.0, Range(low, 0.0), step, -70.0, 0.3, "meets", 0.0)
    loop = GainLoop(
        GainPlan("rx", 30.0, 10.0, -70.0, -40.0, 25.0, 20.0, (one,), ()), fading, turn_db=turn_db
    )
    state = loop.start()
    for off in offs:
        before = state["d0"]
        state, turns = loop.step(state, {} if off is None else {"d0": Level(off, 0.1)})
        gain = state["d0"].tx_gain_db
        assert low <= gain <= 0
        assert abs(gain - before.tx_gain_db) <= max(turn_db, step) + 1e-9
        assert turns.tx_gains_db == ({} if gain == before.tx_gain_db else {"d0": gain})
        if off is None:
            assert state["d0"] == before
        if step:
            assert gain / step == pytest.approx(round(gain / step), abs=1e-9)
        assert all(map(math.isfinite, state["d0"]))


@given(st.floats(-29, 29), st.floats(0, 5), st.sampled_from([0.0, 0.25, 1.0]), st.floats(0, 2))
@settings(max_examples=60, deadline=None)
def test_from_any_start_it_comes_to_rest_at_the_target(off, doubt, step, noise):
    loop = GainLoop(plan(step, doubt=doubt))
    state, last = loop.start(), 0
    for i in range(250):
        level = off + 30 + state["d0"].tx_gain_db
        state, turns = loop.step(state, {"d0": Level(level, noise)})
        last = i if turns.tx_gains_db else last
        assert turns.at_limit_db == {}
    tolerated = step / 2 + loop.margin_db + math.sqrt(state["d0"].variance_db2)
    assert abs(off + 30 + state["d0"].tx_gain_db) <= tolerated + 0.01
    assert last < 200  # then it rests


@pytest.mark.parametrize("snr_db", [10.0, 20.0, 30.0])
def test_it_holds_half_a_db_while_20_kelvin_go_by(snr_db):
    """0.05 to 0.15 dB a kelvin over 200 rounds, up and down, in steps of a PlutoSDR's gain."""
    rng = np.random.default_rng(round(snr_db))
    loop = GainLoop(plan(0.25))
    for db_per_kelvin in (-0.15, -0.1, -0.05, 0.05, 0.1, 0.15):
        for _ in range(3):
            ramp = np.linspace(0, 20 * db_per_kelvin, 200)
            levels, gains = run(loop, rng, 30 + ramp, snr_db)
            assert np.abs(levels).max() <= 0.5
            assert np.count_nonzero(np.diff(gains)) <= 1.6 * abs(ramp[-1]) / 0.25 + 3
    assert np.abs(levels - gains + gains[0]).max() > 2  # what it would have been by itself


def test_noise_alone_hardly_turns_a_gain():
    rng = np.random.default_rng(3)
    turns = 0
    for _ in range(10):
        _, gains = run(GainLoop(plan(0.25)), rng, np.full(200, 30.0), 10.0)
        turns += np.count_nonzero(np.diff(gains))
    assert turns <= 20  # of 2000 rounds, each 0.14 dB off by noise


@pytest.mark.parametrize(
    ("fading", "slope_db", "rms_db"),
    [(1.0, 0.015, 0.85), (1.0, 0.005, 0.7), (0.25, 0.015, 0.55), (0.25, 0.005, 0.45)],
)
def test_what_fading_leaves_to_be_held(fading, slope_db, rms_db):
    rng = np.random.default_rng(4)
    loop = GainLoop(plan(0.25), fading)
    squares = []
    for k in range(24):
        ramp = slope_db * (-1) ** k * np.arange(200)
        levels, _ = run(loop, rng, 30 + ramp)
        squares.append(np.mean(levels**2))
    assert math.sqrt(np.mean(squares)) <= rms_db


def test_the_memory_suits_the_drift():
    """Ten times longer or shorter ones hold worse."""
    rms = []
    for drift_db in (0.015, 0.015 * 10**1.5, 0.015 / 10**1.5):
        rng = np.random.default_rng(5)
        loop = GainLoop(plan(0.25, doubt=0.0), 1.0, drift_db=drift_db)
        runs = [run(loop, rng, 30 + 0.015 * np.arange(400))[0] for _ in range(8)]
        rms.append(np.sqrt(np.mean(np.square(runs))))
    assert rms[0] < 0.8 * min(rms[1:])


def test_a_device_that_moved_is_followed_at_a_bounded_rate():
    rng = np.random.default_rng(6)
    paths = np.concatenate([np.full(20, 30.0), np.full(40, 18.0), np.full(40, 36.0)])
    levels, gains = run(GainLoop(plan(0.25), turn_db=1.5), rng, paths)
    assert np.abs(np.diff(gains)).max() <= 1.5
    assert np.abs(levels[[19, 59, 99]]).max() <= 0.5
    assert np.abs(levels[40:60]).max() <= 0.5


@pytest.mark.parametrize("jump_db", [-12.0, 12.0])
def test_even_behind_fading_a_device_that_moved_is_found(jump_db):
    """The long memory alone would take 0.16 dB a round to go down."""
    left = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        paths = np.concatenate([np.full(150, 30.0), np.full(60, 30.0 + jump_db)])
        levels, _ = run(GainLoop(plan(0.25), 1.0), rng, paths)
        left.append(levels[180:].mean())
    assert np.abs(left).max() <= 2.5


def test_a_device_at_its_limit_is_named_with_what_it_is_off():
    loop = GainLoop(plan(0.25, 0.25, 0.25, gain=-2.0))
    state = loop.start()
    for _ in range(60):
        levels = {
            name: Level(path + state[name].tx_gain_db, 0.01)
            for name, path in {"d0": -5.0, "d1": 64.0, "d2": 2.0}.items()
        }
        state, turns = loop.step(state, levels)
    assert {name: one.tx_gain_db for name, one in state.items()} == {"d0": 0, "d1": -60, "d2": -2}
    assert turns.tx_gains_db == {}
    assert turns.at_limit_db == {"d0": pytest.approx(-5), "d1": pytest.approx(4)}


def test_a_gain_that_was_not_carried_out_disturbs_nothing():
    loop = GainLoop(plan(0.25))
    state = loop.start()
    for _ in range(50):  # 3 dB too strong, and the radio stays where it is
        state, turns = loop.step(state, {"d0": Level(3.0, 0.01, -30.0)})
    assert state["d0"].path_db == pytest.approx(33.0, abs=0.01)
    assert turns.tx_gains_db == {"d0": -31.0}
    beyond, turns = loop.step(state, {"d0": Level(3.0, 0.01, 10.0)})
    assert turns.tx_gains_db["d0"] in RANGE
    assert beyond["d0"].tx_gain_db in RANGE


def test_after_a_restart_it_goes_on_as_if_nothing_had_been():
    rng = np.random.default_rng(8)
    loop = GainLoop(plan(0.25, 0.0), 0.25)
    state = loop.start()
    for i in range(40):
        if i % 10 == 9:
            stored = json.loads(json.dumps(state))
            assert loop.restore(stored) == state
            state = loop.restore(stored)
        state, _ = loop.step(state, {name: Level(rng.normal(), 0.1) for name in state})


@pytest.mark.parametrize(
    ("do", "said"),
    [
        (lambda loop: loop.restore({}), "gains of nobody, and the plan is for d0"),
        (lambda loop: loop.restore({"d0": [0.0, 1.0]}), r"\[0.0, 1.0\] for d0, not path_db, var"),
        (lambda loop: loop.restore({"d0": [math.nan, 1.0, 0.0, 0.0]}), "nan"),
        (lambda loop: loop.restore({"d0": [0.0, -1.0, 0.0, 0.0]}), "-1.0"),
        (lambda loop: loop.step(loop.start(), {"d7": Level(0.0, 0.0)}), "no gain .* for d7"),
        (lambda loop: loop.step(loop.start(), {"d0": Level(math.nan, 0.0)}), "d0 cannot have been"),
        (lambda loop: loop.step(loop.start(), {"d0": Level(0.0, -1.0)}), "d0 cannot have been"),
        (lambda loop: GainLoop(loop.plan, fading=-1.0), "fading should be 0 or more"),
        (lambda loop: GainLoop(loop.plan, drift_db=0.0), "drift_db should be above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(do, said):
    with pytest.raises(ValueError, match=said):
        do(GainLoop(plan(0.25)))


def test_a_start_knows_what_the_plan_knows():
    loop = GainLoop(plan(0.25, off=0.1, doubt=0.4))
    assert loop.start()["d0"] == Followed(*map(pytest.approx, (30.1, 0.16, 30.1, -30.0)))
