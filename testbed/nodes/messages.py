"""What nodes say to each other: one versioned schema, encoded with msgpack.

A message is an envelope (whose run, which round, who speaks) around a body, one of the kinds in
`device_messages`, `coordinator_messages` and `receiver_messages`. It is valid when it is made and
valid when it was decoded: exact keys, exact types, bounded sizes, finite numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, get_type_hints

import msgpack
import numpy as np

from radio.keys import NAME
from testbed.nodes.rules import MessageError, Rule, Whole, Word, shown

VERSION = 1
NO_RUN = "none"  # what a node calls its run before it has been told

Name = Annotated[str, Word(NAME, 64)]
Round = Annotated[int, Whole()]
Number = Annotated[int, Whole(0, 2**63 - 1)]

_CONTAINERS = 64  # lists and maps in a message, at most
_RULES: dict[type, dict[str, Rule]] = {}  # read from the annotations once


class _Ruled:
    """Checks every field against the rule in its annotation; MessageError says which fails."""

    def __post_init__(self) -> None:
        lengths: dict[str, int] = {}
        for name, rule in rules(type(self)).items():
            try:
                kept = rule.check(getattr(self, name), lengths)
            except MessageError as error:
                raise MessageError(f"{type(self).__name__}.{name}: {error}") from None
            object.__setattr__(self, name, kept)


class Body(_Ruled):
    """What is said. Kinds are frozen dataclasses; two are equal when all of their fields are."""

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(np.array_equal(getattr(self, n), getattr(other, n)) for n in rules(type(self)))

    def __hash__(self) -> int:
        return hash(type(self))  # arrays have none


Kinds = frozenset[type[Body]]


@dataclass(frozen=True)
class Message(_Ruled):
    """A body in its envelope.

    Attributes:
        run: id of the run, or `NO_RUN`.
        round: the round it belongs to.
        sender: name of the node that speaks.
        number: differs from message to message of a sender; the same pair of sender and number
            is the same message.
        body: what is said.
    """

    run: Name
    round: Round
    sender: Name
    number: Number
    body: Body


def rules(kind: type) -> dict[str, Rule]:
    """The rule of every field."""
    if kind not in _RULES:
        hints = get_type_hints(kind, include_extras=True)
        names = [f.name for f in dataclasses.fields(kind) if f.name != "body"]
        _RULES[kind] = {name: hints[name].__metadata__[0] for name in names}
    return _RULES[kind]


@cache
def largest(kinds: Kinds) -> int:
    """Size of the largest message of these kinds."""
    return max(
        _map_size(rules(kind)) + _map_size(rules(Message)) + len("version kind body") + 16 + 64
        for kind in kinds
    )


def encode(message: Message) -> bytes:
    """The bytes of a message."""
    body = message.body
    packed: bytes = msgpack.packb(
        {
            "version": VERSION,
            "kind": type(body).__name__,
            **{name: getattr(message, name) for name in rules(Message)},
            "body": {n: rule.pack(getattr(body, n)) for n, rule in rules(type(body)).items()},
        }
    )
    return packed


def decode(data: bytes, kinds: Kinds) -> Message:
    """The message in these bytes.

    Args:
        data: as received, from anybody.
        kinds: that are said to this end; any other is refused.

    Raises:
        MessageError: the bytes are no valid message of these kinds.
    """
    if len(data) > largest(kinds):
        raise MessageError(f"{len(data)} bytes; there is no message of more than {largest(kinds)}")
    envelope = _unpacked(data)
    if not isinstance(envelope, dict):
        raise MessageError(f"should be a map, is {shown(envelope)}")
    version = envelope.get("version")
    if type(version) is not int or version != VERSION:
        raise MessageError(f"version {shown(version)}; this end speaks version {VERSION}")
    fields = rules(Message)
    _require_keys("message", envelope, {"version", "kind", "body", *fields})
    name = envelope["kind"]
    kind = next((kind for kind in kinds if kind.__name__ == name), None)
    if kind is None:
        raise MessageError(f"kind {shown(name)} is not said to this end")
    return Message(body=_body(kind, envelope["body"]), **{name: envelope[name] for name in fields})


def _body(kind: type[Body], packed: Any) -> Body:
    fields = rules(kind)
    if not isinstance(packed, dict):
        raise MessageError(f"{kind.__name__}: should be a map, is {shown(packed)}")
    _require_keys(kind.__name__, packed, fields)
    values = {}
    for name, rule in fields.items():
        try:
            values[name] = rule.unpack(packed[name])
        except MessageError as error:
            raise MessageError(f"{kind.__name__}.{name}: {error}") from None
    return kind(**values)


def _require_keys(where: str, found: dict[str, Any], wanted: Iterable[str]) -> None:
    missing = set(wanted) - set(found)
    extra = set(found) - set(wanted)
    if missing or extra:
        names = ", ".join([*(f"no {n}" for n in sorted(missing)), *sorted(map(shown, extra))])
        raise MessageError(f"{where}: should have other keys ({names[:200]})")


def _unpacked(data: bytes) -> Any:
    count = _counter()
    try:
        return msgpack.unpackb(
            data,
            object_pairs_hook=lambda pairs: count(_unique(pairs)),
            list_hook=count,
            max_str_len=2**16,
            max_array_len=16,
            max_map_len=32,
            max_ext_len=0,
        )
    except MessageError:
        raise
    except ValueError as error:  # all that msgpack raises of bytes that it cannot read
        raise MessageError(f"is no msgpack: {shown(str(error) or type(error).__name__)}") from None


def _counter() -> Callable[[Any], Any]:
    """Passes on so many containers and no more: nested ones take far more memory than bytes."""
    seen = 0

    def count(container: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen > _CONTAINERS:
            raise MessageError(f"holds more than {_CONTAINERS} lists and maps")
        return container

    return count


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise MessageError("has a key twice")
    return unique


def _map_size(fields: dict[str, Rule]) -> int:
    return sum(len(name) + 2 + rule.size for name, rule in fields.items())
