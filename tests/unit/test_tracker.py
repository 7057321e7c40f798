import math

import numpy as np
import pytest

from radio.waveform.tracker import PhaseTracker

CARRIER_HZ = 915e6
PHASE_VAR = 2e-5  # of a sync beacon at some 20 dB
SPAN_S = 512e-6
STEP_S = 0.5e-3
# A round: a beacon, one on each side of the sounding, two before the data.
BEACONS_S = np.array([0.0, 10e-3, 35e-3, 105e-3, 115e-3])
SOUNDING_S, DATA_S = 32e-3, 135e-3


def walks(seeds, allan_deviation, duration_s=0.25):
    """Phase in rad of one oscillator, [seeds, steps]: its frequency takes a random walk.

    A walk whose variance grows by D a second has the Allan variance D tau / 3.
    """
    rng = np.random.default_rng(seeds)
    steps = round(duration_s / STEP_S)
    growth = 3 * allan_deviation**2 / 0.1
    frequency = np.cumsum(rng.standard_normal((seeds, steps)) * math.sqrt(growth * STEP_S), axis=1)
    frequency = np.hstack([np.zeros((seeds, 1)), frequency])
    return 2 * np.pi * CARRIER_HZ * STEP_S * np.cumsum(
        (frequency[:, 1:] + frequency[:, :-1]) / 2, axis=1
    )  # fmt: skip


def differences(seeds, allan_deviation):
    """Phase of one oscillator against another, from any phase and within 50 Hz."""
    rng = np.random.default_rng([seeds, 1])
    phase = np.hstack([np.zeros((2 * seeds, 1)), walks(2 * seeds, allan_deviation)])
    time_s = STEP_S * np.arange(phase.shape[1])
    offset = rng.uniform(-np.pi, np.pi, (seeds, 1)) + rng.normal(0, 100, (seeds, 1)) * time_s
    return phase[:seeds] - phase[seeds:] + offset


def observed(tracker, truth, rng, beacons_s=BEACONS_S, turns=True):
    """Let the tracker hear beacons of a phase `truth` [steps]; returns what they showed."""
    variance = PHASE_VAR + tracker.phase_noise_var
    seen = []
    for t in beacons_s:
        at = round(t / STEP_S)
        phase = truth[at] + rng.normal(0, math.sqrt(variance))
        slope = (truth[at + 1] - truth[max(at - 1, 0)]) / (STEP_S * (1 + (at > 0)))
        rate = slope + rng.normal(0, math.sqrt(12 * variance) / SPAN_S)
        shown = np.angle(np.exp(1j * phase)) if turns else phase
        tracker.observe(t, shown, PHASE_VAR, rate / (2 * np.pi), SPAN_S)
        seen.append((t, shown, rate))
    return seen


def wrapped(phase):
    return np.angle(np.exp(1j * np.asarray(phase)))


def test_the_simulated_walk_has_the_allan_deviation():
    x = walks(4000, 1e-10, 0.2) / (2 * np.pi * CARRIER_HZ)
    steps = round(0.1 / STEP_S)
    second = x[:, 2 * steps - 1] - 2 * x[:, steps - 1]
    assert np.sqrt(np.mean(second**2) / 2) / 0.1 == pytest.approx(1e-10, rel=0.04)


@pytest.mark.parametrize("allan_deviation", [1e-11, 1e-10, 1e-9])
def test_errors_are_as_large_as_the_tracker_says(allan_deviation):
    seeds = 400
    truths = differences(seeds, allan_deviation)
    asked = np.array([SOUNDING_S, DATA_S])
    rng = np.random.default_rng(5)
    normalised = np.empty((seeds, 2))
    for i, truth in enumerate(truths):
        tracker = PhaseTracker(CARRIER_HZ, allan_deviation)
        observed(tracker, truth, rng)
        expected, variance = tracker.phase(asked)
        error = wrapped(expected - truth[np.rint(asked / STEP_S).astype(int)])
        normalised[i] = error**2 / variance
    # Sums of squares of standard normals: mean 1, standard deviation sqrt(2 / seeds).
    np.testing.assert_allclose(normalised.mean(axis=0), 1, atol=4 * math.sqrt(2 / seeds))


