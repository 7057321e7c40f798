"""Profiles as JSON: the text of a profile, and a profile from its text.

The document carries the SHA-256 of all the rest of it, as JSON with sorted keys and no spaces: who
changes a number by hand is told so. That is a guard against mistakes, not against an attacker.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from calibration.measured import Measured
from calibration.profiles.profile import Profile, ProfileError, stamp
from calibration.profiles.quantity import CURVES, SCALARS
from radio.api import RadioSettings
from radio.json_object import JsonObject

FORMAT, VERSION = "airmeta-calibration", 1
CHECKSUM = "sha256_of_the_rest"
SETTINGS = ("carrier_hz", "sample_rate_hz", "tx_gain_db", "rx_gain_db")
KEYS = (
    *("format", "version", CHECKSUM, "radio", "reference", "band_hz", "settings", "measured_at"),
    *("valid_days", "temperature_c", "software", "scalars", "curves", "captures"),
)

Json = dict[str, Any]


def to_json(profile: Profile) -> bytes:
    """The text of a profile, for people too; equal profiles give equal bytes."""
    document: Json = {
        "format": FORMAT,
        "version": VERSION,
        "radio": {"serial": profile.serial, "model": profile.model},
        "reference": profile.reference,
        "band_hz": [profile.band.low, profile.band.high],
        "settings": asdict(profile.settings),
        "measured_at": stamp(profile.measured_at),
        "valid_days": profile.valid_days,
        "temperature_c": profile.temperature_c,
        "software": profile.software,
        **Measured(profile.scalars, profile.curves).to_json(),
        "captures": dict(sorted(profile.captures.items())),
    }
    # As a reader will see it: tuples as lists, and numbers of all kinds as they were written.
    document = json.loads(json.dumps(document, allow_nan=False))
    document[CHECKSUM] = checksum(document)
    return (json.dumps(document, indent=2) + "\n").encode()


def checksum(document: Json) -> str:
    """SHA-256 of a document without its checksum."""
    rest = {key: value for key, value in document.items() if key != CHECKSUM}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def from_json(file: Path, content: bytes) -> Profile:
    """The profile of a text.

    Args:
        file: where it was read, for messages.
        content: of the file.

    Raises:
        ProfileError: no JSON, cut short, edited, of another version, or something in it is wrong
            or missing; it names file and key.
    """
    root = JsonObject.parse(file, content, ProfileError)
    root.require("format", FORMAT)
    root.require("version", VERSION)
    if root.text(CHECKSUM) != checksum(root.values):
        raise ProfileError(
            f"{root.place(CHECKSUM)} is not that of the rest: the file was edited or damaged; take "
            "back what was changed, or calibrate again"
        )
    root.require_known(*KEYS)
    radio, settings = root.object("radio"), root.object("settings")
    radio.require_known("serial", "model")
    settings.require_known(*SETTINGS)
    root.object("scalars").require_known(*SCALARS)
    root.object("curves").require_known(*CURVES)
    measured, captures = Measured.from_json(root), root.object("captures")
    celsius = root.values.get("temperature_c")
    with root.naming():
        return Profile(
            serial=radio.text("serial"),
            model=radio.text("model"),
            band=root.span("band_hz"),
            settings=RadioSettings(**{name: settings.number(name) for name in SETTINGS}),
            measured_at=datetime.fromisoformat(root.text("measured_at")),
            valid_days=root.number("valid_days"),
            temperature_c=None if celsius is None else root.number("temperature_c"),
            software=root.text("software"),
            reference=root.text("reference"),
            scalars=measured.scalars,
            curves=measured.curves,
            captures={name: captures.text(name) for name in captures.values},
            source=str(file),
            sha256=hashlib.sha256(content).hexdigest(),
        )
