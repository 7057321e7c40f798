"""A calibration of a bench: a session for each device, then a profile for each radio."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

from calibration.estimate import MeasurementError
from calibration.measured import Measured
from calibration.power.plan import GainPlan
from calibration.power.plan_file import write_plan
from calibration.power.planner import Aim
from calibration.power.profiled import plan_of
from calibration.procedures.findings import Findings
from calibration.procedures.procedure import Procedure, require_radios
from calibration.procedures.registry import PROCEDURES, procedures_for
from calibration.procedures.session import End, Material, Session, Status
from calibration.procedures.setup import Setup
from calibration.profiles.profile import MOST_VALID_DAYS, Identity, Profile, ProfileError, stamp
from calibration.profiles.profile_folder import ProfileFolder, read_profile
from calibration.profiles.told import serial_of
from fl_core.errors import InputError
from radio.api import Radio, RadioError, RadioSettings
from testbed.calibrating.lineup import Lineup
from testbed.calibrating.nodes import plan_in
from testbed.on_air.calibrated import PLAN

SESSIONS = "sessions"  # folder of what is under way, below that of the profiles
OF_RECEIVER = ("rx_gain", "noise")  # procedures that tell of it alone: with one device they suffice
STEP_DB = 0.25  # transmit gains that are multiples of it can be had of all radios that are known
SOFTWARE = f"airmeta {version('airmeta')}"
Watch = Callable[[str, Status], None]
Failed = Callable[[str, Exception], None]


@dataclass(frozen=True)
class Measurement:
    """Of one device.

    Attributes:
        setup: under which it was made.
        material: of the profiles of both radios.
        session: folder of its recordings.
    """

    setup: Setup
    material: Material
    session: Path


@dataclass
class Campaign:
    """Measures the devices of a lineup, and makes profiles of what was found.

    Attributes:
        lineup: the radios.
        folder: of profiles; those that are in force are built upon.
        only: names of procedures; all that a setup permits where there are none.
        valid_days: of what is measured.
        keeps_captures: whether the recordings stay when all is done.
        now: time of day, with a time zone.
        measured: of devices that are done, by name.
        failures: why another one is not.
        notices: what was found there and is of no use, by file or device.
    """

    lineup: Lineup
    folder: Path
    only: Sequence[str]
    valid_days: float
    now: Callable[[], datetime]
    keeps_captures: bool = True
    measured: dict[str, Measurement] = field(default_factory=dict, init=False)
    failures: dict[str, Exception] = field(default_factory=dict, init=False)
    notices: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """InputError where a procedure is not known, or the folder is none."""
        known = [each.name for each in PROCEDURES]
        for name in self.only:
            if name not in known:
                raise InputError(f"--only {name}: no such procedure; there are {', '.join(known)}")
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder}: is a file; --to should name a folder")
        if not 0 < self.valid_days <= MOST_VALID_DAYS:
            raise InputError(
                f"--valid-days {self.valid_days:g}: should be above 0 and at most "
                f"{MOST_VALID_DAYS:g}"
            )

    def steps(self) -> dict[str, float]:
        """Seconds that each procedure takes with the first device, as by its clock.

        Raises:
            RadioError: a radio cannot be opened, or does not permit the settings.
            ProfileError: a profile that is in force cannot be read.
            MeasurementError: a procedure takes two radios, and there is one.
        """
        name = next(iter(self.lineup.devices))
        with self.lineup.opened(name) as (sender, receiver):
            setup = self.lineup.setup(sender, receiver, self._known(sender, receiver))
            procedures = self._procedures(setup)
            require_radios(procedures, setup)
            return {each.name: each.duration_s(setup) for each in procedures}

    def measure(self, watch: Watch, failed: Failed) -> None:
        """Run the session of each device; one that fails does not keep the others.

        Args:
            watch: is told how far each is.
            failed: is told of one that fails, before the next begins.

        Raises:
            OSError: the folder cannot be written.
        """
        for name in self.lineup.devices:
            try:
                one = self._measure(name, watch)
            except (MeasurementError, RadioError) as error:
                self.failures[name] = error
                failed(name, error)
            else:
                self.measured |= {} if one is None else {name: one}

    def write(self) -> list[Profile]:
        """Put the profiles of all that was measured in force, and end their sessions.

        Raises:
            ProfileError: the profile before cannot be followed.
            OSError: the folder cannot be written.
        """
        written = []
        for number, one in enumerate(self.measured.values()):
            written += self._written(one, with_receiver=number == 0)
        return written

    def plan(self, aim: Aim) -> GainPlan:
        """The plan of the bench's powers: of these devices, and of others that were planned before.

        Args:
            aim: what is wanted.

        Raises:
            PlanError: something was not measured, or there is no plan that the receiver bears.
            ProfileError: a profile cannot be read.
        """
        before = plan_in(self.folder)
        serials = {} if before is None else {one.name: one.serial for one in before.devices}
        serials |= {name: one.material.sender.serial for name, one in self.measured.items()}
        setup, material = self.first.setup, self.first.material
        limits = self.lineup.limits
        return plan_of(
            {name: self._profile_of(serial) or Identity() for name, serial in serials.items()},
            self._profile_of(material.receiver.serial) or Identity(),
            aim,
            setup.numerology,
            setup.receiver.caps.bits,
            STEP_DB,
            math.inf if limits is None else limits.max_tx_gain_db,
        )

    def write_plan(self, aim: Aim) -> GainPlan:
        """Make the plan and put it in the place of the one before.

        Raises:
            PlanError, ProfileError: as `plan`.
            OSError: the folder cannot be written.
        """
        plan, path = self.plan(aim), self.folder / PLAN
        path.parent.mkdir(parents=True, exist_ok=True)
        write_plan(path, plan)
        return plan

    @property
    def first(self) -> Measurement:
        """Of the device that was measured first, and the receiver with it."""
        return next(iter(self.measured.values()))

    def _measure(self, name: str, watch: Watch) -> Measurement | None:
        """One device; None where nothing is to be measured of it."""
        folder = self.folder / SESSIONS / name
        with self.lineup.opened(name) as (sender, receiver):
            setup = self.lineup.setup(sender, receiver, self._known(sender, receiver))
            if not (procedures := self._procedures(setup)):
                return None
            session = Session(setup, procedures, folder, SOFTWARE, self.now)
            if session.notice:
                self.notices[name] = f"{name} {session.notice}"
            return Measurement(setup, session.run(lambda status: watch(name, status)), folder)

    def _procedures(self, setup: Setup) -> list[Procedure]:
        """Those asked for; of the receiver nothing twice, and nothing that would be worse known.

        Over the air nobody knows where a loss of power lies. What was measured through a cable is
        not measured again there unless it is asked for by name.
        """
        skipped = {*OF_RECEIVER} if self.measured else set()
        if self.only:
            wanted = {*self.only} - skipped
            return [each for each in PROCEDURES if each.name in wanted]
        if setup.loss_db is None and not setup.is_alone:
            skipped |= {"tx_gain"} if "tx_power" in setup.known.sender.curves else set()
            skipped |= {"rx_gain"} if "rx_gain" in setup.known.receiver.curves else set()
        return [each for each in procedures_for(setup) if each.name not in skipped]

    def _known(self, sender: Radio, receiver: Radio) -> Findings:
        """From profiles in force, and of the receiver from the first device."""
        found = Findings(self._in_force(sender), self._in_force(receiver))
        for one in self.measured.values():
            return found.joined(Findings(receiver=one.material.findings.receiver))
        return found

    def _in_force(self, radio: Radio) -> Measured:
        """What the profile in force says of a radio; nothing where it has none, or is stale."""
        profile = self._profile_of(serial_of(radio))
        return Measured() if profile is None else Measured(profile.scalars, profile.curves)

    def _profile_of(self, serial: str) -> Profile | None:
        """The one in force of this band and rate; None where there is none that can be used.

        Raises:
            ProfileError: what is measured now could not take its place.
        """
        path = ProfileFolder(self.folder).path(serial, self.lineup.band)
        if not path.is_file():
            return None
        try:
            profile = read_profile(path)
        except ProfileError as error:
            self.notices[str(path)] = f"{error}; nothing is taken from it, and it is kept"
            return None
        profile.require_radio(serial)
        if profile.measured_at > self.now():
            raise ProfileError(
                f"{path}: was measured at {stamp(profile.measured_at)}, which is still to come; "
                "set the clock, or move the file away if the clock was wrong then"
            )
        try:
            profile.require_fresh(self.now())
            profile.require_covers(self.lineup.settings)
        except ProfileError as error:
            self.notices[str(path)] = f"{error}; nothing is taken from it"
            return None
        return profile

    def _written(self, one: Measurement, with_receiver: bool) -> list[Profile]:
        """The profiles of a device and, of the first, of the receiver."""
        material, folder = one.material, ProfileFolder(self.folder)
        captures: Mapping[str, str] = {}
        if self.keeps_captures:
            kept = folder.captures(material.sender.serial, self.lineup.band, material.measured_at)
            kept.parent.mkdir(parents=True, exist_ok=True)
            one.session.replace(kept)
            captures = folder.hashed(kept / path.name for path in material.captures)
        else:
            shutil.rmtree(one.session)
        findings = material.findings
        if one.setup.is_alone:
            alone = findings.sender.joined(findings.receiver)
            ends = [(material.sender, alone, one.setup.sender_settings)]
        else:
            ends = [(material.sender, findings.sender, one.setup.sender_settings)]
            if with_receiver:
                settings = one.setup.receiver_settings
                ends.append((material.receiver, findings.receiver, settings))
        return [
            folder.write(self._profile(end, measured, settings, material.measured_at, captures))
            for end, measured, settings in ends
            if measured.scalars or measured.curves
        ]

    def _profile(
        self,
        end: End,
        measured: Measured,
        settings: RadioSettings,
        measured_at: datetime,
        captures: Mapping[str, str],
    ) -> Profile:
        """Of what was measured, and of what was not and still holds: no longer than that."""
        valid_days = self.valid_days
        before = self._profile_of(end.serial)
        if before is not None:
            earlier = Measured(before.scalars, before.curves)
            if {*earlier.scalars} - {*measured.scalars} or {*earlier.curves} - {*measured.curves}:
                left = before.expires_at - measured_at
                valid_days = min(valid_days, left / timedelta(days=1))
                captures = {**before.captures, **captures}
            measured = earlier.joined(measured)
        return Profile(
            serial=end.serial,
            model=end.model,
            band=self.lineup.band,
            settings=settings,
            measured_at=measured_at,
            valid_days=valid_days,
            temperature_c=end.temperature_c,
            software=SOFTWARE,
            reference=end.reference,
            scalars=measured.scalars,
            curves=measured.curves,
            captures=captures,
        )


def calibrate(
    lineup: Lineup, folder: Path, aim: Aim, only: Sequence[str], valid_days: float
) -> GainPlan:
    """All of a calibration at once, for a run that begins with one.

    Args:
        lineup: the radios.
        folder: of profiles.
        aim: of the plan.
        only: names of procedures.
        valid_days: of what is measured.

    Raises:
        MeasurementError, RadioError: a device cannot be measured, or there is no plan.
        OSError: the folder cannot be written.
    """

    def now() -> datetime:
        return datetime.now(UTC)

    campaign = Campaign(lineup, folder, only, valid_days, now, keeps_captures=False)

    def failed(name: str, error: Exception) -> None:
        raise error

    campaign.measure(lambda name, status: None, failed)
    campaign.write()
    return campaign.write_plan(aim)