@pytest.mark.parametrize("allan_deviation", [1e-11, 1e-10])
def test_far_better_than_the_last_pair(allan_deviation):
    """Ten beacons 10 ms apart; with the last two alone the noise of their phases is doubled."""
    times = 10e-3 * np.arange(10)
    at = times[-1] + 30e-3
    ours, theirs = [], []
    rng = np.random.default_rng(6)
    for truth in differences(200, allan_deviation):
        tracker = PhaseTracker(CARRIER_HZ, allan_deviation)
        seen = observed(tracker, truth, rng, times)
        goal = truth[round(at / STEP_S)]
        ours.append(wrapped(tracker.phase(np.array([at]))[0][0] - goal))
        (before, one, _), (after, two, _) = seen[-2:]
        # The pair is given its number of turns.
        slope = (truth[round(after / STEP_S)] - truth[round(before / STEP_S)]) / (after - before)
        turn = wrapped(two - one - slope * (after - before))
        line = two + (slope + turn / (after - before)) * (at - after)
        theirs.append(wrapped(line - goal))
    assert np.mean(np.square(ours)) < 0.45 * np.mean(np.square(theirs))


def kalman_smoother(seen, variances, rate_variances, asked, walk):
    """Filter forward, Rauch-Tung-Striebel backward, in extended precision; means, variances."""
    wide = np.longdouble
    t0, phase0, rate0 = seen[0]
    times = sorted({*(s[0] for s in seen), *map(float, asked)})
    at = {t: (p, r, v, w) for (t, p, r), v, w in zip(seen, variances, rate_variances, strict=True)}
    mean = np.array([phase0, rate0], wide)
    cov = np.diag(np.array([1e2, 1e6], wide))
    now, stack = t0, []
    for t in times:
        dt = wide(t) - wide(now)
        step = np.array([[1, dt], [0, 1]], wide)
        noise = wide(walk) * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]], wide)
        before = step @ mean, step @ cov @ step.T + noise
        mean, cov = before
        if t in at:
            phase, rate, v, w = at[t]
            for row, value, var in ((0, phase, v), (1, rate, w)):
                gain = cov[:, row] / (cov[row, row] + wide(var))
                mean = mean + gain * (wide(value) - mean[row])
                cov = cov - np.outer(gain, cov[row])
        stack.append((before, step, mean, cov))
        now = t
    after_mean, after_cov = mean, cov
    smoothed = {times[-1]: (mean, cov)}
    for i in range(len(times) - 2, -1, -1):
        (ahead_mean, ahead_cov), step = stack[i + 1][:2]
        _, _, mean, cov = stack[i]
        (a, b), (c, d) = ahead_cov
        back = cov @ step.T @ (np.array([[d, -b], [-c, a]], wide) / (a * d - b * c))
        after_mean = mean + back @ (after_mean - ahead_mean)
        after_cov = cov + back @ (after_cov - ahead_cov) @ back.T
        smoothed[times[i]] = (after_mean, after_cov)
    means = np.array([float(smoothed[float(t)][0][0]) for t in asked])
    return means, np.array([float(smoothed[float(t)][1][0, 0]) for t in asked])


@pytest.mark.parametrize("allan_deviation", [1e-11, 1e-10, 1e-9])
def test_equals_a_kalman_filter_and_smoother(allan_deviation):
    tracker = PhaseTracker(CARRIER_HZ, allan_deviation)
    truth = differences(3, allan_deviation)[0]
    seen = observed(tracker, truth, np.random.default_rng(8), turns=False)
    variance = PHASE_VAR + tracker.phase_noise_var
    walk = 2 * (2 * np.pi * CARRIER_HZ) ** 2 * 3 * allan_deviation**2 / 0.1
    asked = np.array([0.0, 5e-3, SOUNDING_S, 35e-3, 80e-3, 115e-3, DATA_S, 0.2])
    means, variances = kalman_smoother(
        seen, [variance] * 5, [12 * variance / SPAN_S**2] * 5, asked, walk
    )
    expected, expected_var = tracker.phase(asked)
    turns = np.round((expected[0] - means[0]) / (2 * np.pi)) * 2 * np.pi
    np.testing.assert_allclose(expected - turns, means, atol=1e-5)
    np.testing.assert_allclose(expected_var, variances, rtol=1e-3)


