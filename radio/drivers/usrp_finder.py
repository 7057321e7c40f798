"""USRPs that are there, as UHD finds them by network and USB, or at given device arguments."""

from __future__ import annotations

from collections.abc import Sequence

import uhd

from radio.discovery import Found, Gap, Search

TOLD = {"model": "product", "serial": "serial", "name": "name", "type": "type"}
BY_ADDRESS = "airmeta radio list usrp://addr=192.168.10.2"
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


def _address(device: dict[str, str]) -> str:
    """What tells a device from all others."""
    for key in ("addr", "serial", "resource"):
        if device.get(key):
            return f"{key}={device[key]}"
    return ",".join(f"{key}={value}" for key, value in device.items())
