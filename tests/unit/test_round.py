from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_core import server
from fl_core.baselines.ideal import Ideal
from fl_core.baselines.noiseless import Noiseless
from fl_core.estimators import build_estimator
from fl_core.power import build_policy
from fl_core.round import OverTheAir, RoundState, play
from fl_core.sparsifier import Identity, TopK
from sim_fallback.symbol_uplink import SymbolUplink

DIM, DEVICES = 2048, 8


def silent(stage):
    del stage


def over_the_air(contraction, num_symbols, snr_db=19.0, policy="phase_only", **changes):
    uplink = SymbolUplink(seed=1, num_devices=20, snr_db=snr_db, **changes)
    return OverTheAir(
        run_seed=1,
        contraction=contraction,
        num_symbols=num_symbols,
        rows="half",
        policy=build_policy(policy, 1.0, threshold=0.8),
        uplink=uplink,
        estimator=build_estimator("oamp", denoiser="bimodal", max_iterations=30),
        fail_above_nmse_db=-3.0,
    )


def draw_updates(rng, count=DEVICES):
    return rng.standard_normal((count, DIM)).astype(np.float32)


def active(count=DEVICES):
    return np.arange(count, dtype=np.int64)


def test_without_noise_fading_and_sparsifying_the_air_is_ideal():
    updates = draw_updates(np.random.default_rng(0))
    scheme = over_the_air(Identity(), DIM // 2, snr_db=np.inf, fading="awgn")
    air = scheme.combine(0, active(), updates, {}, silent)
    ideal = Ideal().combine(0, active(), updates, {}, silent)
    error = np.linalg.norm(air.mean_update - ideal.mean_update) / np.linalg.norm(ideal.mean_update)
    assert error < 1e-3
    assert air.record["participation"] == 1


def test_without_noise_and_fading_the_air_is_the_noiseless_baseline():
    updates = draw_updates(np.random.default_rng(0))
    scheme = over_the_air(TopK(40), DIM // 2, snr_db=np.inf, fading="awgn")
    air = scheme.combine(3, active(), updates, {}, silent)
    noiseless = Noiseless(1, TopK(40)).combine(3, active(), updates, {}, silent)
    assert np.allclose(air.mean_update, noiseless.mean_update, atol=1e-3)
    for device in active():
        assert np.array_equal(air.memory[device], noiseless.memory[device])


def test_fading_weighs_and_the_mean_gain_normalises():
    rng = np.random.default_rng(0)
    same = np.tile(draw_updates(rng, 1), (DEVICES, 1))
    scheme = over_the_air(TopK(60), DIM // 2, snr_db=np.inf)
    gains = scheme.uplink.sound(0, active())
    air = scheme.combine(0, active(), same, {}, silent)
    kept = TopK(60)(same[0], rng)
    expected = np.abs(gains).sum() / (DEVICES * np.sqrt(np.pi) / 2) * kept
    assert np.linalg.norm(air.mean_update - expected) < 0.02 * np.linalg.norm(expected)


def test_the_measured_error_is_the_error_against_the_weighted_sum():
    updates = draw_updates(np.random.default_rng(0))
    scheme = over_the_air(TopK(40), 800)
    air = scheme.combine(2, active(), updates, {}, silent)
    sparse = np.stack([TopK(40)(u, np.random.default_rng(0)) for u in updates])
    gains = np.abs(scheme.uplink.sound(2, active()))
    truth = gains @ sparse
    estimate = air.mean_update * DEVICES * scheme.uplink.mean_gain
    nmse = np.sum((estimate - truth) ** 2) / np.sum(truth**2)
    assert 10 * np.log10(nmse) == pytest.approx(air.record["nmse_db"], abs=0.01)
    assert air.record["nmse_db"] == pytest.approx(air.record["nmse_predicted_db"], abs=2)


def test_a_failed_round_moves_nothing_and_loses_nothing():
    rng = np.random.default_rng(0)
    updates, before = draw_updates(rng), {0: draw_updates(rng, 1)[0]}
    state = RoundState(np.ones(DIM, np.float32), before)
    scheme = over_the_air(TopK(DIM // 2), DIM // 10, snr_db=0.0)
    after, combined = play(state, scheme, active(), updates, silent)
    assert combined.record["failed"]
    assert combined.record["participation"] == 0
    assert np.array_equal(after.params, state.params)
    assert np.array_equal(after.memory[0], before[0] + updates[0])
    assert all(np.array_equal(after.memory[i], updates[i]) for i in range(1, DEVICES))
    assert after.channel_uses == DIM // 10


def test_a_round_in_which_nobody_may_send_fails():
    updates = draw_updates(np.random.default_rng(0))
    scheme = over_the_air(TopK(40), 800, policy="truncated_inversion")
    quiet = OverTheAir(
        **{**vars(scheme), "policy": build_policy("truncated_inversion", 1.0, threshold=100.0)}
    )
    combined = quiet.combine(0, active(), updates, {}, silent)
    assert combined.record["failed"]
    assert not combined.mean_update.any()
    assert np.array_equal(combined.memory[3], updates[3])


def test_a_silent_device_keeps_everything_and_the_others_share_the_mean():
    updates = draw_updates(np.random.default_rng(0))
    scheme = over_the_air(TopK(40), 800, snr_db=np.inf, policy="truncated_inversion")
    gains = np.abs(scheme.uplink.sound(0, active()))
    quiet = gains <= 0.8
    assert quiet.any()
    assert not quiet.all()
    combined = scheme.combine(0, active(), updates, {}, silent)
    sparse = np.stack([TopK(40)(u, np.random.default_rng(0)) for u in updates])
    assert np.allclose(combined.mean_update, sparse[~quiet].mean(axis=0), atol=2e-2)
    for i in np.flatnonzero(quiet):
        assert np.array_equal(combined.memory[i], updates[i])


@given(st.integers(0, 2**31), st.sampled_from(["phase_only", "truncated_inversion"]))
def test_what_was_sent_and_what_is_left_is_what_was_learnt(seed, policy):
    rng = np.random.default_rng(seed)
    scheme, memory = over_the_air(TopK(30), 700, policy=policy), {}
    learnt = np.zeros((DEVICES, DIM))
    acknowledged = np.zeros(DIM)
    for index in range(3):
        updates = draw_updates(rng)
        learnt += updates
        owed = {i: memory.get(i, 0) + updates[i] for i in range(DEVICES)}
        combined = scheme.combine(index, active(), updates, memory, silent)
        acknowledged += sum(owed[i] - combined.memory[i] for i in range(DEVICES))
        memory = {**memory, **combined.memory}
    left = sum(memory.values())
    assert np.allclose(acknowledged + left, learnt.sum(axis=0), atol=1e-4)


def test_inactive_devices_keep_their_memory():
    rng = np.random.default_rng(0)
    memory = {15: draw_updates(rng, 1)[0]}
    state = RoundState(np.zeros(DIM, np.float32), memory)
    after, _ = play(state, over_the_air(TopK(40), 800), active(), draw_updates(rng), silent)
    assert after.memory[15] is memory[15]
    assert after.round_index == 1


def test_stages_are_named_in_order():
    laps = []
    play(
        RoundState(np.zeros(DIM, np.float32)),
        over_the_air(TopK(40), 800),
        active(),
        draw_updates(np.random.default_rng(0)),
        laps.append,
    )
    assert laps == ["sparsify", "compress", "air", "estimate", "server"]


def test_devices_are_drawn_uniformly_without_replacement():
    counts = np.zeros(20)
    for index in range(2000):
        devices = server.draw_devices(5, index, 20, 6)
        assert len(set(devices.tolist())) == 6
        counts[devices] += 1
    # Each count is binomial(2000, 0.3): standard deviation 20.5.
    assert np.abs(counts - 600).max() < 5 * 20.5
    assert np.array_equal(server.draw_devices(5, 7, 20, 6), server.draw_devices(5, 7, 20, 6))


@pytest.mark.parametrize(
    ("schedule", "at_zero", "at_tau", "at_end"),
    [
        ("constant", 0.2, 0.2, 0.2),
        ("inverse", 0.2, 0.1, 0.2 / 11),
        ("inverse_sqrt", 0.2, 0.2 / np.sqrt(2), 0.2 / np.sqrt(11)),
        ("cosine", 0.2, 0.1 * (1 + np.cos(np.pi / 10)), 0.0),
    ],
)
def test_meta_learning_rates(schedule, at_zero, at_tau, at_end):
    rate = server.MetaLearningRate(0.2, schedule, decay_rounds=100, rounds=1000)
    assert (rate(0), rate(100), rate(1000)) == pytest.approx((at_zero, at_tau, at_end))


class LossyUplink(SymbolUplink):
    """Devices with odd numbers are never heard."""

    def transmit(self, round_index, devices, symbols):
        heard = devices % 2 == 0
        reception = super().transmit(round_index, devices, symbols * heard[:, None])
        return replace(reception, acknowledged=heard)


@pytest.mark.parametrize("policy", ["phase_only", "full_inversion"])
def test_unacknowledged_devices_keep_everything_and_have_no_share(policy):
    updates = draw_updates(np.random.default_rng(0))
    uplink = LossyUplink(seed=1, num_devices=20, snr_db=np.inf, fading="awgn")
    scheme = replace(over_the_air(TopK(40), 800, policy=policy), uplink=uplink)
    memory = {1: updates[2], 2: updates[3]}
    combined = scheme.combine(0, active(), updates, memory, silent)
    owed = updates + np.stack([memory.get(i, np.zeros(DIM, np.float32)) for i in range(DEVICES)])
    sparse = np.stack([TopK(40)(v, np.random.default_rng(0)) for v in owed])
    assert np.allclose(combined.mean_update, sparse[::2].mean(axis=0), atol=2e-2)
    for i in range(1, DEVICES, 2):
        assert np.array_equal(combined.memory[i], owed[i])
    for i in range(0, DEVICES, 2):
        assert np.array_equal(combined.memory[i], owed[i] - sparse[i])
    assert combined.record["participation"] == 0.5
    assert combined.record["union_density"] == np.count_nonzero(sparse[::2].any(axis=0)) / DIM
    assert combined.record["nmse_db"] < -40


def test_recorded_levels_against_closed_forms():
    updates = draw_updates(np.random.default_rng(0))
    scheme = over_the_air(TopK(200), DIM // 2, snr_db=19.0, fading="awgn")
    record = scheme.combine(0, active(), updates, {}, silent).record
    # Eight devices of about equal energy: 9 dB above one, less what the loudest has more than all.
    assert record["snr_db"] == pytest.approx(19 + 10 * np.log10(8), abs=1)
    # The largest of 8 · 1024 exponential powers is near ln(8 · 1024) = 9.5 dB above the mean.
    assert record["papr_db"] == pytest.approx(9.5, abs=1.5)
    assert pytest.approx(record["union_density"], abs=0.05) == 1 - (1 - 200 / DIM) ** 8
