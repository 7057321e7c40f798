"""The language of IIOD: what clients ask, one line each."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from sim_fallback.virtual_pluto.context import Channel, Device, find
from sim_fallback.virtual_pluto.errors import IioError

LONGEST_LINE = 1024
"""Bytes of a command; a client that sends a longer one is not understood, and cut off."""

LARGEST = 1 << 31
"""Above all counts and sizes."""

KINDS = ("DEBUG", "BUFFER")
VERSION = b"0.24.v0.24  \n"


@dataclass(frozen=True)
class Target:
    """What an attribute belongs to, and its name.

    Attributes:
        device: whose.
        channel: of the device; None for an attribute of the device itself.
        kind: empty, DEBUG or BUFFER.
        name: None for all of them.
    """

    device: Device
    channel: Channel | None
    kind: str
    name: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """Of all attributes there are, in the order of the context."""
        if self.channel is not None:
            return tuple(self.channel.files)
        device = self.device
        return {"": device.attributes, "DEBUG": device.debug, "BUFFER": device.buffer}[self.kind]

    def file(self, name: str) -> str:
        """The file of an attribute; IioError ENOENT where there is none of that name."""
        if self.channel is not None:
            if name in self.channel.files.values():
                return name
            if name in self.channel.files:
                return self.channel.files[name]
        elif name in self.names:
            return name
        raise IioError(errno.ENOENT)


def words_of(line: bytes) -> list[str]:
    """The words of a command; IioError EINVAL for what is no text."""
    try:
        return line.decode("ascii").split()
    except UnicodeDecodeError:
        raise IioError(errno.EINVAL) from None


def device_of(word: str) -> Device:
    """A device by id or name; IioError ENODEV."""
    device = find(word)
    if device is None:
        raise IioError(errno.ENODEV)
    return device


def count_of(word: str) -> int:
    """A number that is not negative; IioError EINVAL."""
    if not word.isdecimal() or len(word) > 10 or int(word) >= LARGEST:
        raise IioError(errno.EINVAL)
    return int(word)


def target_of(words: list[str]) -> Target:
    """Of ``DEV [INPUT|OUTPUT CH|DEBUG|BUFFER] [ATTR]``.

    Raises:
        IioError: ENODEV, ENXIO or EINVAL; whether the attribute exists is not asked.
    """
    if not words:
        raise IioError(errno.EINVAL)
    device, rest = device_of(words[0]), words[1:]
    channel, kind = None, ""
    if rest and rest[0] in ("INPUT", "OUTPUT"):
        if len(rest) < 2:
            raise IioError(errno.EINVAL)
        channel = device.channel(rest[1], rest[0] == "OUTPUT")
        if channel is None:
            raise IioError(errno.ENXIO)
        rest = rest[2:]
    elif rest and rest[0] in KINDS:
        kind, rest = rest[0], rest[1:]
    if len(rest) > 1:
        raise IioError(errno.EINVAL)
    return Target(device, channel, kind, rest[0] if rest else None)


def mask_of(word: str, device: Device) -> tuple[int, ...]:
    """The positions in a scan that a mask selects, of a device that has samples.

    Raises:
        IioError: EINVAL, no mask of this device, or an empty one; ENODEV, it has no samples.
    """
    if not device.scan:
        raise IioError(errno.ENODEV)
    length = -(-len(device.channels) // 32) * 8
    if len(word) != length or not all(digit in "0123456789abcdefABCDEF" for digit in word):
        raise IioError(errno.EINVAL)
    bits = int(word, 16)
    chosen = tuple(k for k in range(len(device.scan)) if bits >> k & 1)
    if not chosen or bits >> len(device.scan):
        raise IioError(errno.EINVAL)
    return chosen
