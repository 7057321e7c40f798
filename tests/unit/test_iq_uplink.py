"""A whole round over samples, against the same round over symbols."""

import math
from dataclasses import replace

import numpy as np
import pytest
from rounds_on_air import DIM, bench_of, by_hand, config, on_air, play, updates_of

from radio.api import RadioError
from testbed.on_air.receiver import largest_delay
from testbed.on_air.virtual_bench import RECEIVER, name_of
from testbed.schemes import symbol_uplink

SELECTIVE = {"delays_s": (0.0, 1e-6, 2.5e-6), "powers_db": (0.0, -5.0, -10.0)}


def estimate_of(combined, uplink):
    """OAMP's estimate, from the update that the server makes of it."""
    return combined.mean_update * combined.record["scale"] * uplink.mean_gain


def apart(one, two):
    return np.linalg.norm(one - two) / np.linalg.norm(two)


def same_as_symbols(cfg, rounds=(0,), dim=DIM, symbols_apart=1e-5):
    symbols = symbol_uplink(cfg)
    wanted, wanted_symbols = play(cfg, symbols, rounds[-1:], dim=dim)
    got, got_symbols, uplink = on_air(cfg, rounds, dim=dim)
    assert got.record["participation"] == 1
    assert got.record["clipped"] == 0
    assert apart(got_symbols.symbols, wanted_symbols.symbols) < symbols_apart
    assert apart(estimate_of(got, uplink), estimate_of(wanted, symbols)) < 1e-3
    gains = np.abs(symbols.sound(rounds[-1], uplink.legs[0].devices))
    np.testing.assert_allclose(uplink.legs[0].sounding.gains, gains, rtol=1e-4)
    return uplink


@pytest.mark.parametrize("num_devices", [1, 2, 10, 50])
@pytest.mark.parametrize("fading", ["rayleigh", "awgn"])
def test_without_impairments_samples_equal_symbols(num_devices, fading):
    same_as_symbols(config(r=num_devices, snr_db=math.inf, fading=fading, preset="ideal"))


def test_the_model_of_the_experiments_equals_symbols():
    sections = {"sparsifier": {"density": 0.04}}
    same_as_symbols(config(snr_db=math.inf, preset="ideal", sections=sections), dim=28_485)


def test_several_bursts_equal_symbols():
    sections = {"compression": {"num_symbols": 24_001}, "sparsifier": {"density": 0.01}}
    cfg = config(r=3, snr_db=math.inf, preset="ideal", sections=sections)
    uplink = same_as_symbols(cfg, dim=60_000)
    (leg,) = uplink.legs
    assert [b.data_symbols for b in leg.timeline.layouts] == [41, 40, 40]
    assert len(leg.scores) == 3
    assert [heard.iq.size for heard in leg.bursts] == [44 * 288, 43 * 288]


def test_a_long_update_is_sounded_again_and_equals_symbols():
    sections = {"compression": {"num_symbols": 24_001}, "sparsifier": {"density": 0.01}}
    cfg = config(r=3, snr_db=math.inf, preset="ideal", sections=sections, sounding_life_s=0.12)
    uplink = same_as_symbols(cfg, dim=60_000)
    assert [leg.timeline.num_symbols for leg in uplink.legs] == [12_001, 12_000]


def test_soundings_in_time_keep_a_moving_channel():
    # At 1 Hz the channel turns within half a second: 20 bursts on one sounding do not survive it.
    sections = {"compression": {"num_symbols": 240_000}, "sparsifier": {"density": 0.01}}
    nmse = []
    for life_s in (100.0, 0.05):
        cfg = config(r=3, preset="ideal", sections=sections, doppler_hz=1.0, sounding_life_s=life_s)
        combined, _, _ = on_air(cfg, dim=600_000)
        nmse.append(combined.record["nmse_db"])
    assert nmse[1] < nmse[0] - 4


def test_a_second_round_on_the_same_uplink_equals_symbols():
    same_as_symbols(config(r=4, snr_db=math.inf, preset="ideal"), rounds=(0, 1, 2))


