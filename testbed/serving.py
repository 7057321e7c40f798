"""Radios for other processes: one that is there, or all of an experiment's virtual air."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path as FilePath

from fl_core.errors import InputError
from radio.api import Radio
from radio.keys import Keys
from radio.remote import RadioServer
from sim_fallback.air import Air, Scene
from sim_fallback.clock import VirtualClock, WallClock
from sim_fallback.path import Path
from sim_fallback.tapped_delay import TappedDelayLine
from sim_fallback.virtual_pluto.server import serve_plutos
from testbed.bench_file import BenchFile
from testbed.experiment import Experiment
from testbed.nodes.air_plan import AirPlan
from testbed.on_air.virtual_bench import CLOCK, VirtualBench

MAX_WAIT_S = 3600.0  # in virtual time a capture may lie far ahead and cost nothing

Openers = Mapping[str, Callable[[], Radio]]


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
def serving_plutos(
    bench: VirtualBench, hosts: Mapping[str, str], pace: float, cable_db: float | None = None
) -> Iterator[Openers]:
    """Serve radios of a new air as virtual PlutoSDRs.

    Args:
        bench: whose air it is.
        hosts: 127.0.0.2 or 127.0.0.2:31000, by the radio's name on the air.
        pace: seconds on the air in a second; inf for as fast as it is read.
        cable_db: loss of a cable from each output to its own input, where there is one.

    Yields:
        How to open the clock of this air, which paces rounds, by its name.

    Raises:
        RadioError: the air has no such radio.
        InputError: an address cannot be had.
    """
    in_time = math.isfinite(pace)
    clock = WallClock.paced(pace, time.monotonic, time.sleep) if in_time else VirtualClock()
    air = bench.air(clock)
    scene = air.scene
    # The clock hears nobody. Alone in a scene it shares nothing with the threads of the Plutos.
    alone = Scene(scene.carrier_hz, scene.sample_rate_hz, {CLOCK: scene.radio(CLOCK)}, {})
    pacing = Air(alone, clock)
    if cable_db is not None:
        cable = Path(TappedDelayLine(kind="awgn"), cable_db)
        cables = {(name, name): cable for name in hosts}
        air.scene = replace(scene, paths={**scene.paths, **cables})
    with ExitStack() as stack:
        try:
            stack.enter_context(serve_plutos(air, list(hosts), list(hosts.values())))
        except OSError as error:
            raise InputError(
                f"virtual PlutoSDRs cannot listen at {', '.join(hosts.values())}: {error}"
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
) -> Iterator[tuple[RadioServer, Mapping[str, str]]]:
    """Serve the air of a bench, with its virtual PlutoSDRs where nodes have such radios.

    Args:
        bench: that has an air.
        experiment: that runs on it.
        keys: as for `serving`.

    Yields:
        The server of simulated radios, bound and not yet answering; and where the PlutoSDRs are,
        HOST or HOST:PORT by the radio's name on the air.

    Raises:
        InputError: it has no air, or an address cannot be had.
        RadioError: the same.
    """
    air = bench.config.air
    if air is None:
        raise InputError(f"{bench.source}: has no air; its radios are served elsewhere")
    virtual = AirPlan.uncalibrated(experiment, bench.config).virtual
    at = bench.config.virtual_plutos()
    names = {radio: node.name for radio, node in zip(virtual.radios, bench.nodes, strict=False)}
    plutos = {radio: at[name] for radio, name in names.items() if name in at}
    bench.sockets.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ExitStack() as stack:
        radios = virtual_radios(virtual)
        if plutos:
            radios = stack.enter_context(serving_plutos(virtual, plutos, air.pace or 1.0))
        yield stack.enter_context(serving(radios, air.at, keys, serial=True)), plutos
