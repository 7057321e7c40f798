"""What a field of a message may hold: checked when a message is made and when one comes in.

A rule stands in the annotation of a field. It knows the largest encoding of what it permits, so
that the size of every message is bounded before anything is unpacked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from testbed.config import MOST_ON_AIR

MOST_PARAMS = 2**24  # d
MOST_CARRIERS = 2**12  # K
_HEAD = 9  # bytes before a number, a text or bytes, at most

Lengths = dict[str, int]  # of a message's arrays, by the symbol of the dimension


class MessageError(ValueError):
    """One line saying what is wrong with a message."""


class Rule(Protocol):
    """What a field may hold."""

    @property
    def size(self) -> int:
        """Bytes of the largest encoding."""

    def check(self, value: Any, lengths: Lengths) -> Any:
        """The value as it is kept; MessageError when it breaks the rule.

        Args:
            value: of the field.
            lengths: of arrays seen before in this message; arrays add theirs.
        """

    def pack(self, value: Any) -> Any:
        """What msgpack is given."""

    def unpack(self, packed: Any) -> Any:
        """What msgpack gave, to be checked; MessageError when it cannot be read."""


class _Plain:
    """Goes over the wire as it is."""

    def pack(self, value: Any) -> Any:
        return value

    def unpack(self, packed: Any) -> Any:
        return packed


@dataclass(frozen=True)
class Whole(_Plain):
    """An integer; True is none."""

    low: int = 0
    high: int = 2**31 - 1
    size: ClassVar[int] = _HEAD

    def check(self, value: Any, lengths: Lengths) -> int:
        """See `Rule`."""
        if type(value) is not int or not self.low <= value <= self.high:
            raise MessageError(f"should be an integer {self.low} to {self.high}, is {shown(value)}")
        return value


@dataclass(frozen=True)
class Real(_Plain):
    """A finite float; no integer passes for one."""

    low: float = -math.inf
    high: float = math.inf
    size: ClassVar[int] = _HEAD

    def check(self, value: Any, lengths: Lengths) -> float:
        """See `Rule`."""
        if not (isinstance(value, float) and math.isfinite(value)):
            raise MessageError(f"should be a finite float, is {shown(value)}")
        if not self.low <= value <= self.high:
            raise MessageError(f"should be {self.low:g} to {self.high:g}, is {value:g}")
        return float(value)


@dataclass(frozen=True)
class Flag(_Plain):
    """True or False."""

    size: ClassVar[int] = 1

    def check(self, value: Any, lengths: Lengths) -> bool:
        """See `Rule`."""
        if type(value) is not bool:
            raise MessageError(f"should be true or false, is {shown(value)}")
        return value


@dataclass(frozen=True)
class Choice(_Plain):
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def size(self) -> int:
        """See `Rule`."""
        return _HEAD + max(map(len, self.words))

    def check(self, value: Any, lengths: Lengths) -> str:
        """See `Rule`."""
        if type(value) is not str or value not in self.words:
            raise MessageError(f"should be one of {', '.join(self.words)}, is {shown(value)}")
        return value


@dataclass(frozen=True)
class Word(_Plain):
    """A text that follows a pattern of ASCII characters from end to end."""

    pattern: str
    most: int

    @property
    def size(self) -> int:
        """See `Rule`."""
        return _HEAD + self.most

    def check(self, value: Any, lengths: Lengths) -> str:
        """See `Rule`."""
        if type(value) is not str or not re.fullmatch(self.pattern, value):
            raise MessageError(f"should match {self.pattern}, is {shown(value)}")
        return value


@dataclass(frozen=True)
class Text(_Plain):
    """Printable text, so that it can be shown in a terminal; `lines` permits several."""

    most: int  # bytes
    lines: bool = False

    @property
    def size(self) -> int:
        """See `Rule`."""
        return _HEAD + self.most

    def check(self, value: Any, lengths: Lengths) -> str:
        """See `Rule`."""
        if type(value) is not str:
            raise MessageError(f"should be text, is {shown(value)}")
        parts = value.split("\n") if self.lines else [value]
        if not all(part.isprintable() for part in parts):
            raise MessageError("should be printable text, holds control characters")
        if len(value.encode()) > self.most:
            raise MessageError(f"should be text of at most {self.most} bytes")
        return value


@dataclass(frozen=True)
class Maybe:
    """None, or what another rule permits."""

    rule: Rule

    @property
    def size(self) -> int:
        """See `Rule`."""
        return self.rule.size

    def check(self, value: Any, lengths: Lengths) -> Any:
        """See `Rule`."""
        return None if value is None else self.rule.check(value, lengths)

    def pack(self, value: Any) -> Any:
        """See `Rule`."""
        return None if value is None else self.rule.pack(value)

    def unpack(self, packed: Any) -> Any:
        """See `Rule`."""
        return None if packed is None else self.rule.unpack(packed)


@dataclass(frozen=True)
class Array:
    """A read-only array of finite entries.

    On the wire: a list of its shape and its bytes, row by row, little-endian.

    Attributes:
        dtype: exactly.
        dims: a symbol for each dimension, see `MOST`; equal symbols in one message are equal
            lengths.
        low: least entry, of a real array.
        high: largest entry.
    """

    dtype: str
    dims: Sequence[str]
    low: float = -math.inf
    high: float = math.inf
    MOST: ClassVar[Mapping[str, int]] = {"d": MOST_PARAMS, "r": MOST_ON_AIR, "K": MOST_CARRIERS}

    @property
    def size(self) -> int:
        """See `Rule`."""
        entries = math.prod(self.MOST[dim] for dim in self.dims)
        return _HEAD * (len(self.dims) + 2) + entries * np.dtype(self.dtype).itemsize

    def check(self, value: Any, lengths: Lengths) -> np.ndarray[Any, Any]:
        """See `Rule`."""
        if not isinstance(value, np.ndarray) or value.dtype != self.dtype:
            raise MessageError(f"should be an array of {self.dtype}, is {shown(value)}")
        if value.ndim != len(self.dims):
            raise MessageError(f"should have {len(self.dims)} dimensions, has {value.ndim}")
        for dim, length in zip(self.dims, value.shape, strict=True):
            if not 1 <= length <= self.MOST[dim]:
                raise MessageError(f"should have {dim} = 1 to {self.MOST[dim]}, has {length}")
            if lengths.setdefault(dim, length) != length:
                raise MessageError(f"should have {dim} = {lengths[dim]}, has {length}")
        if not np.isfinite(value).all():
            raise MessageError("should be finite throughout")
        bounded = self.low > -math.inf or self.high < math.inf
        if bounded and not (self.low <= value.min() and value.max() <= self.high):
            raise MessageError(f"should be {self.low:g} to {self.high:g} throughout")
        if value.flags.writeable or not value.flags.c_contiguous:
            value = value.copy(order="C")
            value.flags.writeable = False
        kept: np.ndarray[Any, Any] = value
        return kept

    def pack(self, value: np.ndarray[Any, Any]) -> list[Any]:
        """See `Rule`."""
        return [*value.shape, value.tobytes()]

    def unpack(self, packed: Any) -> np.ndarray[Any, Any]:
        """See `Rule`."""
        if type(packed) is not list or len(packed) != len(self.dims) + 1:
            raise MessageError(f"should be a shape of {len(self.dims)} and bytes")
        *shape, data = packed
        lengths = [
            Whole(1, self.MOST[dim]).check(length, {})
            for dim, length in zip(self.dims, shape, strict=True)
        ]
        expected = math.prod(lengths) * np.dtype(self.dtype).itemsize
        if type(data) is not bytes or len(data) != expected:
            raise MessageError(f"should have {expected} bytes for the shape {lengths}")
        if self.dtype == "bool" and data.strip(b"\0\1"):
            raise MessageError("should hold 0 and 1 only")
        return np.frombuffer(data, self.dtype).reshape(lengths)


def shown(value: Any) -> str:
    """A value in one short line, whatever it is."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    if isinstance(value, bytes | list | dict | tuple):
        return f"{type(value).__name__} of length {len(value)}"
    text = ascii(value[:40] if isinstance(value, str) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."
