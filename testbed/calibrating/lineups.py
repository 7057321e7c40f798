"""What there is to calibrate: a bench, an experiment's virtual air, or one radio."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from radio.api import RadioSettings
from radio.limits import Limits
from radio.registry import open_radio
from sim_fallback.airs import publish
from testbed.bench_file import BenchFile
from testbed.calibrating.lineup import Lineup
from testbed.config import ExperimentConfig
from testbed.experiment import Experiment
from testbed.serving import virtual_bench

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
        {node.name: node.radio for node in bench.devices},
        bench.receiver.radio,
        settings,
        limits,
        loss_db=wanted.loss_db,
        full_scale_dbm=wanted.full_scale_dbm,
    ).chosen(names, bench.source)
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
    with publish(bench.air()) as air:
        lineup = bench.lineup(air).chosen(names, config.name)
        yield replace(
            lineup,
            settings=_settings(wanted, lineup.settings),
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
