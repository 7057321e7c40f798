from dataclasses import dataclass, replace

import numpy as np
import pytest

from radio.api import Capture, RadioError
from radio.waveform.frame import BurstLayout
from radio.waveform.numerology import Numerology
from radio.waveform.ofdm import modulate
from testbed.on_air.link import ADVANCE, Link, delay_ramp
from testbed.on_air.receiver import Receiver, Sounding, Superposition
from testbed.on_air.timeline import SLOT_GUARD, Timeline

NUMEROLOGY = Numerology()
LINK = Link(NUMEROLOGY, 915e6, shared_clock=True, reference_gain=0.2)
UNIT = np.float32(LINK.amplitude * LINK.reference_gain)
R = 10
TIMELINE = Timeline(NUMEROLOGY, R, 11_394, 5e-3, 0.0, shared_clock=True)
LAYOUT = TIMELINE.layouts[0]
GAINS = np.random.default_rng(9).rayleigh(np.sqrt(0.5), R)


@dataclass
class Tape:
    """A radio that hears what it is given."""

    iq: np.ndarray
    overflows: int = 0

    def receive(self, n, at):
        return Capture(self.iq[:n], at, self.overflows)


def receiver(tape=None, timeline=TIMELINE, link=LINK):
    return Receiver(tape, timeline, link, start=0)


def noise(n, variance, rng):
    """Complex, of this variance in units of the reference."""
    values = rng.standard_normal(2 * n) * np.sqrt(variance / 2)
    return values.astype(np.float32).view(np.complex64) * UNIT


def sounding_of(gains=GAINS, heard=None):
    r = len(gains)
    return Sounding(
        gains=np.asarray(gains),
        equalisers=np.ones((r, 200), np.complex64),
        channels=np.outer(gains, np.ones(200)).astype(np.complex64),
        delays=np.zeros(r),
        heard=np.ones(r, bool) if heard is None else heard,
        noise_var=1e-3,
    )


def burst(rng, gains=GAINS, layout=LAYOUT, turns=None, noise_var=0.0):
    """(samples, superposition) of devices that arrive with these gains, turned by [r, symbols]."""
    total = np.zeros((layout.num_symbols, 200), np.complex64)
    sent = rng.standard_normal((len(gains), 2 * layout.capacity)).astype(np.float32)
    sent = sent.view(np.complex64) / np.float32(np.sqrt(2))
    for i, gain in enumerate(gains):
        turn = 1 if turns is None else np.exp(1j * turns[i])[:, None]
        total += (gain * layout.pack(sent[i], i) * turn).astype(np.complex64)
    iq = modulate(total, NUMEROLOGY) * UNIT + noise(layout.length, noise_var, rng)
    return iq.astype(np.complex64), (np.asarray(gains, np.float32) @ sent)


def test_a_burst_without_errors():
    iq, wanted = burst(np.random.default_rng(0))
    heard = receiver().burst_of(iq, LAYOUT, sounding_of())
    np.testing.assert_allclose(heard.symbols, wanted, atol=2e-5)
    np.testing.assert_allclose(heard.pilots, np.tile(GAINS, (2, 1)), atol=1e-5)
    np.testing.assert_allclose(heard.rotation, 0, atol=1e-5)
    assert heard.present.all()
    assert heard.noise_var < 1e-9


@pytest.mark.parametrize("first", [0.4, -3.0])
@pytest.mark.parametrize("drift", [0.0, 0.7, -1.5])
def test_a_common_phase_is_taken_out(first, drift):
    """Of any angle, and growing from symbol to symbol."""
    rows = np.arange(LAYOUT.num_symbols)
    turn = first + drift * (rows - 1) / (LAYOUT.num_symbols - 2)
    iq, wanted = burst(np.random.default_rng(1), turns=np.tile(turn, (R, 1)))
    heard = receiver().burst_of(iq, LAYOUT, sounding_of())
    np.testing.assert_allclose(heard.symbols, wanted, atol=5e-5)
    np.testing.assert_allclose(np.exp(1j * (heard.rotation - turn[2:-1])), 1, atol=1e-4)


def test_pilots_show_each_devices_gain_and_phase():
    rng = np.random.default_rng(2)
    gains = np.full(R, 0.8)
    angles = rng.normal(0, 0.1, R)
    angles -= np.angle(np.mean(np.exp(1j * angles)))
    turns = np.tile(angles[:, None], LAYOUT.num_symbols)
    iq, _ = burst(rng, gains, turns=turns, noise_var=1e-4)
    heard = receiver().burst_of(iq, LAYOUT, sounding_of(gains))
    # 20 carriers of ten times the power each: the noise of a gain is 1/200 of a symbol's.
    deviation = np.sqrt(1e-4 / 200)
    wanted = 0.8 * np.exp(1j * angles)
    assert np.abs(heard.pilots - wanted).max() < 5 * deviation + 1e-5


