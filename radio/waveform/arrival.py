"""The arrival of a preamble, and its fit to the received samples.

A few rounds of Gauss-Newton on the likelihood of the samples, from a guess that is right to a few
samples and to a fraction of the carrier spacing. docs/synchronisation.md derives the bounds it is
held against.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

from radio.waveform.chanest import delay_samples, smooth, smoothing_gain
from radio.waveform.preamble import Preamble

ComplexArray = npt.NDArray[np.complex64]
WideArray = npt.NDArray[np.complex128]
RealArray = npt.NDArray[np.float64]

ROUNDS = 3


@dataclass(frozen=True)
class Arrival:
    """A preamble as it was received.

    The model is r(n) = gain exp(j (phase + 2 pi cfo_hz (n - centre) / fs)) p(n - start) + dc + w,
    with p the samples of the preamble, fs the sample rate, w the noise and

        centre = start + guard + repeats N / 2,

    the middle of the repeats, where errors of phase and of frequency are uncorrelated.

    Attributes:
        start: of the preamble's first sample, guard included, in samples of the given iq;
            fractional. On several paths it points to the centroid of their energy.
        cfo_hz: carrier frequency offset, receiver's view of the sender.
        phase: rad, at `centre`: the angle of the mean of `channel`.
        gain: amplitude, root of the mean power over carriers.
        noise_var: per complex sample, and so per carrier.
        channel: complex64 [K], least squares on each carrier, mean of the repeats, with the ramp
            of `start` removed and the phase at `centre`. Its noise variance is
            noise_var / repeats. Compare the channels of two preambles for a phase drift where the
            air is selective.
        repeats: periods that were measured.
    """

    start: float
    cfo_hz: float
    phase: float
    gain: float
    noise_var: float
    channel: ComplexArray
    repeats: int

    @property
    def snr(self) -> float:
        """Signal-to-noise ratio per used carrier of one period, linear."""
        return self.gain**2 / self.noise_var if self.noise_var > 0 else math.inf

    @property
    def phase_var(self) -> float:
        """Variance of `phase` from thermal noise, rad^2: the Cramér-Rao bound at this SNR."""
        return 1 / (2 * self.snr * self.repeats * self.channel.size)


@dataclass
class Guess:
    """What the fit knows so far; the noise comes last."""

    start: float
    cfo_hz: float
    dc: complex


@dataclass(frozen=True)
class View:
    """The repeats as a fit sees them.

    `samples` [R N] are without DC, turned back by the offset about the centre; `turn` is what they
    were turned by, `offset` their distance from the centre; `carriers` [R, K] are the channel in
    each repeat with the ramp of `start` removed, `ramp` [K] is the sequence with that ramp;
    `null_power` is the mean power on empty carriers.
    """

    samples: WideArray
    turn: WideArray
    offset: RealArray
    carriers: WideArray
    ramp: WideArray
    null_power: float


def look(iq: ComplexArray, preamble: Preamble, guess: Guess) -> View | None:
    """The repeats, or None where they are cut off by more than the guard makes up for."""
    numerology, repeats = preamble.numerology, preamble.repeats
    size, rate_hz = numerology.fft_size, numerology.sample_rate_hz
    length = repeats * size
    body = guess.start + preamble.guard
    # A quarter of the guard ahead, for paths that come before `start`; less or more at the ends.
    first = min(max(round(body - preamble.guard / 4), 0), iq.size - length)
    if first < 0 or not -0.5 <= body - first <= preamble.guard + 0.5:
        return None
    offset = np.arange(length, dtype=np.float64) + (first - body - length / 2)
    turn = np.exp(2j * np.pi * guess.cfo_hz / rate_hz * offset)
    samples = (iq[first : first + length] - guess.dc) * turn.conj()
    spectrum = fft.fft(samples.reshape(repeats, size), norm="ortho", workers=1)
    ramp = preamble.values * np.exp(-2j * np.pi * (body - first) / size * numerology.carriers)
    null_power = float(np.mean(np.abs(spectrum[:, numerology.null_bins]) ** 2))
    carriers = spectrum[:, numerology.bins] * ramp.conj()
    return View(samples, turn, offset, carriers, ramp, null_power)


def fit(iq: ComplexArray, preamble: Preamble, guess: Guess, pinned: bool) -> Arrival | None:
    """The arrival near a guess, as well as noise allows.

    Each round turns the samples back by what is known, takes the delay from the slope of the
    channel over carriers, rebuilds the received samples from the smoothed channel, and takes the
    frequency from a least-squares line through the phase that is left, each sample weighted by
    its energy. The line over samples, not over repeats, has the whole information: with two
    repeats 1.2 dB more.

    Args:
        iq: complex64 [n].
        preamble: that arrives.
        guess: where from; moved to where the fit ends.
        pinned: the frequency stays as it is.

    Returns:
        None where the repeats are cut off by more than the guard makes up for.
    """
    for _ in range(ROUNDS):
        view = look(iq, preamble, guess)
        if view is None:
            return None
        _improve(guess, view, preamble, pinned)
    view = look(iq, preamble, guess)
    return None if view is None else _conclude(guess, view, preamble)


def _rebuild(view: View, preamble: Preamble, delay: float) -> WideArray:
    """Samples [R N] without noise, from a channel as short as the guard and `delay` late."""
    numerology, repeats = preamble.numerology, preamble.repeats
    noise_var = view.null_power / repeats
    channel = smooth(view.carriers.mean(axis=0), noise_var, preamble.guard, numerology, delay)
    grid = np.zeros(numerology.fft_size, np.complex128)
    grid[numerology.bins] = view.ramp * channel
    return np.tile(fft.ifft(grid, norm="ortho", workers=1), repeats)


def _improve(guess: Guess, view: View, preamble: Preamble, pinned: bool) -> None:
    """One round: timing from the channel, DC and frequency from the samples."""
    numerology = preamble.numerology
    delay = delay_samples(view.carriers.mean(axis=0), numerology)
    model = _rebuild(view, preamble, delay)
    guess.start += delay
    guess.dc += complex(np.mean((view.samples - model) * view.turn))
    if pinned:
        return
    weight = np.abs(model) ** 2
    offset = view.offset - np.average(view.offset, weights=weight)
    turning = np.sum(offset * (view.samples * model.conj()).imag) / np.sum(offset**2 * weight)
    guess.cfo_hz += float(turning) * numerology.sample_rate_hz / (2 * np.pi)


def _conclude(guess: Guess, view: View, preamble: Preamble) -> Arrival:
    numerology, repeats = preamble.numerology, preamble.repeats
    channel = view.carriers.mean(axis=0)
    power = float(np.mean(np.abs(channel) ** 2))
    # What the smoothed channel and the DC do not explain is noise, also on the used carriers.
    left = float(np.sum(np.abs(view.samples - _rebuild(view, preamble, 0.0)) ** 2))
    snr = repeats * power / view.null_power if view.null_power > 0 else math.inf
    taken = 2 + numerology.used_carriers * smoothing_gain(snr, preamble.guard, numerology)
    noise_var = left / (view.samples.size - taken)
    # The mean power of the channel holds the noise of its estimate.
    gain = math.sqrt(max(power - noise_var / repeats, power / view.carriers.size))
    return Arrival(
        start=guess.start,
        cfo_hz=guess.cfo_hz,
        phase=float(np.angle(channel.mean())),
        gain=gain,
        noise_var=noise_var,
        channel=channel.astype(np.complex64),
        repeats=repeats,
    )
