"""Transmit gains that are turned to hold the received powers: who says them, and when."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from obedient_bench import Led, names, of, soundings

from calibration.power.loop import GainLoop
from calibration.power.plan import GainPlan, Planned
from fl_core.errors import InputError
from fl_core.round import RoundState
from radio.api import Range
from testbed import experiment_file
from testbed.config import ExperimentConfig
from testbed.nodes.coordinator_messages import HearSoundings, Mark, SetGains
from testbed.nodes.coordinator_node import CoordinatorNode, first_state
from testbed.nodes.coordinator_state import Committed
from testbed.on_air.held_gains import ROWS, HeldGains, power_variance
from testbed.run_folder import RunFolder


def planned(name, gain_db):
    return Planned(name, name, gain_db, 20.0, Range(-60.0, 0.0), 0.0, -40.0, 0.1, "meets", 0.0)


def held(holds=True, **gains_db):
    devices = tuple(planned(name, gain_db) for name, gain_db in gains_db.items())
    plan = GainPlan("rx", 20.0, 10.0, -40.0, -20.0, 20.0, 12.0, devices, ())
    loop = GainLoop(plan)
    return HeldGains(loop, loop.start(), holds)


def heard_db(*levels_db):
    """Soundings of devices that are heard so many dB above the target."""

    def answer(ask):
        heard = soundings(ask.call, *(True for _ in levels_db))
        return replace(heard, powers=10 ** (np.array(levels_db) / 10))

    return answer


def led(**options):
    bench = Led(gains=held(d0=-20.0, d1=-30.0, **options))
    bench.odd["rx", HearSoundings] = heard_db(0.0, 2.0)
    return bench


def gains_told(told):
    return {t.to: t.body.tx_gain_db for t in of(SetGains, told)}


def test_each_device_is_told_its_gain_before_the_mark_of_a_call():
    bench = led()
    told = bench.gathered()
    first = told[: [type(t.body) for t in told].index(Mark)]
    assert gains_told(first) == {"d0": -20.0, "d1": -30.0}
    assert [t.body.call for t in of(SetGains, first)] == [0, 0]


def test_a_device_that_is_too_strong_is_turned_down_in_the_next_round():
    bench = led()
    bench.gathered()
    assert gains_told(bench.told)["d0"] == -20.0
    assert -32.0 <= gains_told(bench.told)["d1"] < -30.2
    saved = bench.commits[0].gains.saved()[ROWS]
    assert saved[:, -1].tolist() == list(gains_told(bench.told).values())


def test_gains_stay_where_they_are_not_held():
    bench = led(holds=False)
    bench.gathered()
    assert set(bench.state.gains.saved()[ROWS][:, -1]) == {-20.0, -30.0}


def test_nobody_is_told_a_gain_without_a_plan():
    bench = Led()
    bench.gathered()
    assert names(SetGains, bench.told) == []
    assert bench.commits[0].gains is None


def test_a_round_nobody_was_sounded_in_leaves_the_gains():
    gains = held(d0=-20.0, d1=-30.0)
    after = gains.after(["d0", "d1"], np.full(2, -np.inf), np.full(2, -200.0), 200, {})
    assert after == gains


def test_they_go_on_from_a_checkpoint_of_the_same_bench():
    gains = held(d0=-20.0, d1=-30.0)
    for _ in range(3):
        gains = gains.after(["d0", "d1"], np.array([1.5, -0.9]), np.full(2, 20.0), 200, {})
    saved = gains.saved()
    assert held(d0=-20.0, d1=-30.0).restored(saved.__getitem__) == gains
    rows = saved[ROWS]
    for wrong in (rows[:1], np.zeros((2, 2)), np.full((2, 4), np.nan), np.zeros(3)):
        with pytest.raises(InputError, match="gains of the checkpoint do not fit"):
            gains.restored({**saved, ROWS: wrong}.__getitem__)


def test_what_another_plan_had_learnt_is_forgotten():
    """A path counts from the target of its plan; one that was planned anew knows better."""
    old, new = held(d0=-20.0, d1=-30.0), held(d0=-10.0, d1=-20.0)
    for _ in range(3):
        old = old.after(["d0", "d1"], np.array([1.5, -0.9]), np.full(2, 20.0), 200, {})
    assert new.restored(old.saved().__getitem__) == new


def test_a_radio_with_coarse_steps_is_turned_by_what_it_makes_of_its_gain():
    gains = held(d0=-20.0, d1=-30.0)
    after = gains.after(["d0"], np.array([0.0]), np.full(1, 30.0), 200, {"d0": -20.4})
    assert after.tx_gain_db("d0") == -20.4
    assert after.state["d0"].path_db == pytest.approx(20.4, abs=0.05)


@pytest.mark.parametrize(
    ("channel", "powers_db", "variance"),
    [
        ({"fading": "awgn"}, (0.0,), 0.0),
        ({"fading": "rayleigh"}, (0.0,), 1.0),
        ({"fading": "rayleigh"}, (0.0, 0.0), 0.5),
        ({"fading": "rician", "rician_k_db": 0.0}, (0.0,), 0.75),
    ],
)
def test_the_loop_is_told_how_much_the_channel_fades(channel, powers_db, variance):
    taps = {"powers_db": powers_db, "delays_s": tuple(1e-6 * i for i in range(len(powers_db)))}
    config = ExperimentConfig.model_validate({"name": "x", "channel": channel, "iq": taps})
    assert power_variance(config) == pytest.approx(variance)


def test_a_coordinator_that_is_started_again_goes_on_with_the_gains_of_its_last_round(tmp_path):
    experiment = SimpleNamespace(config=experiment_file.read("lab").config([]))
    folder = RunFolder(tmp_path, experiment.config)
    folder.create(2)
    bench = led()
    bench.gathered()
    (commit, *_) = bench.commits
    node = CoordinatorNode(None, experiment, folder, None, None, None, lambda _: None)
    assert node.perform(commit) == Committed()
    _, last_applied, gains = first_state(experiment, folder, held(d0=-20.0, d1=-30.0), resume=True)
    assert gains == commit.gains
    assert gains.tx_gain_db("d1") < -30.2  # the plan says -30
    assert last_applied.tolist() == commit.last_applied.tolist()
    (folder.path / "checkpoint.npz").unlink()
    folder.save(RoundState(commit.params, {}, 1, 0), last_applied=commit.last_applied)
    with pytest.raises(InputError, match="holds no gain_plan"):
        first_state(experiment, folder, held(d0=-20.0, d1=-30.0), resume=True)
