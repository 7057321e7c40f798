"""Experiments from YAML files, which may build on another and span a grid."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fl_core.errors import InputError
from testbed.config import ExperimentConfig
from testbed.yaml_file import (
    Kind,
    Tree,
    format_override,
    is_path,
    merged,
    parse_override,
    parse_yaml,
    with_overrides,
)

__all__ = [
    "ExperimentFile",
    "all_keys",
    "format_override",
    "merged",
    "parse_override",
    "read",
    "shipped",
    "validated",
]

EXPERIMENT = Kind("experiment", ExperimentConfig)


@dataclass(frozen=True)
class ExperimentFile:
    """An experiment as written: its settings before validation, and the grid it may sweep."""

    source: str
    settings: Tree
    axes: dict[str, list[Any]] = field(default_factory=dict)

    def config(self, overrides: Sequence[str] = ()) -> ExperimentConfig:
        """Validated settings with `key=value` overrides applied; InputError on any mistake."""
        settings, keys = with_overrides(self.settings, overrides)
        return validated(settings, self.source, keys)


def shipped() -> dict[str, str]:
    """Name and description of the experiments that come with the package."""
    return EXPERIMENT.shipped()


def all_keys() -> list[str]:
    """Every key of an experiment, dotted."""
    return EXPERIMENT.all_keys()


def validated(settings: Tree, source: str, overridden: Set[str] = frozenset()) -> ExperimentConfig:
    """The configuration, or an InputError that names every wrong key; see `Kind.validated`."""
    return EXPERIMENT.validated(settings, source, overridden)


def read(name_or_path: str) -> ExperimentFile:
    """A shipped experiment by name, or any YAML file by path; `base:` names one to build on."""
    return _read(name_or_path, seen=())


def _read(name_or_path: str, seen: tuple[str, ...]) -> ExperimentFile:
    source, text = EXPERIMENT.text(name_or_path)
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
    return str(Path(source).parent / base) if is_path(base) else base
