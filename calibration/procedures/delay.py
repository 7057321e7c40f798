"""Delay from sender to receiver, and how much it varies from burst to burst."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from calibration.estimators.delay import delay
from calibration.measured import Measured
from calibration.probes import Beacons
from calibration.procedures.findings import Findings
from calibration.procedures.procedure import Progress, hear_track, track_s
from calibration.procedures.ranging import range_receiver, ranging_s
from calibration.procedures.setup import Setup
from calibration.track import Track


@dataclass(frozen=True)
class DelayProcedure:
    """Beacons one at a time.

    Between two radios whose clocks nobody set alike only the jitter means something: the delay
    holds the difference of their counters.

    Attributes:
        bursts: how many.
    """

    bursts: int = 12
    name: ClassVar[str] = "delay"
    needs_two: ClassVar[bool] = False
    both_ways: ClassVar[bool] = False

    def duration_s(self, setup: Setup) -> float:
        """That of the bursts, and of setting the gain."""
        return ranging_s(setup) + self.bursts * track_s(setup, Beacons(setup.numerology, count=1))

    def run(self, setup: Setup, progress: Progress) -> Findings:
        """`delay_jitter` of the sender, and `delay` of a radio alone."""
        beacon, tracks = Beacons(setup.numerology, count=1), []
        with setup.kept():
            range_receiver(setup)
            for done in range(self.bursts):
                progress(done / self.bursts)
                tracks.append(hear_track(setup, beacon))
        found = delay(Track.join(tracks))
        scalars = {"delay_jitter": found.jitter}
        if setup.is_alone:
            scalars["delay"] = found.mean
        return Findings(sender=Measured(scalars))
