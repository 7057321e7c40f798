"""What all nodes derive alike from experiment and bench: the frame, the link, the radios' settings.

Nothing of it is sent: each node has the bench file, and the experiment comes with the welcome.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fl_core.errors import InputError
from radio.api import RadioSettings
from testbed.bench_config import BenchConfig
from testbed.experiment import Experiment
from testbed.on_air.link import Link
from testbed.on_air.timeline import Timeline
from testbed.on_air.virtual_bench import VirtualBench


@dataclass(frozen=True)
class AirPlan:
    """A run's air.

    Attributes:
        link: settings of waveform and synchronisation.
        timeline: of a round with all active devices, in one leg.
        settings: of every radio.
        first_s: true time of the first round's start, where rounds are paced.
        every_s: from round to round, where they are.
    """

    link: Link
    timeline: Timeline
    settings: RadioSettings
    first_s: float
    every_s: float

    @classmethod
    def of(cls, experiment: Experiment, bench: BenchConfig) -> AirPlan:
        """The plan of an experiment on a bench.

        What the experiment's section `iq` says of the radios holds, unless the bench knows better.

        Raises:
            InputError: the experiment sends no samples.
        """
        virtual = experiment.bench
        if not isinstance(virtual, VirtualBench):
            raise InputError("nodes need an experiment with scheme = air and uplink = iq")
        given = bench.link.model_dump(exclude_none=True)
        gains = {key: given.pop(key) for key in ("rx_gain_db", "tx_gain_db") if key in given}
        if "reference_gain_db" in given:
            given["reference_gain"] = 10 ** (given.pop("reference_gain_db") / 20)
        link = replace(virtual.link, **given)
        settings = RadioSettings(
            carrier_hz=link.carrier_hz,
            sample_rate_hz=link.numerology.sample_rate_hz,
            rx_gain_db=virtual.levels.rx_gain_db,
        )
        return cls(
            link,
            replace(virtual.timeline(), shared_clock=link.shared_clock),
            replace(settings, **gains),
            virtual.first_s,
            virtual.every_s,
        )

    def legs(self, num_devices: int) -> tuple[Timeline, ...]:
        """The legs of a round of so many devices."""
        timeline = replace(self.timeline, num_devices=num_devices)
        return timeline.legs(self.link.sounding_life_s)
