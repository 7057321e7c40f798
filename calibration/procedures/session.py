"""A calibration of two radios, or of one alone: procedures one after the other, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from calibration.estimate import MeasurementError
from calibration.procedures.findings import Findings
from calibration.procedures.journal import Done, Journal
from calibration.procedures.procedure import Procedure, require_radios
from calibration.procedures.setup import Setup
from calibration.profiles.told import serial_of, temperature_of
from radio.api import RadioError
from radio.recording import RecordingRadio
from radio.sigmf import META_SUFFIX


@dataclass(frozen=True)
class Status:
    """How far a session is.

    Attributes:
        name: of the procedure under way.
        share: of the session that is done, 0 to 1.
        left_s: that the rest takes, by the radios' clocks.
    """

    name: str
    share: float
    left_s: float


@dataclass(frozen=True)
class End:
    """What there is to say of one radio besides what was measured.

    Attributes:
        serial: of the radio.
        model: of the radio, for people.
        temperature_c: at the end; None without a thermometer.
        reference: the radio it was measured against, and whether its level was stated.
    """

    serial: str
    model: str
    temperature_c: float | None
    reference: str


@dataclass(frozen=True)
class Material:
    """What the profiles of both radios are made of.

    Attributes:
        findings: of all procedures together.
        sender, receiver: the radios; equal for a radio alone.
        measured_at: when the last procedure ended, in whole seconds.
        captures: metadata files of all recordings.
    """

    findings: Findings
    sender: End
    receiver: End
    measured_at: datetime
    captures: tuple[Path, ...]


class Session:
    """Procedures over a setup, and what they found in a folder.

    What each finds is on disk as soon as it is done. A session with the same radios, settings,
    software and knowledge goes on where the one before stopped in the same folder.

    Attributes:
        resumed: names of procedures that were done already.
        notice: why what the folder held cannot be gone on from; empty where nothing was lost.
    """

    def __init__(
        self,
        setup: Setup,
        procedures: Sequence[Procedure],
        folder: Path,
        software: str,
        now: Callable[[], datetime],
    ) -> None:
        """Look at radios and folder; nothing is sent.

        Args:
            setup: of open radios.
            procedures: in the order in which they run: what one finds, later ones know.
            folder: of this session and no other; made where it is not there.
            software: that measures, and its version.
            now: time of day, with a time zone.

        Raises:
            MeasurementError: a procedure takes two radios, and there is one.
            RadioError: a radio is lost.
            OSError: the folder cannot be made.
        """
        require_radios(procedures, setup)
        receiver = RecordingRadio(setup.receiver)
        sender = receiver if setup.is_alone else RecordingRadio(setup.sender)
        self._procedures, self._now = tuple(procedures), now
        self._sender, self._receiver = sender, receiver
        self._setup = replace(setup, sender=sender, receiver=receiver)
        self._journal = Journal(
            folder,
            {
                "sender": serial_of(sender),
                "receiver": serial_of(receiver),
                "sender_settings": asdict(setup.sender_settings),
                "receiver_settings": asdict(setup.receiver_settings),
                "loss_db": setup.loss_db,
                "full_scale_dbm": setup.full_scale_dbm,
                "knowledge": setup.known.to_json(),
                "software": software,
            },
            now(),
        )
        self.notice = self._journal.notice
        self.resumed = tuple(each.name for each in self._procedures if self._is_done(each))
        for done in self._journal.done.values():
            self._setup.known = self._setup.known.joined(done.findings)

    def left_s(self) -> float:
        """About how long what is not done yet takes, by the radios' clocks."""
        return sum(each.duration_s(self._setup) for each in self._left())

    def run(self, progress: Callable[[Status], None]) -> Material:
        """Run what is not done yet.

        Raises:
            MeasurementError, RadioError: as of the procedure that failed, which is named. What was
                done before is kept, and a session in the same folder goes on from there.
            OSError: the folder cannot be written.
        """
        lasting_s = [(each, each.duration_s(self._setup)) for each in self._left()]
        whole_s, past_s = sum(seconds for _, seconds in lasting_s), 0.0
        for procedure, seconds in lasting_s:

            def tell(
                share: float,
                name: str = procedure.name,
                past_s: float = past_s,
                seconds: float = seconds,
            ) -> None:
                done_s = past_s + share * seconds
                progress(Status(name, done_s / whole_s, whole_s - done_s))

            tell(0.0)
            with self._naming(procedure.name):
                self._run(procedure, tell)
            tell(1.0)
            past_s += seconds
        return self._material()

    def _is_done(self, procedure: Procedure) -> bool:
        done = self._journal.done.get(procedure.name)
        return done is not None and done.how == repr(procedure)

    def _left(self) -> list[Procedure]:
        return [each for each in self._procedures if not self._is_done(each)]

    def _run(self, procedure: Procedure, tell: Callable[[float], None]) -> None:
        """One procedure, with recordings of all that is heard."""
        recorded = {procedure.name: self._receiver}
        if procedure.both_ways:
            recorded[f"{procedure.name}-back"] = self._sender
        with self._setup.kept(), ExitStack() as recordings:
            for name, radio in recorded.items():
                path = self._journal.folder / name
                recordings.enter_context(radio.into(path, procedure=repr(procedure)))
            findings = procedure.run(self._setup, tell)
        self._journal.add(
            Done(
                procedure.name,
                repr(procedure),
                self._now().astimezone(UTC).replace(microsecond=0),
                findings,
                tuple(name + META_SUFFIX for name in recorded),
            )
        )
        self._setup.known = self._setup.known.joined(findings)

    def _material(self) -> Material:
        done = list(self._journal.done.values())
        findings = Findings()
        for one in done:
            findings = findings.joined(one.findings)
        return Material(
            findings,
            self._end(self._sender, self._receiver),
            self._end(self._receiver, self._sender),
            max(one.at for one in done),
            tuple(self._journal.folder / name for one in done for name in one.captures),
        )

    def _end(self, radio: RecordingRadio, other: RecordingRadio) -> End:
        level = "assumed" if self._setup.full_scale_dbm is None else "stated"
        return End(
            serial=serial_of(radio),
            model=radio.describe().get("model") or radio.caps.name,
            temperature_c=temperature_of(radio),
            reference=f"{serial_of(other)}, level {level}",
        )

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """Errors with the name of the procedure, and what becomes of what was done before."""
        try:
            yield
        except (MeasurementError, RadioError) as error:
            kind = MeasurementError if isinstance(error, MeasurementError) else RadioError
            notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
            kept = ", ".join(self._journal.done) or "nothing yet"
            raise kind(
                f"{name}: {error}{notes}. Done, and kept in {self._journal.folder}: {kept}; "
                "calibrate this radio again, and it goes on from there"
            ) from error
