"""``usrp://addr=192.168.10.2``: a USRP with hardware time, through UHD.

The address is what UHD calls device arguments, separated by commas, of one board; several boards
are several radios. The clock is the board's own time, counted in samples. Bursts are handed to the
board ahead of time, and what it says of them afterwards, late, underflow, lost packets, is raised
by the next operation, and logged.

Options: ``clock`` and ``time``, where reference and pulses come from, as UHD names them
(``internal``, ``external``, ``gpsdo``, ...); ``align=pps`` lets all boards that share pulses count
the same seconds, with ``pulse_s`` (1) between pulses where air time goes slower than the world's,
and ``wire`` to tell pulses of several sources apart; ``subdev``, ``rx_antenna``, ``tx_antenna``,
``lo_offset_hz``; ``gain=power`` counts gains in dBm of full scale where the device is calibrated;
``timeout_s`` (2) after which what is due counts as lost; ``lead_s`` (0.01) by which this host is
ahead of what it asks for; ``memory_s`` (0) for which it goes on receiving behind each capture, so
that the next one may be asked for late. Rounds of radios without a common reference need that.
"""

from __future__ import annotations

import atexit
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import replace

from radio.api import (
    IQ,
    Capture,
    Radio,
    RadioCaps,
    RadioError,
    RadioSettings,
    TxReport,
    require_burst,
    require_count,
    require_future,
    require_settings,
)
from radio.converter import converted
from radio.drivers.usrp_bursts import UsrpBursts, cut_off
from radio.drivers.usrp_captures import UsrpCaptures
from radio.drivers.usrp_clock import UsrpClock, asking, is_locked, set_sources
from radio.drivers.usrp_finder import opened, receive_buffer
from radio.drivers.usrp_front import UsrpFront, Wiring
from radio.drivers.usrp_pulses import Pulses
from radio.leaving import Leaving
from radio.registry import RadioUri

LEAD_S, TIMEOUT_S = 0.01, 2.0
BUFFER_OF_A_SAMPLE = 8  # bytes of it, with what the system needs for each packet

_log = logging.getLogger(__name__)


