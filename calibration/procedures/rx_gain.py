"""Level of what arrives at the receiver over its receive gain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from calibration.estimate import Estimate
from calibration.estimators.gain_curve import gain_curve
from calibration.measured import Measured
from calibration.procedures.findings import Findings
from calibration.procedures.levels import sent_power
from calibration.procedures.procedure import Progress
from calibration.procedures.ranging import range_sender, ranging_s
from calibration.procedures.setup import Setup
from calibration.procedures.sweep import LEVEL_DB, Sweep, Swept, gains_up_to


@dataclass(frozen=True)
class RxGainProcedure:
    """A tone at all receive gains, from low to high.

    Where both the sender's power and the loss between the connectors are known, the curve follows
    from them. Where not, the receiver's full scale does: what is stated of it holds at the gain
    nearest to 0 that was heard.

    Attributes:
        step_db: from gain to gain.
        samples: of the tone at each.
    """

    step_db: float = 3.0
    samples: int = 1 << 15
    name: ClassVar[str] = "rx_gain"
    needs_two: ClassVar[bool] = False
    both_ways: ClassVar[bool] = False

    def duration_s(self, setup: Setup) -> float:
        """That of all gains."""
        sweep = Sweep(setup, "receiver", self.samples)
        return ranging_s(setup) + sweep.duration_s(len(self._gains_db(setup)))

    def run(self, setup: Setup, progress: Progress) -> Findings:
        """`rx_gain` of the receiver."""
        with setup.kept():
            setup.set_rx_gain(setup.receiver.caps.rx_gain_db.low)
            range_sender(setup)
            swept = Sweep(setup, "receiver", self.samples).run(self._gains_db(setup), progress)
            reference = self._reference(setup, swept)
        return Findings(
            receiver=Measured(curves={"rx_gain": gain_curve(*swept.columns, reference)})
        )

    def _gains_db(self, setup: Setup) -> list[float]:
        allowed = setup.receiver.caps.rx_gain_db
        gains = gains_up_to(allowed.high, allowed.low, self.step_db)
        # What is stated of full scale is stated at 0.
        return sorted({*gains, 0.0}) if 0.0 in allowed else gains

    def _reference(self, setup: Setup, swept: Swept) -> Estimate:
        """What makes levels in dBFS gains in dB."""
        if setup.loss_db is not None and "tx_power" in setup.known.sender.curves:
            nothing = Estimate(setup.loss_db - LEVEL_DB, 0.0, "dB")
            return nothing.minus(sent_power(setup))
        gain_db, level = swept.nearest(0.0)
        return Estimate(gain_db - (setup.full_scale_dbm or 0.0), 0.0, "dB").minus(level)
