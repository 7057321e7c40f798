"""Profiles on disk: a folder with one file for each radio and band, what they were before, and
what they were made from.

    104473...05_902-928MHz.json                              in force
    history/104473...05_902-928MHz.20260131T120000Z.json     before that, by when it was measured
    captures/104473...05_902-928MHz.20260131T120000Z/        recordings it was made from
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from calibration.profiles.profile import AnyProfile, Identity, Profile, ProfileError, stamp
from calibration.profiles.profile_json import from_json, to_json
from radio.api import RadioError, Range
from radio.sigmf import read_sigmf
from radio.whole_file import write_atomically

SUFFIX = ".json"
UNREADABLE = ".unreadable"
HISTORY, CAPTURES = "history", "captures"
BAND = re.compile(r"[0-9.e+]+-[0-9.e+]+MHz\.json")


def read_profile(path: Path) -> Profile:
    """The profile of a file.

    Raises:
        ProfileError: it cannot be read, was edited or cut short, or is of another version.
    """
    return from_json(path, _content(path))


class ProfileFolder:
    """The profiles of a bench."""

    def __init__(self, folder: Path) -> None:
        """A folder, which need not exist until a profile is written."""
        self.folder = folder

    def path(self, serial: str, band: Range) -> Path:
        """Where the profile of a radio in a band belongs."""
        name = f"{_quoted(serial)}_{band.low / 1e6:.10g}-{band.high / 1e6:.10g}MHz"
        return self.folder / (name + SUFFIX)

    def captures(self, serial: str, band: Range, measured_at: datetime) -> Path:
        """The folder for recordings of what was measured then."""
        return self.folder / CAPTURES / _dated(self.path(serial, band), measured_at)

    def find(self, serial: str, carrier_hz: float) -> AnyProfile:
        """The profile in force for a radio at a carrier: the latest of those whose bands hold it.

        `Identity` where the radio was never calibrated.

        Raises:
            ProfileError: it was, but not there; or one of its files cannot be read, or is of
                another radio.
        """
        own = self.of(serial)
        if not own:
            return Identity()
        there = [one for one in own if carrier_hz in one.band]
        if not there:
            bands = ", ".join(f"{one.band} Hz" for one in own)
            raise ProfileError(
                f"{self.folder}: radio {serial} has no profile for {carrier_hz:.10g} Hz, only for "
                f"{bands}; calibrate there, or tune into these"
            )
        return max(there, key=lambda one: one.measured_at)

    def of(self, serial: str) -> list[Profile]:
        """The profiles in force of one radio, by band.

        Raises:
            ProfileError: one of them cannot be read, or is of another radio.
        """
        prefix = f"{_quoted(serial)}_"
        own = [
            read_profile(path)
            for path in self.files()
            if path.name.startswith(prefix) and BAND.fullmatch(path.name.removeprefix(prefix))
        ]
        for one in own:
            one.require_radio(serial)
        return sorted(own, key=lambda one: (one.band.low, one.band.high))

    def all(self) -> list[Profile]:
        """All profiles in force, by radio and band.

        Raises:
            ProfileError: one of them cannot be read.
        """
        profiles = (read_profile(path) for path in self.files())
        return sorted(profiles, key=lambda one: (one.serial, one.band.low, one.band.high))

    def history(self, serial: str, band: Range) -> list[Profile]:
        """What was measured of a radio in a band over time, oldest first, the last one in force.

        Raises:
            ProfileError: one of them cannot be read, or is of another radio.
        """
        path = self.path(serial, band)
        before = (self.folder / HISTORY).glob(f"{path.name.removesuffix(SUFFIX)}.*{SUFFIX}")
        files = [*before, path] if path.is_file() else [*before]
        # A power cut between keeping a profile and replacing it leaves it twice.
        by_time = {one.measured_at: one for one in map(read_profile, files)}
        for one in by_time.values():
            one.require_radio(serial)
        return [by_time[when] for when in sorted(by_time)]

    def write(self, profile: Profile) -> Profile:
        """Put a profile in force, as what is returned is read back; the one before is kept.

        At no time is there less than one whole profile in the place of the one before. A file there
        that cannot be read is kept as well, under its SHA-256.

        Raises:
            ProfileError: the one before is not older, or of another radio.
            OSError: the folder cannot be written; the one before is still in force.
        """
        path = self.path(profile.serial, profile.band)
        self.folder.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            self._keep(path, profile)
        write_atomically(path, to_json(profile))
        return read_profile(path)

    def files(self) -> list[Path]:
        """Of the profiles in force, by name."""
        # A name that begins with a dot is of a file that was never finished.
        return sorted(one for one in self.folder.glob(f"*{SUFFIX}") if one.name[0] != ".")

    def hashed(self, recordings: Iterable[Path]) -> dict[str, str]:
        """Recordings in the folder as `Profile.captures` holds them, from their metadata files."""
        return {
            meta.relative_to(self.folder).as_posix(): hashlib.sha256(meta.read_bytes()).hexdigest()
            for meta in recordings
        }

    def require_captures(self, profile: Profile) -> None:
        """ProfileError unless all recordings of a profile are there as it was made from them."""
        for name, expected in profile.captures.items():
            meta = self.folder / name
            try:
                found = hashlib.sha256(meta.read_bytes()).hexdigest()
                read_sigmf(meta)
            except (OSError, RadioError) as error:
                raise ProfileError(f"{profile.source}: captures.{name}: {error}") from error
            if found != expected:
                raise ProfileError(
                    f"{profile.source}: captures.{name}: the recording is another one now; bring "
                    "it back, or calibrate again"
                )

    def _keep(self, path: Path, follower: Profile) -> None:
        """Put what stands in a profile's place into the history."""
        content = _content(path)
        try:
            before = from_json(path, content)
        except ProfileError:
            kept = f"{path.name}.{hashlib.sha256(content).hexdigest()[:16]}{UNREADABLE}"
        else:
            before.require_radio(follower.serial)
            if before.measured_at >= follower.measured_at:
                raise ProfileError(
                    f"{path}: was measured at {stamp(before.measured_at)}, and one of "
                    f"{stamp(follower.measured_at)} cannot follow it; set the clock, or move the "
                    "file away if the clock was wrong then"
                )
            kept = _dated(path, before.measured_at) + SUFFIX
        (self.folder / HISTORY).mkdir(exist_ok=True)
        write_atomically(self.folder / HISTORY / kept, content)


def _quoted(serial: str) -> str:
    """A serial number as the beginning of a file's name; different ones stay different."""
    return quote(serial, safe="").replace(".", "%2E")


def _dated(path: Path, measured_at: datetime) -> str:
    return f"{path.name.removesuffix(SUFFIX)}.{measured_at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read: {error.strerror}") from error
