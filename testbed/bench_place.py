"""What a bench file says of where things are: addresses, radios, files."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo

from radio.address import endpoint, require_address
from radio.api import RadioError
from radio.registry import RadioUri, driver_of

LONGEST_PATH = 100  # bytes; a socket's may have 107 on Linux and 103 elsewhere


@dataclass(frozen=True)
class Place:
    """Where a bench is set up: the context in which its file is validated.

    Attributes:
        folder: relative paths of the file start here.
        sockets: what `{sockets}` stands for.
    """

    folder: Path
    sockets: Path


ANYWHERE = Place(Path(), Path("/sockets"))  # the same on every machine


def _placed(text: str, info: ValidationInfo) -> str:
    place = info.context or ANYWHERE
    return text.replace("{sockets}", str(place.sockets))


def _from_folder(path: Path, info: ValidationInfo) -> Path:
    place = info.context or ANYWHERE
    return place.folder / path


def _require_filled(text: str) -> None:
    if "{" in text or "}" in text:
        raise ValueError(
            f"{text!r} has braces that nothing fills; there are {{sockets}}, and {{n}} in a "
            "template of devices"
        )


def served_at(uri: RadioUri) -> str | None:
    """The address of another process that serves this radio; None where no other does."""
    return endpoint(uri) if uri.scheme.startswith("zmq+") else None


def virtual_pluto_at(uri: RadioUri) -> str | None:
    """HOST or HOST:PORT of a PlutoSDR of this machine, as only virtual ones are; None for others.

    Raises:
        ValueError: it lies on this machine, and is no address of one.
    """
    # A flowgraph has it as a parameter.
    context = {"pluto": uri.address, "gnuradio": uri.options.get("uri", "")}.get(uri.scheme, "")
    if not context.startswith("ip:127."):
        return None
    host, _, port = context.removeprefix("ip:").partition(":")
    try:
        ipaddress.IPv4Address(host)
    except ValueError as error:
        raise ValueError(f"{uri}: {error}") from error
    if port and not (port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f"{uri}: the port should be 1 to 65535, not {port!r}")
    return f"{host}:{port}" if port else host


def virtual_usrp_at(uri: RadioUri) -> str | None:
    """Host of a USRP of this machine, as only virtual ones are; None for others.

    Raises:
        ValueError: it lies on this machine, and is no address of one.
    """
    known_as = {"usrp": uri.address, "soapy": uri.address, "gnuradio": uri.options.get("uri", "")}
    device = dict(
        pair.strip().split("=", 1)
        for pair in known_as.get(uri.scheme, "").split(",")
        if "=" in pair
    )
    host = device.get("addr", "")
    if not host.startswith("127."):
        return None
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError as error:
        raise ValueError(f"{uri}: {error}") from error


def _address(text: str) -> str:
    _require_filled(text)
    try:
        require_address(text, keyed=True)
    except RadioError as error:
        raise ValueError(str(error)) from error
    _require_fixed(text)
    return text


def _radio(text: str) -> str:
    _require_filled(text)
    try:
        uri = RadioUri.parse(text)
        driver_of(uri)
        virtual_pluto_at(uri)
        virtual_usrp_at(uri)
        address = served_at(uri)
    except RadioError as error:
        raise ValueError(str(error)) from error
    if address is not None:
        _require_fixed(address)
    return text


def _air(text: str) -> str:
    _radio(text)
    uri = RadioUri.parse(text)
    if served_at(uri) is None or uri.options:
        raise ValueError(f"{text!r} should be zmq+ipc://PATH or zmq+tcp://HOST:PORT, no more")
    return text


def _require_fixed(address: str) -> None:
    """ValueError unless every process of the bench finds the same place there."""
    transport, _, place = address.partition("://")
    if transport == "ipc":
        _require_socket_path(place)
        return
    host, _, port = place.rpartition(":")
    if host == "*" or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{address}: should name a host, and a port of 1 to 65535")


def _require_socket_path(path: str) -> None:
    if not path.startswith("/"):
        raise ValueError(f"the path {path!r} should be absolute, as in ipc://{{sockets}}/control")
    size = len(os.fsencode(path))
    if size > LONGEST_PATH:
        raise ValueError(
            f"the path {path!r} has {size} bytes, a socket's at most {LONGEST_PATH}; use a shorter "
            "one, or a shorter TMPDIR for {sockets}"
        )


Text = Annotated[str, AfterValidator(_placed)]
AddressText = Annotated[Text, AfterValidator(_address)]
RadioText = Annotated[Text, AfterValidator(_radio)]
AirText = Annotated[Text, AfterValidator(_air)]
FilePath = Annotated[Path, Field(strict=False), AfterValidator(_from_folder)]
