"""What a profile says, as texts: how a table, a page and a comparison write it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from calibration.curve import Curve
from calibration.estimate import COVERAGE, Estimate
from calibration.power.plan import GainPlan
from calibration.profiles.profile import Profile, ProfileError, stamp
from calibration.profiles.profile_json import to_json
from calibration.profiles.quantity import CURVES, SCALARS, Relation
from radio.api import Range

PLAIN = 1e-5, 1e6  # magnitudes written without a power of ten
MHZ = 1e6


@dataclass(frozen=True)
class Value:
    """One line of a table.

    Attributes:
        title: what it is.
        value, interval, unit: with the half width of its 95 % interval.
        tolerance: by which it may be off; empty where it is only to be known.
    """

    title: str
    value: str
    interval: str
    unit: str
    tolerance: str


def values_of(profile: Profile) -> list[Value]:
    """Its scalars, in the order in which profiles list them."""
    rows = []
    for name, quantity in SCALARS.items():
        if (estimate := profile.scalars.get(name)) is not None:
            value, interval = measured(estimate)
            unit = "–" if quantity.unit == "" else quantity.unit
            tolerance = "" if quantity.tolerance is None else f"{quantity.tolerance:g}"
            rows.append(Value(quantity.title, value, interval, unit, tolerance))
    return rows


def curves_of(profile: Profile) -> dict[str, str]:
    """Its curves, each in a sentence."""
    return {
        CURVES[name].title: _about(profile.curves[name], CURVES[name])
        for name in CURVES
        if name in profile.curves
    }


def facts_of(profile: Profile, now: datetime) -> dict[str, str]:
    """Of which radio it is, and until when it may be used."""
    settings, low, high = profile.settings, profile.band.low / MHZ, profile.band.high / MHZ
    celsius = profile.temperature_c
    return {
        "radio": f"{profile.serial}, {profile.model}",
        "band": f"{low:,.6g} to {high:,.6g} MHz",
        "measured": f"{stamp(profile.measured_at)}, {ago(profile.age_days(now))}",
        "valid": validity(profile, now),
        "temperature": "not known" if celsius is None else minus(f"{celsius:.1f} °C"),
        "settings": f"{settings.carrier_hz / MHZ:,.6f} MHz, {settings.sample_rate_hz / MHZ:g} MS/s",
        "reference": profile.reference,
        "software": profile.software,
        "recordings": str(len(profile.captures)),
    }


def validity(profile: Profile, now: datetime) -> str:
    """Until when it holds, or that it no longer does."""
    until = stamp(profile.expires_at)
    left = profile.valid_days - profile.age_days(now)
    return f"until {until}, {left:.0f} days" if left >= 0 else f"STALE since {until}"


def is_fresh(profile: Profile, now: datetime) -> bool:
    """Whether it may be used now."""
    try:
        profile.require_fresh(now)
    except ProfileError:
        return False
    return True


def as_json(profile: Profile, now: datetime) -> dict[str, Any]:
    """The document of a profile, and how old it is."""
    document: dict[str, Any] = json.loads(to_json(profile))
    about = {"age_days": profile.age_days(now), "fresh": is_fresh(profile, now)}
    return {"file": profile.source} | document | about


def measured(estimate: Estimate) -> tuple[str, str]:
    """A value and the half width of its 95 % interval, both to two digits of the latter."""
    value, half = estimate.value, COVERAGE * estimate.uncertainty
    size = max(abs(value), half)
    if size and not PLAIN[0] <= size < PLAIN[1]:
        return minus(f"{value:.3g}"), f"{half:.2g}"
    digits = 3 if half == 0 else max(0, 1 - math.floor(math.log10(half)))
    digits = min(digits, 6)
    return minus(f"{value:,.{digits}f}"), f"{half:,.{digits}f}"


def planned_rows(plan: GainPlan) -> list[tuple[str, ...]]:
    """Of each device its name, gain, what arrives, how far off that is, and the verdict."""
    return [
        (
            one.name,
            minus(f"{one.tx_gain_db:.2f}"),
            minus(f"{one.received_dbm:.2f} ± {COVERAGE * one.doubt_db:.2f}"),
            minus(f"{one.received_dbm - plan.target_dbm:+.2f}"),
            one.verdict,
        )
        for one in plan.devices
    ]


def minus(text: str) -> str:
    """With the sign that figures have."""
    return text.replace("-", "−")


def ago(days: float) -> str:
    """An age in words."""
    if abs(days) < 2:
        return f"{24 * days:.0f} hours ago"
    return f"{days:.0f} days ago"


def _about(curve: Curve, relation: Relation) -> str:
    span, linear, unit = curve.measured, curve.linear, relation.setting_unit
    ends = [curve.at(setting).value for setting in (linear.low, linear.high)]
    low, high = (f"{end:.2f}" if abs(end) > 1e-3 else f"{end:.2g}" for end in ends)
    within = "" if linear == span else f"; linear from {_span(linear)} {unit}"
    return (
        f"{len(curve.settings)} points of {relation.setting} from {_span(span)} {unit}{within}; "
        f"from {minus(low)} to {minus(high)} {relation.unit}".rstrip()
    )


def _span(span: Range) -> str:
    """As people write it, without a negative zero."""
    return minus(f"{span.low + 0.0:.4g} to {span.high + 0.0:.4g}")
