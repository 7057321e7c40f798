"""What is heard of a tone: its level, and the lines that faults of mixers put beside it.

At a carrier offset f a tone sent at w makes, at the receiver,

    w + f   the tone             0        the receiver's DC offset
    f       LO leakage           -w - f   its image at the receiver
    f - w   its image at the transmitter

so that the faults of both ends lie apart by the carrier offset. With one oscillator for both there
is none, pairs of lines fall together, and a capture tells their sum alone: the caller has to say
which end it blames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from calibration.estimate import Estimate, MeasurementError, in_db, mean_of
from calibration.probes import HIGHEST_SNR, ToneProbe, hear
from radio.waveform.sync import Arrival

ComplexArray = npt.NDArray[np.complex64]
WideArray = npt.NDArray[np.complex128]
RealArray = npt.NDArray[np.float64]

Ends = Literal["both", "transmitter", "receiver"]

BLOCKS = 32  # of a step, whose scatter tells the noise beside a line
PASSES = 2  # of following the tone and taking the other lines off it
APART = 2.0  # turns within a step by which lines have to differ
FAINT = 4.0  # uncertainties of its amplitude below which a tone is lost


@dataclass(frozen=True)
class Lines:
    """Lines beside a tone, as ratios that neither gain nor phase of the path changes.

    Ratios are complex; each has its standard uncertainty along the real and along the imaginary
    axis. Those of an end that was not asked for are 0.

    Attributes:
        level: of the tone at the receiver, dBFS.
        cfo_hz: carrier offset as the tone has it.
        receiver_dc: over full scale of the receiver.
        transmitter_leak: of the LO over the tone, both as they leave the transmitter.
        receiver_image: over the conjugate of the tone: nu/mu* of the receiver's mixer.
        transmitter_image: over the tone, with the phase of the tone taken as it was sent: nu/mu of
            the transmitter's mixer.
        receiver_dc_error, transmitter_leak_error, receiver_image_error, transmitter_image_error:
            standard uncertainties.
    """

    level: Estimate
    cfo_hz: float
    receiver_dc: complex
    transmitter_leak: complex
    receiver_image: complex
    transmitter_image: complex
    receiver_dc_error: float
    transmitter_leak_error: float
    receiver_image_error: float
    transmitter_image_error: float


def tone_levels(
    iq: ComplexArray, probe: ToneProbe, max_cfo_hz: float, carrier_hz: float
) -> tuple[Estimate | None, ...]:
    """Level at the receiver of each step of a probe, dBFS; None where it is lost in noise.

    Relative to the receiver's full scale at the gain it has: no receiver knows dBm by itself. Only
    the part of the noise along the tone counts, and phase noise is across it.

    Args:
        iq: complex64 [n], a capture with the probe.
        probe: that was sent.
        max_cfo_hz: largest carrier offset.
        carrier_hz: of both radios.

    Raises:
        MeasurementError: saturated, nothing heard, or the capture ends before the probe.
    """
    arrival = hear(iq, probe.preamble, max_cfo_hz)
    levels: list[Estimate | None] = []
    for index in range(len(probe.levels_db)):
        samples, since = _step(iq, probe, arrival, index, carrier_hz)
        samples -= samples.mean()
        expected = _expected(probe, arrival.cfo_hz, carrier_hz, since)
        looks = (samples * expected.conj()).reshape(BLOCKS, -1).mean(axis=1)
        looks *= np.exp(-1j * _followed(looks)[0])
        amplitude = mean_of(looks.real, "")
        lost = amplitude.value < FAINT * amplitude.uncertainty
        power, error = amplitude.value**2, 2 * amplitude.value * amplitude.uncertainty
        levels.append(None if lost else in_db(power, error, "dBFS"))
    return tuple(levels)


def tone_lines(
    iq: ComplexArray,
    probe: ToneProbe,
    max_cfo_hz: float,
    carrier_hz: float,
    ends: Ends = "both",
) -> Lines:
    """The lines beside the first step of a probe.

    All lines are fitted at once by least squares. The tone is followed in phase, so that slow
    wandering of the oscillators blurs none of them. The noise of each is what is left around its
    own frequency: the skirts that phase noise gives the tone are not white.

    Args:
        iq: complex64 [n], a capture with the probe.
        probe: that was sent.
        max_cfo_hz: largest carrier offset.
        carrier_hz: of both radios.
        ends: whose faults to tell. "both" takes a carrier offset; for one end the other has to be
            without fault, or corrected: its faults would be blamed on this one.

    Raises:
        MeasurementError: saturated, nothing heard, the capture ends before the tone, or the
            carrier offset does not tell the ends apart.
    """
    arrival = hear(iq, probe.preamble, max_cfo_hz)
    samples, since = _step(iq, probe, arrival, 0, carrier_hz)
    rate_hz = probe.numerology.sample_rate_hz
    turns = abs(arrival.cfo_hz) * samples.size / rate_hz
    if ends == "both" and turns < APART:
        raise MeasurementError(
            f"a carrier offset of {arrival.cfo_hz:.1f} Hz does not tell the faults of the two "
            f"radios apart in {samples.size} samples; tune one of them "
            f"{math.ceil(APART * rate_hz / samples.size)} Hz or more away, or name one end"
        )
    tone = _expected(probe, arrival.cfo_hz, carrier_hz, since)
    cfo_hz, others = arrival.cfo_hz, np.zeros_like(samples)
    for _ in range(PASSES):
        looks = ((samples - others) * tone.conj()).reshape(BLOCKS, -1).mean(axis=1)
        phase, turned = _followed(looks, since.size)
        tone *= np.exp(1j * phase)
        cfo_hz += turned * rate_hz / (2 * np.pi) / (1 + probe.tone_hz / carrier_hz)
        ratio = 1 + cfo_hz / carrier_hz
        sent = np.exp(2j * np.pi * probe.tone_hz * ratio / rate_hz * since)
        names, basis = _basis(tone, sent, ends)
        weights = np.linalg.solve(basis.conj() @ basis.T, basis.conj() @ samples)
        others = weights[1:] @ basis[1:]
    rest = samples - weights @ basis
    found = dict(zip(names, weights, strict=True))
    errors = {name: _noise(rest, line) for name, line in zip(names, basis, strict=True)}
    late = math.sqrt(probe.preamble.bounds(min(arrival.snr, HIGHEST_SNR)).start)
    return _lines(found, errors, cfo_hz, 2 * math.pi * late / probe.period)


def _lines(
    found: dict[str, complex], errors: dict[str, float], cfo_hz: float, turn_error: float
) -> Lines:
    """Ratios to the tone, from amplitudes of the lines and their errors along each axis.

    What the transmitter adds is turned by the phase of the tone as it was sent, which is known to
    `turn_error` rad, and twice that for its image.
    """
    tone, error = found["tone"], errors["tone"]
    power, power_error = abs(tone) ** 2, 2 * abs(tone) * error
    if abs(tone) < FAINT * error:
        raise MeasurementError("the tone is lost in noise; raise the gains")
    level = abs(tone)
    leak, image = (
        complex(found.get(name, 0) / tone) for name in ("transmitter_leak", "transmitter_image")
    )
    leak_error, image_error = (
        errors.get(name, 0.0) / level for name in ("transmitter_leak", "transmitter_image")
    )
    return Lines(
        level=in_db(power, power_error, "dBFS"),
        cfo_hz=cfo_hz,
        receiver_dc=complex(found.get("receiver_dc", 0)),
        transmitter_leak=leak,
        receiver_image=complex(found.get("receiver_image", 0) / np.conj(tone)),
        transmitter_image=image,
        receiver_dc_error=errors.get("receiver_dc", 0.0),
        transmitter_leak_error=math.hypot(leak_error, turn_error * abs(leak)),
        receiver_image_error=errors.get("receiver_image", 0.0) / level,
        transmitter_image_error=math.hypot(image_error, 2 * turn_error * abs(image)),
    )


def _step(
    iq: ComplexArray, probe: ToneProbe, arrival: Arrival, index: int, carrier_hz: float
) -> tuple[WideArray, RealArray]:
    """Samples of a step without a period at both ends, and how long after its start each is."""
    start = probe.step_start(arrival, index, carrier_hz)
    first = math.ceil(start) + probe.period
    length = probe.step - 2 * probe.period
    # Whole blocks, and in them whole periods as far as they go: DC then stays out of them.
    length -= length % (BLOCKS * probe.period) if length >= BLOCKS * probe.period else 0
    length -= length % BLOCKS
    if first + length > iq.size:
        raise MeasurementError(
            f"the capture ends {first + length - iq.size} samples before the probe; take a longer "
            "one"
        )
    since = np.arange(length, dtype=np.float64) + (first - start)
    return iq[first : first + length].astype(np.complex128), since


def _expected(probe: ToneProbe, cfo_hz: float, carrier_hz: float, since: RealArray) -> WideArray:
    """The tone as the receiver's clock sees it, of magnitude 1; the phase is that of the start."""
    heard_hz = probe.tone_hz * (1 + cfo_hz / carrier_hz) + cfo_hz
    tone: WideArray = np.exp(2j * np.pi * heard_hz / probe.numerology.sample_rate_hz * since)
    return tone


