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
from testbed.experiment import Experiment
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
