"""The EEPROMs of a USRP on its I2C bus: who it is, and which daughterboard it carries."""

from __future__ import annotations

import socket
import zlib

SIZE = 256
MOTHERBOARD, SPARE, TX_BOARD, RX_BOARD = 0x50, 0x51, 0x54, 0x55
HARDWARE = 0x0A11
"""N210, revision 4."""

SBX_RX, SBX_TX = 0x0054, 0x0055
DAUGHTERBOARD = 0xDB  # the first byte of its EEPROM
SUM_AT = 31
MAC = bytes.fromhex("A0369F")  # of its first half; the other follows from the serial number
SUBNET = "255.0.0.0"
SERIAL_SIZE, NAME_SIZE = 9, 23


class Eeproms:
    """Memories by their addresses on the bus, each with a pointer that goes on as it is read."""

    def __init__(self, serial: str, host: str) -> None:
        """What a radio knows of itself.

        Args:
            serial: of any length; the device shows it as its name, and a digest of it as its
                serial number, for which there is less room.
            host: IPv4 address of the device.
        """
        digest = short_serial(serial)
        boards = {MOTHERBOARD: _motherboard(serial, digest, host), SPARE: b""}
        boards |= {RX_BOARD: _daughterboard(SBX_RX, digest)}
        boards |= {TX_BOARD: _daughterboard(SBX_TX, digest)}
        self._memories = {
            address: bytearray(image.ljust(SIZE, b"\xff")) for address, image in boards.items()
        }
        self._pointers = dict.fromkeys(boards, 0)

    def write(self, address: int, data: bytes) -> None:
        """Set the pointer to the first byte, and write the others from there."""
        if address not in self._memories or not data:
            return
        self._pointers[address] = data[0]
        for byte in data[1:]:
            self._memories[address][self._next(address)] = byte

    def read(self, address: int, count: int) -> bytes:
        """The next bytes; all ones where there is no memory."""
        if address not in self._memories:
            return b"\xff" * count
        return bytes(self._memories[address][self._next(address)] for _ in range(count))

    def _next(self, address: int) -> int:
        at = self._pointers[address]
        self._pointers[address] = (at + 1) % SIZE
        return at


def short_serial(serial: str) -> str:
    """The serial number that a device shows, of 8 characters."""
    return f"{zlib.crc32(serial.encode()):08X}"


def _motherboard(name: str, digest: str, host: str) -> bytes:
    image = bytearray(b"\xff" * SIZE)
    for at, field in (
        (0x00, HARDWARE.to_bytes(2, "little")),
        (0x02, MAC + bytes.fromhex(digest)[1:]),
        (0x08, socket.inet_aton(SUBNET)),
        (0x0C, socket.inet_aton(host)),
        (0x17, b"\x00"),  # no GPSDO
        (0x18, digest.encode().ljust(SERIAL_SIZE, b"\x00")),
        (0x21, name.encode()[:NAME_SIZE].ljust(NAME_SIZE, b"\x00")),
        (0x38, socket.inet_aton("255.255.255.255")),  # no gateway
    ):
        image[at : at + len(field)] = field
    return bytes(image)


def _daughterboard(kind: int, digest: str) -> bytes:
    image = bytearray(SUM_AT)
    image[0] = DAUGHTERBOARD
    image[1:3] = kind.to_bytes(2, "little")
    image[9 : 9 + len(digest)] = digest.encode()
    return bytes(image) + bytes([-sum(image) & 0xFF])
