"""A plan from profiles: in the virtual air all arrive as it says, and what is missing is named."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from calibration.curve import Curve
from calibration.estimate import Estimate
from calibration.power.plan import PlanError
from calibration.power.planner import Aim
from calibration.power.profiled import plan_of, receiver_points
from calibration.profiles.profile import Identity, Profile
from radio.api import RadioSettings, Range
from radio.waveform.numerology import Numerology
from sim_fallback.air import Air, Scene
from sim_fallback.front_end import FrontEnd
from sim_fallback.oscillator import Oscillator
from sim_fallback.path import Path
from sim_fallback.presets import Equipment
from sim_fallback.tapped_delay import TappedDelayLine

FS, CARRIER = 1e6, 915e6
NUMEROLOGY = Numerology(FS)
RX = FrontEnd(rx_full_scale_dbm=-12.0, noise_figure_db=6.0, adc_bits=12)
DEVICES = {
    f"d{i}": (FrontEnd(tx_full_scale_dbm=7.0 - i, dac_bits=12), 50 + 10 * i) for i in range(4)
}


def line(offset_db, unit, low, high):
    gains = np.linspace(low, high, 5)
    values = tuple(gains + offset_db)
    return Curve(tuple(gains), values, (0.02,) * 5, unit, Range(low, high))


def profile(serial, scalars, curves):
    return Profile(
        serial=serial,
        model="sim",
        band=Range(900e6, 930e6),
        settings=RadioSettings(CARRIER, FS, -10.0, 20.0),
        measured_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
        valid_days=30,
        temperature_c=25.0,
        software="airmeta 0.5",
        reference="rx, level stated",
        scalars=scalars,
        curves=curves,
        source=f"{serial}.json",
    )


def bench():
    devices = {
        name: profile(
            f"serial of {name}",
            {"path_gain": Estimate(-loss_db, 0.05, "dB")},
            {"tx_power": line(end.tx_full_scale_dbm, "dBm", -60.0, 0.0)},
        )
        for name, (end, loss_db) in DEVICES.items()
    }
    receiver = profile(
        "rx",
        {"noise_figure": Estimate(RX.noise_figure_db, 0.1, "dB")},
        {"rx_gain": line(-RX.rx_full_scale_dbm, "dB", -2.0, 71.5)},
    )
    return devices, replace(receiver, reference="d3, level stated")


def plan_for(devices, receiver, **more):
    return plan_of(devices, receiver, Aim(**more), NUMEROLOGY, 12, 0.25, -1.0)


@pytest.mark.parametrize("headroom_db", [20.0, 35.0])
def test_in_the_air_all_arrive_with_the_power_and_the_snr_of_the_plan(headroom_db):
    plan = plan_for(*bench(), headroom_db=headroom_db)
    assert plan.unable == ()
    equipment = {
        name: Equipment(Oscillator((k,), 0.0, 0.0), end, 0, 0, 0, (k,))
        for k, (name, end) in enumerate(
            [*((n, end) for n, (end, _) in DEVICES.items()), ("rx", RX)]
        )
    }
    paths = {
        (name, "rx"): Path(TappedDelayLine(kind="awgn"), loss_db=loss)
        for name, (_, loss) in DEVICES.items()
    }
    air = Air(Scene(CARRIER, FS, equipment, paths), None, 1.0)
    receiver = air.open("rx")
    receiver.configure(RadioSettings(CARRIER, FS, 0.0, plan.rx_gain_db))
    n, rng = 20_000, np.random.default_rng(1)
    noise = np.mean(np.abs(receiver.receive(n, at=receiver.now()).iq) ** 2)
    in_use = NUMEROLOGY.used_carriers / NUMEROLOGY.fft_size
    snr_db = plan.target_dbfs - 10 * math.log10(noise * in_use)
    assert plan.snr_db == pytest.approx(snr_db, abs=0.15)
    burst = rng.standard_normal((n, 2)).astype(np.float32).view(np.complex64).ravel()
    burst *= np.float32(10 ** (-plan.backoff_db / 20) / math.sqrt(2))
    for device in plan.devices:
        radio = air.open(device.name)
        radio.configure(RadioSettings(CARRIER, FS, device.tx_gain_db, 0.0))
        start = receiver.now() + 1000
        radio.transmit(burst, at=start)
        power = np.mean(np.abs(receiver.receive(n, at=start).iq) ** 2) - noise
        assert 10 * math.log10(power) == pytest.approx(plan.target_dbfs, abs=0.2)
        sent = np.mean(np.abs(burst) ** 2)
        assert 10 * math.log10(power / sent) == pytest.approx(plan.reference_gain_db, abs=0.2)
        radio.close()
    assert plan.devices[0].gains_db == Range(-60, -1)
    # But for the rounding of both ends' gains.
    assert headroom_db - 0.125 <= plan.headroom_db < headroom_db + 1


def test_noise_of_the_converter_counts_at_low_gains():
    points = receiver_points(bench()[1], NUMEROLOGY, 12)
    assert [points[0].rx_gain_db, points[-1].rx_gain_db] == [-2, 71]
    in_use_db = 10 * math.log10(200 / 256)
    thermal_dbm = -173.975 + 60 + 6 + in_use_db
    assert points[-1].noise_dbm == pytest.approx(thermal_dbm, abs=0.01)
    assert points[-1].full_scale_dbm == pytest.approx(-12 - 71)
    # Two converters of step 2^-11, a twelfth of its square each.
    step_dbm = 10 * math.log10(2**-22 / 6) - 12 + 2 + in_use_db
    assert points[0].noise_dbm == pytest.approx(step_dbm, abs=0.1)


def without(one, kind, name):
    return replace(one, **{kind: {k: v for k, v in getattr(one, kind).items() if k != name}})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d, r: (d | {"d2": Identity()}, r), "^d2 has no profile; calibrate it"),
        (lambda d, r: (d, Identity()), "^the receiver has no profile"),
        (
            lambda d, r: (d | {"d1": without(d["d1"], "scalars", "path_gain")}, r),
            "^d1: serial of d1.json: has no path_gain; measure it",
        ),
        (
            lambda d, r: (d | {"d1": without(d["d1"], "curves", "tx_power")}, r),
            "^d1: serial of d1.json: has no curve tx_power",
        ),
        (lambda d, r: (d, without(r, "scalars", "noise_figure")), "no noise_figure; measure"),
        (lambda d, r: (d, without(r, "curves", "rx_gain")), "^the receiver: rx.json: has no curve"),
        (
            lambda d, r: (d, replace(r, serial="other")),
            "^d0: serial of d0.json: was measured against 'rx, level stated', not against the rec",
        ),
        (
            lambda d, r: (d | {"d3": replace(d["d3"], reference="rx, level assumed")}, r),
            "^d3: .* its level was assumed, and the receiver's was not",
        ),
        (
            lambda d, r: (
                d | {"d0": replace(d["d0"], curves={"tx_power": line(0.0, "dBm", 0.0, 5.0)})}, r
            ),
            "^d0: .*permits none: -1 dB at most",
        ),
    ],
)  # fmt: skip
def test_what_a_plan_cannot_be_made_of_is_named(change, said):
    with pytest.raises(PlanError, match=said):
        plan_for(*change(*bench()))


def test_a_device_that_would_distort_is_named():
    devices, receiver = bench()
    limp = devices["d1"].scalars | {"best_backoff": Estimate(12.5, 0.2, "dB")}
    plan = plan_for(devices | {"d1": replace(devices["d1"], scalars=limp)}, receiver)
    assert plan.reasons[1:] == ("d1 distorts: 12.5 dB would be its best back-off, not 10",)
