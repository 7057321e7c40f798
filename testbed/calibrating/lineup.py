"""Which radios a calibration is of, and under which settings and limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from calibration.procedures.findings import Findings
from calibration.procedures.setup import Setup
from fl_core.errors import InputError
from radio.api import Radio, RadioCaps, RadioSettings, Range
from radio.limits import Limits
from radio.registry import open_radio
from sim_fallback.airs import publish
from testbed.bench_file import BenchFile
from testbed.config import ExperimentConfig
from testbed.experiment import Experiment
from testbed.serving import virtual_bench

AROUND = 0.015  # of the carrier: across it, gains of front ends change by tenths of a dB
PPM = 1e-6


@dataclass(frozen=True)
class Wanted:
    """What somebody states of levels and frequencies, beyond what bench or experiment say.

    Attributes:
        carrier_hz, rate_hz, tx_gain_db: None for what is there.
        loss_db: between the antenna connectors, of cables and attenuators; None where not known.
        full_scale_dbm: power at the receiver's connector that makes full scale at a gain of 0.
    """

    carrier_hz: float | None = None
    rate_hz: float | None = None
    tx_gain_db: float | None = None
    loss_db: float | None = None
    full_scale_dbm: float | None = None


@dataclass(frozen=True)
class Lineup:
    """Devices that are measured one after the other, against a receiver or by themselves.

    Attributes:
        devices: URIs by name.
        receiver: URI; None where each device hears itself, through a cable with an attenuator.
        settings: to measure under; gains within what a radio has.
        limits: of all that is sent.
        max_cfo_hz: between any two of them.
        loss_db, full_scale_dbm: as of `Wanted`.
        names: of all devices of the bench, of which these may be some.
    """

    devices: Mapping[str, str]
    receiver: str | None
    settings: RadioSettings
    limits: Limits | None = None
    max_cfo_hz: float = 50e3
    loss_db: float | None = None
    full_scale_dbm: float | None = None

    @property
    def band(self) -> Range:
        """Where a profile holds: the band of the limits around the carrier, or a little around."""
        carrier_hz = self.settings.carrier_hz
        for band in () if self.limits is None else self.limits.bands:
            if carrier_hz in band:
                return band
        return Range(round(carrier_hz * (1 - AROUND)), round(carrier_hz * (1 + AROUND)))

    @contextmanager
    def opened(self, name: str) -> Iterator[tuple[Radio, Radio]]:
        """A device and what hears it, which is the same radio where there is no receiver.

        Raises:
            RadioError: one of them cannot be opened.
        """
        with ExitStack() as stack:
            sender = stack.enter_context(open_radio(self.devices[name], self.limits))
            if self.receiver is None:
                yield sender, sender
            else:
                yield sender, stack.enter_context(open_radio(self.receiver, self.limits))

    def setup(self, sender: Radio, receiver: Radio, known: Findings) -> Setup:
        """Of two open radios; RadioError where they or the limits do not permit the settings."""
        return Setup(
            sender,
            receiver,
            _within(self.settings, sender.caps),
            _within(self.settings, receiver.caps),
            loss_db=self.loss_db,
            full_scale_dbm=self.full_scale_dbm,
            max_cfo_hz=self.max_cfo_hz,
            limits=self.limits,
            known=known,
        )


def of_bench(bench: BenchFile, names: Sequence[str], wanted: Wanted) -> Lineup:
    """Devices of a bench file against its receiver, under its limits.

    Raises:
        InputError: it has no such device.
    """
    config = bench.config
    limits = None if config.limits is None else config.limits.limits()
    settings = _settings(wanted, RadioSettings())
    link = config.link
    if wanted.tx_gain_db is None:
        highest = 0.0 if limits is None else limits.max_tx_gain_db
        gain_db = highest if link.tx_gain_db is None else link.tx_gain_db
        settings = replace(settings, tx_gain_db=gain_db)
    if link.rx_gain_db is not None:
        settings = replace(settings, rx_gain_db=link.rx_gain_db)
    lineup = Lineup(
        _chosen({node.name: node.radio for node in bench.devices}, names, bench.source),
        bench.receiver.radio,
        settings,
        limits,
        loss_db=wanted.loss_db,
        full_scale_dbm=wanted.full_scale_dbm,
    )
    if link.max_offset_ppm is None:
        return lineup
    return replace(lineup, max_cfo_hz=2 * PPM * link.max_offset_ppm * settings.carrier_hz)


def of_radios(sender: str, receiver: str | None, limits: Limits, wanted: Wanted) -> Lineup:
    """One radio by URI, against another one or by itself; settings as it has them.

    Raises:
        RadioError: it cannot be opened.
    """
    with open_radio(sender, limits) as radio:
        settings = _settings(wanted, radio.settings)
    return Lineup(
        {"radio": sender},
        receiver,
        settings,
        limits,
        loss_db=wanted.loss_db,
        full_scale_dbm=wanted.full_scale_dbm,
    )


@contextmanager
def of_experiment(
    config: ExperimentConfig, names: Sequence[str], wanted: Wanted
) -> Iterator[Lineup]:
    """Devices of an experiment's virtual air, which is there for as long as this lasts.

    Raises:
        InputError: it runs over symbols, or has no such device.
    """
    bench = virtual_bench(Experiment(config))
    air = bench.air()
    receiver, *devices = bench.radios
    with publish(air) as place:
        uris = {name: f"sim://{place}?name={name}" for name in devices}
        there = RadioSettings(
            air.scene.carrier_hz, air.scene.sample_rate_hz, rx_gain_db=bench.levels.rx_gain_db
        )
        yield Lineup(
            _chosen(uris, names, config.name),
            f"sim://{place}?name={receiver}",
            _settings(wanted, there),
            loss_db=wanted.loss_db,
            full_scale_dbm=wanted.full_scale_dbm,
        )


def _settings(wanted: Wanted, there: RadioSettings) -> RadioSettings:
    stated = {
        "carrier_hz": wanted.carrier_hz,
        "sample_rate_hz": wanted.rate_hz,
        "tx_gain_db": wanted.tx_gain_db,
    }
    return replace(there, **{name: value for name, value in stated.items() if value is not None})


def _chosen(devices: Mapping[str, str], names: Sequence[str], source: str) -> dict[str, str]:
    for name in names:
        if name not in devices:
            raise InputError(
                f"--device {name}: {source} has no such device; there are {', '.join(devices)}"
            )
    return {name: uri for name, uri in devices.items() if not names or name in names}


def _within(settings: RadioSettings, caps: RadioCaps) -> RadioSettings:
    """With the gains nearest to these that a radio has."""
    gains = {
        name: min(max(getattr(settings, name), getattr(caps, name).low), getattr(caps, name).high)
        for name in ("tx_gain_db", "rx_gain_db")
    }
    return replace(settings, **gains)