@pytest.mark.parametrize("noise_var", [1e-4, 1e-2, 0.3])
@pytest.mark.parametrize("num_devices", [1, 10, 50])
def test_noise_is_estimated_without_bias(noise_var, num_devices):
    rng = np.random.default_rng([3, num_devices])
    layout = BurstLayout(NUMEROLOGY, 3, num_devices)
    gains = np.ones(num_devices)
    estimates = []
    for _ in range(60):
        iq, _ = burst(rng, gains, layout, noise_var=noise_var)
        heard = receiver().burst_of(iq, layout, sounding_of(gains))
        estimates.append(heard.noise_var)
    # Two pilot symbols of 200 carriers less one gain for each device: chi-square. What devices
    # are turned against each other is clipped at 0, which adds a little.
    freedom = 2 * (2 * 200 - 2 * num_devices) * len(estimates)
    mean = np.mean(estimates) / noise_var
    assert 1 - 4 * np.sqrt(2 / freedom) < mean < 1.02 + 4 * np.sqrt(2 / freedom)


def test_misaligned_devices_count_as_noise():
    rng = np.random.default_rng(4)
    gains = np.ones(R)
    angles = rng.normal(0, 0.1, R)
    turns = np.tile(angles[:, None], LAYOUT.num_symbols)
    iq, wanted = burst(rng, gains, turns=turns, noise_var=1e-3)
    heard = receiver().burst_of(iq, LAYOUT, sounding_of(gains))
    straight = receiver().burst_of(burst(rng, gains, noise_var=1e-3)[0], LAYOUT, sounding_of(gains))
    error = np.mean(np.abs(heard.symbols - wanted) ** 2)
    assert straight.noise_var == pytest.approx(1e-3, rel=0.3)
    assert heard.noise_var > 20 * straight.noise_var
    assert heard.noise_var == pytest.approx(error, rel=0.4)


@pytest.mark.parametrize("missing", [[3], [0, 9], list(range(1, 10))])
def test_a_silent_device_is_not_present(missing):
    rng = np.random.default_rng(5)
    gains = np.full(R, 0.7)
    gains[missing] = 0
    iq, wanted = burst(rng, gains, noise_var=1e-3)
    heard = receiver().burst_of(iq, LAYOUT, sounding_of(np.full(R, 0.7)))
    assert np.flatnonzero(~heard.present).tolist() == missing
    np.testing.assert_allclose(np.mean(np.abs(heard.symbols - wanted) ** 2), 1e-3, rtol=0.2)


def test_nobody_at_all():
    rng = np.random.default_rng(6)
    heard = receiver().burst_of(noise(LAYOUT.length, 1e-2, rng), LAYOUT, sounding_of())
    assert not heard.present.any()
    assert heard.noise_var == pytest.approx(1e-2, rel=0.3)
    silence = receiver().burst_of(np.zeros(LAYOUT.length, np.complex64), LAYOUT, sounding_of())
    assert not silence.present.any()
    assert silence.noise_var == 0
    assert not silence.symbols.any()


def test_who_was_not_sounded_is_not_present():
    heard_of = np.arange(R) != 4
    iq, _ = burst(np.random.default_rng(7), noise_var=1e-3)
    heard = receiver().burst_of(iq, LAYOUT, sounding_of(heard=heard_of))
    np.testing.assert_array_equal(heard.present, heard_of)


def slots(channels, rng, noise_var):
    """Samples of all sounding slots over channels [r, K]."""
    pilots = modulate(channels[:, None] * TIMELINE.pilot.values, NUMEROLOGY) * UNIT
    silent = np.zeros((len(channels), SLOT_GUARD), np.complex64)
    iq = np.hstack([pilots, silent]).astype(np.complex64).ravel()
    return iq + noise(iq.size, noise_var, rng)


def test_a_sounding_gives_gains_delays_and_noise():
    rng = np.random.default_rng(8)
    delays = rng.uniform(-1, 1, R)
    ramp = np.exp(-2j * np.pi / 256 * np.outer(delays, NUMEROLOGY.carriers))
    phases = np.exp(1j * rng.uniform(-np.pi, np.pi, R))[:, None]
    gains = np.maximum(GAINS, 0.3)
    channels = gains[:, None] * phases * ramp
    estimates = []
    for _ in range(20):
        sounding = receiver().sounding_of(slots(channels, rng, 1e-2))
        assert sounding.heard.all()
        estimates.append(sounding.noise_var)
        # One gain and one delay out of 200 carriers: 2/K of the noise, and 1 % of shrinkage.
        error = np.mean(np.abs(sounding.channels - channels) ** 2, axis=1)
        assert error.mean() < 3 * 1e-2 * 2 / 200
        np.testing.assert_allclose(sounding.gains, gains, atol=5 * np.sqrt(1e-2 / 400) + 2e-3)
        # Cramer-Rao: 1 / (2 snr sum (2 pi k / N)^2).
        least = 1e-2 / gains**2 / (2 * np.sum((2 * np.pi * NUMEROLOGY.carriers / 256) ** 2))
        assert np.all(np.abs(sounding.delays - delays) < 5 * np.sqrt(1.3 * least))
        # What the timing advance takes out is no task of the equaliser.
        advanced = delay_ramp(-sounding.delays, NUMEROLOGY)
        flat = sounding.channels * advanced * sounding.equalisers
        np.testing.assert_allclose(flat, np.tile(sounding.gains[:, None], 200), atol=1e-5)
    freedom = 2 * R * len(NUMEROLOGY.null_bins) * len(estimates)
    assert np.mean(estimates) / 1e-2 == pytest.approx(1, abs=4 * np.sqrt(2 / freedom))


