"""Whether profiles may be used: whole, fresh, of the radios of a bench, at their temperature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from calibration.profiles.profile import Profile, ProfileError
from calibration.profiles.profile_folder import ProfileFolder, read_profile
from testbed.calibrating.values import minus

# Amplifiers lose some hundredths of a dB a degree: with ten, about what a level may be off.
WARMER_K = 10.0


@dataclass(frozen=True)
class Verdict:
    """Of one profile, or of one radio that should have one.

    Attributes:
        name: of the device, or of the file.
        serial: of the radio; None where nobody knows it.
        faults: what is wrong; none where it may be used.
    """

    name: str
    serial: str | None
    faults: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """As printed for programs."""
        return asdict(self) | {"faults": list(self.faults), "ok": not self.faults}


@dataclass(frozen=True)
class Present:
    """A radio as it is now.

    Attributes:
        serial: that it tells.
        temperature_c: that it tells; None where it has no thermometer.
    """

    serial: str
    temperature_c: float | None


@dataclass(frozen=True)
class Place:
    """A node of a bench.

    Attributes:
        name: of the node.
        present: its radio, or why that cannot be asked.
        profiles: that it names, or that are kept of its radio; why they cannot be read, else.
        expected: serial that its radio should have; None where nothing says so.
    """

    name: str
    present: Present | str
    profiles: Sequence[Profile] | str
    expected: str | None


def inspect_files(paths: Sequence[Path], now: datetime) -> list[Verdict]:
    """Every profile by itself, as it lies there."""
    found = []
    for path in paths:
        try:
            profile = read_profile(path)
        except ProfileError as error:
            found.append(Verdict(path.name, None, (str(error),)))
        else:
            found.append(Verdict(path.name, profile.serial, tuple(_as_kept(profile, now))))
    return found


def inspect_places(places: Sequence[Place], now: datetime) -> list[Verdict]:
    """Every node with the radio that it has now."""
    owners = {place.expected: place.name for place in places if place.expected is not None}
    found = []
    for place in places:
        if isinstance(place.present, str):
            found.append(Verdict(place.name, None, (place.present,)))
        else:
            faults = tuple(_in_place(place, place.present, owners, now))
            found.append(Verdict(place.name, place.present.serial, faults))
    return found


def _as_kept(profile: Profile, now: datetime) -> Iterator[str]:
    """What is wrong with a profile and its recordings."""
    try:
        profile.require_fresh(now)
    except ProfileError as error:
        yield str(error)
    try:
        ProfileFolder(Path(profile.source).parent).require_captures(profile)
    except ProfileError as error:
        yield str(error)


def _in_place(
    place: Place, present: Present, owners: Mapping[str, str], now: datetime
) -> Iterator[str]:
    """What is wrong with a radio and its profiles."""
    if place.expected is not None and place.expected != present.serial:
        yield _mistaken(place, present, owners)
        return
    if isinstance(place.profiles, str):
        yield place.profiles
        return
    if not place.profiles:
        yield (
            f"no profile of radio {present.serial}; `airmeta calibrate run --bench BENCH` makes one"
        )
    for profile in place.profiles:
        yield from _as_kept(profile, now)
        then, celsius = profile.temperature_c, present.temperature_c
        if then is not None and celsius is not None and abs(celsius - then) > WARMER_K:
            away, there = minus(f"{celsius - then:+.0f}"), minus(f"{then:.0f}")
            yield (
                f"{profile.source}: the radio is {away} K away from the {there} °C it was measured "
                f"at, more than {WARMER_K:g}; let it warm up, or calibrate again"
            )


def _mistaken(place: Place, present: Present, owners: Mapping[str, str]) -> str:
    other = owners.get(present.serial)
    if other is None:
        return (
            f"has radio {present.serial}, and should have {place.expected}, of which its profile "
            "is; put that one back, or calibrate this one"
        )
    return (
        f"has radio {present.serial}, which is that of {other}: devices were swapped; change "
        "their radios, or calibrate the bench again"
    )
