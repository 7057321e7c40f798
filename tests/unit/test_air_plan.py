"""What nodes derive from experiment and bench."""

from dataclasses import replace

import pytest

from testbed import bench_file
from testbed.bench_config import LimitsConfig
from testbed.experiment import Experiment
from testbed.experiment_file import read
from testbed.nodes.air_plan import AirPlan


@pytest.fixture(scope="module")
def experiment():
    return Experiment(read("lab").config([]))


def plan(experiment, **link):
    config = bench_file.read("virtual").config
    return AirPlan.of(
        experiment, config.model_copy(update={"link": config.link.model_copy(update=link)})
    )


def test_a_bench_that_knows_nothing_leaves_the_experiments_air(experiment):
    found = plan(experiment)
    assert found.link == experiment.bench.link
    assert found.timeline == experiment.bench.timeline()
    assert found.virtual.start_s(3) == experiment.bench.start_s(3)
    assert found.settings.rx_gain_db == experiment.bench.levels.rx_gain_db


def test_what_radios_are_like_shapes_the_frame_and_the_time_between_rounds(experiment):
    before = plan(experiment)
    after = plan(experiment, turnaround_s=0.1, control_s=0.3, search=40_000, lead=150_000)
    # The device has heard the first beacon when the next one comes, and answers in time.
    assert after.timeline.early_sync == after.timeline.beacon.length + 80_000
    answered = after.timeline.early_sync + after.timeline.sync.length + 100_000
    assert after.timeline.sounding == answered
    assert after.timeline.bursts[0] >= after.timeline.sounding_end + 300_000
    assert after.link.lead == 150_000
    lasts_s = (after.timeline.length + after.link.lead) / 1e6
    assert after.virtual.every_s > lasts_s + 4 * 40_000 / 1e6
    assert after.virtual.every_s > before.virtual.every_s
    room_s = after.virtual.every_s - lasts_s
    assert after.virtual.first_s == pytest.approx(room_s / 2, rel=0.01)


def test_another_gain_of_the_receiver_is_another_unit(experiment):
    before, after = plan(experiment), plan(experiment, rx_gain_db=60.0)
    louder_db = 60.0 - experiment.bench.levels.rx_gain_db
    expected = before.link.reference_gain * 10 ** (louder_db / 20)
    assert after.link.reference_gain == pytest.approx(expected)
    assert after.settings.rx_gain_db == 60.0
    told = plan(experiment, rx_gain_db=60.0, reference_gain_db=-20.0)
    assert told.link.reference_gain == pytest.approx(0.1)


def test_a_gain_has_steps(experiment):
    found = plan(experiment, rx_gain_db=59.6, reference_gain_db=-20.0)
    assert found.link_of(found.settings) == found.link
    rounded = found.link_of(replace(found.settings, rx_gain_db=60.0))
    assert rounded.reference_gain == pytest.approx(0.1 * 10 ** (0.4 / 20))


LIMITS = {"bands": [[850e6, 950e6]], "max_duty_cycle": 1, "window_s": 1, "max_burst_s": 1}


@pytest.mark.parametrize(("highest_db", "begins_db"), [(-10.0, -10.0), (20.0, 0.0)])
def test_no_radio_begins_with_more_than_the_bench_permits(experiment, highest_db, begins_db):
    config = bench_file.read("virtual").config
    limits = LimitsConfig(**LIMITS, max_tx_gain_db=highest_db)
    found = AirPlan.of(experiment, config.model_copy(update={"limits": limits}))
    assert found.settings.tx_gain_db == begins_db