def test_turns_of_a_beacons_phase_do_not_matter():
    truth = differences(2, 1e-10)[0]
    asked = np.array([SOUNDING_S, DATA_S])
    plain, turned = (PhaseTracker(CARRIER_HZ, 1e-10) for _ in range(2))
    observed(plain, truth, np.random.default_rng(1))
    seen = observed(PhaseTracker(CARRIER_HZ, 1e-10), truth, np.random.default_rng(1))
    for i, (t, phase, rate) in enumerate(seen):
        turned.observe(t, phase + 2 * np.pi * (7 - 5 * i), PHASE_VAR, rate / (2 * np.pi), SPAN_S)
    difference = wrapped(turned.phase(asked)[0] - plain.phase(asked)[0])
    np.testing.assert_allclose(difference, 0, atol=1e-6)
    np.testing.assert_allclose(turned.phase(asked)[1], plain.phase(asked)[1], rtol=1e-9)


def test_one_beacon_goes_on_at_its_frequency():
    tracker = PhaseTracker(CARRIER_HZ, 1e-10)
    tracker.observe(2.0, 0.3, 1e-4, 25.0, 2e-3)
    expected, variance = tracker.phase(np.array([2.0, 2.01]))
    np.testing.assert_allclose(expected, [0.3, 0.3 + 2 * np.pi * 25 * 0.01], atol=1e-6)
    rate_var = 12 * (1e-4 + 1e-5) / 2e-3**2
    assert variance[0] == pytest.approx(1.1e-4, rel=1e-3)
    assert variance[1] == pytest.approx(1.1e-4 + rate_var * 0.01**2, rel=0.02)
    assert tracker.cfo_hz(2.0) == pytest.approx(25.0, abs=1e-5)


def test_frequency_is_that_of_the_phase():
    tracker = PhaseTracker(CARRIER_HZ, 1e-11)
    for t in 10e-3 * np.arange(6):
        tracker.observe(t, 1 + 2 * np.pi * 31.4 * t, 1e-6, 31.4, 512e-6)
    assert tracker.cfo_hz(50e-3) == pytest.approx(31.4, abs=0.01)


def test_hundreds_of_bursts_later():
    """A beacon every 40 ms for 16 s: the phase at the sounding and the present stay known."""
    rng = np.random.default_rng(4)
    steps = round(16.5 / STEP_S)
    growth = 2 * 3 * 1e-10**2 / 0.1
    frequency = np.cumsum(rng.standard_normal(steps) * math.sqrt(growth * STEP_S))
    truth = 2 * np.pi * CARRIER_HZ * STEP_S * np.cumsum(frequency) + 0.4
    tracker = PhaseTracker(CARRIER_HZ, 1e-10)
    for k, t in enumerate([*BEACONS_S, *(0.16 + 0.04 * np.arange(400))]):
        observed(tracker, truth, rng, [t])
        if k % 50 == 49:
            asked = np.array([SOUNDING_S, t + 20e-3])
            expected, variance = tracker.phase(asked)
            error = wrapped(expected - truth[np.rint(asked / STEP_S).astype(int)])
            assert np.all(variance > 0)
            assert np.all(np.abs(error) < 4 * np.sqrt(variance)), (k, error, variance)
            assert np.all(variance < [1e-4, 1e-2])


def test_what_cannot_be_asked():
    tracker = PhaseTracker(CARRIER_HZ, 1e-10)
    with pytest.raises(ValueError, match="no beacon was observed"):
        tracker.phase(np.array([0.0]))
    tracker.observe(1.0, 0.0, 1e-4, 0.0, 1e-3)
    with pytest.raises(ValueError, match="before the first beacon"):
        tracker.phase(np.array([0.5]))
    assert tracker.phase(np.zeros(0))[0].size == 0
