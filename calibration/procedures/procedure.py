"""What every procedure is, and the beacons that many of them send."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from calibration.estimate import MeasurementError
from calibration.probes import Beacons, preamble_iq
from calibration.procedures.findings import Findings
from calibration.procedures.setup import Setup
from calibration.track import Track

Progress = Callable[[float], None]
"""Told the share that is done, 0 to 1."""


class Procedure(Protocol):
    """Measures one thing, and asks nobody anything.

    Attributes:
        name: as it is asked for.
        needs_two: whether a radio alone cannot be measured so.
        both_ways: whether the receiver sends, too.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 (the class says it)

    @property
    def needs_two(self) -> bool: ...  # noqa: D102

    @property
    def both_ways(self) -> bool: ...  # noqa: D102

    def duration_s(self, setup: Setup) -> float:
        """About how long it takes by the radios' clocks, without setting them up."""

    def run(self, setup: Setup, progress: Progress) -> Findings:
        """Measure, and leave the radios as they were found.

        Raises:
            MeasurementError: saturated, deaf, or the samples do not hold what is to be measured.
            RadioError: a radio refuses or is lost, or the limits do not permit it.
        """


def require_radios(procedures: Iterable[Procedure], setup: Setup) -> None:
    """MeasurementError for a procedure that takes two radios where there is one."""
    for procedure in procedures:
        if procedure.needs_two and setup.is_alone:
            raise MeasurementError(
                f"{procedure.name} takes two radios; leave it out, or name a second one"
            )


def hear_track(setup: Setup, beacons: Beacons) -> Track:
    """Beacons that the sender sends, each a burst of its own, in one capture."""
    heard = setup.hear(preamble_iq(beacons.preamble), [int(at) for at in beacons.sent])
    first_sample = heard.capture.first_sample
    return Track.of(heard.iq, beacons, setup.max_cfo_hz, first_sample, heard.sent_at)


def track_s(setup: Setup, beacons: Beacons) -> float:
    """How long `hear_track` takes."""
    length = beacons.preamble.length
    return setup.hearing_s(int(beacons.sent[-1]) + length, sent=beacons.count * length)
