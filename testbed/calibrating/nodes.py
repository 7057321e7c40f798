"""The nodes of a bench, with the profiles that belong to them and the radios that they have."""

from __future__ import annotations

from pathlib import Path

from calibration.profiles.profile_folder import ProfileFolder
from calibration.profiles.told import serial_of, temperature_of
from radio.api import RadioError
from radio.registry import open_radio
from testbed.bench_config import NodeConfig
from testbed.bench_file import BenchFile
from testbed.calibrating.inspection import Place, Present


def places_of(bench: BenchFile, folder: Path) -> list[Place]:
    """Every node with its radio as that answers now, opened one after the other.

    Args:
        bench: whose nodes there are.
        folder: where profiles are found by serial.
    """
    return [_place(bench, node, folder) for node in bench.nodes]


def _place(bench: BenchFile, node: NodeConfig, folder: Path) -> Place:
    present = _ask(bench, node)
    if isinstance(present, str):
        return Place(node.name, present, (), None)
    own = tuple(Path(one.source) for one in ProfileFolder(folder).of(present.serial))
    return Place(node.name, present, own, None)


def _ask(bench: BenchFile, node: NodeConfig) -> Present | str:
    """What a radio tells of itself; why it does not, where it cannot be opened."""
    limits = None if bench.config.limits is None else bench.config.limits.limits()
    try:
        with open_radio(node.radio, limits) as radio:
            return Present(serial_of(radio), temperature_of(radio))
    except RadioError as error:
        return f"{node.radio}: {error}"
