"""A flowgraph as GNU Radio Companion keeps it: its blocks, and what can be set and chosen.

Parameters are its blocks of kind ``parameter``. One of them may be a *choice*: where there are
blocks whose names begin with ``sink_null``, ``sink_pluto`` and ``sink_usrp`` beside a parameter
``sink``, its value says which of them are enabled. GNU Radio makes all blocks that are enabled, so
such a choice is made before it compiles: a radio that is not chosen is never looked for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from radio.api import RadioError
from radio.registry import choices

SUFFIX = ".grc"
HERE = Path(__file__).parent
# Sinks of streams bind, in GNU Radio 3.10.
_BINDS = re.compile(r"zeromq_(push|pub|rep)(_msg)?_sink")
Value = str | int | float | complex


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value


# GNU Radio's name of a kind, what that is for people, and how a text becomes one.
KINDS: Mapping[str, tuple[str, Callable[[str], Value]]] = {
    "complex": ("a complex number", complex),
    "eng_float": ("a number", _number),
    "intx": ("a whole number", lambda text: int(text, 0)),
    "long": ("a whole number", int),
    "str": ("a text", str),
}


@dataclass(frozen=True)
class Parameter:
    """What can be set in a flowgraph.

    Attributes:
        name: of its block.
        kind: of `KINDS`.
        default: as the file has it.
        label: for people.
        comment: what the file says about it.
        choices: what it may be, where it is a choice; else empty.
    """

    name: str
    kind: str
    default: str
    label: str
    comment: str
    choices: tuple[str, ...]

    def read(self, given: object, where: str) -> Value:
        """A value of this parameter; RadioError where what is given is none."""
        if self.choices and given not in self.choices:
            near = choices(str(given), self.choices)
            raise RadioError(f"{where} has no {self.name} {given!r}; {near}")
        what, kind = KINDS[self.kind]
        try:
            return kind(str(given))
        except ValueError as error:
            raise RadioError(f"{where}: {self.name} should be {what}, not {given!r}") from error


class GrcFile:
    """A flowgraph's file, read but not compiled."""

    def __init__(self, path: Path) -> None:
        """Read it; RadioError where it is none."""
        self.path = path
        try:
            self.text = path.read_text()
            self._content = _parsed(self.text)
            options = self._content["options"]["parameters"]
            self.name, self.title = str(options["id"]), str(options["title"])
            self.description = str(options["description"])
            self.blocks = {str(block["name"]): str(block["id"]) for block in self._blocks}
            self.parameters = {
                each.name: each for each in map(self._parameter, self._blocks) if each is not None
            }
        except OSError as error:
            raise RadioError(f"{path}: {error.strerror}") from error
        except KeyError as error:
            raise RadioError(
                f"{path} is no flowgraph of GNU Radio Companion: no {error}"
            ) from error
        except (yaml.YAMLError, TypeError, UnicodeDecodeError) as error:
            why = " ".join(str(error).split())
            raise RadioError(f"{path} is no flowgraph of GNU Radio Companion: {why}") from error

    @classmethod
    def named(cls, name: str) -> GrcFile:
        """The one that comes with AirMeta by this name, or the file at this path."""
        if name.endswith(SUFFIX):
            return cls(Path(name))
        there = shipped()
        if name not in there:
            raise RadioError(f"no flowgraph is called {name!r}; {choices(name, there)}")
        return cls(there[name])

    @property
    def _blocks(self) -> list[dict[str, Any]]:
        return list(self._content["blocks"])

    @property
    def bound(self) -> list[Parameter]:
        """Parameters that are addresses to which a ZMQ block of it binds."""
        names = [
            str(block["parameters"]["address"])
            for block in self._blocks
            if _BINDS.fullmatch(str(block["id"]))
        ]
        return [self.parameters[name] for name in names if name in self.parameters]

    def checked(self, given: Mapping[str, object]) -> dict[str, Value]:
        """What is given as values of parameters; RadioError names what is wrong, and the nearest.

        Args:
            given: values, or texts of them, by name of the parameter.
        """
        where = f"flowgraph {self.name}"
        for name in given:
            if name not in self.parameters:
                known = choices(name, self.parameters)
                raise RadioError(f"{where} has no parameter {name!r}; {known}")
        return {name: self.parameters[name].read(value, where) for name, value in given.items()}

    def chosen(self, values: Mapping[str, Value]) -> dict[str, str]:
        """What each choice of it is with these values."""
        return {
            name: str(values.get(name, each.default))
            for name, each in self.parameters.items()
            if each.choices
        }

    def enabled(self, chosen: Mapping[str, str]) -> dict[str, str]:
        """Kinds of the blocks that there are with these choices, by name."""
        return {
            str(block["name"]): str(block["id"])
            for block in self._with(chosen)["blocks"]
            if block["states"]["state"] == "enabled"
        }

    def text_with(self, chosen: Mapping[str, str]) -> str:
        """The file with these choices made."""
        return yaml.safe_dump(self._with(chosen), sort_keys=False)

    def _with(self, chosen: Mapping[str, str]) -> dict[str, Any]:
        content = _parsed(self.text)
        for block in content["blocks"]:
            name = str(block["name"])
            if name in chosen:
                block["parameters"]["value"] = chosen[name]
            for choice, value in chosen.items():
                if (option := self._option(choice, name)) is None:
                    continue
                if option != value:
                    block["states"]["state"] = "disabled"
                elif block["states"]["state"] == "disabled":
                    block["states"]["state"] = "enabled"
        return content

    def _parameter(self, block: Mapping[str, Any]) -> Parameter | None:
        told = block["parameters"]
        if block["id"] != "parameter" or told["type"] not in KINDS:
            return None
        name = str(block["name"])
        options = {
            self._option(name, other)
            for other, kind in self.blocks.items()
            if told["type"] == "str" and kind != "parameter"
        }
        return Parameter(
            name,
            told["type"],
            str(told["value"]),
            str(told["label"]) or name,
            str(told["comment"]).strip(),
            tuple(sorted(filter(None, options))),
        )

    @staticmethod
    def _option(choice: str, block: str) -> str | None:
        """Of which option of a choice a block is part: ``sink_null_pace`` of null of sink."""
        if not block.startswith(f"{choice}_"):
            return None
        return block.removeprefix(f"{choice}_").partition("_")[0]


def _parsed(text: str) -> dict[str, Any]:
    # The loader in C is ten times as fast; not every build of PyYAML has it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content: dict[str, Any] = yaml.load(text, loader)
    return content


def shipped() -> dict[str, Path]:
    """The flowgraphs that come with AirMeta."""
    return {path.stem: path for path in sorted(HERE.glob(f"*{SUFFIX}"))}