@pytest.mark.parametrize("policy", ["truncated_inversion", "full_inversion"])
def test_power_control_equals_symbols(policy):
    cfg = config(r=4, snr_db=math.inf, preset="ideal", sections={"power": {"policy": policy}})
    wanted, _ = play(cfg, symbol_uplink(cfg))
    got, _, _ = on_air(cfg)
    assert apart(got.mean_update, wanted.mean_update) < 1e-3


def test_fading_with_path_loss_and_rician_equals_symbols():
    sections = {"channel": {"snr_db": math.inf, "fading": "rician", "path_loss_spread_db": 6.0}}
    same_as_symbols(config(r=6, preset="ideal", sections=sections))


# Figures of the air interface, loosened by 2 dB as there are only three seeds.
@pytest.mark.parametrize(
    ("snr_db", "iq", "most_db"),
    [
        (19.0, {"preset": "usrp-octoclock"}, -26),
        (20.0, {"preset": "pluto-tcxo"}, -24),
        (20.0, {"preset": "pluto-tcxo", "allan_deviation": 1e-9}, -16),
        (20.0, {"preset": "usrp-octoclock", **SELECTIVE}, -18),
        (20.0, {"preset": "pluto-tcxo", **SELECTIVE}, -18),
    ],
)
def test_what_impairments_cost(snr_db, iq, most_db):
    reached, predicted = [], []
    for seed in range(3):
        cfg = config(seed, snr_db=snr_db, **iq)
        combined, _, _ = on_air(cfg, dim=8000)
        record = combined.record
        assert not record["failed"]
        reached.append(record["nmse_db"])
        predicted.append(record["nmse_predicted_db"])
        ideal, _ = play(cfg, symbol_uplink(cfg), dim=8000)
        assert record["nmse_db"] > ideal.record["nmse_db"] - 0.5
    assert np.median(reached) < most_db
    # The receiver, which does not know the truth, is right about its error.
    np.testing.assert_allclose(predicted, reached, atol=3)


def test_noise_of_the_symbols_is_that_of_the_wanted_snr():
    cfg = config(r=2, snr_db=15.0, fading="awgn", preset="ideal")
    _, received, uplink = on_air(cfg)
    assert uplink.noise_var == pytest.approx(10**-1.5, rel=0.25)
    assert received.noise_var == pytest.approx(10**-1.5, rel=0.25)
    assert received.errors["noise"] == pytest.approx(10**-1.5, rel=0.1)
    np.testing.assert_allclose(np.abs(received.true_gains), 1, rtol=0.01)


def test_selective_channel_without_noise_is_flattened():
    """Equal to the symbol level at the gains sounded, but for notches beyond the cap."""
    cfg = config(r=4, snr_db=math.inf, preset="ideal", **SELECTIVE)
    combined, received, uplink = on_air(cfg)
    assert combined.record["participation"] == 1
    assert combined.record["nmse_db"] < -22
    # A flattened channel keeps its harmonic mean, which is below its root mean square.
    channels = np.abs(uplink.legs[0].sounding.channels)
    assert np.all(uplink.legs[0].sounding.gains <= np.sqrt(np.mean(channels**2, axis=1)))
    np.testing.assert_allclose(np.abs(received.true_gains), uplink.legs[0].sounding.gains, rtol=0.1)


@pytest.mark.parametrize("preset", ["usrp-octoclock", "pluto-tcxo"])
def test_estimates_do_not_know_the_scorer(preset):
    cfg = config(r=4, preset=preset)
    scored, with_truth = play(cfg, by_hand(bench_of(cfg)), (0, 1))
    blind, without = play(cfg, by_hand(bench_of(cfg), scored=False), (0, 1))
    assert with_truth.true_gains is not None
    assert without.true_gains is None
    assert without.errors is None
    assert blind.record["nmse_db"] is None
    assert "budget" not in blind.record
    assert without.symbols.tobytes() == with_truth.symbols.tobytes()
    assert without.noise_var == with_truth.noise_var
    np.testing.assert_array_equal(without.acknowledged, with_truth.acknowledged)
    assert blind.mean_update.tobytes() == scored.mean_update.tobytes()


