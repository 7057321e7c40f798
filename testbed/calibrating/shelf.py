"""The profiles of a folder, or one alone, each with those before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from calibration.profiles.profile import Profile
from calibration.profiles.profile_folder import ProfileFolder, read_profile
from fl_core.errors import InputError
from testbed.on_air.calibrated import FOLDER


@dataclass(frozen=True)
class Shelf:
    """Profiles that are shown together.

    Attributes:
        place: the folder, or the one profile.
        kept: of each radio in a band what was measured over time, oldest first and at least one, by
            what to call the radio.
    """

    place: Path
    kept: Mapping[str, Sequence[Profile]]

    @classmethod
    def read(cls, place: Path, names: Mapping[str, str]) -> Shelf:
        """Every profile in force at a place, and its history.

        Args:
            place: a folder or a profile; one out of a history stands alone.
            names: of devices by the serials of their radios, where they are known.

        Raises:
            InputError: there is no such place, or nothing in it.
            ProfileError: one of them cannot be read.
        """
        found = [read_profile(path) for path in profile_paths(place)]
        if not found:
            raise InputError(
                f"{place}: holds no profile; `airmeta calibrate run --to {place}` makes them"
            )
        kept: dict[str, Sequence[Profile]] = {}
        serials = [profile.serial for profile in found]
        for profile in found:
            label = names.get(profile.serial, profile.serial)
            if serials.count(profile.serial) > 1:
                label += f", {profile.band.low / 1e6:g} MHz"
            kept[label] = _with_those_before(profile)
        return cls(place, kept)

    @property
    def latest(self) -> dict[str, Profile]:
        """The last of each, by what to call its radio."""
        return {label: profiles[-1] for label, profiles in self.kept.items()}


def profile_paths(place: Path) -> list[Path]:
    """The profiles in force at a place: that file, or those of that folder, by name.

    Raises:
        InputError: there is no such place.
    """
    if place.is_dir():
        return ProfileFolder(place).files()
    if not place.exists():
        raise InputError(
            f"{place}: there is no such profile or folder; `airmeta calibrate run --to {FOLDER}` "
            "makes one"
        )
    return [place]


def _with_those_before(profile: Profile) -> Sequence[Profile]:
    """What is in force has a history; what lies elsewhere is on its own."""
    path = Path(profile.source)
    folder = ProfileFolder(path.parent)
    if folder.path(profile.serial, profile.band) != path:
        return (profile,)
    return folder.history(profile.serial, profile.band)