def _followed(looks: WideArray, samples: int = BLOCKS) -> tuple[RealArray, float]:
    """Phase of a tone over `samples` from looks [BLOCKS]: a parabola; and its slope per sample."""
    middles = (np.arange(BLOCKS) + 0.5) / BLOCKS - 0.5
    phases = np.unwrap(np.angle(looks))
    # A block in which noise hides the tone has little to say.
    curve = np.polynomial.Polynomial.fit(middles, phases, 2, w=np.abs(looks))
    where = (np.arange(samples) + 0.5) / samples - 0.5
    return curve(where), float(curve.deriv()(0.0)) / samples


def _basis(tone: WideArray, sent: WideArray, ends: Ends) -> tuple[tuple[str, ...], WideArray]:
    """Names of the lines and what they look like, complex128 [lines, n]; the tone comes first."""
    lines = {"tone": tone}
    if ends != "transmitter":
        lines |= {"receiver_dc": np.ones_like(tone), "receiver_image": tone.conj()}
    if ends != "receiver":
        carrier = tone * sent.conj()
        lines |= {"transmitter_leak": carrier, "transmitter_image": carrier * sent.conj()}
    return tuple(lines), np.stack(list(lines.values()))


def _noise(rest: WideArray, line: WideArray) -> float:
    """Standard error along each axis of a line's amplitude, from what is left around it."""
    looks = (rest * line.conj()).reshape(BLOCKS, -1).mean(axis=1)
    # Mean over the axes: 2 BLOCKS real numbers less those that the fit took.
    variance = float(np.sum(np.abs(looks) ** 2)) / (2 * BLOCKS - 4)
    return math.sqrt(variance / BLOCKS)
