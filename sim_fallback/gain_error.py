"""By what the gain of a radio is off its setting."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class GainError:
    """An error that goes up and down over the settings, as steps of an attenuator are uneven.

    At a setting of g dB the gain is g + swing sin(2 pi g / period + phase).

    Attributes:
        swing_db: largest error.
        phase_rad: of the error at a setting of 0 dB.
        period_db: after which it comes again.
    """

    swing_db: float
    phase_rad: float = 0.0
    period_db: float = 25.0

    def __post_init__(self) -> None:
        if not 0 < self.period_db < math.inf or not math.isfinite(self.phase_rad):
            raise ValueError(
                "a gain error has a positive period_db and a finite phase_rad, "
                f"not {self.period_db} and {self.phase_rad}"
            )
        if not abs(self.swing_db) < self.period_db / (2 * math.pi):
            raise ValueError(
                f"swing_db = {self.swing_db}: a higher setting would be a lower gain; it should "
                f"be below {self.period_db / (2 * math.pi):.3g}"
            )

    def gain_db(self, setting_db: float) -> float:
        """The gain at a setting."""
        turn = 2 * math.pi * setting_db / self.period_db + self.phase_rad
        return setting_db + self.swing_db * math.sin(turn)


EXACT = GainError(0.0)
