"""The nodes of a bench, with the profiles that belong to them and the radios that they have."""

from __future__ import annotations

from pathlib import Path

from calibration.power.plan import GainPlan
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
    plan, expected = plan_in(folder), dict[str, str]()
    if plan is not None:
        expected = {device.name: device.serial for device in plan.devices}
        expected[bench.receiver.name] = plan.receiver_serial
    return [_place(bench, node, folder, expected.get(node.name)) for node in bench.nodes]


def plan_in(folder: Path) -> GainPlan | None:
    """The plan of powers in a folder of profiles; PlanError where it cannot be read."""
    path = folder / PLAN
    return read_plan(path) if path.exists() else None


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
