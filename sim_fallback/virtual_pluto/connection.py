"""One client's connection to a virtual PlutoSDR: its commands are answered one after the other."""

from __future__ import annotations

import contextlib
import errno
import logging
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from radio.api import RadioError
from sim_fallback.codes import Samples
from sim_fallback.virtual_pluto import protocol
from sim_fallback.virtual_pluto.context import ADC, DAC, Device
from sim_fallback.virtual_pluto.errors import IioError
from sim_fallback.virtual_pluto.link import GoneError, Link
from sim_fallback.virtual_pluto.pluto import Pluto
from sim_fallback.virtual_pluto.receiver import Tuning
from sim_fallback.virtual_pluto.ring import Ring
from sim_fallback.virtual_pluto.transmitter import TxBuffer

LONGEST_VALUE = 1 << 16
"""Bytes of an attribute's value."""

LOOK_EVERY_S = 20e-3
"""How often it is seen, in a wait for samples, whether the client has left."""

FIRST_STEP_S = 10e-3
"""Air time that passes before it is seen for the first time."""

FASTER = 4

BUSY_S = 50e-3
"""How long a client that finds a device busy is kept waiting: its own close may be under way."""

Answer = TypeVar("Answer")

_log = logging.getLogger(__name__)


@dataclass
class Opened:
    """A device that the client has open.

    Attributes:
        chosen: positions in the scan.
        size: samples of a block.
        buffer: of a device that sends.
        ring: of one that receives.
    """

    chosen: tuple[int, ...]
    size: int
    buffer: TxBuffer | None = None
    ring: Ring[Tuning] | None = None

    @property
    def bytes_each(self) -> int:
        """Of a sample."""
        return 2 * len(self.chosen)


