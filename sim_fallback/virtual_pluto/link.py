"""The bytes between an IIOD server and one client, in bounded memory."""

from __future__ import annotations

import select
import socket

from sim_fallback.virtual_pluto.protocol import LONGEST_LINE

CHUNK = 1 << 16


class GoneError(Exception):
    """The client has left, or speaks another language."""


class Link:
    """A connected socket that blocks. All that receives raises `GoneError` at its end."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._received = bytearray()

    def line(self) -> bytes:
        """The next line without its end; one that is too long is an end, too."""
        while (end := self._received.find(b"\n")) < 0:
            if len(self._received) > LONGEST_LINE:
                raise GoneError
            self._more()
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line

    def payload(self, count: int) -> bytearray:
        """The next `count` bytes."""
        payload = bytearray(count)
        have = min(count, len(self._received))
        payload[:have] = self._received[:have]
        del self._received[:have]
        rest = memoryview(payload)[have:]
        while rest:
            got = self._socket.recv_into(rest)
            if not got:
                raise GoneError
            rest = rest[got:]
        return payload

    def skip(self, count: int) -> None:
        """Drop the next `count` bytes."""
        while count > 0:
            if not self._received:
                self._more()
            dropped = min(count, len(self._received))
            del self._received[:dropped]
            count -= dropped

    def send(self, *parts: bytes | memoryview) -> None:
        """Send all of it; ConnectionError where the client has left."""
        if sum(map(len, parts)) <= CHUNK:  # at once: each call wakes the client
            parts = (b"".join(parts),)
        for part in parts:
            self._socket.sendall(part)

    def has_ended(self) -> bool:
        """Whether the client has left, as far as can be told without waiting."""
        if self._received or not self.has_input():
            return False
        return not self._socket.recv(1, socket.MSG_PEEK)

    def has_input(self) -> bool:
        """Whether the client has said anything more, or has left."""
        return bool(self._received or select.select([self._socket], [], [], 0)[0])

    def _more(self) -> None:
        data = self._socket.recv(CHUNK)
        if not data:
            raise GoneError
        self._received += data
