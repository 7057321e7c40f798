"""What a served radio and its client say to each other: a header in JSON, and samples as they are.

A message is one frame of JSON, ``{"version", "number", ..., "kind", "body"}``, and one more of
complex64 little-endian where samples travel. Bodies are the dataclasses below, field by field, so
integers and floats arrive bit for bit. Nothing is taken for granted on either side: what is not
exactly a message of this version is a `WireError`.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

import numpy as np

from radio.api import IQ, Capture, RadioCaps, RadioError, RadioSettings, TxReport

VERSION = 1
MAX_SAMPLES = 1 << 24  # of one message; 128 MiB
MAX_HEADER = 1 << 16  # bytes
MAX_TEXT = 1_000  # characters of a refusal
SAMPLE = np.dtype("<c8")

Frames = Sequence[bytes | memoryview]
Body = TypeVar("Body")


class WireError(RadioError):
    """A message that is none.

    Attributes:
        number: of the message, where that much could be read.
    """

    def __init__(self, why: str, number: int | None = None) -> None:
        super().__init__(why)
        self.number = number


@dataclass(frozen=True)
class Open:
    """Take the radio; the answer is `Opened`."""


@dataclass(frozen=True)
class Configure:
    """`Radio.configure`; the answer is `Configured`."""

    want: RadioSettings


@dataclass(frozen=True)
class Now:
    """`Radio.now`; the answer is `Clock`."""


@dataclass(frozen=True)
class Transmit:
    """`Radio.transmit`; the answer is a `TxReport`."""

    iq: IQ
    at: int | None


@dataclass(frozen=True)
class Receive:
    """`Radio.receive`; the answer is a `Capture`."""

    n: int
    at: int | None


@dataclass(frozen=True)
class Describe:
    """`Radio.describe`; the answer is `Described`."""


@dataclass(frozen=True)
class Close:
    """`Radio.close`; the answer is `Closed`."""


@dataclass(frozen=True)
class Opened:
    """The radio is the client's alone."""

    caps: RadioCaps


@dataclass(frozen=True)
class Configured:
    """What was applied."""

    applied: RadioSettings


@dataclass(frozen=True)
class Clock:
    """The sample clock."""

    sample: int


@dataclass(frozen=True)
class Described:
    """What the radio tells of itself: names, and a text for each."""

    names: tuple[str, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Closed:
    """The client has the radio no longer; if it had, the radio was muted."""


@dataclass(frozen=True)
class Refused:
    """A `RadioError` and its notes."""

    text: str
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: BaseException) -> Refused:
        """The refusal that stands for an error; very long texts are cut."""
        notes = [note[:MAX_TEXT] for note in getattr(error, "__notes__", [])]
        return cls(str(error)[:MAX_TEXT], tuple(notes[:2]))

    def error(self) -> RadioError:
        """The error again."""
        error = RadioError(self.text)
        for note in self.notes:
            error.add_note(note)
        return error


Ask = Open | Configure | Now | Transmit | Receive | Describe | Close
Answer = Opened | Configured | Clock | TxReport | Capture | Described | Closed | Refused

KINDS: Mapping[str, type[Any]] = {
    kind.__name__.lower(): kind for kind in (*get_args(Ask), *get_args(Answer))
}
NAMES = {kind: name for name, kind in KINDS.items()}


@dataclass(frozen=True)
class Request:
    """From client to server.

    Attributes:
        number: repeated by the reply.
        radio: name of the radio; None for the only one.
        body: what is asked.
    """

    number: int
    radio: str | None
    body: Ask


@dataclass(frozen=True)
class Reply:
    """From server to client.

    Attributes:
        number: of the request; None where that could not be read.
        settings: in force after it, where the radio is open.
        body: the answer.
    """

    number: int | None
    settings: RadioSettings | None
    body: Answer