def test_pilots_heard_and_not_heard():
    rng = np.random.default_rng(10)
    channels = np.ones((R, 200), np.complex64)
    channels[[2, 5]] = 0
    sounding = receiver().sounding_of(slots(channels, rng, 1e-2))
    assert np.flatnonzero(~sounding.heard).tolist() == [2, 5]
    assert np.flatnonzero(sounding.gains == 0).tolist() == [2, 5]
    assert np.flatnonzero(sounding.snr_db == -np.inf).tolist() == [2, 5]
    np.testing.assert_allclose(np.delete(sounding.snr_db, [2, 5]), 20, atol=1)


def test_noise_is_hardly_ever_taken_for_a_device():
    rng = np.random.default_rng(11)
    nobody = np.zeros((R, 200), np.complex64)
    found = sum(receiver().sounding_of(slots(nobody, rng, 1e-2)).heard.sum() for _ in range(40))
    assert found <= 4  # of 400


def test_bursts_are_put_together():
    rng = np.random.default_rng(12)
    timeline = replace(TIMELINE, num_symbols=1_930, burst_symbols=4)
    sizes = [layout.data_symbols for layout in timeline.layouts]
    assert sizes == [4, 3, 3]
    received = Superposition(1_930, sounding_of())
    parts, errors = [], []
    for k, layout in enumerate(timeline.layouts):
        gains = np.where((np.arange(R) == 6) & (k == 1), 0, GAINS + 0.2)
        iq, wanted = burst(rng, gains, layout, noise_var=1e-3 * (k + 1))
        part = received.part(layout)
        heard = receiver(timeline=timeline).burst_of(iq, layout, sounding_of(GAINS + 0.2))
        received.add(heard, layout)
        parts.append(part)
        errors.append((part.stop - part.start) * heard.noise_var)
        got = received.symbols[part]
        assert np.mean(np.abs(got - wanted[: got.size]) ** 2) < 1.3e-3 * (k + 1)
    assert [(p.start, p.stop) for p in parts] == [(0, 800), (800, 1400), (1400, 1930)]
    # Absent from one burst is absent from the round.
    assert np.flatnonzero(~received.acknowledged).tolist() == [6]
    assert received.noise_var == pytest.approx(sum(errors) / 1_930)


def test_lost_samples_are_an_error():
    tape = Tape(np.zeros(100_000, np.complex64), overflows=12)
    with pytest.raises(RadioError, match="the receiver lost 12 samples"):
        receiver(tape).hear_burst(0, sounding_of())
    with pytest.raises(RadioError, match="lower the sample rate"):
        receiver(tape).hear_soundings()


def test_the_window_forgives_a_late_signal_and_an_early_one():
    iq, wanted = burst(np.random.default_rng(13))
    for shift in (-ADVANCE + 1, ADVANCE - 1):
        moved = np.roll(iq, shift)
        values = receiver().carriers_of(moved)[LAYOUT.data_rows]
        turned = values * np.exp(2j * np.pi / 256 * shift * NUMEROLOGY.carriers)
        got = LAYOUT.collect(turned.astype(np.complex64), wanted.size)
        np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_equalisers_for_other_gains_never_send_more():
    rng = np.random.default_rng(12)
    channels = np.outer([0.5, 1.0, 2.0, *[1.0] * (R - 3)], np.ones(200))
    sounding = receiver().sounding_of(slots(channels, rng, 1e-6))
    wanted = np.array([1.0, 0.5, 0.0, *[1.0] * (R - 3)])
    aimed = sounding.aimed_at(wanted)
    # The weak channel keeps its gain, the strong one is turned down, the silent stays silent.
    np.testing.assert_allclose(aimed.gains[:3], [0.5, 0.5, 0.0], atol=1e-2)
    power = np.mean(np.abs(aimed.equalisers) ** 2, axis=1)
    assert np.all(power <= np.mean(np.abs(sounding.equalisers) ** 2, axis=1) * (1 + 1e-6))
    np.testing.assert_allclose(power[:3], [1, 0.25, 0], atol=1e-2)
    assert not aimed.heard[2]
