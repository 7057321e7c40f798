"""The nodes of a bench, with the profiles that belong to them and the radios that they have."""

from __future__ import annotations

from pathlib import Path

from calibration.power.plan_file import read_plan
from calibration.profiles.profile import ProfileError
from calibration.profiles.profile_folder import ProfileFolder
from calibration.profiles.told import serial_of, temperature_of
from radio.api import RadioError
from radio.registry import open_radio
from testbed.bench_config import NodeConfig
from testbed.bench_file import BenchFile
from testbed.calibrating.inspection import Place, Present
from testbed.on_air.calibrated import FOLDER, PLAN


def places_of(bench: BenchFile, folder: Path) -> list[Place]:
    """Every node with its radio as that answers now, opened one after the other.

    Which radio belongs there is what the plan of power says: path gains belong to places, whoever
    stands there.

    Args:
        bench: whose nodes there are.
        folder: where profiles are found by serial, and the plan.

    Raises:
        PlanError: there is a plan that cannot be read.
    """
    planned = planned_serials(folder)
    return [_place(bench, node, folder, planned.get(node.name)) for node in bench.nodes]


def planned_serials(folder: Path) -> dict[str, str]:
    """Serials of the devices' radios by name, as the plan of a folder has them; none without one.

    Raises:
        PlanError: it cannot be read.
    """
    if not (folder / PLAN).exists():
        return {}
    return {device.name: device.serial for device in read_plan(folder / PLAN).devices}


def calibration_folder(bench: BenchFile) -> Path:
    """Where a bench keeps its calibration."""
    calibration = bench.config.calibration
    return FOLDER if calibration is None else calibration.folder


def _place(bench: BenchFile, node: NodeConfig, folder: Path, planned: str | None) -> Place:
    present = _ask(bench, node)
    try:
        own = [] if isinstance(present, str) else ProfileFolder(folder).of(present.serial)
    except ProfileError as error:
        return Place(node.name, present, str(error), planned)
    return Place(node.name, present, own, planned)


def _ask(bench: BenchFile, node: NodeConfig) -> Present | str:
    """What a radio tells of itself; why it does not, where it cannot be opened."""
    limits = None if bench.config.limits is None else bench.config.limits.limits()
    try:
        with open_radio(node.radio, limits) as radio:
            return Present(serial_of(radio), temperature_of(radio))
    except RadioError as error:
        return f"{node.radio}: {error}"
