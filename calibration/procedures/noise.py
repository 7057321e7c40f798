"""Noise of the receiver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from calibration.estimators.noise import fills_steps, noise_figure, noise_floor
from calibration.measured import Measured
from calibration.procedures.findings import Findings
from calibration.procedures.levels import received_gain
from calibration.procedures.procedure import Progress
from calibration.procedures.setup import Setup


@dataclass(frozen=True)
class NoiseProcedure:
    """What the receiver hears while nobody sends.

    The figure is of the receiver where there is a cable or a termination at its connector; an
    antenna adds what it hears.

    Attributes:
        samples: of each capture.
    """

    samples: int = 1 << 17
    name: ClassVar[str] = "noise"
    needs_two: ClassVar[bool] = False
    both_ways: ClassVar[bool] = False

    def duration_s(self, setup: Setup) -> float:
        """That of two captures."""
        return 2 * (self.samples / setup.rate_hz + setup.search_s)

    def run(self, setup: Setup, progress: Progress) -> Findings:
        """`noise_figure` at the highest receive gain, and `noise_floor` at that of the setup.

        There is no floor where the converter does not see it at that gain.
        """
        scalars = {}
        with setup.kept():
            iq = setup.listen(self.samples).iq
            if fills_steps(iq):
                scalars["noise_floor"] = noise_floor(iq).level
            progress(0.5)
            setup.set_rx_gain(setup.receiver.caps.rx_gain_db.high)
            floor = noise_floor(setup.listen(self.samples).iq).level
            received = received_gain(setup)
        scalars["noise_figure"] = noise_figure(floor, received, setup.rate_hz)
        return Findings(receiver=Measured(scalars))
