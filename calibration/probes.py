"""Probe signals: what is sent so that estimators know what they hear.

Every probe begins with a preamble, which tells where it is and how far the carriers are apart.
Full scale is a magnitude of 1, and no probe exceeds it in I or Q.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from calibration.estimate import MeasurementError
from radio.waveform import ofdm
from radio.waveform.level import amplitude_for_backoff
from radio.waveform.numerology import Numerology
from radio.waveform.preamble import Preamble
from radio.waveform.sync import Arrival, detect

ComplexArray = npt.NDArray[np.complex64]

PREAMBLE_BACKOFF_DB = 8.0  # of its mean power: the crest is 6.6 dB
HIGHEST_SNR = 1e9  # of which bounds are taken: some error is left without any noise
FULL = 0.99  # I or Q beyond this stands for a converter at its end, of 8 bits and more
SATURATED = 1e-3  # share of samples at the end of the converter that spoils a measurement


def beacon(numerology: Numerology) -> Preamble:
    """The preamble in front of probes: eight repeats, heard down to 8 dB below the noise."""
    return Preamble(numerology, repeats=8, seed=7)


def preamble_amplitude(preamble: Preamble) -> float:
    """Amplitude of the used carriers of a preamble as all probes send it."""
    return amplitude_for_backoff(PREAMBLE_BACKOFF_DB, preamble.numerology)


def preamble_iq(preamble: Preamble) -> ComplexArray:
    """Samples of a preamble as all probes send it."""
    scaled: ComplexArray = preamble.iq * np.float32(preamble_amplitude(preamble))
    return scaled


def saturated_share(iq: ComplexArray) -> float:
    """Share of the samples with I or Q at the end of the receiver's converter."""
    beyond = np.maximum(np.abs(iq.real), np.abs(iq.imag)) >= FULL
    return float(np.mean(beyond))


def hear(iq: ComplexArray, preamble: Preamble, max_cfo_hz: float) -> Arrival:
    """The preamble of a probe in a capture, or why there is none.

    Raises:
        MeasurementError: the receiver is saturated or hears nothing.
    """
    share = saturated_share(iq)
    if share > SATURATED:
        raise MeasurementError(
            f"the receiver is saturated: {100 * share:.1f} % of the samples are at full scale; "
            "lower its gain or what is sent"
        )
    arrival = detect(iq, preamble, max_cfo_hz)
    if arrival is None:
        raise MeasurementError(
            f"no probe was heard in {iq.size} samples; raise the gains, look at cables and "
            f"antennas, or allow for more than {max_cfo_hz:g} Hz of carrier offset"
        )
    return arrival


@dataclass(frozen=True)
class Beacons:
    """Preambles at regular distances: for frequency, clocks, delay, stability and path gain.

    Attributes:
        numerology: of the waveform.
        spacing: samples from one to the next.
        count: at least 1.
    """

    numerology: Numerology
    spacing: int = 10_000
    count: int = 32

    def __post_init__(self) -> None:
        if self.spacing < self.preamble.length:
            raise ValueError(
                f"spacing should be at least the {self.preamble.length} samples of a beacon, "
                f"not {self.spacing}"
            )
        if self.count < 1:
            raise ValueError(f"count should be at least 1, not {self.count}")

    @cached_property
    def preamble(self) -> Preamble:
        """That is repeated."""
        return beacon(self.numerology)

    @property
    def sent(self) -> npt.NDArray[np.int64]:
        """Where each begins, in samples of the burst, int64 [count]."""
        return self.spacing * np.arange(self.count, dtype=np.int64)

    @property
    def iq(self) -> ComplexArray:
        """The burst, complex64 [(count - 1) spacing + length of a beacon]."""
        burst = np.zeros((self.count - 1) * self.spacing + self.preamble.length, np.complex64)
        one = preamble_iq(self.preamble)
        for start in self.sent:
            burst[start : start + one.size] = one
        return burst


