"""What all nodes derive alike from experiment and bench: the frame, the link, the radios' settings.

Nothing of it is sent: each node has the bench file, and the experiment comes with the welcome.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from calibration.power.plan import GainPlan
from calibration.profiles.told import serial_of
from fl_core.errors import InputError
from radio.api import Radio, RadioSettings
from testbed.bench_config import BenchConfig, NodeConfig
from testbed.config import ExperimentConfig
from testbed.experiment import Experiment
from testbed.on_air.calibrated import calibrated_today, gain_plan
from testbed.on_air.held_gains import HeldGains
from testbed.on_air.link import Link
from testbed.on_air.timeline import Timeline
from testbed.on_air.virtual_bench import VirtualBench


@dataclass(frozen=True)
class AirPlan:
    """A run's air.

    Attributes:
        virtual: the air as it would be simulated, with what the bench says of its radios.
        settings: of every radio; transmit gains of devices are those of `gains`, where there are.
        gains: as planned for this bench.
        profiles: folder of what was measured of the bench's radios.
    """

    virtual: VirtualBench
    settings: RadioSettings
    gains: GainPlan | None = None
    profiles: Path | None = None

    @property
    def link(self) -> Link:
        """Settings of waveform and synchronisation."""
        return self.virtual.link

    def link_of(self, applied: RadioSettings) -> Link:
        """The link of a receiver with these settings, whose gain may not be just the wanted one."""
        louder = 10 ** ((applied.rx_gain_db - self.settings.rx_gain_db) / 20)
        return replace(self.link, reference_gain=self.link.reference_gain * louder)

    @cached_property
    def timeline(self) -> Timeline:
        """Of a round with all active devices, in one leg."""
        return self.virtual.timeline()

    @classmethod
    def of(cls, experiment: Experiment, bench: BenchConfig) -> AirPlan:
        """The plan of an experiment on a bench.

        What the experiment's section `iq` says of the radios holds, unless the bench knows better.

        Raises:
            InputError: the experiment sends no samples.
            RadioError: the bench's plan of powers cannot be read, or is for another bench.
        """
        if experiment.config.iq.calibrate:
            raise InputError(
                "iq.calibrate is for runs in one process; `airmeta calibrate run --bench` measures "
                "the radios of a bench, and its key calibration names the folder"
            )
        plan = cls.uncalibrated(experiment, bench)
        if bench.calibration is None:
            return plan
        iq, devices = experiment.config.iq, bench.nodes()[: experiment.config.devices.num_devices]
        plan = replace(plan, profiles=bench.calibration.folder)
        names = tuple(node.name for node in devices)
        gains = gain_plan(bench.calibration.folder, names, iq.backoff_db)
        if bench.limits is not None:
            gains = gains.within(bench.limits.max_tx_gain_db)
        settings = replace(plan.settings, rx_gain_db=gains.rx_gain_db)
        return replace(plan, virtual=plan.virtual.planned(gains), settings=settings, gains=gains)

    @classmethod
    def uncalibrated(cls, experiment: Experiment, bench: BenchConfig) -> AirPlan:
        """The same without what the bench's calibration says.

        Raises:
            InputError: the experiment sends no samples.
        """
        virtual = experiment.bench
        if not isinstance(virtual, VirtualBench):
            raise InputError("nodes need an experiment with scheme = air and uplink = iq")
        if bench.air is not None and bench.air.pluto_preset is not None:
            nodes, plutos = (bench.receiver, *bench.nodes()), bench.virtual_plutos()
            places = zip(virtual.radios, nodes, strict=False)
            others = [radio for radio, node in places if node.name in plutos]
            virtual = virtual.with_others(dict.fromkeys(others, bench.air.pluto_preset))
        given = bench.link.model_dump(exclude_none=True)
        gains = {key: given.pop(key) for key in ("rx_gain_db", "tx_gain_db") if key in given}
        if "reference_gain_db" in given:
            given["reference_gain"] = 10 ** (given.pop("reference_gain_db") / 20)
        elif "rx_gain_db" in gains:  # at another gain |h| = 1 arrives with another amplitude
            louder_db = gains["rx_gain_db"] - virtual.levels.rx_gain_db
            given["reference_gain"] = virtual.link.reference_gain * 10 ** (louder_db / 20)
        virtual = virtual.with_radios(**given)
        settings = RadioSettings(
            carrier_hz=virtual.link.carrier_hz,
            sample_rate_hz=virtual.link.numerology.sample_rate_hz,
            tx_gain_db=0.0 if bench.limits is None else min(0.0, bench.limits.max_tx_gain_db),
            rx_gain_db=virtual.levels.rx_gain_db,
        )
        return cls(virtual, replace(settings, **gains))

    def settings_of(self, node: NodeConfig) -> RadioSettings:
        """Of one node's radio, before a plan of gains has a word."""
        if node.tx_gain_db is None:
            return self.settings
        return replace(self.settings, tx_gain_db=node.tx_gain_db)

    def held_gains(self, config: ExperimentConfig, bench: BenchConfig) -> HeldGains | None:
        """The devices' gains to begin with, where the bench has a plan of them."""
        if self.gains is None or bench.calibration is None:
            return None
        return HeldGains.of(self.gains, config, bench.calibration.hold)

    def calibrated(self, radio: Radio, device: str | None, settings: RadioSettings) -> Radio:
        """A radio of the bench behind its profile.

        Args:
            radio: open.
            device: whose it should be; None for the receiver's.
            settings: that it will have.

        Raises:
            RadioError: the plan is for another radio in this place, or its profile does not hold.
        """
        if self.gains is not None:
            serial = serial_of(radio)
            receiver = self.gains.receiver_serial if device else serial
            self.gains.require_radios(receiver, {device: serial} if device else {})
        if self.profiles is None:
            return radio
        return calibrated_today(radio, self.profiles, settings)

    def legs(self, num_devices: int) -> tuple[Timeline, ...]:
        """The legs of a round of so many devices."""
        timeline = replace(self.timeline, num_devices=num_devices)
        return timeline.legs(self.link.sounding_life_s)
