"""The inverse of a mixer's faults: imbalance of its branches, and the constant it adds."""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass

import numpy as np

from radio.api import IQ

MOST_GAIN_DB, MOST_PHASE_DEG = 6.0, 45.0  # of a mixer that is not broken


@dataclass(frozen=True)
class Mixer:
    """What a mixer does to samples.

    I stays, Q becomes g (Q cos phi - I sin phi), and then comes the constant: 20 log10 g is
    `iq_gain` of a profile, phi its `iq_phase`. See `calibration.estimators.iq_imbalance`.

    Attributes:
        dc: below full scale, in units of it, behind the imbalance.
        gain_db: of the quadrature branch over the in-phase one.
        phase_deg: by which it is off a right angle.
    """

    dc: complex = 0.0
    gain_db: float = 0.0
    phase_deg: float = 0.0

    def __post_init__(self) -> None:
        if not abs(self.dc) < 1:
            raise ValueError(f"a DC offset should be below full scale, not {abs(self.dc):g} of it")
        if not abs(self.gain_db) < MOST_GAIN_DB or not abs(self.phase_deg) < MOST_PHASE_DEG:
            raise ValueError(
                f"an imbalance should be within {MOST_GAIN_DB:g} dB and {MOST_PHASE_DEG:g} deg, "
                f"not {self.gain_db:g} dB and {self.phase_deg:g} deg"
            )

    @property
    def level(self) -> float:
        """Amplitude of what should be there, |1 + g e^{-j phi}|/2, over what goes in.

        Levels of transmitters and receivers are measured with their mixers' faults: who takes the
        faults off, and wants those levels to hold, multiplies by it.
        """
        return abs(1 + cmath.rect(10 ** (self.gain_db / 20), -math.radians(self.phase_deg))) / 2

    def mend(self, iq: IQ) -> None:
        """Undo it, complex64 [n] in place: what was received, or before it is sent.

        Off the samples goes the constant, then I is left as it is and Q becomes
        (Q / g + I sin phi) / cos phi. The inverse is the same on either side of the mixer.
        """
        if self.dc:
            iq -= np.complex64(self.dc)
        if self.gain_db or self.phase_deg:
            turn = math.radians(self.phase_deg)
            in_phase, quadrature = iq.real, iq.imag
            quadrature *= np.float32(10 ** (-self.gain_db / 20) / math.cos(turn))
            quadrature += np.float32(math.tan(turn)) * in_phase
