"""The control port of a USRP: requests of 36 bytes for registers, chips and memories.

A request is a version, an identity, a number and 24 bytes that depend on the identity, all
big-endian; the answer repeats the number and has the identity as a capital letter.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from sim_fallback.virtual_usrp.board import Board
from sim_fallback.virtual_usrp.eeprom import Eeproms

PORT = 49152
VERSION = 12
HEADER = struct.Struct(">III")
SIZE = 36
LONGEST = 8000
"""Bytes of the longest datagram that gets through."""

READBACKS, SETTINGS = 0x5C00, 0x7000
REGIONS = 256  # words of each
PEEKS, POKES, PEEK_FIRMWARE, POKE_FIRMWARE = (1, 2), (3, 4), 5, 6
GPSDO_STATE, MINOR_VERSION, FIRMWARE_WORDS = 3, 7, 64
NO_GPSDO = 0x1234_ABCD  # and nobody needs to look for one
I2C_BYTES = 20


class Control:
    """Answers the requests of hosts. Its caller keeps threads apart."""

    def __init__(self, board: Board, host: str) -> None:
        """Of a board at an IPv4 address."""
        self._board, self._address = board, socket.inet_aton(host)
        equipment = board.bands.equipment(board.name)
        self._eeproms = Eeproms(equipment.serial(board.name), host)
        self._firmware = {GPSDO_STATE: NO_GPSDO, MINOR_VERSION: 4}
        self._requests: dict[bytes, Callable[[bytes], bytes]] = {
            b"r": self._register,
            b"h": self._write_i2c,
            b"i": self._read_i2c,
            b"s": self._spi,
        }

    def answer(self, packet: bytes) -> bytes | None:
        """What a datagram is answered with; None for nothing."""
        if len(packet) < SIZE:
            return None
        version, identity, number = HEADER.unpack_from(packet)
        kind = bytes([identity]) if identity < 0x80 else b""
        if version != VERSION or kind == b"a":  # who asks learns which version there is
            return _packed(b"A", number, self._address)
        if kind == b"l":
            return _probed(number, packet)
        request = self._requests.get(kind)
        if request is None:
            return _packed(b" ", number, b"")
        return _packed(kind.upper(), number, request(packet[HEADER.size : SIZE]))

    def _register(self, body: bytes) -> bytes:
        address, word, action = struct.unpack_from(">IIB", body)
        if action in PEEKS:
            word = self._peek(address)
        elif action in POKES:
            setting, rest = divmod(address - SETTINGS, 4)
            if rest == 0 and 0 <= setting < REGIONS:
                self._board.poke(setting, word)
        elif action == PEEK_FIRMWARE:
            word = self._firmware.get(address, 0)
        elif action == POKE_FIRMWARE and address < FIRMWARE_WORDS:
            self._firmware[address] = word
        return struct.pack(">IIB", address, word, action)

    def _peek(self, address: int) -> int:
        number, rest = divmod(address - READBACKS, 4)
        return self._board.readback(number) if rest == 0 and 0 <= number < REGIONS else 0

    def _write_i2c(self, body: bytes) -> bytes:
        address, count = body[0], min(body[1], I2C_BYTES)
        self._eeproms.write(address, body[2 : 2 + count])
        return body

    def _read_i2c(self, body: bytes) -> bytes:
        address, count = body[0], min(body[1], I2C_BYTES)
        return bytes([address, count]) + self._eeproms.read(address, count)

    def _spi(self, body: bytes) -> bytes:
        slaves, word, _, _, bits = struct.unpack_from(">IIBBB", body)
        self._board.write_chip(slaves, word & (1 << min(bits, 32)) - 1)
        return struct.pack(">II", slaves, 0)  # of the chips that answer none is needed


def _probed(number: int, packet: bytes) -> bytes | None:
    """As long as was asked for: hosts look so for the longest datagram that gets through."""
    (asked,) = struct.unpack_from(">I", packet, HEADER.size)
    if max(asked, len(packet)) > LONGEST:
        return None
    answer = _packed(b"L", number, struct.pack(">I", len(packet)))
    return answer.ljust(asked, b"\0")[: max(asked, HEADER.size + 4)]


def _packed(kind: bytes, number: int, body: bytes) -> bytes:
    return HEADER.pack(VERSION, kind[0], number) + body[: SIZE - HEADER.size].ljust(24, b"\0")
