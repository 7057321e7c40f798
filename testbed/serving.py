"""Radios for other processes: one that is there, or all of an experiment's virtual air."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path as FilePath

from fl_core.errors import InputError
from radio.api import Radio
from radio.keys import Keys
from radio.remote import RadioServer
from sim_fallback.air import Air, Scene
from sim_fallback.bands import Bands
from sim_fallback.clock import VirtualClock, WallClock
from sim_fallback.path import Path
from sim_fallback.tapped_delay import TappedDelayLine
from sim_fallback.virtual_pluto.server import serve_plutos
from sim_fallback.virtual_usrp.server import serve_usrps
from testbed.bench_file import BenchFile
from testbed.experiment import Experiment
from testbed.nodes.air_plan import AirPlan
from testbed.on_air.virtual_bench import CLOCK, VirtualBench

MAX_WAIT_S = 3600.0  # in virtual time a capture may lie far ahead and cost nothing

USRP_PPM = 2.5
"""By how much the oscillator of an N210 may be off, that runs from no reference."""

Openers = Mapping[str, Callable[[], Radio]]


@dataclass(frozen=True)
class VirtualHosts:
    """Where virtual radios are that clients of real ones open.

    Attributes:
        usrps: hosts, as 127.0.0.2, by the radio's name on the air.
        plutos: hosts as well, or 127.0.0.2:31000 with a port.
        reference: whether one reference and its pulses are wired to all USRPs.
    """

    usrps: Mapping[str, str] = field(default_factory=dict)
    plutos: Mapping[str, str] = field(default_factory=dict)
    reference: bool = True

    @property
    def uris(self) -> list[str]:
        """By which radios are opened, those of the first names first."""
        return [
            *(f"usrp://addr={host}" for host in self.usrps.values()),
            *(f"pluto://ip:{place}" for place in self.plutos.values()),
        ]


def virtual_bench(experiment: Experiment) -> VirtualBench:
    """The bench of an experiment over samples; InputError for any other."""
    bench = experiment.bench
    if not isinstance(bench, VirtualBench):
        raise InputError("an air is for uplink = iq and scheme = air")
    return bench


def virtual_radios(bench: VirtualBench) -> Openers:
    """How to open each radio of a new air, by name; all share it, and its virtual time."""
    air = bench.air()
    return {name: partial(air.open, name) for name in air.scene.equipment}


@contextmanager
def serving_virtual(
    bench: VirtualBench, hosts: VirtualHosts, pace: float, cable_db: float | None = None
) -> Iterator[Openers]:
    """Serve radios of a new air as virtual USRPs and PlutoSDRs, which hear each other.

    Args:
        bench: whose air it is.
        hosts: where they are.
        pace: seconds on the air in a second; inf for as fast as it is read, which only PlutoSDRs
            can be.
        cable_db: loss of a cable from each output to its own input, where there is one.

    Yields:
        How to open the clock of this air, which paces rounds, by its name.

    Raises:
        RadioError: the air has no such radio.
        InputError: an address cannot be had, or USRPs should live without a pace.
    """
    in_time = math.isfinite(pace)
    if hosts.usrps and not in_time:
        raise InputError("USRPs count time by themselves: their pace should be a number, as 0.5")
    clock = WallClock.paced(pace, time.monotonic, time.sleep) if in_time else VirtualClock()
    air = bench.air(clock)
    scene = air.scene
    # The clock hears nobody. Alone in a scene it shares nothing with the threads of the others.
    alone = Scene(scene.carrier_hz, scene.sample_rate_hz, {CLOCK: scene.radio(CLOCK)}, {})
    pacing = Air(alone, clock)
    if cable_db is not None:
        cable = Path(TappedDelayLine(kind="awgn"), cable_db)
        cables = {(name, name): cable for name in (*hosts.usrps, *hosts.plutos)}
        air.scene = replace(scene, paths={**scene.paths, **cables})
    bands = Bands(air)
    own_ppm = USRP_PPM if bench.preset.offset_ppm else 0.0
    with ExitStack() as stack:
        for kind, serve, places in (
            ("USRPs", partial(serve_usrps, shared=hosts.reference, own_ppm=own_ppm), hosts.usrps),
            ("PlutoSDRs", serve_plutos, hosts.plutos),
        ):
            try:
                stack.enter_context(serve(bands, list(places), list(places.values())))
            except OSError as error:
                raise InputError(
                    f"virtual {kind} cannot listen at {', '.join(places.values())}: {error}"
                ) from error
        yield {CLOCK: partial(pacing.open, CLOCK)}


def serving(
    radios: Openers,
    at: str,
    keys: FilePath | None,
    serial: bool,
) -> RadioServer:
    """A server for these radios, bound and not yet answering.

    Args:
        radios: how to open each.
        at: address.
        keys: file NAME.secret of this end; needed to serve beyond this machine. Who has a
            NAME.public beside it may come.
        serial: whether the radios share one air.

    Raises:
        RadioError: a bad address or key, or others could come without keys.
    """
    return RadioServer(
        radios,
        at,
        keys=None if keys is None else Keys.read(keys),
        serial=serial,
        max_wait_s=MAX_WAIT_S,
    )


@contextmanager
def serving_air_of(
    bench: BenchFile, experiment: Experiment, keys: FilePath | None = None
) -> Iterator[tuple[RadioServer, list[str]]]:
    """Serve the air of a bench, with its virtual USRPs and PlutoSDRs where nodes have such radios.

    Args:
        bench: that has an air.
        experiment: that runs on it.
        keys: as for `serving`.

    Yields:
        The server of simulated radios, bound and not yet answering; and the URIs of the others.

    Raises:
        InputError: it has no air, or an address cannot be had.
        RadioError: the same.
    """
    air = bench.config.air
    if air is None:
        raise InputError(f"{bench.source}: has no air; its radios are served elsewhere")
    virtual = AirPlan.uncalibrated(experiment, bench.config).virtual
    names = {radio: node.name for radio, node in zip(virtual.radios, bench.nodes, strict=False)}
    usrps, plutos = (
        {radio: at[name] for radio, name in names.items() if name in at}
        for at in (bench.config.virtual_usrps(), bench.config.virtual_plutos())
    )
    hosts = VirtualHosts(usrps, plutos)
    bench.sockets.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ExitStack() as stack:
        radios = virtual_radios(virtual)
        if hosts.uris:
            radios = stack.enter_context(serving_virtual(virtual, hosts, air.pace or 1.0))
        yield stack.enter_context(serving(radios, air.at, keys, serial=True)), hosts.uris
