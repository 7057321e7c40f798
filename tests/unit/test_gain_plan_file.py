"""A plan on the disk: what is written is read, and what is broken is refused by file and key."""

import json
from dataclasses import replace

import pytest

from calibration.power.plan import GainPlan, PlanError, Planned
from calibration.power.plan_file import read_plan, write_plan
from radio.api import Range

NEAR = Planned("d1", "104473", -31.25, 40.0, Range(-89.75, 0), 0.25, -70.1, 0.2, "meets", 0.0)
FAR = Planned("d2", "104474", 0.0, 50.0, Range(-89.75, 0), 0.25, -75.0, 0.4, "too weak", 4.9)
PLAN = GainPlan("104470", 40.0, 10.0, -70.1, -30.1, 25.0, 21.0, (NEAR, FAR), ("because", "d2 weak"))


def test_a_plan_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "plan.json"
    write_plan(path, PLAN)
    write_plan(path, replace(PLAN, rx_gain_db=41.0))
    assert read_plan(path) == replace(PLAN, rx_gain_db=41.0)
    assert [one.name for one in tmp_path.iterdir()] == ["plan.json"]


def test_a_limit_binds_what_is_planned_and_what_a_loop_may_make_of_it():
    limited = PLAN.within(10.0)
    assert limited == PLAN
    near = replace(PLAN, devices=(NEAR,))
    (device,) = near.within(-20.1).devices
    assert device.gains_db == Range(-89.75, -20.25)  # in steps
    assert replace(device, gains_db=NEAR.gains_db) == NEAR
    with pytest.raises(PlanError, match="d2: tx_gain_db = 0 exceeds the bench's -20; plan again"):
        PLAN.within(-20.0)


def edited(path, change):
    write_plan(path, PLAN)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(version=2), "version is 2; only 1 can be read"),
        (lambda d: d.update(format="sigmf"), "format is 'sigmf'"),
        (lambda d: d.update(rx_gain=1), "rx_gain: unknown key; did you mean rx_gain_db"),
        (lambda d: d.pop("target_dbm"), "target_dbm is missing"),
        (lambda d: d.update(snr_db="high"), "snr_db should not be 'high'"),
        (lambda d: d.update(reasons=[1]), r"reasons\[0\] should not be 1"),
        (lambda d: d.update(devices=[]), r"plan.json: devices should be one or more"),
        (lambda d: d["devices"].append(d["devices"][0]), r"not \['d1', 'd2', 'd1'\]"),
        (lambda d: d["devices"][1].update(serial=7), r"devices\[1\].serial should not be 7"),
        (lambda d: d["devices"][1].update(gains_db=[0]), r"devices\[1\].gains_db should be two"),
        (
            lambda d: d["devices"][0].update(tx_gain_db=3),
            r"devices\[0\]: tx_gain_db = 3 is out",
        ),
        (lambda d: d["devices"][0].update(verdict="ok"), r"devices\[0\]: verdict should be one of"),
        (lambda d: d["devices"][0].update(step_db=-1), r"devices\[0\]: step_db should be 0 or"),
    ],
)
def test_what_is_wrong_in_a_plan_is_named(tmp_path, change, said):
    path = tmp_path / "plan.json"
    edited(path, change)
    with pytest.raises(PlanError, match=said) as refusal:
        read_plan(path)
    assert str(path) in str(refusal.value)


def test_a_plan_that_is_cut_short_or_missing(tmp_path):
    path = tmp_path / "plan.json"
    with pytest.raises(PlanError, match="cannot be read: No such file"):
        read_plan(path)
    write_plan(path, PLAN)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(PlanError, match="holds broken JSON"):
        read_plan(path)
