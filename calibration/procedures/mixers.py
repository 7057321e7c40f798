"""DC offset and IQ imbalance of both ends, from the lines beside a tone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from calibration.estimate import Estimate
from calibration.estimators.dc import Offset, receiver_dc, transmitter_dc
from calibration.estimators.iq_imbalance import (
    Imbalance,
    receiver_imbalance,
    transmitter_imbalance,
)
from calibration.estimators.tone import APART, Ends, tone_lines
from calibration.measured import Measured
from calibration.probes import ToneProbe, hear
from calibration.procedures.findings import Findings
from calibration.procedures.procedure import Progress
from calibration.procedures.ranging import range_receiver, ranging_s
from calibration.procedures.setup import Setup
from radio.api import IQ

TONE_DB = -6.0
QUIET_DB = 30.0  # by which the tone may be weaker, so that the gain, and the DC of it, can stay
OFFSET_TURNS = 32.0  # of the carriers within the tone, where they have to be tuned apart


@dataclass(frozen=True)
class MixersProcedure:
    """A tone, whose images and leaks the carrier offset keeps apart.

    Where one oscillator makes both carriers, the receiver is tuned away a little, if it can be.

    Attributes:
        ends: whose faults to tell. For "transmitter" or "receiver" the other end has to be without
            fault, or corrected; a radio alone can be measured in no other way.
        samples: of the tone.
    """

    ends: Ends = "both"
    samples: int = 1 << 17
    name: ClassVar[str] = "mixers"
    both_ways: ClassVar[bool] = False

    @property
    def needs_two(self) -> bool:
        """A radio alone cannot be tuned away from itself."""
        return self.ends == "both"

    def duration_s(self, setup: Setup) -> float:
        """That of the tone, twice where the radios have to be tuned apart."""
        return ranging_s(setup) + setup.hearing_s(
            self._probe(setup).iq.size, 2 if self.needs_two else 1
        )

    def run(self, setup: Setup, progress: Progress) -> Findings:
        """`tx_dc_*` and `tx_iq_*` of the sender, `rx_dc_*` and `rx_iq_*` of the receiver.

        Those of the end that was not asked for are left out. DC is at the receive gain of the
        setup, unless that is of no use.
        """
        probe = self._probe(setup)
        setup.require_allowed(probe.iq.size)
        with setup.kept():
            range_receiver(setup, QUIET_DB)
            progress(0.2)
            iq = setup.hear(probe.iq).iq
            if self.ends == "both" and self._turns(iq, probe, setup) < APART:
                progress(0.6)
                setup.tune_apart(OFFSET_TURNS * setup.rate_hz / self.samples)
                iq = setup.hear(probe.iq).iq
        lines = tone_lines(iq, probe, setup.max_cfo_hz, setup.carrier_hz, self.ends)
        sender: dict[str, Estimate] = {}
        receiver: dict[str, Estimate] = {}
        if self.ends != "receiver":
            sender = _named("tx", transmitter_dc(lines, TONE_DB), transmitter_imbalance(lines))
        if self.ends != "transmitter":
            receiver = _named("rx", receiver_dc(lines), receiver_imbalance(lines))
        return Findings(Measured(sender), Measured(receiver))

    def _probe(self, setup: Setup) -> ToneProbe:
        return ToneProbe(setup.numerology, levels_db=(TONE_DB,), step=self.samples)

    def _turns(self, iq: IQ, probe: ToneProbe, setup: Setup) -> float:
        """Of the one carrier against the other during the tone."""
        cfo_hz = hear(iq, probe.preamble, setup.max_cfo_hz).cfo_hz
        return abs(cfo_hz) * self.samples / setup.rate_hz


def _named(end: str, dc: Offset, imbalance: Imbalance) -> dict[str, Estimate]:
    return {
        f"{end}_dc_in_phase": dc.in_phase,
        f"{end}_dc_quadrature": dc.quadrature,
        f"{end}_iq_gain": imbalance.gain_db,
        f"{end}_iq_phase": imbalance.phase_deg,
    }
