"""Stream tags as GNU Radio's ZMQ blocks write them before the samples of a message.

A message of blocks that pass tags begins with a magic number, a version, the count of its first
item, and its tags: offset in that count, and key, value and source as PMTs in their portable form.
Source: gr-zeromq/lib/tag_headers.cc and gnuradio-runtime/lib/pmt/pmt.cc of GNU Radio 3.10.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from radio.api import RadioError

MAGIC, VERSION = 0x5FF0, 1
# Of this machine's byte order, as the blocks write them.
HEADER = struct.Struct("=HBQQ")
OFFSET = struct.Struct("=Q")
TRUE, FALSE, SYMBOL, INT32, DOUBLE, COMPLEX, NIL, PAIR = range(8)
DICT, UINT64, TUPLE, INT64 = 0x09, 0x0B, 0x0C, 0x0D
DEEPEST = 16  # of tuples in tuples

TagValue = bool | int | float | complex | str | None | tuple["TagValue", ...]


@dataclass(frozen=True)
class Tag:
    """Something about one item of a stream.

    Attributes:
        offset: of the item, in the count that its message goes on with.
        key: what it is about: ``rx_time``, ``tx_sob``, ``packet_len``.
        value: of it; a pair is a tuple of two, a dictionary one of such pairs.
    """

    offset: int
    key: str
    value: TagValue


def encoded(offset: int, tags: Sequence[Tag]) -> bytes:
    """The header of a message.

    Args:
        offset: of its first item.
        tags: of its items.
    """
    parts = [HEADER.pack(MAGIC, VERSION, offset, len(tags))]
    for tag in tags:
        parts += [OFFSET.pack(tag.offset), _written(tag.key), _written(tag.value), _written(False)]
    return b"".join(parts)


def decoded(message: memoryview) -> tuple[int, list[Tag], int]:
    """The header of a message: offset of its first item, its tags, and the header's bytes.

    Raises:
        RadioError: the message has none.
    """
    try:
        magic, version, offset, count = HEADER.unpack_from(message)
        if (magic, version) != (MAGIC, VERSION):
            raise RadioError("a message has no header of tags; let the ZMQ block pass tags")
        place, tags = HEADER.size, []
        for _ in range(count):
            (at,) = OFFSET.unpack_from(message, place)
            key, place = _read(message, place + OFFSET.size)
            value, place = _read(message, place)
            _, place = _read(message, place)
            tags.append(Tag(at, str(key), value))
    except struct.error as error:
        raise RadioError(f"a message ends within its header of tags: {error}") from error
    return offset, tags, place


def message(written: bytes) -> TagValue:
    """What a message of GNU Radio holds, as its ZMQ blocks send it; a dictionary as its entries.

    Raises:
        RadioError: it is none.
    """
    try:
        return _read(memoryview(written), 0)[0]
    except struct.error as error:
        raise RadioError(f"a message ends too early: {error}") from error


def _written(value: TagValue) -> bytes:
    match value:
        case None:
            return bytes([NIL])
        case bool():
            return bytes([TRUE if value else FALSE])
        case str():
            text = value.encode()
            return struct.pack(">BH", SYMBOL, len(text)) + text
        case int() if -(1 << 31) <= value < 1 << 31:
            return struct.pack(">Bi", INT32, value)
        case int() if value >= 1 << 63:
            return struct.pack(">BQ", UINT64, value)
        case int():
            return struct.pack(">Bq", INT64, value)
        case float():
            return struct.pack(">Bd", DOUBLE, value)
        case complex():
            return struct.pack(">Bdd", COMPLEX, value.real, value.imag)
        case tuple():
            return struct.pack(">BI", TUPLE, len(value)) + b"".join(map(_written, value))


def _read(message: memoryview, place: int, depth: int = 0) -> tuple[TagValue, int]:
    """A value and where it ends."""
    (kind,) = struct.unpack_from(">B", message, place)
    place += 1
    if depth > DEEPEST:
        raise RadioError("a tag holds tuples in tuples without end")
    if kind in (TRUE, FALSE):
        return kind == TRUE, place
    if kind == NIL:
        return None, place
    if kind == SYMBOL:
        (length,) = struct.unpack_from(">H", message, place)
        text = bytes(message[place + 2 : place + 2 + length])
        return text.decode(errors="replace"), place + 2 + length
    if kind in _NUMBERS:
        layout = _NUMBERS[kind]
        numbers = layout.unpack_from(message, place)
        value = complex(*numbers) if kind == COMPLEX else numbers[0]
        return value, place + layout.size
    if kind == DICT:
        entry, place = _read(message, place, depth + 1)
        others, place = _read(message, place, depth + 1)
        return (entry, *(others if isinstance(others, tuple) else ())), place
    if kind in (PAIR, TUPLE):
        count = 2
        if kind == TUPLE:
            (count,) = struct.unpack_from(">I", message, place)
            place += 4
        items = []
        for _ in range(count):
            item, place = _read(message, place, depth + 1)
            items.append(item)
        return tuple(items), place
    raise RadioError(f"a tag has a value of kind {kind}, which is not read here")


_NUMBERS = {
    INT32: struct.Struct(">i"),
    DOUBLE: struct.Struct(">d"),
    COMPLEX: struct.Struct(">dd"),
    UINT64: struct.Struct(">Q"),
    INT64: struct.Struct(">q"),
}
