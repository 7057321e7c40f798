"""Where the sender's amplifier loses gain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from calibration.estimators.compression import compression
from calibration.estimators.tone import tone_levels
from calibration.measured import Measured
from calibration.probes import ToneProbe
from calibration.procedures.findings import Findings
from calibration.procedures.procedure import Progress
from calibration.procedures.ranging import range_receiver, ranging_s
from calibration.procedures.setup import Setup


@dataclass(frozen=True)
class CompressionProcedure:
    """A tone in steps of level, at the transmit gain of the setup.

    Attributes:
        span_db: of levels below full scale.
        step_db: from level to level.
        samples: of each.
    """

    span_db: float = 30.0
    step_db: float = 2.0
    samples: int = 1 << 13
    name: ClassVar[str] = "compression"
    needs_two: ClassVar[bool] = False
    both_ways: ClassVar[bool] = False

    def duration_s(self, setup: Setup) -> float:
        """That of the tone, and of setting the gain."""
        return ranging_s(setup) + setup.hearing_s(self._probe(setup).iq.size)

    def run(self, setup: Setup, progress: Progress) -> Findings:
        """`tx_drive` of the sender, and `tx_compression` if full scale compresses it by 1 dB."""
        probe = self._probe(setup)
        setup.require_allowed(probe.iq.size)
        with setup.kept():
            range_receiver(setup)
            progress(0.5)
            iq = setup.hear(probe.iq).iq
        levels = tone_levels(iq, probe, setup.max_cfo_hz, setup.carrier_hz)
        found = compression(probe.levels_db, levels)
        scalars = {} if found.point is None else {"tx_compression": found.point}
        return Findings(sender=Measured(scalars, {"tx_drive": found.drive}))

    def _probe(self, setup: Setup) -> ToneProbe:
        levels_db = -np.arange(0.0, self.span_db + 1e-9, self.step_db)[::-1]
        return ToneProbe(setup.numerology, tuple(levels_db.tolist()), self.samples)
