"""USRPs that are there, as UHD finds and opens them by network, USB or given device arguments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import uhd

from radio.api import RadioError
from radio.discovery import Found, Gap, Search

RECEIVE_BUFFERS = Path("/proc/sys/net/core/rmem_max")
MOST_BUFFER = 50_000_000  # bytes; what UHD asks for by itself
TOLD = {"model": "product", "serial": "serial", "name": "name", "type": "type"}
BY_ADDRESS = "airmeta radio list usrp://addr=192.168.10.2"
SEARCHES = 3  # libuhd waits for an answer for half a second, which a busy device may miss
ADVICE = (
    "a USRP by network answers within its own subnet only: give this host an address there, as "
    "192.168.10.1, and ping it",
    f"ask it by its address: {BY_ADDRESS}",
)


def find(addresses: Sequence[str]) -> Search:
    """The USRPs at these device arguments; where none is given, those that UHD finds.

    Each is asked who it is, and left as it is.
    """
    found, gaps = [], []
    for address in addresses or [""]:
        try:
            devices = [device.to_dict() for device in uhd.find(address)]
        except RuntimeError as error:
            why = f"cannot be looked for: {' '.join(str(error).split())}"
            gaps.append(Gap(f"usrp://{address}", why, BY_ADDRESS))
            continue
        for device in devices:
            about = {name: device[key] for name, key in TOLD.items() if device.get(key)}
            found.append(Found(f"usrp://{address or _address(device)}", about))
        if address and not devices:
            remedy = "is it on, is the address right, does `ping` reach it?"
            gaps.append(Gap(f"usrp://{address}", "does not answer", remedy))
    return Search(tuple(found), tuple(gaps), ADVICE)


def opened(address: str) -> uhd.usrp.MultiUSRP:
    """The USRP at these device arguments; RadioError where there is none."""
    for part in address.split(","):
        if not re.fullmatch(r"\s*\w+=.+", part):
            raise RadioError(f"{part!r} should read key=value, as in usrp://addr=192.168.10.2")
    for _ in range(SEARCHES):
        try:
            return uhd.usrp.MultiUSRP(_arguments(address))
        except (LookupError, RuntimeError) as error:
            if "No devices found" not in str(error):
                raise
    raise RadioError(
        f"{address} cannot be opened: no USRP answers there; is it on, is the address right, has "
        "another program got it?"
    )


def _arguments(address: str) -> str:
    """Device arguments with a receive buffer that the system allows.

    UHD asks for more by itself than most systems allow, and warns of it in ten lines.
    """
    if "recv_buff_size" in address or not RECEIVE_BUFFERS.exists():
        return address
    return f"{address},recv_buff_size={receive_buffer()}"


def receive_buffer() -> int:
    """Bytes of a receive buffer that the system allows, and UHD wants."""
    allowed = RECEIVE_BUFFERS.read_text() if RECEIVE_BUFFERS.exists() else MOST_BUFFER
    return min(int(allowed), MOST_BUFFER)


def _address(device: dict[str, str]) -> str:
    """What tells a device from all others."""
    for key in ("addr", "serial", "resource"):
        if device.get(key):
            return f"{key}={device[key]}"
    return ",".join(f"{key}={value}" for key, value in device.items())
