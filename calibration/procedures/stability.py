"""For how long the channel stays as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from calibration.estimators.coherence import coherence
from calibration.measured import Measured
from calibration.probes import Beacons
from calibration.procedures.findings import Findings
from calibration.procedures.procedure import Progress, hear_track, track_s
from calibration.procedures.ranging import range_receiver, ranging_s
from calibration.procedures.setup import Setup

LAG_S = 0.1
"""Over which a profile says how much phase and amplitude change."""


@dataclass(frozen=True)
class StabilityProcedure:
    """One long track of beacons; both oscillators and the path are in it.

    Attributes:
        span_s: of the track, of which an eighth is the longest lag that is seen.
    """

    span_s: float = 1.6
    name: ClassVar[str] = "stability"
    needs_two: ClassVar[bool] = False
    both_ways: ClassVar[bool] = False

    def duration_s(self, setup: Setup) -> float:
        """That of the track, and of setting the gain."""
        return ranging_s(setup) + track_s(setup, self._beacons(setup))

    def run(self, setup: Setup, progress: Progress) -> Findings:
        """`coherence_time` of the sender, if the track is long enough to see its end.

        And `phase_stability` and `amplitude_stability`, if the track is long enough for 0.1 s.
        """
        with setup.kept():
            range_receiver(setup)
            progress(0.1)
            track = hear_track(setup, self._beacons(setup))
        found = coherence(track)
        scalars = {} if found.time is None else {"coherence_time": found.time}
        change = found.at(LAG_S)
        if abs(change.lag_s / LAG_S - 1) < 0.05:
            scalars |= {"phase_stability": change.phase, "amplitude_stability": change.amplitude}
        return Findings(sender=Measured(scalars))

    def _beacons(self, setup: Setup) -> Beacons:
        """A sixteenth of 0.1 s apart, so that this is one of the lags."""
        spacing_s = LAG_S / 16
        return Beacons(
            setup.numerology,
            spacing=round(spacing_s * setup.rate_hz),
            count=max(round(self.span_s / spacing_s), 32),
        )
