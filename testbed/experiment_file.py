"""Experiments from YAML files and `key=value` overrides, with errors that name file and key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from fl_core.errors import InputError
from testbed.config import ExperimentConfig

Tree = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers: `1e-3` is a number here, not a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


@dataclass(frozen=True)
class ExperimentFile:
    """An experiment as written: its settings before validation, and the grid it may sweep."""

    source: str
    settings: Tree
    axes: dict[str, list[Any]] = field(default_factory=dict)

    def config(self, overrides: Sequence[str] = ()) -> ExperimentConfig:
        """Validated settings with `key=value` overrides applied; InputError on any mistake."""
        settings = self.settings
        for override in overrides:
            key, value = parse_override(override)
            settings = merged(settings, _nested(key, value))
        keys = {parse_override(override)[0] for override in overrides}
        return validated(settings, self.source, keys)


def shipped() -> dict[str, str]:
    """Name and description of the experiments that come with the package."""
    folder = resources.files("testbed") / "configs" / "experiment"
    names = sorted(f.name.removesuffix(".yaml") for f in folder.iterdir())
    return {name: read(name).settings.get("description", "") for name in names}


def read(name_or_path: str) -> ExperimentFile:
    """A shipped experiment by name, or any YAML file by path; `base:` names one to build on."""
    return _read(name_or_path, seen=())


def _read(name_or_path: str, seen: tuple[str, ...]) -> ExperimentFile:
    source, text = _text(name_or_path)
    if source in seen:
        raise InputError(f"{source}: base: goes round in a circle ({' -> '.join(seen)})")
    settings = parse_yaml(text, source)
    axes = settings.pop("sweep", {})
    base = settings.pop("base", None)
    if base is not None:
        inherited = _read(_beside(source, str(base)), (*seen, source)).settings
        inherited.pop("description", None)
        settings = merged(inherited, settings)
    if not isinstance(axes, dict) or not all(isinstance(v, list) and v for v in axes.values()):
        raise InputError(f"{source}: sweep: should map keys to lists, e.g. seed: [0, 1, 2]")
    return ExperimentFile(source, settings, axes)


def _beside(source: str, base: str) -> str:
    """A path in a file is meant from where the file is."""
    is_path = base.endswith((".yaml", ".yml")) or "/" in base
    return str(Path(source).parent / base) if is_path else base


def _text(name_or_path: str) -> tuple[str, str]:
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"} or "/" in name_or_path:
        try:
            return str(path), path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as an experiment ({error})") from error
    folder = resources.files("testbed") / "configs" / "experiment"
    resource = folder / f"{name_or_path}.yaml"
    if not resource.is_file():
        names = sorted(f.name.removesuffix(".yaml") for f in folder.iterdir())
        raise InputError(
            f"experiment {name_or_path!r}: there is none{_nearest(name_or_path, names)}; "
            f"shipped are {', '.join(names)}, or give the path of a .yaml file"
        )
    return f"{name_or_path}.yaml", resource.read_text()


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


def validated(settings: Tree, source: str, overridden: Set[str] = frozenset()) -> ExperimentConfig:
    """The configuration, or an InputError that names every wrong key and where it stands.

    Args:
        settings: before validation.
        source: the file they come from.
        overridden: keys that come from the command line instead.
    """
    try:
        return ExperimentConfig.model_validate(settings)
    except ValidationError as error:
        raise InputError("\n".join(_explain(error, source, overridden))) from error


def _nested(key: str, value: Any) -> Tree:
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def _explain(error: ValidationError, file: str, overridden: Set[str]) -> Iterator[str]:
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        given = any(where == key or where.startswith(f"{key}.") for key in overridden)
        source = "command line" if given else file
        what = problem["msg"].removeprefix("Value error, ")
        what = what[0].lower() + what[1:]
        if problem["type"] == "extra_forbidden":
            what = f"unknown key{_nearest_key(problem['loc'])}"
        elif problem["type"] == "literal_error":
            word = str(problem["input"])
            choices = re.findall(r"'([^']*)'", problem["ctx"]["expected"])
            what = f"{word!r} is not one of {', '.join(choices)}{_nearest(word, choices)}"
        elif problem["type"] != "value_error" and problem["type"] != "missing":
            what = f"{what}, got {problem['input']!r}"
        yield f"{source}: {where}: {what}" if where else f"{source}: {what}"


def _nearest_key(loc: Sequence[int | str]) -> str:
    """The valid key nearest to an unknown one, wherever in the tree it lives."""
    section: type[BaseModel] = ExperimentConfig
    for part in loc[:-1]:
        section = section_of(section, str(part))
    prefix = ".".join(str(part) for part in loc[:-1])
    siblings = [f"{prefix}.{name}" if prefix else name for name in section.model_fields]
    here, word = ".".join(str(part) for part in loc), str(loc[-1])
    elsewhere = {key.split(".")[-1]: key for key in all_keys()}
    close = difflib.get_close_matches(here, siblings, n=1, cutoff=0.7)
    close = close or [elsewhere[w] for w in difflib.get_close_matches(word, elsewhere, n=1)]
    return f"; did you mean {close[0]}?" if close else f"; valid are {', '.join(siblings)}"


def section_of(section: type[BaseModel], name: str) -> type[BaseModel]:
    """The model class of a nested section."""
    annotation = section.model_fields[name].annotation
    candidates = [annotation, *get_args(annotation)]
    return next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))


def all_keys(section: type[BaseModel] = ExperimentConfig, prefix: str = "") -> list[str]:
    """Every key of an experiment, dotted."""
    keys = []
    for name, info in section.model_fields.items():
        keys.append(prefix + name)
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            keys += all_keys(info.annotation, f"{prefix}{name}.")
    return keys


def _nearest(word: str, choices: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, choices, n=1)
    return f"; did you mean {close[0]}?" if close else ""
