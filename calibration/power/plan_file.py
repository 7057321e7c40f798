"""A plan of gains as JSON: written by who calibrates a bench, read by who runs it."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, cast

from calibration.power.plan import GainPlan, PlanError, Planned, Verdict
from radio.json_object import JsonObject
from radio.whole_file import write_atomically

FORMAT, VERSION = "airmeta-gain-plan", 1
PLAN_KEYS = tuple(field.name for field in fields(GainPlan))
PLANNED_KEYS = tuple(field.name for field in fields(Planned))


def write_plan(path: Path, plan: GainPlan) -> None:
    """Put a plan in the place of the one before.

    Raises:
        OSError: the folder cannot be written; the one before is still there.
    """
    document: dict[str, Any] = {"format": FORMAT, "version": VERSION, **asdict(plan)}
    for device in document["devices"]:
        device["gains_db"] = list(device["gains_db"].values())
    write_atomically(path, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())


def read_plan(path: Path) -> GainPlan:
    """The plan of a file.

    Raises:
        PlanError: it cannot be read, is no plan or one of another version, or something in it is
            wrong or missing; it names file and key.
    """
    root = JsonObject.read(path, PlanError)
    root.require("format", FORMAT)
    root.require("version", VERSION)
    root.require_known("format", "version", *PLAN_KEYS)
    with root.naming():
        return GainPlan(
            receiver_serial=root.text("receiver_serial"),
            rx_gain_db=root.number("rx_gain_db"),
            backoff_db=root.number("backoff_db"),
            target_dbm=root.number("target_dbm"),
            target_dbfs=root.number("target_dbfs"),
            snr_db=root.number("snr_db"),
            headroom_db=root.number("headroom_db"),
            devices=tuple(map(_planned, root.objects("devices"))),
            reasons=tuple(root.texts("reasons")),
        )


def _planned(keys: JsonObject) -> Planned:
    keys.require_known(*PLANNED_KEYS)
    with keys.naming():
        return Planned(
            name=keys.text("name"),
            serial=keys.text("serial"),
            tx_gain_db=keys.number("tx_gain_db"),
            rx_gain_db=keys.number("rx_gain_db"),
            gains_db=keys.span("gains_db"),
            step_db=keys.number("step_db"),
            received_dbm=keys.number("received_dbm"),
            doubt_db=keys.number("doubt_db"),
            verdict=cast(Verdict, keys.text("verdict")),
            missing_db=keys.number("missing_db"),
        )