def without_path(scene):
    paths = {pair: path for pair, path in scene.paths.items() if name_of(2) not in pair}
    return replace(scene, paths=paths)


def faded(scene):
    pair = (name_of(2), RECEIVER)
    deep = replace(scene.paths[pair], loss_db=scene.paths[pair].loss_db + 60)
    return replace(scene, paths={**scene.paths, pair: deep})


@pytest.mark.parametrize("change", [without_path, faded])
@pytest.mark.parametrize("preset", ["cabled-shared-clock", "pluto-tcxo"])
def test_who_is_not_heard_keeps_everything(change, preset):
    cfg = config(r=4, fading="awgn", preset=preset)
    uplink = by_hand(bench_of(cfg), change)
    combined, received = play(cfg, uplink)
    assert received.acknowledged.tolist() == [True, True, False, True]
    assert uplink.legs[0].sounding.gains[2] == 0
    assert not uplink.legs[0].nodes[2].synchronised
    assert received.true_gains[2] == 0
    assert combined.record["participation"] == 0.75
    updates = updates_of(cfg)
    np.testing.assert_array_equal(combined.memory[2], updates[2])
    for device in (0, 1, 3):
        sent = updates[device] != combined.memory[device]
        assert np.count_nonzero(sent) == cfg.sparsifier.entries(DIM)
    # The others are none the worse for it.
    assert combined.record["nmse_db"] < -25


def test_who_hears_but_is_not_heard_stays_silent():
    cfg = config(r=4, fading="awgn", preset="pluto-tcxo")
    uplink = by_hand(bench_of(cfg), tx_gains_db={2: -60.0})
    combined, received = play(cfg, uplink)
    assert uplink.legs[0].nodes[2].synchronised
    assert received.acknowledged.tolist() == [True, True, False, True]
    assert received.true_gains[2] == 0
    assert combined.record["nmse_db"] < -25


def test_without_noise_a_missing_device_is_missing_too():
    cfg = config(r=4, snr_db=math.inf, preset="ideal")
    combined, received = play(cfg, by_hand(bench_of(cfg), without_path))
    assert received.acknowledged.tolist() == [True, True, False, True]
    assert combined.record["nmse_db"] < -60


def test_a_round_in_which_nobody_is_heard():
    cfg = config(r=3, preset="pluto-tcxo")
    uplink = by_hand(bench_of(cfg), lambda scene: replace(scene, paths={}))
    combined, received = play(cfg, uplink)
    assert not received.acknowledged.any()
    assert combined.record == {"participation": 0.0, "failed": True}
    assert not combined.mean_update.any()
    for device, update in enumerate(updates_of(cfg)):
        np.testing.assert_array_equal(combined.memory[device], update)
    assert uplink.mean_gain == 1


@pytest.mark.parametrize("preset", ["ideal", "cabled-shared-clock", "pluto-tcxo"])
@pytest.mark.parametrize("last", [5, 300])
def test_a_round_does_not_depend_on_those_before(preset, last):
    """A run resumed at a round is the run that was never stopped."""
    cfg = config(r=3, preset=preset)
    through, heard, _ = on_air(cfg, range(6) if last == 5 else (0, 120, last), dim=1500)
    alone, heard_alone, _ = on_air(cfg, (last,), dim=1500)
    assert heard_alone.symbols.tobytes() == heard.symbols.tobytes()
    assert alone.record == through.record
    assert alone.record["participation"] == 1


def test_other_devices_and_fewer():
    cfg = config(r=3, n=8, snr_db=math.inf, fading="awgn", preset="ideal")
    uplink = by_hand(bench_of(cfg))
    for index, devices in enumerate(([5, 1, 7], [7, 2, 0])):
        combined, _ = play(cfg, uplink, (index,), np.array(devices))
        assert set(combined.memory) == set(devices)
        assert combined.record["nmse_db"] < -60
    gains = uplink.sound(2, np.array([4, 6]))
    np.testing.assert_allclose(np.abs(gains), 1, rtol=1e-4)
    assert uplink.legs[0].timeline.num_devices == 2


