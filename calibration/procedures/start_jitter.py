"""How late bursts leave that were asked for at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from calibration.estimators.start_jitter import start_jitter
from calibration.measured import Measured
from calibration.probes import beacon, hear, preamble_iq
from calibration.procedures.findings import Findings
from calibration.procedures.procedure import Progress
from calibration.procedures.ranging import range_receiver, ranging_s
from calibration.procedures.setup import Setup


@dataclass(frozen=True)
class StartJitterProcedure:
    """Beacons without a time, by the clock of the receiver, which counts meanwhile.

    Attributes:
        starts: how many, at least 20.
    """

    starts: int = 24
    name: ClassVar[str] = "start_jitter"
    needs_two: ClassVar[bool] = False
    both_ways: ClassVar[bool] = False

    def duration_s(self, setup: Setup) -> float:
        """That of the starts, and of setting the gain."""
        return ranging_s(setup) + setup.hearing_s(beacon(setup.numerology).length, self.starts)

    def run(self, setup: Setup, progress: Progress) -> Findings:
        """`start_jitter` of the sender and its host: the standard deviation."""
        preamble, late_s = beacon(setup.numerology), []
        with setup.kept():
            range_receiver(setup)
            for done in range(self.starts):
                progress(done / self.starts)
                heard = setup.hear_at_once(preamble_iq(preamble))
                start = hear(heard.iq, preamble, setup.max_cfo_hz).start
                late = heard.capture.first_sample + start - heard.asked_at
                late_s.append(late / setup.rate_hz)
        return Findings(sender=Measured({"start_jitter": start_jitter(late_s).deviation}))
