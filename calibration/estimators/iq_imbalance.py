"""IQ imbalance of a mixer: gain and phase of the quadrature branch, and how far the image lies."""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass

from calibration.estimate import Estimate
from calibration.estimators.tone import Lines


@dataclass(frozen=True)
class Imbalance:
    """A quadrature branch of other gain, and not at right angles: x becomes mu x + nu x*.

    With I as it is and Q becoming g (Q cos phi - I sin phi), mu = (1 + g e^{-j phi})/2 and
    nu = (1 - g e^{j phi})/2 (Windisch and Fettweis, "Adaptive I/Q imbalance compensation in
    low-IF transmitters", 2004). Gain and phase common to both branches belong to the path.

    Attributes:
        gain_db: 20 log10 g.
        phase_deg: phi.
    """

    gain_db: Estimate
    phase_deg: Estimate

    @property
    def mu(self) -> complex:
        """Weight of what should be there."""
        return (1 + self._factor.conjugate()) / 2

    @property
    def nu(self) -> complex:
        """Weight of the image."""
        return (1 - self._factor) / 2

    @property
    def image_rejection_db(self) -> float:
        """How far the image of a tone lies below it; inf where the branches are equal."""
        return 20 * math.log10(abs(self.mu / self.nu)) if self.nu else math.inf

    @property
    def _factor(self) -> complex:
        """g e^{j phi}."""
        turn = math.radians(self.phase_deg.value)
        return cmath.rect(10 ** (self.gain_db.value / 20), turn)


def receiver_imbalance(lines: Lines) -> Imbalance:
    """Of the receiver's mixer. It mends y, DC taken off, as (mu* y - nu y*) / (|mu|^2 - |nu|^2)."""
    ratio = lines.receiver_image  # nu / mu*
    return _imbalance((1 - ratio) / (1 + ratio), lines.receiver_image_error)


def transmitter_imbalance(lines: Lines) -> Imbalance:
    """Of the transmitter's mixer; samples bent the same way before make up for it.

    The image has the phase opposite to that of the tone as it was sent, so the timing of the
    preamble is in it: an error of d samples turns it by 4 pi d / period.
    """
    ratio = lines.transmitter_image  # nu / mu, where mu + nu* = 1
    nu = ratio * (1 - ratio.conjugate()) / (1 - abs(ratio) ** 2)
    return _imbalance(1 - 2 * nu, lines.transmitter_image_error)


def _imbalance(factor: complex, error: float) -> Imbalance:
    """From g e^{j phi} = 1 - 2 nu; twice the error of the image falls on either axis."""
    gain_db = Estimate(20 * math.log10(abs(factor)), 20 / math.log(10) * 2 * error, "dB")
    phase_deg = Estimate(math.degrees(cmath.phase(factor)), math.degrees(2 * error), "deg")
    return Imbalance(gain_db, phase_deg)
