"""What a radio tells of itself that profiles need: which one it is, and how warm."""

from __future__ import annotations

from radio.api import Radio


def serial_of(radio: Radio) -> str:
    """Its serial number; the name of its kind where it has none."""
    return radio.describe().get("serial") or radio.caps.name


def temperature_of(radio: Radio) -> float | None:
    """In degrees Celsius; None where it has no thermometer."""
    number, _, unit = radio.describe().get("temperature", "").partition(" ")
    try:
        return float(number) if unit == "°C" else None
    except ValueError:
        return None
