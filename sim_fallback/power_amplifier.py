"""A power amplifier that saturates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ComplexArray = npt.NDArray[np.complex64]


@dataclass(frozen=True)
class PowerAmplifier:
    """Rapp's solid-state amplifier, with unit gain for small signals.

    An amplitude A becomes A / (1 + (A/A_sat)^(2p))^(1/(2p)) (Rapp, "Effects of HPA-nonlinearity on
    a 4-DPSK/OFDM-signal for a digital sound broadcasting system", 1991). The phase turns by
    2 phi r^2 / (1 + r^2) with r = A/A_sat (the form of Saleh, "Frequency-independent and
    frequency-dependent nonlinear models of TWT amplifiers", 1981).

    Attributes:
        smoothness: p; 1 bends early, 3 late.
        saturation_db: 20 log10 A_sat, over full scale.
        am_pm_deg: phi, by which the phase has turned where the input reaches A_sat.
    """

    smoothness: float
    saturation_db: float
    am_pm_deg: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.smoothness < math.inf:
            raise ValueError(f"smoothness must be positive and finite, not {self.smoothness}")
        for name in ("saturation_db", "am_pm_deg"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be finite, not {getattr(self, name)}")

    def compression_point_db(self, compression_db: float = 1.0) -> float:
        """Input level over full scale at which the gain has dropped by so much."""
        power = math.expm1(2 * self.smoothness * compression_db * math.log(10) / 20)
        return self.saturation_db + 10 / self.smoothness * math.log10(power)

    def amplify(self, iq: ComplexArray) -> None:
        """Amplify complex64 [n] in place."""
        parts = iq.view(np.float32)
        ratio = np.square(parts[::2]) + np.square(parts[1::2])
        ratio *= np.float32(10 ** (-self.saturation_db / 10))  # r^2
        bend = ratio.copy()
        if self.smoothness != 1:
            bend **= np.float32(self.smoothness)
        bend += np.float32(1)
        gain = np.power(bend, np.float32(-0.5 / self.smoothness))
        iq *= gain
        if self.am_pm_deg:
            ratio /= ratio + np.float32(1)
            ratio *= np.float32(2 * math.radians(self.am_pm_deg))
            rotate(iq, ratio)


def rotate(iq: ComplexArray, angle: npt.NDArray[np.float32]) -> None:
    """Turn complex64 [n] by angles in radians, float32 [n], in place."""
    phasor = np.empty_like(iq)
    phasor.real, phasor.imag = np.cos(angle), np.sin(angle)
    # Not in place: numpy rounds a product of one complex number with itself as the result otherwise
    # than one of many, on some processors, and a window has to be the same however it is cut.
    iq[:] = iq * phasor
