"""JSON of a file, read key by key with errors that name the file and the key."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from radio.api import RadioError, Range


class JsonObject:
    """One object of a file.

    Attributes:
        file: where it stands.
        where: dotted keys from the root to it; empty for the root.
        values: as read.
    """

    def __init__(
        self, file: Path, where: str, values: object, error: type[Exception] = RadioError
    ) -> None:
        """Raises `error` where `values` is no object, as all methods do for what is wrong."""
        if not isinstance(values, dict):
            raise error(f"{file}: {where or 'the file'} should be a JSON object")
        self.file, self.where, self.values, self.error = file, where, values, error

    @classmethod
    def read(cls, file: Path, error: type[Exception] = RadioError) -> JsonObject:
        """The root of a file; `error` where it cannot be read or holds no JSON object."""
        try:
            content = file.read_bytes()
        except OSError as problem:
            raise error(f"{file} cannot be read: {problem.strerror}") from problem
        return cls.parse(file, content, error)

    @classmethod
    def parse(cls, file: Path, content: bytes, error: type[Exception] = RadioError) -> JsonObject:
        """The root of what was read from a file; `error` where it holds no JSON object."""
        try:
            document = json.loads(content.decode())
        except (ValueError, RecursionError) as problem:  # or brackets within brackets
            raise error(f"{file} holds broken JSON: {problem}") from problem
        return cls(file, "", document, error)

    def place(self, key: str) -> str:
        """File and key, for a message."""
        return f"{self.file}: {self._below(key)}"

    def value(self, key: str, kind: type[Any] | tuple[type[Any], ...], default: Any = None) -> Any:
        """What stands there, or the default; never None."""
        value = self.values.get(key, default)
        if value is None:
            raise self.error(f"{self.place(key)} is missing")
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.error(f"{self.place(key)} should not be {value!r:.80}")
        return value

    def text(self, key: str) -> str:
        """A string."""
        return str(self.value(key, str))

    def texts(self, key: str) -> list[str]:
        """Strings."""
        values = self.value(key, list)
        for i, value in enumerate(values):
            if not isinstance(value, str):
                raise self.error(f"{self.place(key)}[{i}] should not be {value!r:.80}")
        return [str(value) for value in values]

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number."""
        return self._finite(key, self.value(key, (int, float), default))

    def numbers(self, key: str) -> list[float]:
        """Finite numbers."""
        values = self.value(key, list)
        for i, value in enumerate(values):
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                raise self.error(f"{self.place(key)}[{i}] should not be {value!r:.80}")
        return [self._finite(f"{key}[{i}]", value) for i, value in enumerate(values)]

    def span(self, key: str) -> Range:
        """A range, as two numbers."""
        ends = self.numbers(key)
        if len(ends) != 2:
            raise self.error(f"{self.place(key)} should be two numbers, not {len(ends)}")
        return Range(*ends)

    @contextmanager
    def naming(self) -> Iterator[None]:
        """What a class refuses that is made of these values, with the place of the object."""
        try:
            yield
        except ValueError as refusal:
            where = f"{self.file}: {self.where}" if self.where else str(self.file)
            raise self.error(f"{where}: {refusal}") from refusal

    def index(self, key: str, default: int | None = None) -> int:
        """A whole number from 0 on."""
        value: int = self.value(key, int, default)
        if value < 0:
            raise self.error(f"{self.place(key)} should be 0 or more, not {value}")
        return value

    def require(self, key: str, only: str | int, default: int | None = None) -> None:
        """Nothing else may stand there."""
        if (found := self.value(key, type(only), default)) != only:
            raise self.error(f"{self.place(key)} is {found!r:.80}; only {only!r} can be read")

    def object(self, key: str) -> JsonObject:
        """The object there."""
        return JsonObject(self.file, self._below(key), self.value(key, dict), self.error)

    def objects(self, key: str, default: list[Any] | None = None) -> list[JsonObject]:
        """The objects of a list."""
        return [
            JsonObject(self.file, f"{self._below(key)}[{i}]", value, self.error)
            for i, value in enumerate(self.value(key, list, default))
        ]

    def require_known(self, *known: str) -> None:
        """No other keys than these; the nearest is named."""
        for key in self.values:
            if key not in known:
                near = get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
                raise self.error(f"{self.place(key)}: unknown key; {hint}")

    def _below(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def _finite(self, key: str, value: float) -> float:
        # JSON has no infinity, but its reader takes one, and whole numbers beyond all floats.
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self.error(f"{self.place(key)} should be finite, not {number}")
        return number
