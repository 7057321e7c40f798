import numpy as np
import pytest

from sim_fallback.front_end import FrontEnd
from sim_fallback.interpolation import BLOCK, Nodes, TapFilter, node_count, warped_frequency
from sim_fallback.oscillator import Oscillator
from sim_fallback.path import Path
from sim_fallback.presets import Equipment
from sim_fallback.render import TILE, Link, Times, sample_at, true_time_s
from sim_fallback.tapped_delay import TappedDelayLine

FS, CARRIER = 1e6, 915e6
EDGE = 0.4


def radio(ppm=0.0, epoch=0, allan=0.0, seed=1, lo=(0.0, 0.0), front_end=None):
    oscillator = Oscillator((seed,), ppm, allan)
    return Equipment(oscillator, front_end or FrontEnd(), *lo, epoch, (seed,))


def echoes(delays_s=(0.0,), doppler_hz=0.0, delay_s=0.0, index=0, kind="rayleigh"):
    powers_db = tuple(-2.0 * k for k in range(len(delays_s)))
    line = TappedDelayLine(tuple(delays_s), powers_db, kind=kind, doppler_hz=doppler_hz)
    return Path(line, delay_s=delay_s, seed=3, index=index)


def cable(delay_s=0.0):
    return echoes(delay_s=delay_s, kind="awgn")


class Tones:
    """A sum of complex exponentials, known at any time; 1 at sample 0 where there is only one."""

    def __init__(self, frequencies):
        self.frequencies = np.asarray(frequencies)
        phases = np.random.default_rng(0).uniform(0, 2 * np.pi, self.frequencies.size)
        phases -= phases[0]
        self.amplitudes = np.exp(1j * phases) / np.sqrt(self.frequencies.size)

    def at(self, samples):
        turns = np.multiply.outer(np.asarray(samples, float), self.frequencies)
        return np.exp(2j * np.pi * turns) @ self.amplitudes

    def read(self, first, count):
        return self.at(first + np.arange(count)).astype(np.complex64)


def dense(transmitter, listener, path, tones, index):
    """The formula of the module, sample by sample in float64, each time found by bisection."""
    n = index * TILE + np.arange(TILE)
    low, high = (n - listener.epoch) / FS - 1.0, (n - listener.epoch) / FS + 1.0
    for _ in range(70):
        middle = (low + high) / 2
        reading = FS * (middle + listener.oscillator.time_error_s(middle)) + listener.epoch
        low, high = np.where(reading < n, middle, low), np.where(reading < n, high, middle)
    t = (low + high) / 2
    gap_s = transmitter.oscillator.time_error_s(t) - listener.oscillator.time_error_s(t)
    response = path.response(t)
    u = FS * (t + transmitter.oscillator.time_error_s(t)) + transmitter.epoch
    heard = np.zeros(TILE, complex)
    for gains, delay_s in zip(response.gains.T, response.delays_s, strict=True):
        heard += gains * tones.at(u - FS * delay_s)
    phase = 2 * np.pi * CARRIER * gap_s + transmitter.tx_lo_rad - listener.rx_lo_rad
    return heard * np.exp(1j * phase)


def render(transmitter, listener, path, tones, index):
    times = Times.of_tile(index, listener, FS)
    return Link(transmitter, listener, path, CARRIER, FS).tile(times, tones.read)


def error_db(found, expected):
    error = np.mean(np.abs(found - expected) ** 2) / np.mean(np.abs(expected) ** 2)
    return 10 * np.log10(error + 1e-30)


def worst_db(found, expected):
    scale = np.sqrt(np.mean(np.abs(expected) ** 2))
    return 20 * np.log10(np.abs(found - expected).max() / scale)


@pytest.mark.parametrize("ppm", [0.0, 10.0, -50.0, 50.0])
@pytest.mark.parametrize("delay", [0.0, 0.25, 0.5, 3.499, 17.77])
def test_a_tone_at_the_edge_of_the_band_is_resampled(ppm, delay):
    for frequency in (EDGE, -0.397, 0.123):
        tone = Tones([frequency])
        transmitter, listener = radio(ppm / 2, epoch=12_345), radio(-ppm / 2, seed=2)
        path = cable(delay / FS)
        found = render(transmitter, listener, path, tone, 7)
        expected = dense(transmitter, listener, path, tone, 7)
        assert worst_db(found, expected) < -50
        assert error_db(found, expected) < -60


@pytest.mark.parametrize("doppler_hz", [0.0, 7.0, 100.0])
def test_echoes_skew_doppler_and_random_walks_at_once(doppler_hz):
    tones = Tones(np.random.default_rng(1).uniform(-EDGE, EDGE, 30))
    path = echoes([0.0, 0.7e-6, 1.33e-6, 2e-6, 3.1e-6, 4.4e-6], doppler_hz, 2.3e-6)
    transmitter = radio(20.0, epoch=99, allan=1e-9, seed=5, lo=(1.0, 2.0))
    listener = radio(-20.0, epoch=1_000_003, allan=1e-9, seed=6, lo=(0.5, -2.5))
    for index in (62, 100):
        found = render(transmitter, listener, path, tones, index)
        expected = dense(transmitter, listener, path, tones, index)
        assert error_db(found, expected) < -55


def test_a_later_echo_than_the_guard_is_in_the_filter():
    tones = Tones(np.random.default_rng(1).uniform(-EDGE, EDGE, 30))
    path = echoes([0.0, 150.4e-6])
    found = render(radio(), radio(seed=2), path, tones, 0)
    assert error_db(found, dense(radio(), radio(seed=2), path, tones, 0)) < -60


