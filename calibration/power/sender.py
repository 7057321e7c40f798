"""A device as a plan sees it: what it can send, and how much of that arrives."""

from __future__ import annotations

import math
from dataclasses import dataclass

from calibration.curve import Curve
from calibration.estimate import Estimate
from radio.api import Range

_SAME_DB = 1e-9  # what a float may lie beside a step of the gain


@dataclass(frozen=True)
class Sender:
    """A device and its path to the receiver. Powers are dBm at antenna connectors.

    Attributes:
        serial: of its radio.
        tx_power: power of samples of magnitude 1 over the gain.
        path_gain: from connector to connector, dB, below 0 for a loss.
        highest_db: gain that the bench permits. Up to it, the radio may have the gains of the
            linear range of its curve.
        step_db: of the gain, which is a multiple of it; 0 for any gain.
        best_backoff_db: below which its amplifier distorts; None where nobody knows.
    """

    serial: str
    tx_power: Curve
    path_gain: Estimate
    highest_db: float = math.inf
    step_db: float = 0.0
    best_backoff_db: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.step_db < math.inf:
            raise ValueError(f"step_db should be 0 or more, not {self.step_db}")
        gains = self.gains_db
        if not gains.low <= gains.high:
            raise ValueError(
                f"its power was measured at gains of {self.tx_power.linear} dB, of which the bench "
                f"permits none: {self.highest_db:g} dB at most"
                + (f", in steps of {self.step_db:g}" if self.step_db else "")
            )
        self.tx_power.setting_for(self.tx_power.reach.low)  # ascends, or says that it does not

    @property
    def gains_db(self) -> Range:
        """Least and largest gain that it may be set to."""
        measured = self.tx_power.linear
        return on_steps(Range(measured.low, min(self.highest_db, measured.high)), self.step_db)

    @property
    def reach_dbm(self) -> Range:
        """What of full scale can arrive."""
        return Range(self.arrives(self.gains_db.low).value, self.arrives(self.gains_db.high).value)

    def arrives(self, gain_db: float) -> Estimate:
        """What of full scale arrives at this gain, dBm."""
        measured = self.tx_power.measured  # rounding to a step may lead out of it
        return self.tx_power.at(min(max(gain_db, measured.low), measured.high)).plus(self.path_gain)

    @property
    def doubt_db(self) -> float:
        """Standard uncertainty of what arrives, at the gain where that is largest."""
        return math.hypot(max(self.tx_power.uncertainties), self.path_gain.uncertainty)

    def gain_for(self, arriving_dbm: float) -> float:
        """The gain with which full scale arrives most nearly with this power, dB."""
        reach, gains = self.reach_dbm, self.gains_db
        sent = min(max(arriving_dbm, reach.low), reach.high) - self.path_gain.value
        made = self.tx_power.reach  # so may rounding of a sum
        exact = self.tx_power.setting_for(min(max(sent, made.low), made.high))
        return nearest_gain(exact, gains, self.step_db)


def on_steps(gains_db: Range, step_db: float) -> Range:
    """The least and the largest multiple of a step within a range; the range itself for step 0."""
    if not step_db:
        return gains_db
    low = step_db * math.ceil((gains_db.low - _SAME_DB) / step_db)
    return Range(low, step_db * math.floor((gains_db.high + _SAME_DB) / step_db))


def nearest_gain(gain_db: float, gains_db: Range, step_db: float) -> float:
    """The multiple of a step within a range, whose ends are some, that is nearest to a gain."""
    if step_db:
        gain_db = step_db * round(gain_db / step_db)
    return min(max(gain_db, gains_db.low), gains_db.high)
