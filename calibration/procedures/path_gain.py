"""Path gain from the sender's antenna connector to the receiver's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from calibration.estimators.path_gain import path_gain
from calibration.measured import Measured
from calibration.probes import Beacons
from calibration.procedures.findings import Findings
from calibration.procedures.levels import received_gain, sent_power
from calibration.procedures.procedure import Progress, hear_track, track_s
from calibration.procedures.ranging import range_receiver, ranging_s
from calibration.procedures.setup import Setup


@dataclass(frozen=True)
class PathGainProcedure:
    """Beacons, by what is known of the sender's power and the receiver's gain.

    Where nobody has measured those, full scale counts as 0 dBm at a gain of 0, and what is found
    holds the errors of both.

    Attributes:
        beacons: how many.
    """

    beacons: int = 16
    name: ClassVar[str] = "path_gain"
    needs_two: ClassVar[bool] = False
    both_ways: ClassVar[bool] = False

    def duration_s(self, setup: Setup) -> float:
        """That of the beacons, and of setting the gain."""
        return ranging_s(setup) + track_s(setup, Beacons(setup.numerology, count=self.beacons))

    def run(self, setup: Setup, progress: Progress) -> Findings:
        """`path_gain` of the sender."""
        beacons = Beacons(setup.numerology, count=self.beacons)
        with setup.kept():
            range_receiver(setup)
            progress(0.3)
            track = hear_track(setup, beacons)
            sent, received = sent_power(setup), received_gain(setup)
        gain = path_gain(track, self.beacons).gain
        return Findings(sender=Measured({"path_gain": gain.minus(sent, "dB").minus(received)}))