class UsrpRadio(Radio):
    """One board behind UHD's `MultiUSRP`, its first channel both ways."""

    def __init__(
        self,
        address: str,
        clock: str | None = None,
        time: str | None = None,
        pulses: tuple[float, str] | None = None,
        wiring: Wiring | None = None,
        timeout_s: float = TIMEOUT_S,
        lead_s: float = LEAD_S,
        memory_s: float = 0.0,
    ) -> None:
        """Open it, muted, at the default settings or those next to them.

        Args:
            address: device arguments, `addr=192.168.10.2`.
            clock: source of its reference; None leaves it.
            time: source of its pulses; None leaves it.
            pulses: seconds between those to align to, and their name; None leaves its time.
            wiring: which front end and connectors.
            timeout_s: after which what is due counts as lost.
            lead_s: by which commands come before their time.
            memory_s: for which is received behind each capture, or as long as buffers hold it.

        Raises:
            RadioError: there is no such board, source, front end or antenna, it does not lock to
                its reference, or gets no pulses.
        """
        self._address = address
        self._clock_source = clock
        self._lead_s, self._timeout_s, self._memory_s = lead_s, timeout_s, memory_s
        self._leaving = Leaving(self._leave, address)
        self._is_open = False
        self._streams: tuple[UsrpCaptures, UsrpBursts] | None = None
        with asking(address, "cannot be opened"):
            self._usrp = opened(address)
            if (boards := self._usrp.get_num_mboards()) != 1:
                raise RadioError(f"{address} are {boards} boards; open each as a radio of its own")
            self._front = UsrpFront(self._usrp, address, wiring or Wiring())
            self._caps = self._front.caps(2 * lead_s, continuous=memory_s > 0)
        self._clock = UsrpClock(self._usrp, address, 1.0)
        try:
            self._is_open = True
            atexit.register(self.close)  # for a program that ends and forgets to close it
            set_sources(self._usrp, address, clock, time)
            if pulses is not None:
                Pulses(self._usrp, address, *pulses).align()
            self._settings = self._begin()
        except BaseException:
            self.close()
            raise

    @property
    def caps(self) -> RadioCaps:
        """Of the board, as it was opened."""
        return self._caps

    @property
    def settings(self) -> RadioSettings:
        """As the board has them."""
        return self._settings

    def configure(self, want: RadioSettings, at: int | None = None) -> RadioSettings:
        """Apply settings, and return what the board made of them.

        Another carrier or rate takes back what was still to be sent, unless it is to change at a
        time. What went wrong before is forgiven.

        Args:
            want: settings.
            at: sample of the clock at which both directions retune and take their gains, which is
                waited for; the rate has to stay. None for at once.

        Raises:
            RadioError: the board cannot, or `at` has passed.
        """
        self._require_open()
        require_settings(want, self._caps)
        self._require_reference()
        now = self._settings
        retuned = want.carrier_hz != now.carrier_hz
        if at is None:
            if retuned or want.sample_rate_hz != now.sample_rate_hz:
                self._begin_again(want.sample_rate_hz, now.sample_rate_hz)
            self._set(want, retuned)
        elif want.sample_rate_hz != now.sample_rate_hz:
            raise RadioError(f"{self._address} changes its sample rate at once only, not at")
        else:
            with self._clock.commanding(at):
                self._require_open()  # it was waited for
                self._set(want, retuned)
        self._front.require_locked()
        self._running()[1].forgive()
        # What it has is next to what was asked, and asked for again is the same.
        self._settings = self._front.settings()
        return self._settings

    def now(self) -> int:
        """The board's time."""
        self._require_open()
        return self._clock.now()

    def transmit(self, iq: IQ, at: int | None = None) -> TxReport:
        """Send a burst; without a time, as soon as all others are over."""
        self._require_open()
        _, bursts = self._running()
        require_burst(iq, self._caps)
        if at is not None:
            require_future(at, self._clock.now())
        bursts.require_well()
        sent, clipped = converted(iq)
        return TxReport(self._settings.tx_gain_db, clipped, bursts.post(sent, at))

    def receive(self, n: int, at: int | None = None) -> Capture:
        """Capture n samples."""
        self._require_open()
        require_count(n)
        captures, bursts = self._running()
        if at is not None:
            require_future(at, captures.earliest(self._clock.now()))
        bursts.require_well()
        return captures.take(int(n), None if at is None else int(at))

    def close(self) -> None:
        """Nothing more is sent, and the transmitter muted; all but the carrier as it was found.

        A board that does not answer is left as it is, which is logged.
        """
        self._leaving()

    def describe(self) -> Mapping[str, str]:
        """Model, serial number, front ends, sources, and whether it has locked to its reference."""
        self._require_open()
        with asking(self._address, "cannot be asked"):
            told = {**self._usrp.get_usrp_rx_info(0), **self._usrp.get_usrp_tx_info(0)}
            about = {
                "model": self._usrp.get_mboard_name(0),
                "serial": told.get("mboard_serial", ""),
                "receiver": told.get("rx_subdev_name", ""),
                "transmitter": told.get("tx_subdev_name", ""),
                "clock": self._usrp.get_clock_source(0),
                "time": self._usrp.get_time_source(0),
                "reference": "locked" if is_locked(self._usrp, self._address) else "not locked",
            }
        return {what: text for what, text in about.items() if text}

    def _leave(self) -> None:
        self._is_open = False
        try:
            try:
                self._front.mute()
            finally:
                self._end_streams()
            self._front.restore()
        except RadioError as error:
            _log.warning("%s could not be muted and restored: %s", self._address, error)
        finally:
            atexit.unregister(self.close)
            # What libuhd holds of the board ends with the last of these.
            del self._usrp, self._front, self._clock
            self._streams = None

    def _begin(self) -> RadioSettings:
        """The default settings, or what is next to them."""
        caps = self._caps
        wanted = {
            name: min(max(value, getattr(caps, name).low), getattr(caps, name).high)
            for name, value in vars(RadioSettings(tx_gain_db=caps.tx_gain_db.low)).items()
        }
        want = replace(RadioSettings(), **wanted)
        self._restart(want.sample_rate_hz)
        self._set(want, retune=True)
        self._front.require_locked()
        return self._front.settings()

    def _set(self, want: RadioSettings, retune: bool) -> None:
        if retune:
            self._front.tune(want.carrier_hz)
        self._front.set_gains(want.tx_gain_db, want.rx_gain_db)

    def _begin_again(self, rate_hz: float, before_hz: float) -> None:
        """Streams of another rate, or of the one before where there is no such."""
        try:
            self._restart(rate_hz)
        except RadioError:
            self._restart(before_hz)
            raise

    def _restart(self, rate_hz: float) -> None:
        """Streams of this rate, and nothing to be sent."""
        self._end_streams()
        self._front.set_rate(rate_hz)
        self._clock.rate_hz = rate_hz
        of = (self._usrp, self._clock, self._address, self._lead_s, self._timeout_s)
        memory = min(round(self._memory_s * rate_hz), receive_buffer() // BUFFER_OF_A_SAMPLE)
        captures = UsrpCaptures(*of, lambda: self._is_open, memory)
        self._streams = captures, UsrpBursts(*of, self._unlocked)

    def _end_streams(self) -> None:
        """Send nothing more, not even what the board has already."""
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()
            cut_off(self._usrp, self._address)

    def _running(self) -> tuple[UsrpCaptures, UsrpBursts]:
        if self._streams is None:
            raise RadioError(f"{self._address} has no sample rate; configure it again")
        return self._streams

    def _unlocked(self) -> str | None:
        """What is wrong with the reference."""
        if self._clock_source in (None, "internal"):
            return None
        if is_locked(self._usrp, self._address):
            return None
        return f"the reference was lost, clock={self._clock_source}; is it still connected?"

    def _require_reference(self) -> None:
        if (fault := self._unlocked()) is not None:
            raise RadioError(f"{self._address}: {fault}")

    def _require_open(self) -> None:
        if not self._is_open:
            raise RadioError(f"the radio {self._address} is closed; open it again")


def open_usrp(uri: RadioUri) -> UsrpRadio:
    """The USRP at the URI's address; see the module for the options."""
    uri.require_options(
        *("clock", "time", "align", "pulse_s", "wire", "subdev", "rx_antenna", "tx_antenna"),
        *("lo_offset_hz", "gain", "timeout_s", "lead_s", "memory_s"),
    )
    if not uri.address:
        raise RadioError(f"{uri} does not say which; one looks like usrp://addr=192.168.10.2")
    pulse_s = uri.option("pulse_s", float, 1.0)
    timeout_s = uri.option("timeout_s", float, TIMEOUT_S)
    lead_s, memory_s = uri.option("lead_s", float, LEAD_S), uri.option("memory_s", float, 0.0)
    finite = 0 < pulse_s < math.inf and 0 < timeout_s < math.inf
    if not (finite and 0 < lead_s < 1 and 0 <= memory_s <= 1):
        raise RadioError(
            f"{uri}: pulse_s and timeout_s should be above 0 and finite, lead_s in (0, 1), "
            "memory_s in [0, 1]"
        )
    for name, allowed in (("align", "pps"), ("gain", "power")):
        if uri.options.get(name, allowed) != allowed:
            raise RadioError(f"{uri}: {name} should be {allowed}, or be left out")
    if "align" not in uri.options and (idle := uri.options.keys() & {"pulse_s", "wire"}):
        raise RadioError(f"{uri}: {min(idle)} is of use with align=pps only")
    wire = uri.option("wire", str, "pps")
    if not re.fullmatch(r"[\w.-]+", wire):
        raise RadioError(f"{uri}: wire={wire} should be a word")
    wiring = Wiring(
        uri.option("subdev", str, None),
        uri.option("rx_antenna", str, None),
        uri.option("tx_antenna", str, None),
        uri.option("lo_offset_hz", float, 0.0),
        "gain" in uri.options,
    )
    pulses = (pulse_s, wire) if "align" in uri.options else None
    return UsrpRadio(
        uri.address,
        uri.option("clock", str, None),
        uri.option("time", str, None),
        pulses,
        wiring,
        timeout_s,
        lead_s,
        memory_s,
    )
