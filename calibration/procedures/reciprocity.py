"""What the two front ends make of the same path in one direction and in the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from calibration.estimate import Estimate, MeasurementError
from calibration.estimators.path_gain import path_gain
from calibration.estimators.reciprocity import reciprocity
from calibration.measured import Measured
from calibration.probes import Beacons
from calibration.procedures.findings import Findings
from calibration.procedures.procedure import Progress, hear_track, track_s
from calibration.procedures.ranging import range_receiver, ranging_s
from calibration.procedures.setup import Setup
from calibration.track import Track


@dataclass(frozen=True)
class ReciprocityProcedure:
    """Beacons up, from the sender, and down, in turns.

    Attributes:
        pairs: of one up and one down, at least 8.
    """

    pairs: int = 12
    name: ClassVar[str] = "reciprocity"
    needs_two: ClassVar[bool] = True
    both_ways: ClassVar[bool] = True

    def duration_s(self, setup: Setup) -> float:
        """That of all beacons, and of setting the gains."""
        return 2 * ranging_s(setup) + 2 * self.pairs * track_s(
            setup, Beacons(setup.numerology, count=1)
        )

    def run(self, setup: Setup, progress: Progress) -> Findings:
        """`reciprocity_gain` of up over down, and `reciprocity_phase` if they share a clock.

        The gain is that at equal settings: what the radios count as gain is taken off.
        """
        back, beacon = setup.reversed(), Beacons(setup.numerology, count=1)
        up: list[Track] = []
        down: list[Track] = []
        with setup.kept(), back.kept():
            for way in (setup, back):
                range_receiver(way)
            for done in range(self.pairs):
                progress(done / self.pairs)
                # What drifts within a pair has the other sign in the next.
                for way in (setup, back) if done % 2 == 0 else (back, setup):
                    heard = up if way is setup else down
                    heard.append(hear_track(way, beacon))
            counted_db = setup.tx_gain_db + setup.rx_gain_db - back.tx_gain_db - back.rx_gain_db
        found = _factor(Track.join(up), Track.join(down))
        counted = Estimate(counted_db, 0.0, "dB")
        found["reciprocity_gain"] = found["reciprocity_gain"].minus(counted)
        return Findings(sender=Measured(found))


def _factor(up: Track, down: Track) -> dict[str, Estimate]:
    try:
        found = reciprocity(up.gains, down.gains, up.gain_vars, down.gain_vars)
    except MeasurementError:
        # All were heard, so oscillators run free: their phases say nothing, but powers do.
        above, below = (path_gain(track, len(track)).gain for track in (up, down))
        return {"reciprocity_gain": above.minus(below)}
    return {"reciprocity_gain": found.gain, "reciprocity_phase": found.phase}
