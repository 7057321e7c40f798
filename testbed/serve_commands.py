"""`airmeta air` and `airmeta radio serve`: radios for other processes, until Ctrl-C."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from fl_core.errors import InputError
from radio.registry import open_radio
from testbed import experiment_file
from testbed.experiment import Experiment
from testbed.options import Json, Overrides
from testbed.runs import stop_after_round
from testbed.serving import Openers, serving, serving_plutos, virtual_bench, virtual_radios
from testbed.terminal import console, print_json

At = Annotated[str, typer.Option(help="Address: zmq+ipc://PATH or zmq+tcp://HOST:PORT.")]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR/NAME.secret", help="Key of this end; who has a NAME.public in DIR may come."
    ),
]
EVERYBODY_HERE = "zmq+tcp://127.0.0.1:*"
MOST_PLUTOS = 200


def air(
    experiment: Annotated[
        str, typer.Argument(help="Whose air: a shipped name or the path of a .yaml file.")
    ] = "lab",
    overrides: Overrides = None,
    at: At = EVERYBODY_HERE,
    keys: KeyFile = None,
    plutos: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_PLUTOS,
            help="Serve so many virtual PlutoSDRs: the receiver, and devices from the first on.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Where the first of them is; the others follow.")
    ] = "127.0.0.2",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of all of them.")] = 30431,
    pace: Annotated[
        float,
        typer.Option(help="Their time: seconds on the air in a second; inf: as fast as read."),
    ] = 1.0,
    cable_db: Annotated[
        float | None,
        typer.Option(help="Loss of a cable from the output to the input of each of them."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Serve the virtual air of an experiment to other processes, a radio for each node."""
    config = experiment_file.read(experiment).config([*(overrides or []), "uplink=iq"])
    bench = virtual_bench(Experiment(config))
    if plutos is None:
        _serve(virtual_radios(bench), at, keys, True, as_json)
        return
    if not pace > 0:
        raise InputError(f"--pace = {pace:g} should be above 0")
    if plutos > len(bench.radios):
        raise InputError(
            f"--plutos = {plutos}: {config.name} has a receiver and {len(bench.radios) - 1} "
            f"devices; add devices.num_devices={plutos - 1}"
        )
    hosts = [f"{place}:{port}" for place in _hosts(host, plutos)]
    served = dict(zip(bench.radios, hosts, strict=False))
    with serving_plutos(bench, served, pace, cable_db) as radios:
        uris = {name: f"pluto://ip:{place}" for name, place in served.items()}
        _serve(radios, at, keys, True, as_json, uris)


def serve_radio(
    uri: Annotated[str, typer.Argument(help="The radio, as `sim://air?name=d3`.")],
    at: At = EVERYBODY_HERE,
    keys: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Serve one radio to another process, host or interpreter."""
    _serve({"radio": partial(open_radio, uri)}, at, keys, False, as_json)


def _hosts(first: str, count: int) -> list[str]:
    """Loopback addresses, one after the other; InputError for any others."""
    try:
        hosts = [ipaddress.IPv4Address(first) + number for number in range(count)]
    except ValueError as error:
        raise InputError(f"--host = {first}: should be an address as 127.0.0.2") from error
    if not all(host.is_loopback for host in hosts):
        raise InputError(
            f"--host = {first}: anybody can open a PlutoSDR, so virtual ones are for this machine "
            "only; take 127.0.0.2"
        )
    return [str(host) for host in hosts]


def _serve(
    radios: Openers,
    at: str,
    keys: Path | None,
    serial: bool,
    as_json: bool,
    others: Mapping[str, str] | None = None,
) -> None:
    """Serve radios at an address until Ctrl-C; say where they are, and others of the same air."""
    with (
        stop_after_round() as stop,
        serving(radios, at, keys, serial) as server,
    ):
        uris = [*(others or {}).values(), *(f"{server.uri}?name={name}" for name in radios)]
        if as_json:
            print_json({"radios": uris})
        else:
            for uri in uris:
                console.print(uri, soft_wrap=True, highlight=False)
            console.print("Ctrl-C ends it")
        sys.stdout.flush()
        server.serve(stop)
