"""Trials of estimators: a world is drawn, measured over the virtual air, and compared to the truth.

Each trial is a function of an SNR and a generator of random numbers; it draws everything anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.backoff_truth import AMPLIFIER, BACKOFFS_DB, best
from benchmarks.calibration_air import (
    CARRIER_HZ,
    MAX_CFO_HZ,
    NUMEROLOGY,
    RATE_HZ,
    START,
    Pair,
    mean_level_db,
)
from calibration.estimate import Estimate, MeasurementError
from calibration.estimators.allan import allan_of_track
from calibration.estimators.backoff import best_backoff, symbol_errors
from calibration.estimators.coherence import coherence
from calibration.estimators.compression import compression
from calibration.estimators.dc import receiver_dc, transmitter_dc
from calibration.estimators.delay import delay
from calibration.estimators.frequency import frequency
from calibration.estimators.gain_curve import gain_curve
from calibration.estimators.iq_imbalance import Imbalance, receiver_imbalance, transmitter_imbalance
from calibration.estimators.noise import noise_figure, noise_floor
from calibration.estimators.path_gain import path_gain
from calibration.estimators.reciprocity import reciprocity
from calibration.estimators.skew import skew
from calibration.estimators.start_jitter import start_jitter
from calibration.estimators.tone import tone_levels, tone_lines
from calibration.probes import Beacons, SymbolProbe, ToneProbe
from calibration.track import Track
from sim_fallback.front_end import THERMAL_DBM_PER_HZ, IQImbalance
from sim_fallback.power_amplifier import PowerAmplifier
from sim_fallback.tapped_delay import TappedDelayLine

ComplexArray = npt.NDArray[np.complex64]
Rng = np.random.Generator

KNOWN_DB = 0.1  # standard uncertainty of the attenuators and levels that curves lean on


@dataclass(frozen=True)
class Trial:
    """One number found.

    Attributes:
        quantity: which.
        error: of the value, or what a correction with it leaves; in the unit of the table.
        covered: whether the stated interval held the truth.
    """

    quantity: str
    error: float
    covered: bool

    @classmethod
    def of(cls, quantity: str, found: Estimate, truth: float) -> Trial:
        """Of an estimate."""
        return cls(quantity, found.value - truth, found.covers(truth))


def clocks(snr_db: float, rng: Rng) -> Iterator[Trial]:
    """Carrier offset, skew, delay and path gain of beacons from a Pluto-like oscillator."""
    beacons = Beacons(NUMEROLOGY, count=12)
    pair = Pair(
        snr_db,
        mean_level_db(beacons.preamble.iq) - 8.0,
        gain_db=rng.uniform(-20, -5),
        seed=_seed(rng),
        ppm=_uniform(rng, 10),
        allan=1e-10,
        delay_s=rng.uniform(0, 5e-6),
    )
    track = Track.of(pair.hear(beacons.iq), beacons, MAX_CFO_HZ, sent_at=START)
    found = frequency(track)
    yield Trial.of("carrier offset", found.cfo, CARRIER_HZ * pair.offset_at(found.at_s))
    yield Trial.of("clock skew", skew(track), 1e6 * pair.offset_at(found.at_s))
    middles = track.sent + beacons.preamble.guard + beacons.preamble.repeats * 128
    late = np.mean([pair.arrival(int(middle)) - middle for middle in middles])
    yield Trial.of("delay", delay(track).mean, float(late))
    yield Trial.of("path gain", path_gain(track, beacons.count).gain, pair.gain_db)


def drift(snr_db: float, rng: Rng) -> Iterator[Trial]:
    """Allan deviation at 40 ms; the error is the factor, as a logarithm."""
    beacons = Beacons(NUMEROLOGY, spacing=5_000, count=192)
    pair = Pair(snr_db, seed=_seed(rng), level_db=-8.0, ppm=_uniform(rng, 10), allan=1e-9)
    track = Track.of(pair.hear(beacons.iq), beacons, MAX_CFO_HZ, sent_at=START)
    point = min(allan_of_track(track, CARRIER_HZ), key=lambda p: abs(p.tau_s - 0.04))
    truth = math.sqrt(2 * point.tau_s / 0.1) * pair.allan
    error = abs(math.log(point.deviation.value / truth))
    yield Trial("Allan deviation", math.expm1(error), point.deviation.covers(truth))


def mixers(snr_db: float, rng: Rng) -> Iterator[Trial]:
    """DC offsets and images of both ends; errors are what a correction leaves, over the tone."""
    tone_db = -6.0
    tx_iq, rx_iq = _imbalance(rng), _imbalance(rng)
    tx_dc, rx_dc = _offset(rng), _offset(rng)
    probe = ToneProbe(NUMEROLOGY, levels_db=(tone_db,), step=1 << 17)
    ppm = (rng.uniform(3, 15), rng.uniform(-15, -3))
    pair = Pair(
        snr_db,
        tone_db,
        seed=_seed(rng),
        ppm=ppm,
        sender={"tx_iq": tx_iq, "tx_dc": tx_dc},
        ear={"rx_iq": rx_iq, "rx_dc": rx_dc},
    )
    lines = tone_lines(pair.hear(probe.iq), probe, MAX_CFO_HZ, CARRIER_HZ)
    for name, offset, truth, tone in (
        ("TX DC", transmitter_dc(lines, tone_db), tx_dc, tone_db),
        ("RX DC", receiver_dc(lines), rx_dc, tone_db + pair.gain_db),
    ):
        left = abs(offset.value - truth) / 10 ** (tone / 20)
        yield Trial(name, left, offset.in_phase.covers(truth.real))
    for name, found, made in (
        ("TX image", transmitter_imbalance(lines), tx_iq),
        ("RX image", receiver_imbalance(lines), rx_iq),
    ):
        yield Trial(name, _image_left(found, made), found.gain_db.covers(made.gain_db))


def tx_gain(snr_db: float, rng: Rng) -> Iterator[Trial]:
    """A transmit gain curve over 12 dB, at one of its settings; the SNR is that at its top."""
    settings = np.arange(-12.0, 1.0, 3.0)
    errors = rng.normal(0, 0.5, settings.size)
    probe = ToneProbe(NUMEROLOGY, step=8192)
    pair = Pair(snr_db, probe.levels_db[0], gain_db=-30.0, seed=_seed(rng), ppm=_uniform(rng, 10))
    heard = [
        _level(pair.hear(probe.iq, tx_gain_db=setting + error), probe)
        for setting, error in zip(settings, errors, strict=True)
    ]
    # From dBFS of the receiver to dBm of magnitude 1 at the connector: path and level of the tone.
    known = Estimate(30.0 - probe.levels_db[0] + rng.normal(0, KNOWN_DB), KNOWN_DB, "dBm")
    curve = gain_curve(settings.tolist(), heard, known, tolerance_db=3.0)
    k = int(rng.integers(settings.size))
    yield Trial.of("TX gain", curve.at(settings[k]), settings[k] + errors[k])


def rx_gain(snr_db: float, rng: Rng) -> Iterator[Trial]:
    """A receive gain curve over 12 dB, at one of its settings; the SNR is the same at all."""
    settings = np.arange(10.0, 23.0, 3.0)
    errors = rng.normal(0, 0.5, settings.size)
    probe = ToneProbe(NUMEROLOGY, step=8192)
    pair = Pair(snr_db, probe.levels_db[0], gain_db=-30.0, seed=_seed(rng), ppm=_uniform(rng, 10))
    heard = [
        _level(pair.hear(probe.iq, rx_gain_db=setting + error), probe)
        for setting, error in zip(settings, errors, strict=True)
    ]
    arriving_dbm = -30.0 + probe.levels_db[0]
    known = Estimate(rng.normal(0, KNOWN_DB) - arriving_dbm, KNOWN_DB, "dB")
    curve = gain_curve(settings.tolist(), heard, known, tolerance_db=3.0)
    k = int(rng.integers(settings.size))
    yield Trial.of("RX gain", curve.at(settings[k]), settings[k] + errors[k])


def amplifier(snr_db: float, rng: Rng) -> Iterator[Trial]:
    """Compression point of an amplifier of any smoothness; the SNR is that at full drive."""
    amplifier = PowerAmplifier(rng.uniform(0.8, 3.0), rng.uniform(-1.0, 2.0))
    truth = amplifier.compression_point_db()
    drives = tuple(np.arange(0.0, -20.1, -2.0).tolist())
    probe = ToneProbe(NUMEROLOGY, levels_db=drives, step=16384)
    if truth > -1.0:
        amplifier = PowerAmplifier(amplifier.smoothness, amplifier.saturation_db - truth - 1.0)
        truth = -1.0
    pair = Pair(snr_db, seed=_seed(rng), ppm=_uniform(rng, 10), sender={"pa": amplifier})
    levels = tone_levels(pair.hear(probe.iq), probe, MAX_CFO_HZ, CARRIER_HZ)
    found = compression(drives, levels)
    yield Trial.of("compression point", found.require_point(), truth)
    yield Trial.of("small-signal gain", found.gain, pair.gain_db)


def floor(snr_db: float, rng: Rng) -> Iterator[Trial]:
    """Noise floor beside DC and three carriers that are so many dB stronger than all the noise."""
    figure, gain_db = rng.uniform(3, 8), 50.0
    floor_db = THERMAL_DBM_PER_HZ + 10 * math.log10(RATE_HZ) + figure + gain_db
    pair = Pair(0.0, seed=_seed(rng), ear={"noise_figure_db": figure})
    iq = pair.air().window("rx", 0, 65_536, gain_db)
    strength = 10 ** ((floor_db + snr_db) / 20)
    time = np.arange(iq.size)
    for frequency_hz in (0.0, *rng.uniform(-0.5, 0.5, 3)):
        iq += (strength * np.exp(2j * np.pi * frequency_hz * time)).astype(np.complex64)
    found = noise_floor(iq).level
    yield Trial.of("noise floor", found, floor_db)
    known = Estimate(gain_db + rng.normal(0, KNOWN_DB), KNOWN_DB, "dB")
    yield Trial.of("noise figure", noise_figure(found, known, RATE_HZ), figure)


def fading(snr_db: float, rng: Rng) -> Iterator[Trial]:
    """Changes within 20 ms, and coherence time, of a channel with weak Gaussian scattering.

    A line of sight of 1 with scattering of power s and correlation exp(-t^2 / 2 T^2) changes its
    phase by s (1 - exp(-t^2 / 2 T^2)) rad^2 within t, and the logarithm of its amplitude as much.
    """
    beacons = Beacons(NUMEROLOGY, spacing=5_000, count=192)
    power, memory_s, limit_deg = 0.01, 0.03, 2.0
    burst = beacons.iq
    burst *= _scattered(burst.size, power, memory_s, rng)
    pair = Pair(snr_db, -8.0, seed=_seed(rng), ppm=_uniform(rng, 10))
    track = Track.of(pair.hear(burst), beacons, MAX_CFO_HZ, sent_at=START)
    found = coherence(track, limit_deg)
    change = found.at(0.02)
    rms = math.sqrt(-power * math.expm1(-((change.lag_s / memory_s) ** 2) / 2))
    yield Trial.of("phase change", change.phase, math.degrees(rms))
    yield Trial.of("amplitude change", change.amplitude, 20 / math.log(10) * rms)
    if found.time is None:
        raise MeasurementError("the coherence time was not reached")
    share = math.radians(limit_deg) ** 2 / power
    truth = memory_s * math.sqrt(-2 * math.log1p(-share))
    yield Trial("coherence time", found.time.value / truth - 1, found.time.covers(truth))


def both_ways(snr_db: float, rng: Rng) -> Iterator[Trial]:
    """Reciprocity of two radios with one clock, 32 pairs of beacons, each in a fade of its own."""
    count, gap, block = 32, 3000, 6000
    beacons = Beacons(NUMEROLOGY, spacing=block, count=count)
    more_db = rng.uniform(-3, 3)
    pair = Pair(
        snr_db,
        -8.0,
        gain_db=-20.0,
        seed=_seed(rng),
        shared=True,
        sender={"tx_full_scale_dbm": more_db},
        fading=TappedDelayLine(kind="rician", k_db=6.0, block_s=block / RATE_HZ),
    )
    air, first = pair.air(), block + 200
    air.post("d", beacons.iq, first, 0.0)
    air.post("rx", beacons.iq, first + gap, 0.0)
    up, down = (
        Track.of(air.window(name, 0, beacons.iq.size + 2 * block), beacons, 500.0)
        for name in ("rx", "d")
    )
    _, mine, others = np.intersect1d(up.sent, down.sent, return_indices=True)
    found = reciprocity(
        up.gains[mine], down.gains[others], up.gain_vars[mine], down.gain_vars[others]
    )
    d, rx = pair.equipment["d"], pair.equipment["rx"]
    turn = math.degrees(d.tx_lo_rad - rx.rx_lo_rad - rx.tx_lo_rad + d.rx_lo_rad)
    yield Trial.of("reciprocity, gain", found.gain, more_db)
    nearest = found.phase.value + math.remainder(turn - found.phase.value, 360)
    yield Trial.of("reciprocity, phase", found.phase, nearest)


def backing_off(snr_db: float, rng: Rng) -> Iterator[Trial]:
    """Best back-off of an amplifier; the SNR is that of symbols 6 dB below full scale."""
    full_db = snr_db + 6.0
    seed, captures = _seed(rng), []
    for backoff_db in BACKOFFS_DB:
        probe = SymbolProbe(NUMEROLOGY, backoff_db, seed=seed)
        pair = Pair(full_db, seed=_seed(rng), sender={"pa": AMPLIFIER})
        iq = pair.hear(probe.iq)
        captures.append(symbol_errors(iq, probe, MAX_CFO_HZ, CARRIER_HZ))
    found = best_backoff(captures)
    best_db, least_db = best(full_db)
    yield Trial.of("best back-off", found.best, best_db)
    yield Trial.of("least error", found.nmse, least_db)


def starts(_: float, rng: Rng) -> Iterator[Trial]:
    """A host that is late by 1 ms and an exponential 1 ms more, 200 times."""
    found = start_jitter(1.0 + rng.exponential(1.0, 200), unit="ms")
    yield Trial.of("lateness, mean", found.mean, 2.0)
    yield Trial.of("lateness, deviation", found.deviation, 1.0)
    yield Trial.of("lateness, 90 %", found.latest, 1.0 + math.log(10))


TRIALS: Mapping[str, Callable[[float, Rng], Iterator[Trial]]] = {
    trial.__name__: trial
    for trial in (
        tx_gain, rx_gain, amplifier, backing_off, floor, clocks, drift, starts, mixers, fading,
        both_ways,
    )
}  # fmt: skip


def _scattered(n: int, power: float, memory_s: float, rng: Rng) -> ComplexArray:
    """1 and a Gaussian process, complex64 [n]; exact on a grid of 1 ms, and lines in between."""
    step_s = 1e-3
    points = 4 * math.ceil(n / RATE_HZ / step_s)
    spectrum = np.exp(-2 * (np.pi * memory_s * np.fft.fftfreq(points, step_s)) ** 2)
    white = rng.standard_normal((points, 2)) @ (1, 1j) / math.sqrt(2)
    process = np.fft.fft(white * np.sqrt(power * spectrum / spectrum.sum()))
    scattered = np.interp(np.arange(n) / RATE_HZ, step_s * np.arange(points), process)
    return (1 + scattered).astype(np.complex64)


def _level(iq: ComplexArray, probe: ToneProbe) -> Estimate | None:
    """Of a tone; None where nothing is heard."""
    try:
        return tone_levels(iq, probe, MAX_CFO_HZ, CARRIER_HZ)[0]
    except MeasurementError:
        return None


def _image_left(found: Imbalance, made: IQImbalance) -> float:
    """Image over tone that a correction by what was found leaves: half the error of g e^(j phi)."""
    turn = math.radians(made.phase_deg)
    factor = 10 ** (made.gain_db / 20) * complex(math.cos(turn), math.sin(turn))
    return abs(1 - 2 * found.nu - factor) / 2


def _imbalance(rng: Rng) -> IQImbalance:
    return IQImbalance(rng.uniform(-0.5, 0.5), rng.uniform(-3, 3))


def _offset(rng: Rng) -> complex:
    return complex(*rng.uniform(-0.02, 0.02, 2))


def _uniform(rng: Rng, most: float) -> tuple[float, float]:
    one, other = rng.uniform(-most, most, 2)
    return float(one), float(other)


def _seed(rng: Rng) -> int:
    return int(rng.integers(1 << 31))
