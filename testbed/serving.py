"""Radios for other processes: one that is there, or all of an experiment's virtual air."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from fl_core.errors import InputError
from radio.api import Radio
from radio.keys import Keys
from radio.remote import RadioServer
from testbed.config import ExperimentConfig
from testbed.experiment import Experiment
from testbed.on_air.virtual_bench import VirtualBench

MAX_WAIT_S = 3600.0  # in virtual time a capture may lie far ahead and cost nothing


def virtual_radios(config: ExperimentConfig) -> Mapping[str, Callable[[], Radio]]:
    """How to open each radio of the experiment's air, by name; all share one air.

    Raises:
        InputError: the experiment has no samples.
    """
    bench = Experiment(config).bench
    if not isinstance(bench, VirtualBench):
        raise InputError("an air is for uplink = iq and scheme = air")
    air = bench.air()
    return {name: partial(air.open, name) for name in air.scene.equipment}


def serving(
    radios: Mapping[str, Callable[[], Radio]],
    at: str,
    keys: Path | None,
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
