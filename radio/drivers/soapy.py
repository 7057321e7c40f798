"""``soapy://driver=uhd,addr=192.168.10.2``: any radio that SoapySDR has a module for.

The address is what SoapySDR finds the device by. Where the driver has hardware time, bursts and
captures begin at their samples of it, which are counted from 0 of that time. Where it has none,
`caps.timed` is false: times are this machine's then, and good to some milliseconds.

Options: ``channel`` (0), ``rx_antenna`` and ``tx_antenna``, ``clock`` and ``time`` for the sources
of reference and pulse, ``lead_s`` by which bursts without a time are ahead (0.02), ``timeout_s``
for which the radio may stand still (5).
"""

from __future__ import annotations

import atexit
import logging
import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import SoapySDR

from radio.api import (
    IQ,
    Capture,
    Radio,
    RadioCaps,
    RadioError,
    RadioSettings,
    Range,
    TxReport,
    require_burst,
    require_count,
    require_future,
    require_settings,
)
from radio.converter import converted
from radio.drivers.soapy_clock import Clock, HardwareClock, HostClock, SampleTime
from radio.drivers.soapy_receiving import SoapyReceiver
from radio.drivers.soapy_sending import SoapySender
from radio.drivers.soapy_state import SoapyState, Wiring
from radio.leaving import Leaving
from radio.registry import RadioUri

EXAMPLE = "soapy://driver=uhd,addr=192.168.10.2"
LEAD_S = 0.02
TIMEOUT_S = 5.0
LEAVE_S = 1.0  # in which what is under way ends once the radio is closed

_log = logging.getLogger(__name__)


