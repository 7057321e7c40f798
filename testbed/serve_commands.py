"""`airmeta air` and `airmeta radio serve`: radios for other processes, until Ctrl-C."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from fl_core.errors import InputError
from radio.registry import open_radio
from radio.remote import RadioServer
from testbed import bench_file, experiment_file
from testbed.experiment import Experiment
from testbed.on_air.virtual_bench import VirtualBench
from testbed.options import Json, Overrides
from testbed.runs import stop_after_round
from testbed.serving import (
    VirtualHosts,
    serving,
    serving_air_of,
    serving_virtual,
    virtual_bench,
    virtual_radios,
)
from testbed.terminal import console, print_json

AT_HELP = "Address: zmq+ipc://PATH or zmq+tcp://HOST:PORT."
At = Annotated[str, typer.Option(help=AT_HELP)]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR/NAME.secret", help="Key of this end; who has a NAME.public in DIR may come."
    ),
]
EVERYBODY_HERE = "zmq+tcp://127.0.0.1:*"
MOST = 200
OF_USRPS: tuple[str, ...] = ("iq.preset=usrp-octoclock",)  # unless the overrides say otherwise


def air(
    experiment: Annotated[
        str, typer.Argument(help="Whose air: a shipped name or the path of a .yaml file.")
    ] = "lab",
    overrides: Overrides = None,
    at: Annotated[str | None, typer.Option(help=AT_HELP)] = None,
    keys: KeyFile = None,
    bench: Annotated[
        str | None,
        typer.Option(help="Serve the air that this bench has, where its file says; for its nodes."),
    ] = None,
    plutos: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST,
            help="Serve so many virtual PlutoSDRs: the receiver, and devices from the first on.",
        ),
    ] = None,
    usrps: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST,
            help="Serve so many virtual USRPs; any PlutoSDRs are the devices after them.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Where the first of them is; the others follow.")
    ] = "127.0.0.2",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the PlutoSDRs.")] = 30431,
    pace: Annotated[
        float,
        typer.Option(
            help="Their time: seconds on the air in a second; inf: as fast as PlutoSDRs are read."
        ),
    ] = 1.0,
    cable_db: Annotated[
        float | None,
        typer.Option(help="Loss of a cable from the output to the input of each of them."),
    ] = None,
    reference: Annotated[
        bool, typer.Option(help="Wire one reference and its pulses to all USRPs, or none.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Serve the virtual air of an experiment to other processes, a radio for each node."""
    file = None if bench is None else bench_file.read(bench)
    of_usrps = OF_USRPS if usrps is not None and plutos is None else ()
    implied = of_usrps if file is None else file.implied
    config = experiment_file.read(experiment).config([*implied, *(overrides or []), "uplink=iq"])
    built = Experiment(config)
    if file is not None:
        if at is not None or plutos is not None or usrps is not None:
            raise InputError("--bench says where its radios are; leave --at, --usrps, --plutos out")
        with serving_air_of(file, built, keys) as (server, uris):
            _serve(server, uris, as_json)
        return
    virtual = virtual_bench(built)
    with ExitStack() as stack:
        radios, hosts = virtual_radios(virtual), VirtualHosts()
        if plutos is not None or usrps is not None:
            hosts = _hosts(virtual, usrps or 0, plutos or 0, host, port)
            hosts = replace(hosts, reference=reference)
            if not pace > 0:
                raise InputError(f"--pace = {pace:g} should be above 0")
            radios = stack.enter_context(serving_virtual(virtual, hosts, pace, cable_db))
        with serving(radios, at or EVERYBODY_HERE, keys, serial=True) as server:
            _serve(server, hosts.uris, as_json)


def serve_radio(
    uri: Annotated[str, typer.Argument(help="The radio, as `sim://air?name=d3`.")],
    at: At = EVERYBODY_HERE,
    keys: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Serve one radio to another process, host or interpreter."""
    radios = {"radio": partial(open_radio, uri)}
    with serving(radios, at, keys, serial=False) as server:
        _serve(server, [], as_json)


def _hosts(bench: VirtualBench, usrps: int, plutos: int, first: str, port: int) -> VirtualHosts:
    """Addresses on this machine, one after the other, for the first radios of a bench."""
    count = usrps + plutos
    if count > len(bench.radios):
        counts = {"--usrps": usrps, "--plutos": plutos}
        asked = ", ".join(f"{option} = {number}" for option, number in counts.items() if number)
        raise InputError(
            f"{asked}: there are a receiver and {len(bench.radios) - 1} devices; add "
            f"devices.num_devices={count - 1}"
        )
    try:
        hosts = [ipaddress.IPv4Address(first) + number for number in range(count)]
    except ValueError as error:
        raise InputError(f"--host = {first}: should be an address as 127.0.0.2") from error
    if not all(host.is_loopback for host in hosts):
        raise InputError(
            f"--host = {first}: anybody can open a PlutoSDR or USRP, so virtual ones are for this "
            "machine only; take 127.0.0.2"
        )
    places = list(zip(bench.radios, map(str, hosts), strict=False))
    return VirtualHosts(
        dict(places[:usrps]), {name: f"{host}:{port}" for name, host in places[usrps:]}
    )


def _serve(server: RadioServer, others: Sequence[str], as_json: bool) -> None:
    """Say where radios are, and serve them until Ctrl-C."""
    uris = [*others, *(f"{server.uri}?name={name}" for name in server.names)]
    with stop_after_round() as stop:
        if as_json:
            print_json({"radios": uris})
        else:
            for uri in uris:
                console.print(uri, soft_wrap=True, highlight=False)
            console.print("Ctrl-C ends it")
        sys.stdout.flush()
        server.serve(stop)