def encode(message: Request | Reply) -> list[bytes | memoryview]:
    """The frames of a message.

    Raises:
        WireError: it holds what cannot travel, such as numbers that are not finite.
    """
    header = {item.name: _plain(getattr(message, item.name)) for item in fields(message)}
    header |= {"version": VERSION, "kind": NAMES[type(message.body)]}
    try:
        text = json.dumps(header, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise WireError(f"{type(message.body).__name__} cannot be sent: {error}") from error
    if len(text) > MAX_HEADER:
        raise WireError(f"a header of {len(text)} bytes exceeds the {MAX_HEADER} there may be")
    iq = getattr(message.body, "iq", None)
    return [text] if iq is None else [text, np.ascontiguousarray(iq, SAMPLE).view(np.uint8).data]


def decode_request(frames: Frames) -> Request:
    """The request in these frames; WireError where there is none."""
    return _decode(Request, Ask, frames)


def decode_reply(frames: Frames) -> Reply:
    """The reply in these frames; WireError where there is none."""
    return _decode(Reply, Answer, frames)


def _decode(message: type[Body], bodies: Any, frames: Frames) -> Body:
    header = _header(frames)
    number = header.get("number")
    try:
        version, name = header.pop("version", None), header.pop("kind", None)
        if type(version) is not int or version != VERSION:
            raise WireError(f"version {version!r} is not spoken here, but {VERSION}")
        kind = KINDS.get(name) if isinstance(name, str) else None
        if kind is None or kind not in get_args(bodies):
            known = ", ".join(NAMES[body] for body in get_args(bodies))
            raise WireError(f"kind {name!r} is none of {known}")
        samples = _samples(kind, frames[1:])
        return _record(message, header, {"body": kind}, "message", samples)
    except WireError as error:
        error.number = number if _is_whole(number) else None
        raise


def _header(frames: Frames) -> dict[str, Any]:
    if not frames or len(frames[0]) > MAX_HEADER:
        raise WireError(f"a message begins with a header of at most {MAX_HEADER} bytes")
    try:
        header = json.loads(bytes(frames[0]).decode(), object_pairs_hook=_once)
    # Brackets within brackets within brackets.
    except (ValueError, RecursionError) as error:
        raise WireError(f"the header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise WireError("the header is not a JSON object")
    return header


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def _samples(kind: type[Any], frames: Frames) -> IQ | None:
    """The samples behind a header, a copy; None where the kind has none."""
    takes = "iq" in _hints(kind)
    if len(frames) != takes:
        raise WireError(f"{len(frames)} frames follow the header of {NAMES[kind]}, not {takes:d}")
    if not takes:
        return None
    size = len(frames[0])
    if size == 0 or size % SAMPLE.itemsize or size > MAX_SAMPLES * SAMPLE.itemsize:
        raise WireError(
            f"{size} bytes are not 1 to {MAX_SAMPLES} samples of {SAMPLE.itemsize} bytes"
        )
    iq: IQ = np.frombuffer(frames[0], SAMPLE).astype(np.complex64)
    if not np.isfinite(iq).all():
        raise WireError("the samples are not all finite")
    return iq


def _plain(value: Any) -> Any:
    """A value as JSON has it; samples are left out."""
    if is_dataclass(value):
        return {
            item.name: _plain(getattr(value, item.name))
            for item in fields(value)
            if item.name != "iq"
        }
    if isinstance(value, (np.integer, np.floating)):
        return value.item()
    return value


_hints: Callable[[Any], dict[str, Any]] = cache(get_type_hints)


def _record(
    kind: type[Body], found: Any, known: dict[str, type[Any]], where: str, iq: IQ | None = None
) -> Body:
    """A dataclass from its fields; `known` are the kinds of those that have several."""
    kinds = {**_hints(kind), **known}
    given = {} if iq is None or "iq" not in kinds else {"iq": iq}
    expected = kinds.keys() - given.keys()
    if not isinstance(found, dict) or found.keys() != expected:
        names = ", ".join(sorted(expected)) or "nothing"
        raise WireError(f"{where} should hold {names}, and no more")
    for name, value in found.items():
        given[name] = _value(kinds[name], value, f"{where}.{name}", iq)
    return kind(**given)


def _value(kind: Any, value: Any, where: str, iq: IQ | None) -> Any:
    if NoneType in get_args(kind):
        (kind,) = (part for part in get_args(kind) if part is not NoneType)
        if value is None:
            return None
    if is_dataclass(kind):
        return _record(kind, value, {}, where, iq)  # type: ignore[arg-type]
    if kind is float and _is_number(value):
        return float(value)
    if kind is int and _is_whole(value):
        return value
    if kind in (str, bool) and type(value) is kind:
        return value
    if (
        kind == tuple[str, ...]
        and isinstance(value, list)
        and all(isinstance(text, str) for text in value)
    ):
        return tuple(value)
    raise WireError(f"{where} should be {getattr(kind, '__name__', kind)}, not {value!r:.80}")


def _is_whole(value: object) -> bool:
    """An integer of 64 bits, which no bool is."""
    return type(value) is int and -(1 << 63) <= value < 1 << 63


def _is_number(value: object) -> bool:
    if type(value) is int:
        return abs(value) <= sys.float_info.max
    return type(value) is float and math.isfinite(value)