class SoapyRadio(Radio):
    """A channel of a device, its receiver and, where it has one, its transmitter."""

    def __init__(
        self,
        found_by: Mapping[str, str],
        wiring: Wiring | None = None,
        lead_s: float = LEAD_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Open it, at its weakest, with manual gain.

        Args:
            found_by: what tells SoapySDR which device.
            wiring: what of it is used.
            lead_s: by which commands are ahead of their time.
            timeout_s: for which its clock, or its samples, may stand still.

        Raises:
            RadioError: there is no such device, or nothing of the kind is wired to it.
        """
        self._where = ",".join(f"{key}={value}" for key, value in found_by.items())
        self._lead_s, self._timeout_s = lead_s, timeout_s
        self._is_open = False
        self._busy = threading.RLock()
        self._leaving = Leaving(self._leave, self._where)
        self._last_end = 0
        self._sender: SoapySender | None = None
        with self._asking("cannot be opened"), ExitStack() as undo:
            self._device = SoapySDR.Device(dict(found_by))
            undo.callback(self._device.close)
            name = f"{self._device.getHardwareKey()} at {self._where}"
            self._state = SoapyState(self._device, name, wiring or Wiring())
            timed = bool(self._device.hasHardwareTime())
            self._clock: Clock = HardwareClock(self._device) if timed else HostClock()
            self._caps = self._state.caps(timed, lead_s)
            undo.callback(self._state.restore)
            self._state.prepare()
            self._apply(_default(self._caps))
            self._rest = (self._device, (wiring or Wiring()).channel, name, self._clock, timeout_s)
            self._receiver = SoapyReceiver(*self._rest, lambda: self._is_open)
            undo.callback(self._receiver.close)
            undo.callback(self._end_sending)
            self._begin_sending()
            self._undo = undo.pop_all()
        self._is_open = True
        atexit.register(self.close)

    @property
    def caps(self) -> RadioCaps:
        """As the driver tells of the device."""
        return self._caps

    @property
    def settings(self) -> RadioSettings:
        """As the device reports them."""
        return self._settings

    def configure(self, want: RadioSettings) -> RadioSettings:
        """Apply settings, and return what the device made of them; a rate it has to have.

        Another rate takes back what was still to be sent.
        """
        self._require_open()
        require_settings(want, self._caps)
        before_hz = self._settings.sample_rate_hz
        with self._using("cannot be configured"):
            self._require_well()
            if want.sample_rate_hz != before_hz:
                self._end_sending()
            try:
                self._apply(want)
            finally:
                if self._settings.sample_rate_hz != before_hz:
                    self._last_end = 0  # it was a sample of the rate before
                self._begin_sending()
        return self._settings

    def now(self) -> int:
        """Samples since 0 of the device's time, or since it was opened where it has none."""
        self._require_open()
        with self._asking("does not tell its time"):
            return max(self._times.samples_in(self._clock.now_ns()), self._last_end)

    def transmit(self, iq: IQ, at: int | None = None) -> TxReport:
        """Send a burst; where it went wrong, the next operation says so, once."""
        if self._caps.can_transmit:
            self._require_open()
        require_burst(iq, self._caps)
        if not self._caps.can_transmit:
            raise RadioError(f"{self._caps.name} only receives")
        if self._sender is None:
            raise RadioError(f"{self._caps.name} has no stream to send; configure it again")
        now = self.now()
        if at is not None:
            require_future(at, now)
        sent, clipped = converted(iq)
        earliest = now + self._lead
        with self._using("does not send"):
            self._require_well()
            start = self._sender.post(sent, at, earliest, self._times)
        return TxReport(self._settings.tx_gain_db, clipped, start)

    def receive(self, n: int, at: int | None = None) -> Capture:
        """Capture n samples, from now on where no time is given."""
        self._require_open()
        require_count(n)
        if at is not None:
            require_future(at, self.now())
        with self._using("does not receive"):
            self._require_well()
            if self._caps.timed:
                capture = self._receiver.timed(n, at, self._times)
            else:
                capture = self._receiver.untimed(n, at, self._times, self._last_end)
        self._last_end = capture.first_sample + n
        return Capture(converted(capture.iq)[0], capture.first_sample, capture.overflows)

    def close(self) -> None:
        """Silence, the transmitter at its weakest; everything else as it was found.

        What another thread is about ends with an error before.
        """
        self._leaving()

    def describe(self) -> Mapping[str, str]:
        """What the driver tells: model, serial number, versions, temperature."""
        self._require_open()
        with self._using("cannot be asked"):
            return self._state.about()

    def _leave(self) -> None:
        self._is_open = False
        try:
            try:
                self._state.mute()
            finally:
                self._let_go()
        except (RadioError, RuntimeError) as error:
            _log.warning("%s could not be muted and restored: %s", self._where, error)
        finally:
            atexit.unregister(self.close)

    def _let_go(self) -> None:
        """Close it once nobody uses it: drivers do not survive a stream closed under a reader."""
        if not self._busy.acquire(timeout=self._timeout_s + LEAVE_S):
            raise RadioError("its driver does not return from what it was asked")
        try:
            self._undo.close()
        finally:
            self._busy.release()

    def _require_well(self) -> None:
        """RadioError where its reference is missed, or what was sent before went wrong."""
        self._state.require_reference()
        if self._sender is not None:
            self._sender.require_well()

    def _begin_sending(self) -> None:
        """Have a transmitter, where the device has one and there is none yet."""
        if self._caps.can_transmit and self._sender is None:
            self._sender = SoapySender(*self._rest)

    def _end_sending(self) -> None:
        """Send nothing more, not even what the device has already."""
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.close()

    @property
    def _times(self) -> SampleTime:
        return SampleTime(self._settings.sample_rate_hz)

    @property
    def _lead(self) -> int:
        return round(self._lead_s * self._settings.sample_rate_hz)

    def _apply(self, want: RadioSettings) -> None:
        try:
            self._state.apply(want)
        finally:
            self._settings = self._state.read()

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """What SoapySDR raises, as what a radio raises."""
        try:
            yield
        except RuntimeError as error:
            why = " ".join(str(error).split()) or type(error).__name__
            if "make() no match" in why or "No devices found" in why:
                why = "there is none; `SoapySDRUtil --find` shows devices, `--info` the drivers"
            raise RadioError(f"{self._where} {what}: {why}") from error

    @contextmanager
    def _using(self, what: str) -> Iterator[None]:
        """As `_asking`, while nobody closes it."""
        with self._busy, self._asking(what):
            self._require_open()
            yield

    def _require_open(self) -> None:
        if not self._is_open:
            raise RadioError(f"the radio {self._where} is closed; open it again")


def open_soapy(uri: RadioUri) -> SoapyRadio:
    """The device at the URI's address; see the module for the options."""
    known = ("channel", "rx_antenna", "tx_antenna", "clock", "time", "lead_s", "timeout_s")
    uri.require_options(*known)
    found_by: dict[str, str] = {}
    for pair in filter(None, uri.address.split(",")):
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise RadioError(f"{uri}: {pair!r} should read key=value, as in {EXAMPLE}")
        found_by[key.strip()] = value.strip()
    if "driver" not in found_by:
        raise RadioError(f"{uri} does not say which driver; one looks like {EXAMPLE}")
    lead_s = uri.option("lead_s", float, LEAD_S)
    timeout_s = uri.option("timeout_s", float, TIMEOUT_S)
    wiring = Wiring(
        uri.option("channel", int, 0),
        *(uri.option(name, str, None) for name in ("rx_antenna", "tx_antenna", "clock", "time")),
    )
    if not (0 < lead_s <= 10 and 0 < timeout_s < math.inf and wiring.channel >= 0):
        raise RadioError(
            f"{uri}: lead_s should be above 0 to 10, timeout_s above 0 and finite, "
            "channel 0 or more"
        )
    return SoapyRadio(found_by, wiring, lead_s, timeout_s)


def _default(caps: RadioCaps) -> RadioSettings:
    """The usual settings as far as the device has them, at its weakest."""
    usual = RadioSettings(tx_gain_db=caps.tx_gain_db.low)

    def within(value: float, allowed: Range) -> float:
        return min(max(value, allowed.low), allowed.high)

    return RadioSettings(
        within(usual.carrier_hz, caps.carrier_hz),
        within(usual.sample_rate_hz, caps.sample_rate_hz),
        within(usual.tx_gain_db, caps.tx_gain_db),
        within(usual.rx_gain_db, caps.rx_gain_db),
    )
