"""How far below full scale rounds should be sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from calibration.curve import Curve
from calibration.estimators.backoff import best_backoff, symbol_errors
from calibration.measured import Measured
from calibration.probes import SymbolProbe
from calibration.procedures.findings import Findings
from calibration.procedures.procedure import Progress
from calibration.procedures.ranging import range_receiver, ranging_s
from calibration.procedures.setup import Setup


@dataclass(frozen=True)
class BackoffProcedure:
    """Symbols like those of rounds, at several back-offs.

    The best one is that of the path that it is measured on.

    Attributes:
        backoffs_db: that are tried.
    """

    backoffs_db: tuple[float, ...] = (4.0, 6.0, 8.0, 10.0, 12.0, 14.0)
    name: ClassVar[str] = "backoff"
    needs_two: ClassVar[bool] = False
    both_ways: ClassVar[bool] = False

    def duration_s(self, setup: Setup) -> float:
        """That of all back-offs, and of setting the gain."""
        size = self._probe(setup, 10.0).iq.size
        return ranging_s(setup) + setup.hearing_s(size, len(self.backoffs_db))

    def run(self, setup: Setup, progress: Progress) -> Findings:
        """`best_backoff` and the curve `backoff_nmse` of the sender."""
        setup.require_allowed(self._probe(setup, 10.0).iq.size)
        errors = []
        with setup.kept():
            range_receiver(setup)
            for done, backoff_db in enumerate(self.backoffs_db):
                progress(done / len(self.backoffs_db))
                probe = self._probe(setup, backoff_db)
                iq = setup.hear(probe.iq).iq
                errors.append(symbol_errors(iq, probe, setup.max_cfo_hz, setup.carrier_hz))
        found = best_backoff(errors)
        totals = {point.backoff_db: point.total for point in found.points}
        curves = {"backoff_nmse": Curve.through([*totals], [*totals.values()])}
        return Findings(sender=Measured({"best_backoff": found.best}, curves))

    def _probe(self, setup: Setup, backoff_db: float) -> SymbolProbe:
        return SymbolProbe(setup.numerology, backoff_db)
