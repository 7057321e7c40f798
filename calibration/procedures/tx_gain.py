"""Power at the sender's antenna connector over its transmit gain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from calibration.estimate import Estimate
from calibration.estimators.gain_curve import gain_curve
from calibration.measured import Measured
from calibration.procedures.findings import Findings
from calibration.procedures.levels import received_gain
from calibration.procedures.procedure import Progress
from calibration.procedures.setup import Setup
from calibration.procedures.sweep import LEVEL_DB, Sweep, Swept, gains_up_to


@dataclass(frozen=True)
class TxGainProcedure:
    """A tone at transmit gains from low to the highest that radio and limits permit.

    Where nobody knows the loss between the connectors, full scale counts as 0 dBm at the gain
    nearest to 0 that was heard, and the path gain that follows holds what the radio is off.

    Attributes:
        span_db: below the highest gain.
        step_db: from gain to gain.
        samples: of the tone at each.
    """

    span_db: float = 60.0
    step_db: float = 3.0
    samples: int = 1 << 15
    name: ClassVar[str] = "tx_gain"
    needs_two: ClassVar[bool] = False
    both_ways: ClassVar[bool] = False

    def duration_s(self, setup: Setup) -> float:
        """That of all gains."""
        return Sweep(setup, "sender", self.samples).duration_s(len(self._gains_db(setup)))

    def run(self, setup: Setup, progress: Progress) -> Findings:
        """`tx_power` of the sender."""
        with setup.kept():
            setup.set_rx_gain(setup.receiver.caps.rx_gain_db.high)
            swept = Sweep(setup, "sender", self.samples).run(self._gains_db(setup), progress)
            reference = self._reference(setup, swept)
        return Findings(sender=Measured(curves={"tx_power": gain_curve(*swept.columns, reference)}))

    def _reference(self, setup: Setup, swept: Swept) -> Estimate:
        """What makes levels in dBFS powers in dBm."""
        if setup.loss_db is None:
            gain_db, level = swept.nearest(0.0)
            return Estimate(gain_db, 0.0, "dBm").minus(level)
        return Estimate(setup.loss_db - LEVEL_DB, 0.0, "dBm").minus(received_gain(setup))

    def _gains_db(self, setup: Setup) -> list[float]:
        highest_db = setup.highest_tx_gain_db
        lowest_db = max(setup.sender.caps.tx_gain_db.low, highest_db - self.span_db)
        return gains_up_to(highest_db, lowest_db, self.step_db)
