"""The receive gain of a PlutoSDR: its tables by band, and the control that turns it by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

from radio.api import Range

MODES = ("manual", "fast_attack", "slow_attack", "hybrid")
LOW_DB, HIGH_DB = -12.0, -10.0
"""Between which automatic control leaves the mean power, over full scale."""

FAR_LOW_DB, FAR_HIGH_DB = -18.0, -5.0
"""Beyond which slow and hybrid control take two steps of the gain at a time."""


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
        if self.mode == "fast_attack":
            return self._within(math.floor(HIGH_DB - level_db))
        mean_db = gain_db + level_db
        steps = (mean_db < LOW_DB) + (mean_db < FAR_LOW_DB)
        steps -= (mean_db > HIGH_DB) + (mean_db > FAR_HIGH_DB)
        return self._within(gain_db + steps)

    def _within(self, gain_db: float) -> float:
        return max(self.gains.low, min(self.gains.high, gain_db))
