"""A radio behind its profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from calibration.correct.corrector import Corrector
from calibration.profiles.profile import AnyProfile
from calibration.profiles.told import serial_of
from radio.api import (
    IQ,
    Capture,
    Radio,
    RadioCaps,
    RadioError,
    RadioSettings,
    TxReport,
    require_burst,
    require_future,
    require_settings,
)


class CalibratedRadio(Radio):
    """A radio whose samples are corrected both ways, as `Corrector` says.

    A burst with a time is on time where it is heard: the radio is told to begin earlier by the
    delay in its profile, and so has to be told that much sooner. Where the delay is no whole number
    of samples a burst grows by the ringing of the interpolation, and needs that much silence to
    the next one. A burst without a time leaves as it is, and reports when it is heard.

    `clipped` counts the samples that the radio inside cut off, of those that it was really given.
    """

    def __init__(self, radio: Radio, profile: AnyProfile, now: datetime) -> None:
        """A radio, and what was measured of it.

        Args:
            radio: open.
            profile: of this radio; `Identity` where it has none.
            now: the time, with a time zone.

        Raises:
            ProfileError: the profile is of another radio, or stale, or tells of faults beyond
                correction.
        """
        profile.require_radio(serial_of(radio))
        profile.require_fresh(now)
        self._radio, self._profile = radio, profile
        self._advance = Corrector.of(profile).advance
        self._made: tuple[RadioSettings, Corrector] | None = None
        self._sent_until = 0

    @property
    def caps(self) -> RadioCaps:
        """Of the radio inside, less what bursts grow by and begin earlier."""
        caps = self._radio.caps
        early_s = max(self._advance.lead, 0) / self._radio.settings.sample_rate_hz
        return replace(
            caps,
            max_burst=max(caps.max_burst - self._advance.growth, 0),
            turnaround_s=caps.turnaround_s + early_s,
        )

    @property
    def settings(self) -> RadioSettings:
        """Of the radio inside."""
        return self._radio.settings

    def configure(self, want: RadioSettings) -> RadioSettings:
        """Apply settings, if the profile holds there; ProfileError before anything is changed."""
        require_settings(want, self.caps)
        self._profile.require_covers(want)
        return self._radio.configure(want)

    def now(self) -> int:
        """The sample clock."""
        return self._radio.now()

    def transmit(self, iq: IQ, at: int | None = None) -> TxReport:
        """Send a burst that is heard as it is, `at` its time.

        Raises:
            RadioError: as every radio, and where `at` is so near that the burst would have had to
                begin already.
            ProfileError: the profile does not hold for the settings in force.
        """
        require_burst(iq, self.caps)
        present, corrector = self._radio.now(), self._corrector()
        if at is None:
            # A guess of when it leaves, for the phase of the turn: exact in virtual time.
            start = max(present, self._sent_until)
            report = self._radio.transmit(corrector.sent_untimed(iq, start))
            heard, end = report.started_at + round(self._advance.delay), iq.size
        else:
            require_future(at, present)
            burst, first = corrector.sent(iq, at)
            if first < present:
                raise RadioError(
                    f"sample {at} is too near: bursts begin {at - first} samples earlier to make "
                    f"up for the radio's delay; ask for {present + at - first} or later"
                )
            report = self._radio.transmit(burst, first)
            heard, end = report.started_at + self._advance.lead, burst.size
        self._sent_until = max(self._sent_until, report.started_at + end)
        return replace(report, started_at=heard)

    def receive(self, n: int, at: int | None = None) -> Capture:
        """Capture n samples and correct them.

        Raises:
            RadioError: as every radio.
            ProfileError: the profile does not hold for the settings in force.
        """
        corrector = self._corrector()  # or nothing is received
        capture = self._radio.receive(n, at)
        return replace(capture, iq=corrector.received(capture.iq, capture.first_sample))

    def corrected(self, iq: IQ, first_sample: int) -> IQ:
        """What samples of the radio inside become, complex64 [n].

        Args:
            iq: complex64 [n], left as it is.
            first_sample: of iq on the radio's clock.

        Raises:
            ProfileError: the profile does not hold for the settings in force.
        """
        return self._corrector().received(iq, first_sample)

    def close(self) -> None:
        """Transmitter off."""
        self._radio.close()

    def describe(self) -> Mapping[str, str]:
        """Of the radio inside, and which profile corrects it."""
        return {**self._radio.describe(), "profile": str(self._profile)}

    def _corrector(self) -> Corrector:
        settings = self._radio.settings
        if self._made is None or self._made[0] != settings:
            self._made = settings, Corrector.of(self._profile, settings)
        return self._made[1]
