"""What a bench file says of where things are: addresses, radios, files.

Nodes and radios meet at `ipc://PATH` on one machine, or `tcp://HOST:PORT` between machines.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo

from radio.api import RadioError
from radio.registry import RadioUri, driver_of

LONGEST_PATH = 100  # bytes; a socket's may have 107 on Linux and 103 elsewhere


@dataclass(frozen=True)
class Address:
    """An address that one process can bind and others can connect to.

    Attributes:
        transport: ipc or tcp.
        place: the path of a socket, or host and port.
    """

    transport: str
    place: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """The parts of `text`; ValueError where it is no such address."""
        transport, _, place = text.partition("://")
        if transport == "ipc":
            _require_socket_path(place)
        elif transport == "tcp":
            _require_host_and_port(place)
        else:
            raise ValueError(f"{text!r} should be ipc://PATH or tcp://HOST:PORT")
        return cls(transport, place)

    @property
    def is_local(self) -> bool:
        """Whether only processes of this machine can reach it."""
        host = self.place.rpartition(":")[0].strip("[]")
        if self.transport == "ipc" or host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:  # the name of a host
            return False


def _require_socket_path(path: str) -> None:
    if not path.startswith("/"):
        raise ValueError(f"the path {path!r} should be absolute, as in ipc://{{sockets}}/control")
    size = len(os.fsencode(path))
    if size > LONGEST_PATH:
        raise ValueError(
            f"the path {path!r} has {size} bytes, a socket's at most {LONGEST_PATH}; use a shorter "
            "one, or a shorter TMPDIR for {sockets}"
        )


def _require_host_and_port(place: str) -> None:
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^/:\[\]*]+):(\d{1,5})", place)
    if not found or not 0 < int(found[2]) < 65536:
        raise ValueError(f"{place!r} should be HOST:PORT with a port of 1 to 65535")


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


def _address(text: str) -> str:
    _require_filled(text)
    Address.parse(text)
    return text


def _radio(text: str) -> str:
    _require_filled(text)
    try:
        uri = RadioUri.parse(text)
        driver_of(uri)
    except RadioError as error:
        raise ValueError(str(error)) from error
    served_at(uri)
    return text


def _air(text: str) -> str:
    _radio(text)
    uri = RadioUri.parse(text)
    if served_at(uri) is None or uri.options:
        raise ValueError(f"{text!r} should be zmq+ipc://PATH or zmq+tcp://HOST:PORT, no more")
    return text


def served_at(uri: RadioUri) -> Address | None:
    """Where another process serves this radio, if one does."""
    transport = uri.scheme.removeprefix("zmq+")
    return None if transport == uri.scheme else Address.parse(f"{transport}://{uri.address}")


Text = Annotated[str, AfterValidator(_placed)]
AddressText = Annotated[Text, AfterValidator(_address)]
RadioText = Annotated[Text, AfterValidator(_radio)]
AirText = Annotated[Text, AfterValidator(_air)]
FilePath = Annotated[Path, Field(strict=False), AfterValidator(_from_folder)]
