"""Settings from YAML files and `key=value` overrides, with errors that name file and key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from fl_core.errors import InputError

Tree = dict[str, Any]
Config = TypeVar("Config", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers: `1e-3` is a number here, not a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


@dataclass(frozen=True)
class Kind(Generic[Config]):
    """A kind of file.

    Attributes:
        word: what people call it; the shipped ones lie in the folder of this name.
        root: the tree of settings that it fills.
    """

    word: str
    root: type[Config]

    def shipped(self) -> dict[str, str]:
        """Name and description of those that come with the package."""
        texts = {name: (self._folder / f"{name}.yaml").read_text() for name in self._names()}
        return {n: parse_yaml(text, n).get("description", "") for n, text in texts.items()}

    def text(self, name_or_path: str) -> tuple[str, str]:
        """File name and text of a shipped one by name, or of any file by path.

        Raises:
            InputError: there is none, or it cannot be read.
        """
        if is_path(name_or_path):
            path = Path(name_or_path)
            try:
                return str(path), path.read_text()
            except (OSError, UnicodeDecodeError) as error:
                article = "an" if self.word[0] in "aeiou" else "a"
                raise InputError(
                    f"{path}: cannot be read as {article} {self.word} ({error})"
                ) from error
        names = self._names()
        if name_or_path not in names:
            raise InputError(
                f"{self.word} {name_or_path!r}: there is none{_nearest(name_or_path, names)}; "
                f"shipped are {', '.join(names)}, or give the path of a .yaml file"
            )
        return f"{name_or_path}.yaml", (self._folder / f"{name_or_path}.yaml").read_text()

    def validated(
        self,
        settings: Tree,
        source: str,
        overridden: Set[str] = frozenset(),
        context: object = None,
    ) -> Config:
        """The configuration, or an InputError that names every wrong key and where it stands.

        Args:
            settings: before validation.
            source: the file they come from.
            overridden: keys that come from the command line instead.
            context: what the validators of the tree are told.
        """
        try:
            return self.root.model_validate(settings, context=context)
        except ValidationError as error:
            lines = dict.fromkeys(self._explain(error, source, overridden))
            raise InputError("\n".join(lines)) from error

    def all_keys(self) -> list[str]:
        """Every key, dotted."""
        return _keys_below(self.root, "")

    @property
    def _folder(self) -> Traversable:
        return resources.files("testbed") / "configs" / self.word

    def _names(self) -> list[str]:
        return sorted(file.name.removesuffix(".yaml") for file in self._folder.iterdir())

    def _explain(self, error: ValidationError, file: str, overridden: Set[str]) -> Iterator[str]:
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"])
            given = any(where == key or where.startswith(f"{key}.") for key in overridden)
            source = "command line" if given else file
            what = problem["msg"].removeprefix("Value error, ")
            what = what[0].lower() + what[1:]
            if problem["type"] == "extra_forbidden":
                what = f"unknown key{self._nearest_key(problem['loc'])}"
            elif problem["type"] == "literal_error":
                word = str(problem["input"])
                choices = re.findall(r"'([^']*)'", problem["ctx"]["expected"])
                what = f"{word!r} is not one of {', '.join(choices)}{_nearest(word, choices)}"
            elif problem["type"] != "value_error" and problem["type"] != "missing":
                what = f"{what}, got {problem['input']!r}"
            yield f"{source}: {where}: {what}" if where else f"{source}: {what}"

    def _nearest_key(self, loc: Sequence[int | str]) -> str:
        """The valid key nearest to an unknown one, wherever in the tree it lives."""
        *above, word = (str(part) for part in loc)
        siblings = [".".join([*above, name]) for name in _fields_at(self.root, loc[:-1])]
        elsewhere = {key.split(".")[-1]: key for key in self.all_keys()}
        close = difflib.get_close_matches(".".join([*above, word]), siblings, n=1, cutoff=0.7)
        close = close or [elsewhere[w] for w in difflib.get_close_matches(word, elsewhere, n=1)]
        return f"; did you mean {close[0]}?" if close else f"; valid are {', '.join(siblings)}"


def is_path(name_or_path: str) -> bool:
    """Whether it says where a file is, rather than how a shipped one is called."""
    return name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path


def parse_yaml(text: str, source: str) -> Tree:
    """A mapping from YAML text; InputError naming the line otherwise."""
    try:
        settings = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InputError(f"{source}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(settings, dict):
        raise InputError(f"{source}: should be a mapping of keys to values")
    return settings


def parse_override(override: str) -> tuple[str, Any]:
    """`channel.snr_db=19` as key and typed value."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise InputError(f"command line: {override!r} should be key=value, e.g. channel.snr_db=19")
    try:
        return key.strip(), yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InputError(f"command line: {key}: {text!r} is not a YAML value") from error


def format_override(key: str, value: Any) -> str:
    """The inverse of `parse_override`."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return f"{key}={text.removesuffix('...' + chr(10)).strip()}"


def merged(base: Tree, over: Mapping[str, Any]) -> Tree:
    """`over` laid upon `base`, section by section; neither is changed."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        nests = isinstance(below, dict) and isinstance(value, Mapping)
        result[key] = merged(below, value) if nests else value  # type: ignore[arg-type]
    return result


def with_overrides(settings: Tree, overrides: Sequence[str]) -> tuple[Tree, set[str]]:
    """The settings with `key=value` overrides laid upon them, and the keys of these."""
    pairs = [parse_override(override) for override in overrides]
    for key, value in pairs:
        settings = merged(settings, _nested(key, value))
    return settings, {key for key, _ in pairs}


def _nested(key: str, value: Any) -> Tree:
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def _held(annotation: Any, in_list: bool) -> list[type[BaseModel]]:
    """Sections that a field of this type may hold: as its value, or as items of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [] if in_list else [annotation]
    is_list = get_origin(annotation) in {tuple, list}
    if is_list and not in_list:
        return []
    return [s for part in get_args(annotation) for s in _held(part, in_list and not is_list)]


def _fields_at(root: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """Names that are valid in the section at `loc`."""
    sections = [root]
    for part, after in zip(loc, [*loc, ""][1:], strict=True):
        if isinstance(part, str):
            fields = [s.model_fields[part] for s in sections if part in s.model_fields]
            in_list = isinstance(after, int)
            sections = [s for field in fields for s in _held(field.annotation, in_list)]
    return list(dict.fromkeys(name for section in sections for name in section.model_fields))


def _keys_below(section: type[BaseModel], prefix: str) -> list[str]:
    keys = []
    for name, field in section.model_fields.items():
        keys.append(prefix + name)
        for below in _held(field.annotation, in_list=False):
            keys += _keys_below(below, f"{prefix}{name}.")
    return keys


def _nearest(word: str, choices: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, choices, n=1)
    return f"; did you mean {close[0]}?" if close else ""
