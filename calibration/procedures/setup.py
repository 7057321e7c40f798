"""What is measured with: a sender, a receiver, and what lies between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from calibration.estimate import MeasurementError
from calibration.procedures.airtime import Airtime
from calibration.procedures.as_found import as_found
from calibration.procedures.findings import Findings
from radio.api import IQ, Capture, Radio, RadioError, RadioSettings, require_settings
from radio.limits import Limits
from radio.waveform.numerology import Numerology

TRIES = 3  # of a capture, of which a busy host loses samples
SAME = 1e-8  # relative: carriers and rates that are one to a radio
TELLING_S = 3e-3  # of a burst, to a radio of another process
WAITS = 20  # per window of a duty cycle, until it permits more


@dataclass(frozen=True)
class Heard:
    """A burst, or several, as the receiver heard them.

    Attributes:
        capture: that holds all of it.
        sent_at: first sample of the burst on the sender's clock.
        asked_at: where the receiver's clock stood when the burst was asked for.
    """

    capture: Capture
    sent_at: int
    asked_at: int

    @property
    def iq(self) -> IQ:
        """Samples, complex64 [n]."""
        return self.capture.iq


@dataclass(eq=False)
class Setup:
    """A sender and a receiver, or a radio alone that hears itself through a cable.

    Nobody has to have set their clocks: a burst is sent at a time of the sender's, and the capture
    is as much longer as two looks at the two clocks may be apart.

    Attributes:
        sender: open.
        receiver: open; the same object for a radio alone.
        sender_settings, receiver_settings: under which to measure; of one carrier and one rate,
            and equal for a radio alone.
        loss_db: between the two antenna connectors; None where nobody knows.
        full_scale_dbm: power at the receiver's connector that makes full scale at a receive gain
            of 0; None where nobody states it, which counts as 0.
        max_cfo_hz: largest carrier offset.
        search_s: by how much the two clocks' "now" may be apart from look to look.
        limits: of the bench.
        known: of both radios, from profiles or earlier procedures; later ones build upon it.
    """

    sender: Radio
    receiver: Radio
    sender_settings: RadioSettings
    receiver_settings: RadioSettings
    loss_db: float | None = None
    full_scale_dbm: float | None = None
    max_cfo_hz: float = 50e3
    search_s: float = 0.05
    limits: Limits | None = None
    known: Findings = field(default_factory=Findings)
    _airtime: Airtime = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """ValueError where settings do not belong together; RadioError where a radio can't."""
        mine, other = self.sender_settings, self.receiver_settings
        for name in ("carrier_hz", "sample_rate_hz"):
            if getattr(mine, name) != getattr(other, name):
                raise ValueError(
                    f"sender and receiver should have the same {name}, not "
                    f"{getattr(mine, name):.10g} and {getattr(other, name):.10g}"
                )
        if self.is_alone and mine != other:
            raise ValueError("a radio alone has one set of settings; give the same for both ends")
        if not 0 < self.search_s < math.inf:
            raise ValueError(f"search_s should be above 0, not {self.search_s}")
        if not self.sender.caps.can_transmit:
            raise RadioError(f"{self.sender.caps.name} only receives; it cannot be the sender")
        require_settings(mine, self.sender.caps)
        require_settings(other, self.receiver.caps)
        if self.limits is not None:
            self.limits.require_settings(mine)
        self._airtime = Airtime(self.limits)

    @property
    def is_alone(self) -> bool:
        """Whether one radio is both ends."""
        return self.sender is self.receiver

    @property
    def carrier_hz(self) -> float:
        """Of both."""
        return self.sender_settings.carrier_hz

    @property
    def rate_hz(self) -> float:
        """Sample rate of both."""
        return self.sender_settings.sample_rate_hz

    @property
    def numerology(self) -> Numerology:
        """Of the probes."""
        return Numerology(self.rate_hz)

    @property
    def highest_tx_gain_db(self) -> float:
        """That radio and limits permit."""
        highest = self.sender.caps.tx_gain_db.high
        return highest if self.limits is None else min(highest, self.limits.max_tx_gain_db)

    @property
    def tx_gain_db(self) -> float:
        """In force."""
        return self.sender.settings.tx_gain_db

    @property
    def rx_gain_db(self) -> float:
        """In force."""
        return self.receiver.settings.rx_gain_db

    def reversed(self) -> Setup:
        """The same with the roles of the two radios exchanged; nothing is known of it."""
        return replace(
            self,
            sender=self.receiver,
            receiver=self.sender,
            sender_settings=self.receiver_settings,
            receiver_settings=self.sender_settings,
            full_scale_dbm=None,
            known=Findings(),
        )

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Set both radios up, and leave them as they were found, however it ends.

        Raises:
            RadioError: a radio or the limits do not permit the settings, or it is lost.
        """
        radios = [self.sender] if self.is_alone else [self.sender, self.receiver]
        with as_found(radios, lambda: self._airtime.end):
            self._configure(self.sender, self.sender_settings)
            self._configure(self.receiver, self.receiver_settings)
            self._airtime.resume(self.sender.now())
            yield

    def set_tx_gain(self, gain_db: float) -> None:
        """Set the sender's gain; `tx_gain_db` says what the radio made of it.

        Raises:
            RadioError: the radio or the limits do not permit it.
        """
        self._configure(self.sender, replace(self.sender.settings, tx_gain_db=gain_db))

    def set_rx_gain(self, gain_db: float) -> None:
        """Set the receiver's gain; `rx_gain_db` says what the radio made of it.

        Raises:
            RadioError: the radio does not permit it.
        """
        self._configure(self.receiver, replace(self.receiver.settings, rx_gain_db=gain_db))

    def tune_apart(self, offset_hz: float) -> None:
        """Tune the receiver below the sender's carrier, so that the offset of the two is not 0.

        Raises:
            MeasurementError: it cannot be tuned there.
            RadioError: it refuses.
        """
        carrier_hz = self.receiver.settings.carrier_hz - offset_hz
        if carrier_hz not in self.receiver.caps.carrier_hz:
            raise MeasurementError(
                f"one oscillator makes both carriers, and {self.receiver.caps.name} cannot be "
                f"tuned {offset_hz:.0f} Hz away; name the one end to be measured"
            )
        self._configure(self.receiver, replace(self.receiver.settings, carrier_hz=carrier_hz))

    def require_allowed(self, n: int, offsets: Sequence[int] = (0,)) -> None:
        """RadioError where the limits never permit bursts of n samples at these offsets."""
        self._airtime.require_allowed(n, offsets, self.rate_hz)

    def hear(self, iq: IQ, offsets: Sequence[int] = (0,)) -> Heard:
        """Send a burst, once or at several offsets, and capture what surely contains all of it.

        Captures with lost samples are dropped, and the burst is sent again.

        Args:
            iq: complex64 [n].
            offsets: samples from the first burst to each, ascending and far enough apart.

        Raises:
            RadioError: a radio refuses or is lost, or the limits do not permit it.
            MeasurementError: the host loses samples each time.
        """

        self._await_airtime(iq.size, offsets)

        def once() -> Heard:
            # All of them are told before the capture is asked for.
            lead = self._lead + math.ceil((len(offsets) - 1) * TELLING_S * self.rate_hz)
            start, present = self.sender.now() + lead, self.receiver.now()
            for offset in offsets:
                self._send(iq, start + offset)
            n = offsets[-1] + iq.size + 2 * self._search
            capture = self.receiver.receive(n, present + lead - self._search)
            return Heard(capture, start, present)

        return self._whole(once)

    def hear_at_once(self, iq: IQ) -> Heard:
        """Send a burst as soon as the host can, and capture from before it was asked for.

        Args, errors: as for `hear`; MeasurementError also where the receiver does not go on
        receiving where a capture ended.
        """

        self._await_airtime(iq.size, (0,))

        def once() -> Heard:
            self.receiver.receive(self._search)  # the next capture goes on where this one ends
            asked_at = self.receiver.now()
            sent_at = self._send(iq, None)
            capture = self.receiver.receive(self._lead + iq.size + 2 * self._search)
            if capture.first_sample > asked_at and not capture.overflows:
                raise MeasurementError(
                    f"{self.receiver.caps.name} began to receive after a burst was asked for, and "
                    "may have missed it; let it receive on behind its captures (usrp:// does with "
                    "memory_s=0.5), or leave this one out"
                )
            return Heard(capture, sent_at, asked_at)

        return self._whole(once)

    def listen(self, n: int) -> Capture:
        """Capture n samples while the sender is silent.

        Raises:
            RadioError, MeasurementError: as for `hear`.
        """

        def once() -> Heard:
            present = self.receiver.now()
            return Heard(self.receiver.receive(n, present + self._search), present, present)

        return self._whole(once).capture

    def hearing_s(self, n: int, times: int = 1, sent: int | None = None) -> float:
        """How long it takes to hear n samples so many times.

        Args:
            n: samples from the first that is sent to the last.
            times: how often.
            sent: of the n samples; all, unless given. Where the duty cycle permits less, it takes
                longer.
        """
        whole_s = times * (n + self._lead + 2 * self._search) / self.rate_hz
        if self.limits is None:
            return whole_s
        sent_s = times * (n if sent is None else sent) / self.rate_hz
        share, window_s = self.limits.max_duty_cycle, self.limits.window_s
        return whole_s if sent_s <= share * window_s else max(whole_s, sent_s / share)

    @property
    def _search(self) -> int:
        return math.ceil(self.search_s * self.rate_hz)

    @property
    def _lead(self) -> int:
        """Samples from now until a burst begins, and the capture before it can."""
        slowest_s = max(self.sender.caps.turnaround_s, self.receiver.caps.turnaround_s)
        return math.ceil(slowest_s * self.rate_hz) + 2 * self._search

    def _whole(self, once: Callable[[], Heard]) -> Heard:
        """What is heard without a loss, in a few tries."""
        refusal: RadioError | None = None
        lost = 0
        for _ in range(TRIES):
            try:
                heard = once()
            except RadioError as error:
                refusal = error
                self._recover(error)
                continue
            lost = heard.capture.overflows
            if not lost:
                return heard
        if refusal is not None:
            raise refusal
        raise MeasurementError(
            f"{self.receiver.caps.name} lost {lost} samples, {TRIES} times in a row; give the host "
            "less to do, or lower the sample rate"
        )

    def _recover(self, error: RadioError) -> None:
        """Configuring measures a clock anew that is void; the error where a radio is lost."""
        try:
            for radio in (self.sender, self.receiver):
                radio.configure(radio.settings)
            # Bursts that were told to the radio already are still sent, and would overlap.
            while (end := self._airtime.end) is not None and (left := end - self.sender.now()) > 0:
                self.sender.receive(left)
        except RadioError:
            raise error from None

    def _send(self, iq: IQ, at: int | None) -> int:
        """One burst; its first sample."""
        if self.limits is not None:
            self.limits.require_settings(self.sender.settings)
        start = self.sender.transmit(iq, at).started_at
        self._airtime.add(start, iq.size)
        return start

    def _await_airtime(self, n: int, offsets: Sequence[int]) -> None:
        """Let time pass until the limits permit these bursts."""
        self.require_allowed(n, offsets)
        for waits_left in reversed(range(WAITS + 1)):
            start = self.sender.now() + self._lead
            refusal = self._airtime.refusal(n, offsets, start, self.rate_hz)
            if refusal is None or self.limits is None:
                return
            if not waits_left:
                raise refusal
            self.sender.receive(math.ceil(self.limits.window_s * self.rate_hz / WAITS))

    def _configure(self, radio: Radio, want: RadioSettings) -> None:
        """Apply settings; the sender's within the limits."""
        now = radio.settings
        if all(
            math.isclose(getattr(want, name), getattr(now, name), rel_tol=SAME)
            for name in ("carrier_hz", "sample_rate_hz")
        ):
            # The radio's own nearest steps: to ask for others again would begin its clock anew.
            want = replace(want, carrier_hz=now.carrier_hz, sample_rate_hz=now.sample_rate_hz)
        if want != now:
            if self.limits is not None and radio is self.sender:
                self.limits.require_settings(want)
            radio.configure(want)