@dataclass(frozen=True)
class ToneProbe:
    """A preamble, then a tone in steps of level: for levels, compression, DC and IQ imbalance.

    A tone has one magnitude, so that an amplifier bends it by its AM/AM curve and nothing else.

    Attributes:
        numerology: of the waveform.
        levels_db: of the steps over full scale, each 0 or less.
        step: samples of each step, a multiple of `period`.
        period: samples of the tone, at least 4. A long one makes little of an error in timing:
            where a transmitter's image points follows from the phase of what was sent.
    """

    numerology: Numerology
    levels_db: tuple[float, ...] = (-3.0,)
    step: int = 65_536
    period: int = 32

    def __post_init__(self) -> None:
        if not self.levels_db or not all(-100 <= level <= 0 for level in self.levels_db):
            raise ValueError(f"levels_db should be -100 to 0, at least one, not {self.levels_db}")
        if self.period < 4:
            raise ValueError(f"period should be at least 4 samples, not {self.period}")
        if self.step % self.period or self.step < 64 * self.period:
            raise ValueError(
                f"step should be 64 or more whole periods of {self.period} samples, not {self.step}"
            )

    @cached_property
    def preamble(self) -> Preamble:
        """In front of the tone."""
        return beacon(self.numerology)

    @property
    def tone_hz(self) -> float:
        """Frequency of the tone as the sender's clock counts it."""
        return self.numerology.sample_rate_hz / self.period

    @property
    def iq(self) -> ComplexArray:
        """The burst, complex64."""
        time = np.arange(self.step * len(self.levels_db))
        amplitude = np.repeat(10 ** (np.array(self.levels_db) / 20), self.step)
        tone = amplitude * np.exp(2j * np.pi * (time % self.period) / self.period)
        return np.concatenate([preamble_iq(self.preamble), tone.astype(np.complex64)])

    def step_start(self, arrival: Arrival, index: int, carrier_hz: float) -> float:
        """Where a step begins in the capture in which the probe was heard, in samples.

        Counted from the middle of the preamble, where its time is that of the receiver's clock: a
        sender whose carrier is high is fast as well.
        """
        half = self.preamble.repeats * self.numerology.fft_size / 2
        middle = arrival.start + self.preamble.guard + half
        return middle + (half + index * self.step) / (1 + arrival.cfo_hz / carrier_hz)


@dataclass(frozen=True)
class SymbolProbe:
    """A preamble, then the same OFDM symbols again and again: for the best back-off.

    Values are Gaussian, as those of rounds are. Between repeats only noise differs; what stays,
    and is not the channel, is distortion. I and Q are cut off at full scale, as a converter does.

    Attributes:
        numerology: of the waveform.
        backoff_db: mean power below full scale, >= 0.
        symbols: different ones. Distortion comes in bursts, where peaks are cut off: many symbols
            tell more of it than many repeats.
        repeats: of all of them, at least 2.
        seed: of the values.
    """

    numerology: Numerology
    backoff_db: float
    symbols: int = 64
    repeats: int = 2
    seed: int = 0
    preamble: Preamble = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.backoff_db < math.inf:
            raise ValueError(f"backoff_db should be 0 or more, not {self.backoff_db}")
        if self.symbols < 2 or self.repeats < 2:
            raise ValueError(
                f"symbols and repeats should be 2 or more, not {self.symbols} and {self.repeats}"
            )
        object.__setattr__(self, "preamble", beacon(self.numerology))

    @cached_property
    def values(self) -> ComplexArray:
        """On the carriers of the symbols, complex64 [symbols, K], of mean power 1."""
        rng = np.random.default_rng([self.seed, 11])
        parts = rng.standard_normal((self.symbols, self.numerology.used_carriers, 2))
        values = parts @ (1, 1j)
        values /= math.sqrt(np.mean(np.abs(values) ** 2))
        drawn: ComplexArray = values.astype(np.complex64)
        return drawn

    @property
    def iq(self) -> ComplexArray:
        """The burst, complex64; the converter that sends it cuts off what exceeds full scale."""
        amplitude = np.float32(amplitude_for_backoff(self.backoff_db, self.numerology))
        body = amplitude * np.tile(ofdm.modulate(self.values, self.numerology), self.repeats)
        return np.concatenate([preamble_iq(self.preamble), body])
