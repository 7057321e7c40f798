"""DC offset of a receiver and LO leakage of a transmitter."""

from __future__ import annotations

import math
from dataclasses import dataclass

from calibration.estimate import Estimate
from calibration.estimators.iq_imbalance import transmitter_imbalance
from calibration.estimators.tone import Lines


@dataclass(frozen=True)
class Offset:
    """A constant that a mixer adds.

    Attributes:
        in_phase, quadrature: over the full scale of the end it belongs to.
        below_tone_db: its power over that of the tone it was measured beside.
    """

    in_phase: Estimate
    quadrature: Estimate
    below_tone_db: float

    @property
    def value(self) -> complex:
        """As a complex number."""
        return complex(self.in_phase.value, self.quadrature.value)


def receiver_dc(lines: Lines) -> Offset:
    """What the receiver adds to all its samples, over its full scale at the gain it has.

    Subtract it first of all: it is added behind the mixer, and behind its imbalance.
    """
    return _offset(lines.receiver_dc, lines.receiver_dc_error, 10 ** (lines.level.value / 20))


def transmitter_dc(lines: Lines, tone_db: float) -> Offset:
    """The LO leakage of a transmitter, over its full scale, behind its imbalance.

    To cancel it the sender adds to its samples what its imbalance turns into the opposite. The
    phase is that of the sent tone at its first sample, so it holds as long as the LO does not
    restart between the mixer's two inputs: it is a property of the mixer, not of the path.

    Args:
        lines: beside a tone.
        tone_db: level at which it was sent, over full scale.
    """
    amplitude = 10 ** (tone_db / 20)
    # The tone left the transmitter as mu times what was sent.
    offset = lines.transmitter_leak * amplitude * transmitter_imbalance(lines).mu
    return _offset(offset, lines.transmitter_leak_error * amplitude, amplitude)


def _offset(value: complex, error: float, tone: float) -> Offset:
    below_db = 20 * math.log10(abs(value) / tone) if value else -math.inf
    return Offset(Estimate(value.real, error, ""), Estimate(value.imag, error, ""), below_db)
