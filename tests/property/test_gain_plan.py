"""The plan of a bench's gains, beside brute force and what a person would say."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.curve import Curve
from calibration.estimate import Estimate
from calibration.power.plan import PlanError
from calibration.power.planner import Aim, ReceiverPoint, mean_error, plan_gains
from calibration.power.sender import Sender
from fl_core.aggregation import aggregation_error
from radio.api import Range


def curve(full_dbm=0.0, low=-60.0, high=0.0, bend=0.0, doubt=0.0):
    gains = np.linspace(low, high, 7)
    powers = full_dbm + gains + bend * np.sin(gains / 9)
    return Curve(
        tuple(gains), tuple(powers), tuple(np.full(7, doubt)), "dBm", Range(gains[0], gains[-1])
    )


def sender(path_db, doubt=0.0, step=0.0, low=-60.0, high=0.0, full_dbm=0.0, **more):
    path = Estimate(path_db, doubt, "dB")
    powers = curve(full_dbm, low=low, **more)
    return Sender(f"radio of {path_db:g}", powers, path, high, step)


POINT = ReceiverPoint(30.0, -20.0, -95.0)


@st.composite
def benches(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    senders = {
        f"d{i}": sender(
            rng.uniform(-100, -20), rng.choice([0.0, 0.5]), rng.choice([0.0, 0.25, 1.0]),
            low=rng.uniform(-60, -2), full_dbm=rng.uniform(-10, 10), bend=rng.uniform(0, 2),
        )
        for i in range(draw(st.integers(1, 6)))
    }  # fmt: skip
    noise = rng.uniform(-110, -50)
    points = []
    for gain in (0.0, 20.0, 40.0, 60.0):
        both = 10 ** (noise / 10) + 10 ** (-7 - gain / 10)  # thermal, and of the converter
        points.append(ReceiverPoint(gain, rng.uniform(-5, 5) - gain, 10 * math.log10(both)))
    aim = Aim(
        num_active=draw(st.one_of(st.none(), st.integers(1, 6))),
        snr_db=draw(st.one_of(st.none(), st.floats(0, 40))),
        reserve_db=draw(st.sampled_from([0.0, 1.0, 3.0])),
    )
    return senders, points, aim


def brute_force(senders, points, aim):
    """Least error over settings of the receiver and a fine grid of targets, from the definition."""
    active = min(aim.num_active or len(senders), len(senders))
    best = math.inf
    targets = np.arange(-140, 10, 0.05)
    for point in points:
        able, arriving = np.zeros(targets.size), []
        for one in senders.values():
            gains = np.array([one.gains_db.low, one.gains_db.high])
            offset = one.path_gain.value - aim.backoff_db
            low, high = np.interp(gains, one.tx_power.settings, one.tx_power.values) + offset
            kept = aim.reserve_db + 2 * one.path_gain.uncertainty
            able += (low + kept <= targets) & (targets <= high - kept)
            arriving.append(10 ** (np.clip(targets, low, high) / 10))
        together = 10 * np.log10(np.sort(arriving, axis=0)[-active:].sum(axis=0))
        fits = (able > 0) & (together <= point.full_scale_dbm - aim.headroom_db)
        snr = targets - point.noise_dbm
        if aim.snr_db is not None:
            fits &= snr <= aim.snr_db
        share = able[fits] / len(senders)
        errors = 1 / share - 1 + 10 ** (-snr[fits] / 10) / (share**2 * active)
        best = min(best, errors.min(initial=math.inf))
    return best


@given(benches())
@settings(max_examples=40, deadline=None)
def test_no_target_and_no_receiver_gain_of_a_fine_grid_errs_less(bench):
    senders, points, aim = bench
    best = brute_force(senders, points, aim)
    try:
        plan = plan_gains(senders, "rx", points, aim)
    except PlanError as error:
        assert best == math.inf
        assert "overdriven" in str(error)
        return
    able = sum(
        d.verdict == "meets" or _in_the_middle(senders[d.name], d, plan.target_dbm, aim)
        for d in plan.devices
    )
    active = min(aim.num_active or len(senders), len(senders))
    assert mean_error(able, len(senders), active, plan.snr_db) <= best * (1 + 1e-9)
    assert {d.name for d in plan.devices} == set(senders)


def _in_the_middle(one, planned, target, aim):
    """Of all that it can make, where it can never have as much to spare as it should."""
    low, high = one.reach_dbm.low - aim.backoff_db, one.reach_dbm.high - aim.backoff_db
    return planned.verdict == "unsure" and abs(target - (low + high) / 2) < 1e-6


@given(benches())
@settings(max_examples=60, deadline=None)
def test_a_plan_keeps_every_limit_and_names_who_cannot_follow(bench):
    senders, points, aim = bench
    try:
        plan = plan_gains(senders, "rx", points, aim)
    except PlanError:
        return
    if aim.snr_db is not None:
        assert plan.snr_db <= aim.snr_db + 1e-9
    roughest = max(one.step_db for one in senders.values())
    assert plan.headroom_db >= aim.headroom_db - 0.7 * roughest - 1e-6
    for planned in plan.devices:
        one = senders[planned.name]
        assert planned.tx_gain_db in one.tx_power.linear
        assert planned.tx_gain_db <= one.highest_db
        if one.step_db:
            steps = planned.tx_gain_db / one.step_db
            assert steps == pytest.approx(round(steps), abs=1e-6)
        found = np.interp(planned.tx_gain_db, one.tx_power.settings, one.tx_power.values)
        found += one.path_gain.value - aim.backoff_db
        assert planned.received_dbm == pytest.approx(found)
        off = found - plan.target_dbm
        # A step of the gain may be a little more of power where the curve is bent.
        allowed = one.step_db * 0.7 + 1e-6
        if planned.verdict == "too weak":
            assert off == pytest.approx(-planned.missing_db, abs=one.step_db + 1e-6)
        elif planned.verdict == "too strong":
            assert off == pytest.approx(planned.missing_db, abs=one.step_db + 1e-6)
        else:
            assert abs(off) <= allowed
        named = any(planned.name in reason for reason in plan.reasons[1:])
        assert named == (planned.verdict != "meets") == (planned in plan.unable)


def test_ten_devices_with_30_db_of_spread_arrive_alike():
    senders = {f"d{i}": sender(-50 - 30 * i / 9, 0.1, 0.25) for i in range(10)}
    plan = plan_gains(senders, "rx", [POINT], Aim(num_active=10))
    assert plan.unable == ()
    # Full scale at -20 dBm, 20 dB of headroom, ten devices: -50 dBm each; the farthest makes -91.2.
    assert plan.target_dbm == pytest.approx(-80 - 10 - 1 - 0.2)
    assert plan.target_dbfs == pytest.approx(plan.target_dbm + 20)
    assert plan.reference_gain_db == pytest.approx(plan.target_dbfs + 10)
    received = [device.received_dbm for device in plan.devices]
    assert np.ptp(received) <= 0.25
    assert "d9 is sure to reach no more, with 1.2 dB kept" in plan.reasons[0]
    assert len(plan.reasons) == 1


@pytest.mark.parametrize(
    ("senders", "point", "aim", "said"),
    [
        ({"near": sender(-20), "far": sender(-25)}, POINT, Aim(), "full scale of the receiver"),
        ({"d": sender(-40)}, POINT, Aim(snr_db=20), "no more than 20 dB of SNR are wanted"),
        ({"d": sender(-40)}, POINT, Aim(snr_db=None, headroom_db=60), "less 60 dB for 1 at once"),
    ],
)
def test_the_reason_for_the_target_is_told(senders, point, aim, said):
    assert said in plan_gains(senders, "rx", [point], aim).reasons[0]


def test_who_is_too_weak_too_strong_or_unsure_is_told_with_the_dbs_that_are_missing():
    many = {f"d{i}": sender(-60) for i in range(6)}
    spread = {
        **many,
        "far": sender(-190),
        "near": sender(-10, low=-30),
        "vague": sender(-60, doubt=40.0),
    }
    plan = plan_gains(spread, "rx", [POINT], Aim(reserve_db=0.0))
    told = {device.name: device for device in plan.unable}
    assert {name: device.verdict for name, device in told.items()} == {
        "far": "too weak", "near": "too strong", "vague": "unsure",
    }  # fmt: skip
    assert told["near"].missing_db == pytest.approx(-10 - 10 - 30 - plan.target_dbm)
    assert told["far"].missing_db == pytest.approx(plan.target_dbm + 190 + 10)
    assert f"far is too weak by {told['far'].missing_db:.1f} dB" in plan.reasons
    assert "too strong" in str(plan)


def test_a_device_is_left_behind_only_where_noise_would_cost_more():
    """One of ten is worth 10 % of the error of a mean: more than the noise at 0 dB, not at -20."""
    near = {f"d{i}": sender(-60) for i in range(9)}
    aim = Aim(reserve_db=0.0)
    for path_db, verdict in ((-84.0, "meets"), (-104.0, "too weak")):
        plan = plan_gains({**near, "far": sender(path_db)}, "rx", [POINT], aim)
        assert plan.devices[-1].verdict == verdict


def test_the_highest_receiver_gain_is_taken_of_equals():
    points = [ReceiverPoint(g, -g, -95.0) for g in (0.0, 10.0, 20.0, 70.0)]
    plan = plan_gains({"d": sender(-50)}, "rx", points, Aim())
    assert plan.rx_gain_db == 20  # 41 dB of headroom at 20, none at 70


def test_the_worth_of_a_target_is_the_error_of_the_mean():
    able = np.array([1.0] * 7 + [0.0] * 3)
    sigma2 = 0.02  # over the power of a device
    error = aggregation_error(able, np.ones(10), 7, sigma2).total
    assert mean_error(7, 10, 10, -10 * math.log10(sigma2)) == pytest.approx(10 * error)


def test_a_bench_that_no_gain_can_help():
    close = {"d": sender(10, low=-5), "e": sender(-60)}
    with pytest.raises(PlanError, match=r"overdriven by 35\.0 dB .* most by d; put attenuators"):
        plan_gains(close, "rx", [POINT], Aim())
    with pytest.raises(PlanError, match="at least one device"):
        plan_gains({}, "rx", [POINT], Aim())


def test_swapped_radios_are_found():
    plan = plan_gains({"a": sender(-50), "b": sender(-60)}, "rx", [POINT], Aim())
    plan.require_radios("rx", {"a": "radio of -50"})
    with pytest.raises(PlanError, match="a has the radio radio of -60, which is planned for b"):
        plan.require_radios("rx", {"a": "radio of -60", "b": "radio of -50"})
    with pytest.raises(PlanError, match="receiver rx, not for other"):
        plan.require_radios("other", {})
    with pytest.raises(PlanError, match="c is not in the plan; it has a, b"):
        plan.require_radios("rx", {"c": "new"})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: sender(-50, step=-1.0), "step_db should be 0 or more"),
        (lambda: sender(-50, high=-70.0), "permits none: -70 dB at most"),
        (lambda: sender(-50, step=7.0, low=-6.0, high=-1.0), "at most, in steps of 7"),
        (lambda: sender(-50, bend=30.0), "do not ascend"),
        (lambda: Aim(headroom_db=-1), "headroom_db should be 0 or more"),
        (lambda: Aim(num_active=0), "num_active should be at least 1"),
        (lambda: Aim(snr_db=math.nan), "snr_db should be finite"),
        (lambda: ReceiverPoint(0.0, math.inf, 0.0), "full_scale_dbm should be finite"),
    ],
)
def test_what_makes_no_sense_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
