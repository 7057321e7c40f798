"""PlutoSDRs that are there, by USB and network as libiio finds them, or at given addresses."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import errno
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import iio

from radio.discovery import Found, Gap, Search
from radio.drivers.pluto_about import TRANSCEIVER, about

LIBRARY = "libiio.dll" if sys.platform == "win32" else "iio"
BACKENDS = {"usb": "by USB", "ip": "by network", "local": "of this machine"}
ANALOG_DEVICES, RUNNING, IN_DFU = "0456", "b673", "b674"  # vendor and products of USB
USB_DEVICES, USB_NODES = Path("/sys/bus/usb/devices"), Path("/dev/bus/usb")
AVAHI = Path("/run/avahi-daemon/socket")
BY_ADDRESS = "airmeta radio list pluto://ip:192.168.2.1"
ADVICE = (
    "a PlutoSDR answers 20 s after power, by its middle socket and a USB cable that carries data",
    f"by network, ask it by its address: {BY_ADDRESS}",
)


def find(addresses: Sequence[str]) -> Search:
    """The PlutoSDRs at these addresses of libiio; where none is given, those that it finds.

    Each is asked what it is, and left as it is.
    """
    there, gaps = (list(addresses), []) if addresses else _scan()
    found = []
    for address in there:
        uri = f"pluto://{address}"
        try:
            context = iio.Context(address)
            if context.find_device(TRANSCEIVER) is not None:
                found.append(Found(uri, about(context)))
            elif addresses:  # of what a scan finds, other devices are nobody's business
                gaps.append(Gap(uri, "is no PlutoSDR", f"iio_info -u {address}"))
        except OSError as error:
            if error.errno == errno.ENOSYS:
                why, remedy = "is no address of libiio", "one looks like pluto://ip:192.168.2.1"
            else:
                why = f"does not open: {error.strerror}"
                remedy = "is it on, is the address right, does another program have it open?"
            gaps.append(Gap(uri, why, remedy))
    return Search(tuple(found), tuple(gaps), ADVICE)


def _scan() -> tuple[list[str], list[Gap]]:
    """Addresses that libiio finds, of PlutoSDRs and others, and where it cannot look."""
    there: list[str] = []
    gaps = list(_usb_gaps())
    for backend, where in BACKENDS.items():
        place = f"PlutoSDRs {where}"
        if backend == "ip" and sys.platform == "linux" and not AVAHI.exists():
            why = "are found through Avahi, which does not run here"
            gaps.append(Gap(place, why, f"apt install avahi-daemon; or {BY_ADDRESS}"))
        elif backend in iio.backends:
            try:
                there += _scan_by(backend)
            except OSError as error:
                gaps.append(Gap(place, f"cannot be searched: {error.strerror}", BY_ADDRESS))
    return there, gaps


def _scan_by(backend: str) -> list[str]:
    """Addresses that libiio finds by a backend.

    Its Python binding only scans by all of them, and gives up where one fails.

    Raises:
        OSError: this one fails.
    """
    library = ctypes.CDLL(ctypes.util.find_library(LIBRARY), use_errno=True)
    library.iio_create_scan_context.restype = ctypes.c_void_p
    library.iio_scan_context_get_info_list.restype = ctypes.c_ssize_t
    library.iio_context_info_get_uri.restype = ctypes.c_char_p
    scan = ctypes.c_void_p(library.iio_create_scan_context(backend.encode(), ctypes.c_uint(0)))
    if not scan:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        infos = ctypes.POINTER(ctypes.c_void_p)()
        count = library.iio_scan_context_get_info_list(scan, ctypes.byref(infos))
        if count < 0:
            raise OSError(-count, os.strerror(-count))
        named = [library.iio_context_info_get_uri(ctypes.c_void_p(infos[k])) for k in range(count)]
        library.iio_context_info_list_free(infos)
        return [name.decode() for name in named]
    finally:
        library.iio_scan_context_destroy(scan)


def _usb_gaps() -> Iterator[Gap]:
    """PlutoSDRs that Linux sees on USB, and that libiio passes over without a word."""
    for vendor in USB_DEVICES.glob("*/idVendor"):
        with contextlib.suppress(OSError):  # it was unplugged while we looked
            if vendor.read_text().strip() != ANALOG_DEVICES:
                continue
            product, bus, device = (
                (vendor.parent / name).read_text().strip()
                for name in ("idProduct", "busnum", "devnum")
            )
            node = USB_NODES / f"{int(bus):03}" / f"{int(device):03}"
            if product == IN_DFU:
                why = "is a PlutoSDR in DFU mode, in which it only waits for firmware"
                yield Gap(str(node), why, "plug it in again; see docs/pluto-bench.md#firmware")
            elif product == RUNNING and not os.access(node, os.R_OK | os.W_OK):
                why = "is a PlutoSDR that this user may not open"
                remedy = "apt install libiio-utils, plug it in again; see docs/pluto-bench.md#linux"
                yield Gap(str(node), why, remedy)
