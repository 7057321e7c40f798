"""A bench of radios that differ: what the farthest is heard with, and what that does to rounds."""

import numpy as np
import pytest
from rounds_on_air import bench_of, by_hand, config, on_air, play

from fl_core.errors import InputError
from sim_fallback.spread import Spread
from sim_fallback.temperature import WARMING_UP
from testbed.on_air.virtual_bench import CLOCK, RECEIVER, name_of
from testbed.serving import virtual_radios

DIM = 2000
FAR = {"path_loss_db": 30.0}
UNEQUAL = {**FAR, "gain_error_db": 1.0, "iq_gain_db": 0.5, "iq_phase_deg": 3.0, "dc": 0.02}
WARMING = {"ramp_k": 20.0, "tx_gain_db_per_k": -0.1, "rx_gain_db_per_k": -0.2, "ppm_per_k": 0.05}


def losses_db(bench):
    paths = bench.scene().paths
    return np.array([paths[name_of(i), RECEIVER].loss_db for i in range(len(paths))])


def test_the_farthest_device_has_the_snr_and_the_gain_of_the_receiver_is_the_usual():
    equal, unequal = bench_of(config(fading="awgn")), bench_of(config(fading="awgn", spread=FAR))
    assert unequal.levels == equal.levels
    assert losses_db(equal) == pytest.approx(np.full(10, equal.levels.loss_db))
    nearer_db = equal.levels.loss_db - losses_db(unequal)
    assert sorted(nearer_db) == pytest.approx(np.linspace(0, 30, 10))


def test_without_a_spread_radios_are_those_of_the_preset():
    scene = bench_of(config(spread=dict.fromkeys(UNEQUAL, 0.0))).scene()
    plain = bench_of(config()).scene()
    assert scene.paths == plain.paths
    assert repr(scene.equipment) == repr(plain.equipment)
    assert all(radio.temperature == WARMING_UP for radio in scene.equipment.values())


def test_every_radio_but_the_clock_is_drawn_and_warms_up():
    bench = bench_of(config(spread=UNEQUAL, temperature={**WARMING, "start_c": 30.0}))
    radios = dict(bench.scene().equipment)
    clock = radios.pop(CLOCK)
    assert clock.temperature == WARMING_UP
    assert not clock.oscillator.ppm_per_k
    assert bench.preset.spread == Spread(**UNEQUAL)
    assert len({radio.front_end.tx_full_scale_dbm for radio in radios.values()}) == 11
    for radio in radios.values():
        assert list(radio.temperature.at([0.0, 600.0])) == [30.0, 50.0]
        assert -0.1 <= radio.front_end.tx_gain_db_per_k <= -0.05
        assert -0.2 <= radio.front_end.rx_gain_db_per_k <= -0.1
        assert 0 < abs(radio.oscillator.ppm_per_k) <= 0.05


def test_radios_of_a_served_air_are_the_same_ones():
    bench = bench_of(config(r=2, spread=UNEQUAL, temperature=WARMING))
    radios = virtual_radios(bench)
    with radios["d1"]() as device:
        assert device.describe() == {"serial": "airmeta-0-d1", "temperature": "34.0 °C"}


def test_near_devices_drown_the_others_until_they_are_turned_down():
    equal, *_ = on_air(config(fading="awgn"), dim=DIM)
    lost, *_ = on_air(config(fading="awgn", spread=FAR), dim=DIM)
    assert lost.record["overdriven"] > 100
    assert lost.record["nmse_db"] > equal.record["nmse_db"] + 10
    bench = bench_of(config(fading="awgn", spread=FAR), DIM)
    nearer_db = bench.levels.loss_db - losses_db(bench)
    turned_down = by_hand(bench, tx_gains_db=dict(enumerate(-nearer_db)))
    mended, received = play(config(fading="awgn", spread=FAR), turned_down, dim=DIM)
    assert np.abs(received.true_gains) == pytest.approx(np.ones(10), abs=0.01)
    assert mended.record["overdriven"] == 0
    assert mended.record["nmse_db"] < equal.record["nmse_db"] + 1
    # What clipped is told apart from the rest.
    budget = lost.record["budget"]
    assert budget["clipping"] > 0.5 * sum(budget.values())


def test_levels_fall_as_the_bench_warms_up():
    warming = {**WARMING, "ppm_per_k": 0.0, "over_s": 1.0}
    cfg = config(r=4, fading="awgn", temperature=warming)
    bench = bench_of(cfg, DIM)
    _, warm, _ = on_air(cfg, (0, 20), bench, DIM)
    equipment = bench.scene().equipment
    expected_db = [
        equipment[name_of(i)].tx_drift_db(9.0) + equipment[RECEIVER].rx_drift_db(9.0)
        for i in range(4)
    ]
    assert bench.start_s(20) > 1.0
    assert 20 * np.log10(np.abs(warm.true_gains)) == pytest.approx(expected_db, abs=0.05)


def test_clocks_that_warmth_takes_too_far_are_refused():
    with pytest.raises(InputError, match=r"iq.temperature.ppm_per_k = 0.5.* up to 30 ppm"):
        bench_of(config(temperature={**WARMING, "ppm_per_k": 0.5}))
    bench_of(config(temperature={**WARMING, "ppm_per_k": 0.5}, preset="cabled-shared-clock"))