class Timeout:
    """The time-out of a device, which its clients share."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """0 for none."""


class Connection:
    """A conversation. Leaving its context closes what the client had open."""

    def __init__(
        self,
        link: Link,
        pluto: Pluto,
        xml: bytes,
        timeout: Timeout,
        stopped: Callable[[], bool],
    ) -> None:
        """A conversation with a client.

        Args:
            link: to the client.
            pluto: whom the client talks to.
            xml: its context.
            timeout: of its clients.
            stopped: whether the server ends.
        """
        self._link, self._pluto, self._xml = link, pluto, xml
        self._timeout, self._stopped = timeout, stopped
        self._opened: dict[str, Opened] = {}
        self._commands: dict[str, Callable[[list[str]], None]] = {
            "VERSION": lambda _: self._link.send(protocol.VERSION),
            "PRINT": lambda _: self._link.send(b"%d\n%s\n" % (len(self._xml), self._xml)),
            "TIMEOUT": self._set_timeout,
            "READ": self._read,
            "WRITE": self._write,
            "OPEN": self._open,
            "CLOSE": self._close,
            "READBUF": self._read_buffer,
            "WRITEBUF": self._write_buffer,
            "SET": self._set_count,
            "GETTRIG": self._get_trigger,
        }

    def serve(self) -> None:
        """Answer until the client leaves."""
        with contextlib.suppress(GoneError, ConnectionError, TimeoutError):
            while not self._stopped():
                line = self._link.line()
                if not self._answer(line):
                    return

    def close(self) -> None:
        """Close what the client had open."""
        for id_ in list(self._opened):
            self._shut(id_)

    def _answer(self, line: bytes) -> bool:
        """Answer a command; False for the last one."""
        try:
            words = protocol.words_of(line)
            if not words:
                return True
            command = words[0].upper()
            if command in ("EXIT", "QUIT"):
                return False
            if command not in self._commands:
                raise IioError(errno.EINVAL)
            self._commands[command](words[1:])
        except IioError as error:
            self._link.send(b"%d\n" % -error.number)
        except RadioError:
            _log.exception("the air refuses what %s was asked", self._pluto.name)
            self._link.send(b"%d\n" % -errno.EIO)
        return True

    # Attributes.

    def _set_timeout(self, words: list[str]) -> None:
        (text,) = _exactly(1, words)
        self._timeout.seconds = protocol.count_of(text) / 1e3
        self._link.send(b"0\n")

    def _read(self, words: list[str]) -> None:
        target = protocol.target_of(words)
        if target.name is not None:
            value = self._value(target.device, target.file(target.name))
            self._link.send(b"%d\n%s\n" % (len(value), value))
            return
        blob = bytearray()
        for name in target.names:
            try:
                value = self._value(target.device, target.file(name))
            except IioError as error:
                blob += struct.pack(">i", -error.number)
            else:
                blob += struct.pack(">i", len(value)) + value + bytes(-len(value) % 4)
        self._link.send(b"%d\n%s\n" % (len(blob), blob))

    def _value(self, device: Device, file: str) -> bytes:
        return self._pluto.attributes.read(device.id, file).encode() + b"\0"

    def _write(self, words: list[str]) -> None:
        *where, size_text = words or [""]
        size = protocol.count_of(size_text)
        if size > LONGEST_VALUE:
            self._link.skip(size)
            raise IioError(errno.ENOMEM)
        value = self._link.payload(size).split(b"\0")[0]
        target = protocol.target_of(where)
        if target.name is None:
            raise IioError(errno.EINVAL)
        try:
            text = value.decode("ascii")
        except UnicodeDecodeError:
            raise IioError(errno.EINVAL) from None
        self._pluto.attributes.write(target.device.id, target.file(target.name), text)
        self._link.send(b"%d\n" % size)

    # Buffers.

    def _open(self, words: list[str]) -> None:
        if len(words) not in (3, 4) or words[3:] not in ([], ["CYCLIC"]):
            raise IioError(errno.EINVAL)
        device, size = protocol.device_of(words[0]), protocol.count_of(words[1])
        opened = Opened(protocol.mask_of(words[2], device), size)
        if device.id in self._opened:
            raise IioError(errno.EBUSY)
        cyclic = len(words) == 4
        if device.id == DAC:
            opened.buffer = self._when_free(lambda: self._pluto.open_tx(size, cyclic))
        elif cyclic:
            raise IioError(errno.EPERM)
        else:
            opened.ring = self._pluto.open_rx(size)
        self._opened[device.id] = opened
        self._link.send(b"0\n")

    def _close(self, words: list[str]) -> None:
        (name,) = _exactly(1, words)
        device = protocol.device_of(name)
        if device.id not in self._opened:
            raise IioError(errno.EBADF)
        self._shut(device.id)
        self._link.send(b"0\n")

    def _shut(self, id_: str) -> None:
        opened = self._opened.pop(id_)
        if opened.buffer is not None:
            self._pluto.close_tx(opened.buffer)
        if opened.ring is not None:
            self._pluto.close_rx(opened.ring)

    def _read_buffer(self, words: list[str]) -> None:
        opened, wanted = self._transfer(words, ADC)
        mask = b"%08x\n" % sum(1 << k for k in opened.chosen)
        if opened.ring is None:
            raise IioError(errno.EBADF)
        while wanted:
            self._pluto.release(opened.ring)
            block = self._full(opened.ring)
            if len(opened.chosen) == 1:
                block = np.ascontiguousarray(block[:, opened.chosen[0]])
            data = block.data.cast("B")[:wanted]
            self._link.send(b"%d\n" % len(data) + mask, data)
            mask = b""
            wanted -= len(data)
        self._pluto.look_ahead(opened.ring, self._link.has_input)

    def _write_buffer(self, words: list[str]) -> None:
        opened, announced = self._transfer(words, DAC)
        if opened.buffer is None:
            raise IioError(errno.EBADF)
        self._link.send(b"0\n")
        left = announced
        while left:
            size = min(left, opened.size * opened.bytes_each)
            data = np.frombuffer(self._link.payload(size), "<i2")
            block = data.reshape(-1, len(opened.chosen))
            if len(opened.chosen) == 1:
                block = np.zeros((len(data), 2), np.int16)
                block[:, opened.chosen[0]] = data
            room_s = self._pluto.push(opened.buffer, block)
            self._wait(partial(float, room_s))
            left -= size
        self._link.send(b"%d\n" % announced)

    def _transfer(self, words: list[str], id_: str) -> tuple[Opened, int]:
        name, text = _exactly(2, words)
        device, count = protocol.device_of(name), protocol.count_of(text)
        if device.id != id_ or device.id not in self._opened:
            raise IioError(errno.EBADF)
        opened = self._opened[device.id]
        if count == 0 or count % opened.bytes_each:
            raise IioError(errno.EINVAL)
        return opened, count

    def _full(self, ring: Ring[Tuning]) -> Samples:
        """The next block, as soon as there is one; as `_wait` raises."""
        block = self._pluto.read(ring)
        if block is None:
            self._wait(lambda: self._pluto.ready_s(ring))
            block = self._full(ring)
        return block

    def _wait(self, until_s: Callable[[], float]) -> None:
        """Until a true time, which may move.

        Raises:
            IioError: ETIMEDOUT.
            GoneError: the client has left, or the server ends.
        """
        clock, started = self._pluto.bands.clock, time.monotonic()
        step_s, before = FIRST_STEP_S, started
        while (present_s := clock.present_s()) < (end_s := until_s()):
            clock.wait_until(min(end_s, present_s + step_s))
            now = time.monotonic()
            if now - before < LOOK_EVERY_S / FASTER:  # than the world's goes by the air's time
                step_s *= FASTER
            before = now
            if self._stopped() or self._link.has_ended():
                raise GoneError
            if self._timeout.seconds and now - started > self._timeout.seconds:
                raise IioError(errno.ETIMEDOUT)

    # The rest.

    def _set_count(self, words: list[str]) -> None:
        name, what, text = _exactly(3, words)
        if what != "BUFFERS_COUNT":
            raise IioError(errno.EINVAL)
        device, count = protocol.device_of(name), protocol.count_of(text)
        self._when_free(lambda: self._pluto.set_count(device.id, count))
        self._link.send(b"0\n")

    def _get_trigger(self, words: list[str]) -> None:
        (name,) = _exactly(1, words)
        protocol.device_of(name)
        raise IioError(errno.ENOENT)

    def _when_free(self, ask: Callable[[], Answer]) -> Answer:
        """Try again for a moment where a device is busy."""
        give_up = time.monotonic() + BUSY_S
        while True:
            try:
                return ask()
            except IioError as error:
                if error.number != errno.EBUSY or time.monotonic() > give_up:
                    raise
            time.sleep(1e-3)


def _exactly(count: int, words: list[str]) -> list[str]:
    if len(words) != count:
        raise IioError(errno.EINVAL)
    return words
