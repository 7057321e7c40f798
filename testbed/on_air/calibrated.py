"""A bench's calibration as rounds use it: a folder with profiles of its radios and one plan."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from calibration.correct.calibrated_radio import CalibratedRadio
from calibration.power.plan import GainPlan
from calibration.power.plan_file import read_plan
from calibration.profiles.profile import Profile
from calibration.profiles.profile_folder import ProfileFolder
from calibration.profiles.told import serial_of
from radio.api import Radio, RadioError, RadioSettings

FOLDER = Path("profiles")  # unless another is named
PLAN = Path("power", "plan.json")  # in such a folder; beside profiles it would count as one
MIXERS = tuple(
    f"{end}_{what}"
    for end in ("tx", "rx")
    for what in ("dc_in_phase", "dc_quadrature", "iq_gain", "iq_phase")
)


def calibrated(radio: Radio, folder: Path, settings: RadioSettings, now: datetime) -> Radio:
    """A radio behind what rounds need of its profile; as it is where it has none.

    Rounds mend its mixers only. Delays they measure themselves, with each sounding; levels are the
    plan's, by gain settings; and a carrier that is corrected by numbers would no longer tell how
    fast the sample clock beside it runs, which devices take from it.

    Args:
        radio: open.
        folder: of the calibration.
        settings: that the radio will have.
        now: the time, with a time zone.

    Raises:
        ProfileError: its profile cannot be read, is stale, or holds for other bands or rates.
    """
    profile = ProfileFolder(folder).find(serial_of(radio), settings.carrier_hz)
    if not isinstance(profile, Profile):
        return radio
    profile.require_covers(settings)
    known = {name: profile.scalars[name] for name in MIXERS if name in profile.scalars}
    return CalibratedRadio(radio, replace(profile, scalars=known), now)


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the profiles in force and of the plan of powers, by file within the folder.

    Raises:
        RadioError: one of them cannot be read.
    """
    plan, found = folder / PLAN, {}
    for path in (*ProfileFolder(folder).files(), *([plan] if plan.exists() else ())):
        try:
            found[path.relative_to(folder).as_posix()] = sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise RadioError(f"{path}: cannot be read: {error.strerror}") from error
    return found


def calibrated_today(radio: Radio, folder: Path, settings: RadioSettings) -> Radio:
    """The same by this machine's date: how old profiles are is all that rounds ask it for."""
    return calibrated(radio, folder, settings, datetime.now(UTC))


def gain_plan(folder: Path, devices: tuple[str, ...], backoff_db: float) -> GainPlan:
    """The plan of a bench's powers.

    Args:
        folder: of the calibration.
        devices: names of those that take part.
        backoff_db: with which they send.

    Raises:
        RadioError: there is no such folder, no plan in it, the plan cannot be read, or is for other
            devices or another back-off.
    """
    if not folder.is_dir():
        raise RadioError(f"{folder}: there is no such folder; `airmeta calibrate run` makes it")
    path = folder / PLAN
    if not path.exists():
        raise RadioError(f"{path}: there is no plan of powers; calibrate all devices of the bench")
    plan = read_plan(path)
    missing = [name for name in devices if name not in plan.tx_gains_db]
    if missing:
        raise RadioError(f"{path}: has no {', '.join(missing)}; calibrate them")
    if plan.backoff_db != backoff_db:
        raise RadioError(
            f"{path}: is for a back-off of {plan.backoff_db:g} dB; set "
            f"iq.backoff_db={plan.backoff_db:g}, or plan again"
        )
    return plan
