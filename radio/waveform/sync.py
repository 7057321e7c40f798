"""Synchronisation: is a preamble there, when, at what offset in frequency, phase and amplitude.

`detect` knows nothing of time and frequency, `measure` knows both roughly. Both end in the same
fit (`radio.waveform.arrival`).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import fft, signal, special

from radio.waveform.arrival import Arrival, Guess, fit, look
from radio.waveform.preamble import Preamble

__all__ = ["Arrival", "correlation", "detect", "measure"]

ComplexArray = npt.NDArray[np.complex64]
WideArray = npt.NDArray[np.complex128]
RealArray = npt.NDArray[np.float64]

# Share of the positions in pure noise that are looked at twice.
CANDIDATES = 3e-4
# Probability that noise passes for the sequence somewhere in a search.
FALSE_ALARM = 1e-8
# Share of the energy that repeats which the strongest path has to explain. Another sequence has it
# at one delay and offset with probability exp(-K/6).
STRONGEST = 1 / 6


def detect(
    iq: ComplexArray, preamble: Preamble, max_cfo_hz: float, threshold: float | None = None
) -> Arrival | None:
    """The earliest preamble in a capture, at an unknown time, offset and gain.

    1. Where samples resemble those N later (Schmidl and Cox, "Robust frequency and timing
       synchronization for OFDM", IEEE Trans. Communications 1997) there may be one. The angle of
       the correlation is the offset modulo the carrier spacing.
    2. All whole spacings and all delays are searched at once: the correlation of the shifted
       spectrum with the sequence, as an inverse FFT over carriers.
    3. Every repeat has to be where it belongs, the sequence itself and not one like it.
    4. The fit of `measure`.

    Args:
        iq: complex64 [n]; a constant offset (DC) in it does no harm.
        preamble: with at least 2 repeats.
        max_cfo_hz: largest offset, both oscillators together; below half the sample rate.
        threshold: share of the energy that has to repeat, S / (S + N) per sample, for a closer
            look. None is what noise seldom has: 0.18 for 2 repeats of 256 samples, 0.067 for
            8, which are signals 7 and 11 dB below the noise.

    Returns:
        None where there is only noise or something else, or where the preamble is cut off by more
        than its guard.

    Raises:
        ValueError: one repeat, bad offset or threshold, or samples that are not finite.
    """
    if preamble.repeats < 2:
        raise ValueError("detection takes a preamble of at least 2 repeats; measure() takes one")
    if not 0 <= max_cfo_hz < preamble.numerology.sample_rate_hz / 2:
        raise ValueError(
            f"max_cfo_hz should be 0 to half the sample rate = "
            f"{preamble.numerology.sample_rate_hz / 2:g}, not {max_cfo_hz}"
        )
    if threshold is None:
        compared = (preamble.repeats - 1) * preamble.numerology.fft_size
        threshold = math.sqrt(-math.log(CANDIDATES) / compared)
    elif not 0 < threshold < 1:
        raise ValueError(f"threshold should be between 0 and 1, not {threshold}")
    _require_samples(iq)
    if iq.size < preamble.repeats * preamble.numerology.fft_size:
        return None
    centred = iq - complex(iq.mean(dtype=np.complex128))
    products, likeness = _repetition(centred, preamble)
    # Zeros at both ends: the first and the last position can be peaks too.
    peaks, _ = signal.find_peaks(
        np.pad(likeness, 1),
        height=threshold,
        distance=preamble.repeats * preamble.numerology.fft_size // 2,
    )
    for position in peaks - 1:
        repeating = float(likeness[position])
        found = _resolve(
            centred, preamble, int(position), products[position], repeating, max_cfo_hz
        )
        if found is not None:
            arrival = measure(iq, preamble, *found)
            if arrival is not None:
                return arrival
    return None


def measure(
    iq: ComplexArray,
    preamble: Preamble,
    start: float,
    cfo_hz: float,
    search: int = 8,
    cfo_known: bool = False,
) -> Arrival | None:
    """A preamble that is expected, measured as well as noise allows.

    Args:
        iq: complex64 [n].
        preamble: with any number of repeats.
        start: where its first sample is expected.
        cfo_hz: its offset within 1 kHz.
        search: samples around `start` to look at.
        cfo_known: the offset is exact, as with a shared clock, and stays as given. It stays with
            one repeat too, which cannot tell an offset from a channel.

    Returns:
        None where it is not there, or cut off by more than its guard.

    Raises:
        ValueError: `search` is out of range, or samples that are not finite.
    """
    if not 0 <= search < preamble.numerology.fft_size // 2:
        raise ValueError(
            f"search should be 0 to less than half a period of {preamble.numerology.fft_size} "
            f"samples, not {search}"
        )
    _require_samples(iq)
    numerology = preamble.numerology
    guess = Guess(start, cfo_hz, complex(iq.mean(dtype=np.complex128)) if iq.size else 0j)
    view = look(iq, preamble, guess)
    if view is None:
        return None
    # The strongest path within reach, whatever turns between the repeats.
    paths = np.zeros((preamble.repeats, numerology.fft_size), np.complex128)
    paths[:, numerology.bins] = view.carriers
    energy = np.sum(np.abs(fft.ifft(paths, workers=1)) ** 2, axis=0)
    reach = np.arange(-search, search + 1)
    strongest = int(reach[np.argmax(energy[reach])])
    received = float(np.sum(np.abs(view.carriers) ** 2))
    explained = energy[strongest] * numerology.fft_size**2 / numerology.used_carriers
    product = complex(np.vdot(view.carriers[:-1], view.carriers[1:]))
    repeating = abs(product) * preamble.repeats / max(preamble.repeats - 1, 1)
    noise_share = _noise_share(preamble.repeats, numerology.used_carriers, reach.size)
    if not explained > max(noise_share * received, STRONGEST * repeating):
        return None
    guess.start += strongest
    pinned = cfo_known or preamble.repeats == 1
    if not pinned:
        guess.cfo_hz += float(np.angle(product)) / (2 * np.pi) * numerology.carrier_spacing_hz
    near = guess.start
    arrival = fit(iq, preamble, guess, pinned)
    # Where noise hides the slope of the channel the fit runs away from the path it started on.
    if arrival is None or abs(arrival.start - near) > numerology.fft_size / 16:
        return None
    return arrival


def correlation(iq: ComplexArray, preamble: Preamble, cfo_hz: float) -> npt.NDArray[np.float32]:
    """How well the preamble fits at each sample, float32 [n], 0 to 1.

    The magnitude of the correlation with all of it, at one offset, over the energies of both; 0
    where less than its length is left.
    """
    trace = np.zeros(iq.size, np.float32)
    if iq.size < preamble.length:
        return trace
    time_s = np.arange(preamble.length) / preamble.numerology.sample_rate_hz
    expected = preamble.iq * np.exp(2j * np.pi * cfo_hz * time_s)
    matched = np.abs(signal.oaconvolve(iq, expected[::-1].conj(), mode="valid"))
    energy = _sliding(np.abs(iq) ** 2, preamble.length).real * np.sum(np.abs(expected) ** 2)
    trace[: matched.size] = _ratio(matched, np.sqrt(energy))
    return trace


def _noise_share(repeats: int, dimensions: int, trials: int) -> float:
    """Share of the energy of noise in so many dimensions that hardly ever lies along a sequence.

    In each repeat the share is about exponential with mean 1 / dimensions; this is for its mean.
    """
    return float(special.gammainccinv(repeats, FALSE_ALARM / trials)) / (repeats * dimensions)


def _require_samples(iq: ComplexArray) -> None:
    if iq.ndim != 1 or not np.iscomplexobj(iq):
        raise ValueError(f"iq should be a complex vector, not {iq.dtype} {list(iq.shape)}")
    if not np.isfinite(iq).all():
        raise ValueError("iq holds infinite or undefined samples")


def _sliding(values: npt.NDArray[np.inexact], length: int) -> WideArray:
    """Sums over windows, in double precision so that long captures cancel cleanly."""
    sums = np.cumsum(np.pad(values, (1, 0)), dtype=np.complex128)
    windows: WideArray = sums[length:] - sums[:-length]
    return windows


def _ratio(above: RealArray, below: RealArray) -> RealArray:
    """above / below, and 0 where nothing but rounding is below."""
    floor = 1e-9 * below.max(initial=0.0)
    return np.divide(above, below, out=np.zeros_like(below), where=below > floor)


def _repetition(iq: ComplexArray, preamble: Preamble) -> tuple[WideArray, RealArray]:
    """Correlation of each window of (R - 1) N samples with the one N later, and its magnitude over
    the mean energy of the two."""
    size = preamble.numerology.fft_size
    length = (preamble.repeats - 1) * size
    products = _sliding(iq[:-size].conj() * iq[size:], length)
    energy = _sliding(np.abs(iq) ** 2, length).real
    return products, _ratio(np.abs(products), (energy[:-size] + energy[size:]) / 2)


def _resolve(
    iq: ComplexArray,
    preamble: Preamble,
    position: int,
    product: complex,
    repeating: float,
    max_cfo_hz: float,
) -> tuple[float, float] | None:
    """Start and offset of the preamble that repeats at `position`, or None."""
    numerology, repeats = preamble.numerology, preamble.repeats
    size, spacing_hz = numerology.fft_size, numerology.carrier_spacing_hz
    fraction = float(np.angle(product)) / (2 * np.pi)
    turn = np.exp(-2j * np.pi * fraction / size * np.arange(size))
    period = _cut(iq, position, repeats, size).T @ np.exp(
        -2j * np.pi * fraction * np.arange(repeats)
    )
    spectrum = fft.fft(period * turn, workers=1)
    reach = math.ceil(max_cfo_hz / spacing_hz)
    shifts = np.arange(-reach, reach + 1)
    surface = np.zeros((shifts.size, size), np.complex128)
    shifted = (numerology.carriers + shifts[:, None]) % size
    surface[:, numerology.bins] = spectrum[shifted] * preamble.values.conj()
    best = int(np.argmax(np.abs(fft.ifft(surface, overwrite_x=True, workers=1))))
    shift, delay = int(shifts[best // size]), best % size
    delay -= size if delay >= size // 2 else 0
    cfo_hz = (fraction + shift) * spacing_hz
    # Periods on both sides too: the position may be on the slope before or behind the preamble.
    body = position + delay - repeats * size
    periods = _cut(iq, body, 3 * repeats, size)
    expected = preamble.iq[preamble.guard :][:size] * np.exp(
        2j * np.pi * cfo_hz / numerology.sample_rate_hz * np.arange(size)
    )
    matched = _runs(np.abs(periods @ expected.conj()) ** 2, repeats)
    energy = _runs(np.sum(np.abs(periods) ** 2, axis=1), repeats) * np.sum(np.abs(expected) ** 2)
    first = int(np.argmax(matched.sum(axis=1)))
    explained = matched[first].sum()
    least = max(_noise_share(repeats, size, surface.size), STRONGEST * repeating)
    # Beside the right run lies one that has all but one period, and of that the guard.
    if explained < least * energy[first].sum() or matched[first].min() < explained / repeats / 4:
        return None
    return float(body + first * size - preamble.guard), cfo_hz


def _runs(values: RealArray, length: int) -> RealArray:
    """All runs of neighbours, [n - length + 1, length]."""
    return np.lib.stride_tricks.sliding_window_view(values, length)


def _cut(iq: ComplexArray, first: int, count: int, size: int) -> WideArray:
    """`count` periods from sample `first` on, [count, size]; zeros beyond both ends."""
    periods = np.zeros(count * size, np.complex128)
    low, high = max(first, 0), min(first + count * size, iq.size)
    if low < high:
        periods[low - first : high - first] = iq[low:high]
    return periods.reshape(count, size)
