"""Benches from YAML files: the nodes, where they meet, and which radios they have."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fl_core.errors import InputError
from testbed.bench_config import BenchConfig, NodeConfig
from testbed.bench_place import ANYWHERE, Place
from testbed.yaml_file import Kind, Tree, is_path, parse_yaml, with_overrides

BENCH = Kind("bench", BenchConfig)


@dataclass(frozen=True)
class BenchFile:
    """A bench as its processes on this machine see it, all of them from the file alone.

    Attributes:
        source: the file.
        config: its settings; addresses and paths are those of this machine.
        sockets: folder of the sockets of this user, bench and machine; whoever binds makes it.
        sha256: of what the file says, wherever it lies; the same on every machine of the bench.
    """

    source: str
    config: BenchConfig
    sockets: Path
    sha256: str

    @property
    def receiver(self) -> NodeConfig:
        """The node that hears the sum."""
        return self.config.receiver

    @property
    def devices(self) -> tuple[NodeConfig, ...]:
        """The devices; a device's number is its place."""
        return self.config.nodes()

    @property
    def nodes(self) -> tuple[NodeConfig, ...]:
        """All nodes with a radio: the receiver, then the devices."""
        return (self.receiver, *self.devices)

    @property
    def implied(self) -> tuple[str, ...]:
        """What it says of an experiment, as `key=value`; what the user says goes before that."""
        air = self.config.air
        return () if air is None or air.preset is None else (f"iq.preset={air.preset}",)

    def device(self, number: int) -> NodeConfig:
        """The device of this number; InputError where the bench has fewer."""
        devices = self.devices
        if not 0 <= number < len(devices):
            raise InputError(
                f"{self.source}: devices: there is no device {number}; there are {len(devices)}"
            )
        return devices[number]

    def number_of(self, name: str) -> int:
        """The number of the device of this name; InputError where there is none."""
        names = [node.name for node in self.devices]
        if name not in names:
            raise InputError(
                f"{self.source}: devices: none is called {name!r}; there are {', '.join(names)}"
            )
        return names.index(name)


def shipped() -> dict[str, str]:
    """Name and description of the benches that come with the package."""
    return BENCH.shipped()


def read(name_or_path: str, overrides: Sequence[str] = ()) -> BenchFile:
    """A shipped bench by name, or any YAML file by path, with `key=value` overrides applied.

    Relative paths are meant from where the file is, and in a shipped one from where the command
    was called.

    Raises:
        InputError: it cannot be read, or is wrong; every wrong key is named.
    """
    source, text = BENCH.text(name_or_path)
    settings, keys = with_overrides(parse_yaml(text, source), overrides)
    place = _place(name_or_path)
    config = BENCH.validated(settings, source, keys, place)
    return BenchFile(source, config, place.sockets, _sha256(settings, source))


def _place(name_or_path: str) -> Place:
    if is_path(name_or_path):
        path = Path(name_or_path).resolve()
        identity, folder = str(path), path.parent
    else:
        identity, folder = f"shipped:{name_or_path}", Path.cwd()
    short = hashlib.sha256(os.fsencode(identity)).hexdigest()[:12]
    return Place(folder, Path(tempfile.gettempdir()) / f"airmeta-{os.getuid()}" / short)


def _sha256(settings: Tree, source: str) -> str:
    config = BENCH.validated(settings, source, context=ANYWHERE)
    said = config.model_dump(mode="json", exclude={"description"})
    said["devices"] = [node.model_dump(mode="json") for node in config.nodes()]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