def test_what_was_not_sounded_cannot_be_sent():
    cfg = config(r=2, preset="ideal")
    uplink = by_hand(bench_of(cfg))
    nothing = np.zeros((2, 10), np.complex64)
    for ask in (lambda: uplink.mean_gain, lambda: uplink.noise_var):
        with pytest.raises(ValueError, match="no round was sounded yet"):
            ask()
    with pytest.raises(ValueError, match="no round was sounded yet"):
        uplink.transmit(0, np.arange(2), nothing)
    uplink.sound(0, np.arange(2))
    for index, devices in ((1, [0, 1]), (0, [1, 0])):
        with pytest.raises(ValueError, match=f"round {index} was not sounded for these devices"):
            uplink.transmit(index, np.array(devices), nothing)


@pytest.mark.parametrize("carrier_hz", [915e6, 2.45e9])
def test_carrier_offsets_at_the_data(carrier_hz):
    """Within half a hertz at 20 dB, for devices with a gain above 0.5."""
    errors = []
    for seed in range(4):
        cfg = config(seed, preset="pluto-tcxo", carrier_hz=carrier_hz, offset_ppm=25.0)
        bench = bench_of(cfg)
        _, _, uplink = on_air(cfg, bench=bench)
        scene = bench.scene()
        now = uplink.legs[0]
        sample = now.receiver.start + now.timeline.bursts[0]
        time_s = scene.true_time_s(RECEIVER, sample)
        mine = scene.radio(RECEIVER).oscillator.fractional_frequency(time_s)
        for slot in np.flatnonzero(now.sounding.gains > 0.5):
            device, node = now.devices[slot], now.nodes[slot]
            theirs = scene.radio(name_of(device)).oscillator.fractional_frequency(time_s)
            # In hertz of the device's own seconds, by which it tunes.
            errors.append(node.cfo_hz - carrier_hz * (mine - theirs) / (1 + theirs))
    assert np.sqrt(np.mean(np.square(errors))) < 0.5


def test_what_the_walk_leaves_of_the_phase():
    """Beacons behind the sounding tell its phase better than was known when it was sent."""
    errors = []
    for seed in range(4):
        wanted = {"allan_deviation": 1e-9, "turnaround_s": 5e-3}
        cfg = config(seed, fading="awgn", preset="pluto-tcxo", **wanted)
        bench = bench_of(cfg)
        off = "phase_noise", "amplifier", "mixers", "quantisation"
        front_end = bench.preset.front_end.without(*off)
        bench.preset = replace(bench.preset, front_end=front_end)
        _, received, uplink = on_air(cfg, bench=bench)
        score, timeline = uplink.legs[0].scores[0], uplink.legs[0].timeline
        power = np.sum(np.abs(score.clean) ** 2) / score.symbols
        errors.append(received.errors["CFO and drift"] / power)
    # Two oscillators, from the middle of the last beacon to the middle of the burst: q t^3 / 3.
    burst = timeline.bursts[0] + timeline.layouts[0].length / 2
    time_s = (burst - timeline.syncs[0][-1] - timeline.sync.length / 2) / 1e6
    walk = 2 * (2 * np.pi * 915e6) ** 2 * 3 * 1e-9**2 / 0.1 * time_s**3 / 3
    assert np.mean(errors) < 1.5 * walk


def test_a_radio_that_is_slower_than_the_frame_is_refused():
    cfg = config(r=2, preset="pluto-tcxo")
    bench = bench_of(cfg).with_radios(turnaround_s=0.001)
    with pytest.raises(RadioError, match=r"takes 0\.02 s to answer .* set iq\.turnaround_s"):
        on_air(cfg, bench=bench)


def test_how_late_a_device_is_counts_where_it_was_heard():
    heard = np.array([True, False, True])
    assert largest_delay(np.array([0.5, 9.0, -2.0]), heard) == 2.0
    assert largest_delay(np.array([0.5, 9.0, -2.0]), np.zeros(3, np.bool_)) == 0.0
