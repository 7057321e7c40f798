"""Best back-off: where noise, which falls with drive, and distortion, which grows, are least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from calibration.estimate import Estimate, MeasurementError, in_db, jackknife
from calibration.probes import SymbolProbe, hear
from radio.waveform import ofdm
from radio.waveform.numerology import Numerology

ComplexArray = npt.NDArray[np.complex64]
WideArray = npt.NDArray[np.complex128]
RealArray = npt.NDArray[np.float64]

LEAST = 4  # back-offs
PASSES = 2  # of channel and turning of symbols in turns
FINE_DB = 0.01


@dataclass(frozen=True, eq=False)
class SymbolErrors:
    """What is wrong with symbols sent at one back-off, as powers over that of the signal.

    Attributes:
        backoff_db: of the probe.
        distortion: what is the same in all repeats and not the channel, float64 [symbols]. Its
            mean over symbols counts; one of them may be negative, once noise was taken off.
        noise: what differs from repeat to repeat, float64 [symbols]. Phase noise is in it.
        signal: power of a carrier at the receiver over full scale.
    """

    backoff_db: float
    distortion: RealArray
    noise: RealArray
    signal: float


@dataclass(frozen=True)
class BackoffPoint:
    """Errors at one back-off.

    Attributes:
        backoff_db: of the mean power below full scale.
        noise, distortion: mean squared, over the power of the signal.
        total: of the two, dB: the NMSE of a symbol.
    """

    backoff_db: float
    noise: Estimate
    distortion: Estimate
    total: Estimate


@dataclass(frozen=True)
class Backoff:
    """The best back-off on a path.

    Attributes:
        best: dB.
        nmse: least total of noise and distortion, dB.
        points: as measured, for the path that was asked for.
        at_end: whether the least lies at the end of what was measured: a back-off beyond it may
            be better still.
    """

    best: Estimate
    nmse: Estimate
    points: tuple[BackoffPoint, ...]
    at_end: bool


def symbol_errors(
    iq: ComplexArray, probe: SymbolProbe, max_cfo_hz: float, carrier_hz: float
) -> SymbolErrors:
    """Noise and distortion of the symbols of a probe.

    Symbols are turned to where their mean is: phase and delay of each follow from its own carriers,
    as the tracking of a round does. Each carrier then has one gain, by least squares over symbols;
    what it leaves of the mean over repeats is distortion, less the share of noise in that mean.

    Args:
        iq: complex64 [n], a capture with the probe.
        probe: that was sent.
        max_cfo_hz: largest carrier offset.
        carrier_hz: of both radios.

    Raises:
        MeasurementError: saturated, nothing heard, or the capture ends before the probe.
    """
    heard = _carriers(iq, probe, max_cfo_hz, carrier_hz)
    sent = probe.values.astype(np.complex128)
    power = np.sum(np.abs(sent) ** 2, axis=0)
    for _ in range(PASSES):
        gains = np.sum(heard.mean(axis=0) * sent.conj(), axis=0) / power
        heard = _turned(heard, gains * sent, probe.numerology)
    mean = heard.mean(axis=0)
    gains = np.sum(mean * sent.conj(), axis=0) / power
    noise = np.mean(np.abs(heard - mean) ** 2, axis=(0, 2)) * probe.repeats / (probe.repeats - 1)
    rest = np.mean(np.abs(mean - gains * sent) ** 2, axis=1)
    rest *= probe.symbols / (probe.symbols - 1)  # a gain of each carrier was fitted
    signal = float(np.mean(np.abs(gains) ** 2 - noise.mean() / probe.repeats / power))
    if signal <= 0:
        raise MeasurementError("the symbols are lost in noise; raise the gains")
    distortion = rest - noise / probe.repeats
    turned = (1 + 1 / sent.shape[1]) / signal  # and two turns of each symbol, which hide as much
    return SymbolErrors(probe.backoff_db, turned * distortion, turned * noise, signal)


def best_backoff(captures: Sequence[SymbolErrors], path_db: float = 0.0) -> Backoff:
    """The back-off b that makes D(b) + N(b) least: the mean squared error of a symbol.

    D is distortion over signal, which no path changes; N is noise over signal. On a path that is
    `path_db` better than the one measured, thermal noise counts for that much less; the part of
    the noise that grows with the signal, which is phase noise, stays. The total between
    measured back-offs is a cubic spline in dB. Uncertainties are those of leaving out a symbol at a
    time, at all back-offs alike, since all send the same values.

    Args:
        captures: at 4 back-offs or more, from probes that differ in nothing else, a dB or two
            apart.
        path_db: path gain for which the best is sought, over that of the captures.

    Raises:
        MeasurementError: fewer back-offs, or distortion lost in noise that on the better path
            would not hide it.
    """
    ordered = sorted(captures, key=lambda capture: capture.backoff_db)
    backoffs = np.array([capture.backoff_db for capture in ordered])
    if backoffs.size < LEAST or np.any(np.diff(backoffs) <= 0):
        raise MeasurementError(
            f"the best of {backoffs.size} back-offs cannot be told; {LEAST} different ones are "
            "needed"
        )
    distortion = np.stack([capture.distortion for capture in ordered], axis=1)
    noise = np.stack([capture.noise for capture in ordered], axis=1)
    noise += _thermal(ordered, noise.mean(axis=0)) * (10 ** (-path_db / 10) - 1)
    counts = np.ones_like(noise)
    sums = np.stack([distortion, noise, counts], axis=2)  # [symbols, back-offs, 3]
    total = (distortion + noise).mean(axis=0)
    if np.any(total <= 0):
        raise MeasurementError(
            f"distortion is lost in noise that a path better by {path_db:g} dB would not have; "
            "measure there, or with more repeats"
        )
    best = jackknife(lambda s: _least(backoffs, s)[0], sums, "dB")
    return Backoff(
        best=best,
        nmse=jackknife(lambda s: _least(backoffs, s)[1], sums, "dB"),
        points=tuple(_point(b, sums[:, k]) for k, b in enumerate(backoffs.tolist())),
        at_end=best.value in (backoffs[0], backoffs[-1]),
    )


def _point(backoff_db: float, sums: RealArray) -> BackoffPoint:
    """From sums [symbols, 3] of one back-off."""
    distortion = jackknife(lambda s: s[0] / s[2], sums, "")
    noise = jackknife(lambda s: s[1] / s[2], sums, "")
    total = jackknife(lambda s: (s[0] + s[1]) / s[2], sums, "")
    return BackoffPoint(backoff_db, noise, distortion, in_db(total.value, total.uncertainty, "dB"))


def _least(backoffs: RealArray, sums: RealArray) -> tuple[float, float]:
    """Back-off and total in dB where the total is least, of sums [back-offs, 3]."""
    totals = 10 * np.log10((sums[:, 0] + sums[:, 1]) / sums[:, 2])
    between = CubicSpline(backoffs, totals)
    fine = np.linspace(backoffs[0], backoffs[-1], 1 + round(np.ptp(backoffs) / FINE_DB))
    values = between(fine)
    k = int(np.argmin(values))
    if k in (0, fine.size - 1):
        return float(fine[k]), float(values[k])
    # Newton's step from the grid to the minimum.
    at = float(fine[k] - between(fine[k], 1) / between(fine[k], 2))
    return at, float(between(at))


def _thermal(captures: Sequence[SymbolErrors], noise: RealArray) -> RealArray:
    """The part of the noise over the signal that does not grow with the signal, [back-offs].

    Noise over signal is thermal / signal + phase noise: a straight line over 1 / signal.
    """
    inverse = 1 / np.array([capture.signal for capture in captures])
    # What is known of each is as good as it is small.
    _, slope = np.polynomial.polynomial.polyfit(inverse, noise, 1, w=1 / noise)
    return np.minimum(max(float(slope), 0.0) * inverse, noise)


def _carriers(
    iq: ComplexArray, probe: SymbolProbe, max_cfo_hz: float, carrier_hz: float
) -> WideArray:
    """Values on the carriers of all symbols, complex128 [repeats, symbols, K], offset taken off."""
    numerology = probe.numerology
    arrival = hear(iq, probe.preamble, max_cfo_hz)
    length = numerology.symbol_length
    first = round(arrival.start) + probe.preamble.length
    count = probe.symbols * probe.repeats
    if first + count * length > iq.size:
        raise MeasurementError(
            f"the capture ends {first + count * length - iq.size} samples before the probe; take "
            "a longer one"
        )
    time = np.arange(count * length) / numerology.sample_rate_hz
    samples = iq[first : first + time.size] * np.exp(-2j * np.pi * arrival.cfo_hz * time)
    values = ofdm.demodulate(samples, numerology, numerology.cyclic_prefix // 2)
    wide = values.astype(np.complex128)
    # One oscillator makes carrier and samples: what comes fast comes early.
    early = length * arrival.cfo_hz / carrier_hz * np.arange(count)
    wide *= np.exp(-2j * np.pi / numerology.fft_size * np.outer(early, numerology.carriers))
    wide = wide.reshape(probe.repeats, probe.symbols, -1)
    turned = float(np.angle(np.sum(wide[1:] * wide[:-1].conj()))) / probe.symbols
    wide *= np.exp(-1j * turned * np.arange(count)).reshape(probe.repeats, probe.symbols, 1)
    return wide


def _turned(heard: WideArray, expected: WideArray, numerology: Numerology) -> WideArray:
    """Symbols [..., K] with the phase and delay that they are expected with, [symbols, K]."""
    likeness = heard * expected.conj()
    phases = np.angle(likeness.sum(axis=-1, keepdims=True))
    likeness *= np.exp(-1j * phases)
    carriers = numerology.carriers
    slopes = (likeness.imag @ carriers) / (likeness.real @ carriers**2)
    turned: WideArray = heard * np.exp(-1j * (phases + slopes[..., None] * carriers))
    return turned
