"""The error budget in closed form: an error made on purpose is found where it belongs."""

import math
from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
from rounds_on_air import bench_of, config, on_air, with_front_end

from testbed.on_air.device import Device
from testbed.on_air.scoring import CAUSES

CARRIERS = np.concatenate([np.arange(-100, 0), np.arange(1, 101)])
QUIET = {"snr_db": math.inf, "fading": "awgn", "preset": "ideal"}


@pytest.fixture
def spoil(monkeypatch):
    """Let devices send something else: `spoil(f)` has f(device, values) -> values in between."""
    send = Device.send

    def install(change):
        def spoilt(self, values, *grant):
            return send(self, change(self, values), *grant)

        monkeypatch.setattr(Device, "send", spoilt)

    return install


def errors_and_power(r, **settings):
    """Errors by cause, and the power of one device's symbols, of a round of r equal devices."""
    _, received, uplink = on_air(config(r=r, **{**QUIET, **settings}))
    score = uplink.legs[0].scores[0]
    power = np.sum(np.abs(score.clean) ** 2) / score.symbols / r
    return received.errors, power


def others(errors, cause):
    return sum(error for name, error in errors.items() if name != cause)


def test_without_faults_there_are_no_errors():
    errors, power = errors_and_power(4)
    assert sum(errors.values()) < 1e-8 * power


@pytest.mark.parametrize("late", [0.1, -0.2])
def test_devices_that_are_early_and_late(spoil, late):
    sides = cycle((late, -late))

    def delay(device, values):
        off = next(sides)
        device._marks = [mark._replace(heard=mark.heard + off) for mark in device._marks]
        return values

    spoil(delay)
    errors, power = errors_and_power(2)
    wanted = 2 * power * np.mean(np.abs(1 - np.exp(-2j * np.pi * CARRIERS * late / 256)) ** 2)
    assert errors["timing"] == pytest.approx(wanted, rel=0.1)
    assert others(errors, "timing") < 0.1 * wanted


def test_a_delay_common_to_all_is_taken_out(spoil):
    def delay(device, values):
        device._marks = [mark._replace(heard=mark.heard + 0.2) for mark in device._marks]
        return values

    spoil(delay)
    errors, power = errors_and_power(3)
    assert sum(errors.values()) < 1e-6 * power


def test_a_turn_common_to_all_is_no_error(spoil):
    spoil(lambda device, values: values * np.complex64(np.exp(0.5j)))
    errors, power = errors_and_power(3)
    assert sum(errors.values()) < 1e-8 * power


def test_devices_turned_apart(spoil):
    turned = []

    def turn(device, values):
        turned.append(device)
        sign = 1 if len(turned) % 2 else -1
        return values * np.complex64(np.exp(0.1j * sign))

    spoil(turn)
    errors, power = errors_and_power(2)
    assert errors["CFO and drift"] == pytest.approx(2 * power * 0.1**2, rel=0.1)
    assert others(errors, "CFO and drift") < 1e-6 * power


def test_a_channel_that_is_not_flat(spoil):
    ripple = (1 + 0.1 * (-1.0) ** np.arange(200)).astype(np.complex64)
    spoil(lambda device, values: values * ripple)
    errors, power = errors_and_power(2)
    assert errors["channel estimation"] == pytest.approx(2 * power * 0.1**2, rel=0.1)
    assert others(errors, "channel estimation") < 1e-3 * power


@pytest.mark.parametrize("bits", [7, 10])
def test_rounding_of_the_receiver(bits):
    bench = with_front_end(bench_of(config(r=2, **QUIET)), adc_bits=bits)
    _, received, _ = on_air(config(r=2, **QUIET), bench=bench)
    step = 2.0 ** (1 - bits)
    unit = bench.link.amplitude * bench.link.reference_gain
    # I and Q are each off uniformly by up to half a step.
    assert received.errors["quantisation"] == pytest.approx(2 * step**2 / 12 / unit**2, rel=0.1)
    assert received.errors["noise"] == 0


