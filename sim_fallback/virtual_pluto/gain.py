"""The receive gain of a PlutoSDR: its tables by band, and the control that turns it by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

from radio.api import Range

MODES = ("manual", "fast_attack", "slow_attack", "hybrid")
TARGET_DB = -12.0
"""Mean power that automatic control aims at, over full scale."""

SLOW_STEP_DB = 3.0
"""How far slow and hybrid control move at a time."""

HYSTERESIS_DB = 2.0
"""How far slow and hybrid control leave the level from the target before they move."""


def table(carrier_hz: float) -> Range:
    """Gains in dB that the receiver has around a carrier, in steps of 1."""
    if carrier_hz <= 1.3e9:
        return Range(-1, 73)
    if carrier_hz <= 4e9:
        return Range(-3, 71)
    return Range(-10, 62)


@dataclass(frozen=True)
class Agc:
    """Automatic gain control.

    Attributes:
        mode: of `MODES`, not manual.
        gains: that there are.
    """

    mode: str
    gains: Range

    def next_gain(self, gain_db: float, level_db: float) -> float:
        """The gain after a stretch that was received.

        Args:
            gain_db: during it.
            level_db: mean power that it would have had at 0 dB of gain, over full scale.
        """
        wanted = self._within(math.floor(TARGET_DB - level_db))
        if self.mode == "fast_attack":
            return wanted
        if abs(wanted - gain_db) <= HYSTERESIS_DB:
            return self._within(gain_db)
        return self._within(gain_db + max(-SLOW_STEP_DB, min(SLOW_STEP_DB, wanted - gain_db)))

    def _within(self, gain_db: float) -> float:
        return max(self.gains.low, min(self.gains.high, gain_db))
