"""Carrier offset, drift and sample-clock skew, from one long track of beacons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from calibration.curve import Curve
from calibration.estimators.allan import allan_of_track
from calibration.estimators.frequency import frequency
from calibration.estimators.skew import skew
from calibration.measured import Measured
from calibration.probes import Beacons
from calibration.procedures.findings import Findings
from calibration.procedures.procedure import Progress, hear_track, track_s
from calibration.procedures.ranging import range_receiver, ranging_s
from calibration.procedures.setup import Setup

TAU_S = 0.1
"""Averaging time of the Allan deviation that a profile holds."""


@dataclass(frozen=True)
class FrequencyProcedure:
    """How the sender's oscillator compares with the receiver's.

    Attributes:
        span_s: of the track. Drift at 0.1 s is known within a factor of 1.5 from 2 s on.
    """

    span_s: float = 2.5
    name: ClassVar[str] = "frequency"
    needs_two: ClassVar[bool] = True
    both_ways: ClassVar[bool] = False

    def duration_s(self, setup: Setup) -> float:
        """That of the track, and of setting the gain."""
        return ranging_s(setup) + track_s(setup, self._beacons(setup))

    def run(self, setup: Setup, progress: Progress) -> Findings:
        """`cfo`, `skew`, the curve `allan` and, from half a second on, `allan_deviation`."""
        beacons = self._beacons(setup)
        with setup.kept():
            range_receiver(setup)
            progress(0.1)
            track = hear_track(setup, beacons)
        scalars = {"cfo": frequency(track).cfo, "skew": skew(track)}
        points = allan_of_track(track, setup.carrier_hz)
        for point in points:
            if abs(point.tau_s / TAU_S - 1) < 0.05:
                scalars["allan_deviation"] = point.deviation
        deviations = [point.deviation for point in points]
        curves = {"allan": Curve.through([point.tau_s for point in points], deviations)}
        return Findings(sender=Measured(scalars, curves))

    def _beacons(self, setup: Setup) -> Beacons:
        """An eighth of 0.1 s apart, so that this is one of the averaging times."""
        spacing_s = TAU_S / 8
        return Beacons(
            setup.numerology,
            spacing=round(spacing_s * setup.rate_hz),
            count=max(round(self.span_s / spacing_s), 16),
        )