def test_whole_samples_of_delay_change_nothing_at_any_frequency():
    rng = np.random.default_rng(0)
    sent = (rng.standard_normal(2 * TILE) + 1j * rng.standard_normal(2 * TILE)).astype(np.complex64)
    listener = radio()
    link = Link(radio(epoch=5_000), listener, cable(3e-6), CARRIER, FS)
    found = link.tile(Times.of_tile(0, listener, FS), lambda first, n: sent[first : first + n])
    expected = sent[4_997 : 4_997 + TILE]
    assert np.linalg.norm(found - expected) <= 1e-6 * np.linalg.norm(expected)


def test_a_tone_between_radios_of_opposite_offsets_has_the_frequency_of_theory():
    transmitter, listener = radio(20.0), radio(-20.0, seed=2)
    found = render(transmitter, listener, cable(), Tones([0.1]), 3)
    # Of the listener's samples: its second is 1 / (1 - 20 ppm) long.
    per_sample = (0.1 * FS * (1 + 20e-6) + CARRIER * 40e-6) / (1 - 20e-6) / FS
    n = 3 * TILE + np.arange(TILE)
    turns = found * np.exp(-2j * np.pi * per_sample * n)
    residual_hz = np.polyfit(n / FS, np.unwrap(np.angle(turns)), 1)[0] / (2 * np.pi)
    assert abs(residual_hz) < 1e-4
    np.testing.assert_allclose(turns, 1.0, atol=1e-4)


def test_up_and_down_drift_against_each_other():
    device, server = radio(13.0, allan=1e-9, lo=(0.3, 1.2)), radio(-8.0, allan=1e-9, seed=2)
    carrier = Tones([0.0])
    sums = []
    for index in range(0, 60, 6):
        up = render(device, server, cable(), carrier, index)
        # The same true times on the device's clock, whose tiles lie elsewhere.
        t = true_time_s(server, index * TILE + np.array([4_000, 12_000]), FS)
        down = []
        for moment in t:
            n = sample_at(device, moment, FS)
            whole = int(np.floor(n))
            tile = render(server, device, cable(), carrier, whole // TILE)
            step = tile[whole % TILE] / tile[whole % TILE - 1]
            down.append(tile[whole % TILE] * step ** (n - whole))
        sums.append(up[[4_000, 12_000]] * down)
    sums = np.concatenate(sums)
    np.testing.assert_allclose(sums, np.exp(1j * (0.3 - 1.2)), atol=2e-3)


def test_a_shared_oscillator_does_not_drift():
    shared = Oscillator((4,), 17.0, 1e-9)
    one = Equipment(shared, FrontEnd(), 0.4, 0.0, 10, (1,))
    other = Equipment(shared, FrontEnd(), 0.0, 0.1, 20, (2,))
    for index in (0, 1_000):
        found = render(one, other, cable(), Tones([0.0]), index)
        np.testing.assert_allclose(found, np.exp(0.3j), atol=1e-6)


def test_levels_are_those_of_the_front_ends_and_the_path():
    loud, deaf = FrontEnd(tx_full_scale_dbm=7.0), FrontEnd(rx_full_scale_dbm=-30.0)
    path = Path(TappedDelayLine(kind="awgn"), loss_db=60.0)
    found = render(radio(front_end=loud), radio(front_end=deaf), path, Tones([0.0]), 0)
    np.testing.assert_allclose(np.abs(found), 10 ** ((7 + 30 - 60) / 20), rtol=1e-5)


def test_silence_is_not_rendered():
    link = Link(radio(), radio(seed=2), cable(), CARRIER, FS)
    assert link.tile(Times.of_tile(0, radio(seed=2), FS), lambda first, n: None) is None


def test_true_time_and_sample_clock_are_inverse():
    device = radio(35.0, epoch=123_456, allan=1e-8)
    for sample in (0, 123_456, 98_765_432):
        t = float(true_time_s(device, sample, FS))
        assert sample_at(device, t, FS) == pytest.approx(sample, abs=1e-6)


def test_nodes_reproduce_polynomials_and_bound_the_turn():
    s = np.arange(BLOCK) / BLOCK
    for count in (1, 2, 3, 4):
        nodes = Nodes.of(count)
        for power in range(count):
            np.testing.assert_allclose(nodes.positions**power @ nodes.weights, s**power, atol=1e-6)
    assert node_count(0.0) == 1
    for turn_rad in (1e-3, 0.1, 0.5, 2.0, 6.0):
        nodes = Nodes.of(node_count(turn_rad))
        found = np.exp(1j * turn_rad * nodes.positions) @ nodes.weights
        assert np.abs(found - np.exp(1j * turn_rad * s)).max() < 3e-3


def test_the_delay_filter_is_allpass_and_true_in_the_band():
    size = TapFilter(np.zeros(1)).size
    psi, f = warped_frequency(size), np.fft.fftfreq(size)
    band = np.abs(f) <= EDGE
    np.testing.assert_allclose(psi[band], 2 * np.pi * f[band])
    kernel = np.fft.ifft(np.exp(0.5j * psi))
    distance = np.minimum(np.arange(size), size - np.arange(size))
    assert 10 * np.log10(np.sum(np.abs(kernel[distance > 32]) ** 2)) < -70
    np.testing.assert_allclose(np.sum(np.abs(kernel) ** 2), 1.0)
