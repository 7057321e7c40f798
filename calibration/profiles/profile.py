"""A profile: what was measured of one radio in one band, and when it may be used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from types import MappingProxyType

from calibration.curve import Curve
from calibration.estimate import Estimate
from calibration.profiles.quantity import CURVES, SCALARS, Quantity, Relation
from radio.api import RadioError, RadioSettings, Range

SAME_RATE = 1e-6  # relative; a radio takes the nearest rate it has
YEARS = range(2000, 2200)  # beyond them a clock was wrong
MOST_VALID_DAYS = 3660.0
AHEAD = timedelta(hours=1)  # by which the clocks of two hosts may differ


class ProfileError(RadioError):
    """A profile cannot be used: what is wrong, where, and what would be right."""


@dataclass(frozen=True)
class Profile:
    """Of one radio in one band.

    Attributes:
        serial: of the radio, as `calibration.profiles.told.serial_of` has it.
        model: of the radio, for people.
        band: carriers for which it holds, Hz.
        settings: under which it was measured.
        measured_at: in whole seconds, with a time zone.
        valid_days: for how long it holds.
        temperature_c: of the radio; None where it has no thermometer.
        software: that measured, and its version.
        reference: the radio it was measured against, and whether its level in dBm was stated or
            assumed. A radio that was measured alone is its own reference.
        scalars: by the names of `quantity.SCALARS`.
        curves: by the names of `quantity.CURVES`.
        captures: recordings it was made from: the SHA-256 of their SigMF metadata, which hold that
            of the samples, by paths relative to the folder of profiles.
        source: the file it was read from, for messages.
        sha256: of that file, for run folders; empty for a profile that is in no file.
    """

    serial: str
    model: str
    band: Range
    settings: RadioSettings
    measured_at: datetime
    valid_days: float
    temperature_c: float | None
    software: str
    reference: str
    scalars: Mapping[str, Estimate] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    captures: Mapping[str, str] = field(default_factory=dict)
    source: str = field(default="the profile", compare=False)
    sha256: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.serial:
            raise ValueError("serial should name the radio")
        if not 0 < self.band.low <= self.settings.carrier_hz <= self.band.high < math.inf:
            raise ValueError(f"band = {self.band} Hz should hold {self.settings.carrier_hz:g} Hz")
        if not 0 < self.settings.sample_rate_hz < math.inf:
            raise ValueError(
                f"sample_rate_hz should be above 0, not {self.settings.sample_rate_hz:g}"
            )
        for name in ("tx_gain_db", "rx_gain_db"):
            if not math.isfinite(getattr(self.settings, name)):
                raise ValueError(f"{name} should be finite, not {getattr(self.settings, name)}")
        when = self.measured_at
        if when.tzinfo is None or when.microsecond or when.astimezone(UTC).year not in YEARS:
            raise ValueError(
                f"measured_at should have a time zone, whole seconds and a year from {YEARS[0]} "
                f"to {YEARS[-1]}, not {when}"
            )
        if not 0 < self.valid_days <= MOST_VALID_DAYS:
            raise ValueError(
                f"valid_days should be above 0 and at most {MOST_VALID_DAYS:g}, not "
                f"{self.valid_days:g}"
            )
        if self.temperature_c is not None and not -273.15 <= self.temperature_c < math.inf:
            raise ValueError(f"temperature_c should be a temperature, not {self.temperature_c:g}")
        _require_known("scalars", self.scalars, SCALARS)
        _require_known("curves", self.curves, CURVES)
        for name in self.captures:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not path.name:
                raise ValueError(f"captures.{name} should be a path within the folder of profiles")
        for name in ("scalars", "curves", "captures"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def expires_at(self) -> datetime:
        """When it no longer holds."""
        return self.measured_at + timedelta(days=self.valid_days)

    def age_days(self, now: datetime) -> float:
        """Since it was measured."""
        return (now - self.measured_at) / timedelta(days=1)

    def require_fresh(self, now: datetime) -> None:
        """ProfileError where it is stale, or not yet measured by this clock."""
        if now < self.measured_at - AHEAD:
            raise ProfileError(
                f"{self.source}: was measured at {stamp(self.measured_at)}, which is still to "
                f"come: it is {stamp(now)} here; set the clock"
            )
        if now > self.expires_at:
            raise ProfileError(
                f"{self.source}: is stale: it held for {self.valid_days:g} days, until "
                f"{stamp(self.expires_at)}; calibrate again"
            )

    def require_radio(self, serial: str) -> None:
        """ProfileError where it is of another radio."""
        if serial != self.serial:
            raise ProfileError(
                f"{self.source}: is of radio {self.serial}, not of {serial}; two radios may have "
                "been swapped, or the file was renamed: move it away, and calibrate this one"
            )

    def require_covers(self, settings: RadioSettings) -> None:
        """ProfileError where it says nothing of a radio under these settings."""
        if settings.carrier_hz not in self.band:
            raise ProfileError(
                f"{self.source}: carrier_hz = {settings.carrier_hz:.10g} is outside its band, "
                f"{self.band} Hz; calibrate there, or tune into it"
            )
        rate = self.settings.sample_rate_hz
        if not math.isclose(settings.sample_rate_hz, rate, rel_tol=SAME_RATE):
            raise ProfileError(
                f"{self.source}: sample_rate_hz = {settings.sample_rate_hz:.10g} is not the "
                f"{rate:.10g} it was measured at; calibrate at that rate, or go back to this one"
            )

    def __str__(self) -> str:
        return f"{self.serial}, {self.band} Hz, measured {stamp(self.measured_at)}"


class Identity:
    """The profile of a radio that has none: it holds everywhere and changes nothing.

    Attributes:
        scalars, curves: none.
        source: for messages.
        sha256: of no file.
    """

    scalars: Mapping[str, Estimate] = MappingProxyType({})
    curves: Mapping[str, Curve] = MappingProxyType({})
    source = "no profile"
    sha256 = ""

    def require_fresh(self, now: datetime) -> None:
        """Always."""

    def require_radio(self, serial: str) -> None:
        """Any."""

    def require_covers(self, settings: RadioSettings) -> None:
        """All."""

    def __str__(self) -> str:
        return "none"


AnyProfile = Profile | Identity


def stamp(moment: datetime) -> str:
    """A time as profiles write it, `2026-01-31T12:00:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _require_known(
    key: str,
    found: Mapping[str, Estimate] | Mapping[str, Curve],
    known: Mapping[str, Quantity] | Mapping[str, Relation],
) -> None:
    for name, one in found.items():
        if name not in known:
            raise ValueError(f"{key}.{name} is unknown; there are {', '.join(known)}")
        if one.unit != known[name].unit:
            raise ValueError(f"{key}.{name} should be in {known[name].unit!r}, not {one.unit!r}")
