"""Addresses of servers, and which of them nobody but this machine can reach."""

from __future__ import annotations

import ipaddress
import re

from radio.api import RadioError
from radio.registry import RadioUri

# Not ipc://@NAME, which every user of the machine may open, nor ipc://*, which nobody can find.
_ADDRESS = re.compile(r"ipc://[^@*].*|tcp://(?P<host>[^/]+):(\d+|\*)")


def endpoint(uri: RadioUri) -> str:
    """What ZMQ calls the address of a ``zmq+...`` URI; RadioError where it is none."""
    scheme, _, transport = uri.scheme.partition("+")
    address = f"{transport}://{uri.address}"
    if scheme != "zmq" or not _ADDRESS.fullmatch(address):
        raise RadioError(f"{uri}: should be zmq+ipc://PATH or zmq+tcp://HOST:PORT")
    return address


def require_address(address: str, keyed: bool) -> None:
    """RadioError unless ZMQ has such addresses, and this one may be used.

    Args:
        address: to bind or to connect to; port ``*`` is any that is free.
        keyed: whether both ends have keys. Without, only this machine may be able to reach it.
    """
    parts = _ADDRESS.fullmatch(address)
    if parts is None:
        raise RadioError(f"{address}: should be ipc://PATH or tcp://HOST:PORT")
    if not keyed and parts["host"] is not None and not _is_here(parts["host"]):
        raise RadioError(
            f"{address}: can be reached from other hosts and needs keys; make them with "
            "`airmeta keys new NAME --out DIR`, or use 127.0.0.1 or a socket file"
        )


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:  # a name or an interface, which may be anywhere
        return False
    # A socket of both kinds of IP prints 127.0.0.1 as ::ffff:127.0.0.1.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