def test_clipping_is_counted_and_booked():
    bench = with_front_end(bench_of(config(r=1, **QUIET, backoff_db=6.0)), clips=True)
    combined, received, _ = on_air(config(r=1, **QUIET, backoff_db=6.0), bench=bench)
    # I and Q are Gaussian of half the power: beyond full scale with 2 Q(1/s) each.
    beyond = 2 * math.erfc(1 / math.sqrt(10**-0.6))
    length = bench.timeline().layouts[0].length
    assert combined.record["clipped"] == pytest.approx(beyond * length, rel=0.5)
    assert received.errors["clipping"] > 0
    assert others(received.errors, "clipping") < 0.2 * received.errors["clipping"]


def test_phase_noise():
    cfg = config(r=4, snr_db=math.inf, fading="awgn", preset="usrp-octoclock")
    bench = bench_of(cfg)
    bench.preset = replace(bench.preset, front_end=bench.preset.front_end.without("quantisation"))
    _, received, uplink = on_air(cfg, bench=bench)
    score = uplink.legs[0].scores[0]
    power = np.sum(np.abs(score.clean) ** 2) / score.symbols
    # Two synthesizers of 0.86 degrees; what is common to a whole burst is taken out or booked
    # to the sounding.
    wanted = 2 * math.radians(0.86) ** 2 * power
    assert 0.4 * wanted < received.errors["phase noise"] < 1.3 * wanted


@pytest.mark.parametrize("preset", ["usrp-octoclock", "pluto-tcxo"])
def test_the_budget_sums_to_the_nmse(preset):
    combined, received, _ = on_air(config(preset=preset))
    budget, nmse = combined.record["budget"], 10 ** (combined.record["nmse_db"] / 10)
    assert set(budget) == {"compression", *CAUSES}
    assert sum(budget.values()) == pytest.approx(nmse, rel=1e-9)
    assert all(share >= 0 for share in budget.values())
    # In proportion to the energies that were measured by switching causes off.
    air = nmse - budget["compression"]
    total = sum(received.errors.values())
    for cause in CAUSES:
        assert budget[cause] == pytest.approx(air * received.errors[cause] / total, rel=1e-9)
    # Which are the whole error of the symbols.
    assert total == pytest.approx(received.noise_var, rel=0.5)


@pytest.mark.parametrize(
    ("cause", "mended", "backoff_db"),
    [
        ("quantisation", ["quantisation"], 10.0),
        ("clipping", ["clipping"], 4.0),
        ("front end", ["amplifier", "mixers"], 10.0),
        ("noise", ["noise"], 10.0),
        ("phase noise", ["phase_noise"], 10.0),
    ],
)
def test_a_mended_fault_has_no_share(cause, mended, backoff_db):
    cfg = config(r=4, preset="pluto-tcxo", backoff_db=backoff_db)
    faulty, whole = (bench_of(cfg) for _ in range(2))
    preset = whole.preset
    whole.preset = replace(preset, front_end=preset.front_end.without(*mended))
    before, after = (on_air(cfg, bench=bench)[1].errors for bench in (faulty, whole))
    assert before[cause] > 0
    assert after[cause] == 0


def test_without_drift_its_share_vanishes():
    shares = []
    for iq in ({}, {"offset_ppm": 0.0, "allan_deviation": 0.0}):
        bench = bench_of(config(r=4, snr_db=math.inf, preset="pluto-tcxo", **iq))
        front_end = bench.preset.front_end.without("phase_noise", "amplifier", "mixers")
        bench.preset = replace(bench.preset, front_end=front_end)
        shares.append(on_air(config(r=4, snr_db=math.inf, preset="pluto-tcxo"), bench=bench)[1])
    walking, still = (received.errors["CFO and drift"] for received in shares)
    assert still < walking / 50
