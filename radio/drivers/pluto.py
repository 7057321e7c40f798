"""``pluto://ip:192.168.2.1``: a PlutoSDR with stock firmware, through pyadi-iio.

A stock PlutoSDR has no time stamps. Both directions therefore stream without a gap, zeros between
bursts, so that counted samples are a clock; how the two counts lie to each other is measured when
the streams start, in the AD9361's digital loopback. Where a sample is lost either way, or another
program interferes, the clock is void and nothing more is sent; every operation says so, and
configuring the radio or opening it again measures the clock anew.

Options: ``buffer`` samples a transfer (8192), ``kernel_buffers`` of each direction (4),
``timeout_s`` of the connection (5), ``xo_hz`` frequency of the crystal as calibration found it,
``trigger`` (``wait`` or ``give``) for a clock that begins with a pulse.
"""

from __future__ import annotations

import atexit
import errno
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import adi
import iio

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
from radio.drivers.pluto_about import about
from radio.drivers.pluto_state import (
    ADC,
    DAC,
    MUTED_DB,
    PHY,
    PlutoState,
    mute,
    set_kernel_buffers,
    span,
)
from radio.drivers.pluto_streams import PlutoStreams
from radio.drivers.pluto_trigger import ENGINE, Part, PlutoTrigger, part, rest_engine
from radio.leaving import Leaving
from radio.registry import RadioUri

SAMPLE_RATE_HZ = Range(521e3, 61.44e6)
TX_GAIN_DB = Range(MUTED_DB, 0.0)
RX_GAIN_DB = Range(-1.0, 62.0)  # that there is at every carrier
TRIES = 3  # of a start, which a busy machine may miss
CLOSING_MS = 1000  # to wait for a radio that is closed

_log = logging.getLogger(__name__)


class PlutoRadio(Radio):
    """A PlutoSDR, or any AD9364 behind pyadi-iio's `adi.Pluto`."""

    def __init__(
        self,
        address: str,
        buffer: int = 8192,
        kernel_buffers: int = 4,
        timeout_s: float = 5.0,
        xo_hz: int | None = None,
        trigger: Part | None = None,
    ) -> None:
        """Open it, muted, with manual gain; it streams from now on, or from a pulse.

        Args:
            address: as libiio knows it, `ip:192.168.2.1` or `usb:1.5.5`.
            buffer: samples of a transfer.
            kernel_buffers: transfers that the kernel holds in each direction.
            timeout_s: of every exchange with the radio.
            xo_hz: frequency of its crystal; None leaves the correction that it has.
            trigger: it streams from when it is configured and a pulse comes, or gives that pulse.

        Raises:
            RadioError: there is no such radio, another program streams from it, it does not permit
                this crystal, or has no TDD engine that a pulse starts.
        """
        self._address = address
        self._buffer, self._kernel_buffers = buffer, kernel_buffers
        self._timeout_s, self._xo_hz = timeout_s, xo_hz
        self._streams: PlutoStreams | None = None
        self._clock = 0
        self._is_open = self._broke = False
        self._leaving = Leaving(self._leave, address)
        with self._asking("cannot be opened"):
            self._sdr = self._connected()
            # Before anything else: whoever streams from it shall not notice.
            set_kernel_buffers(self._sdr, kernel_buffers)
            phy = self._sdr.ctx.find_device(PHY)
            self._carrier_hz = span(
                phy.find_channel("altvoltage1", True).attrs["frequency_available"]
            )
            self._has_engine = self._sdr.ctx.find_device(ENGINE) is not None
            if trigger is not None and not self._has_engine:
                raise RadioError(f"{address} has no TDD engine; firmware 0.39 and newer has one")
            self._trigger = None if trigger is None else PlutoTrigger(self._sdr, trigger)
            self._state = PlutoState(self._sdr)
            self._settings = RadioSettings(tx_gain_db=MUTED_DB)
            try:
                self._is_open = True
                atexit.register(self.close)  # for a program that ends and forgets to close it
                mute(self._sdr)
                rest_engine(self._sdr)
                if trigger is None:
                    self._apply(self._settings)
            except BaseException:
                self.close()
                raise

    @property
    def caps(self) -> RadioCaps:
        """Of the AD9364; how fast it answers depends on buffers and sample rate."""
        rate = self._settings.sample_rate_hz
        # What was heard comes a transfer late; what is sent waits behind all kernel buffers.
        delay = (self._kernel_buffers + 3) * self._buffer
        return RadioCaps(
            name=f"PlutoSDR at {self._address}",
            can_transmit=True,
            timed=True,
            full_duplex=True,
            bits=12,
            carrier_hz=self._carrier_hz,
            sample_rate_hz=SAMPLE_RATE_HZ,
            tx_gain_db=TX_GAIN_DB,
            rx_gain_db=RX_GAIN_DB,
            max_burst=1 << 24,
            turnaround_s=delay / rate,
            trigger=self._has_engine,
        )

    @property
    def settings(self) -> RadioSettings:
        """As the radio reports them."""
        return self._settings

    def configure(self, want: RadioSettings) -> RadioSettings:
        """Apply settings, and return what the radio made of them.

        Another carrier or rate, and a clock that is void, begin the streams anew: the clock goes
        on, but later bursts and captures of before are lost.
        """
        self._require_open()
        require_settings(want, self.caps)
        if self._is_broken:
            raise RadioError(f"{self._address}: the connection broke; open the radio again")
        with self._asking("cannot be configured"):
            self._apply(want)
        return self._settings

    def now(self) -> int:
        """The end of what was received."""
        self._require_open()
        return self._clock if self._streams is None else self._streams.now()

    def transmit(self, iq: IQ, at: int | None = None) -> TxReport:
        """Send a burst; without a time, as soon as the stream permits."""
        streams = self._running()
        require_burst(iq, self.caps)
        if at is not None:
            require_future(at, streams.now())
        sent, clipped = converted(iq)
        started_at = streams.send(sent, at)
        return TxReport(self._settings.tx_gain_db, clipped, started_at)

    def receive(self, n: int, at: int | None = None) -> Capture:
        """Capture n samples; `at` may lie back as far as this radio's last capture ended."""
        streams = self._running()
        require_count(n)
        return streams.receive(n, at, self._timeout_s)

    def close(self) -> None:
        """Silence, maximum attenuation; everything else as it was found.

        A radio that does not answer is left as it is, which is logged: it loses its buffers, and
        is silent, as soon as it notices that the connection is gone.
        """
        self._leaving()

    def describe(self) -> Mapping[str, str]:
        """Model, serial number, firmware, temperature and crystal."""
        self._require_open()
        with self._asking("cannot be asked"):
            return about(self._sdr.ctx)

    def _leave(self) -> None:
        self._is_open = False
        try:
            self._mute_and_restore()
        except (OSError, RadioError) as error:
            _log.warning("%s could not be muted and restored: %s", self._address, error)
        finally:
            atexit.unregister(self.close)

    def _mute_and_restore(self) -> None:
        try:
            if not self._is_broken:
                self._sdr.ctx.set_timeout(CLOSING_MS)
                mute(self._sdr)
        except OSError:
            self._broke = True
        self._stop()
        sdr = self._connected() if self._is_broken else self._sdr
        mute(sdr)
        rest_engine(sdr)
        self._state.restore(sdr)

    def _connected(self) -> adi.Pluto:
        context = iio.Context(self._address)
        context.set_timeout(round(1e3 * self._timeout_s))
        for name in (PHY, ADC, DAC):
            if context.find_device(name) is None:
                raise RadioError(f"{self._address} is no PlutoSDR: it has no {name}")
        return adi.Pluto(context)

    def _apply(self, want: RadioSettings) -> None:
        sdr, now, streams = self._sdr, self._settings, self._streams
        tuned = (now.carrier_hz, now.sample_rate_hz) == (want.carrier_hz, want.sample_rate_hz)
        if streams is not None and streams.fault is None and tuned:
            with streams.setting():
                self._set_gains(want)
            return
        mute(sdr)
        self._stop()
        self._state.prepare(sdr, self._xo_hz)
        sdr.sample_rate = int(want.sample_rate_hz)
        sdr.tx_hardwaregain_chan0 = MUTED_DB  # which another rate resets
        sdr.rx_lo = sdr.tx_lo = int(want.carrier_hz)
        sdr.rx_rf_bandwidth = sdr.tx_rf_bandwidth = int(want.sample_rate_hz)
        sdr.rx_hardwaregain_chan0 = float(want.rx_gain_db)
        self._start()
        with self._running().setting():
            self._set_gains(want)

    def _set_gains(self, want: RadioSettings) -> None:
        sdr = self._sdr
        sdr.rx_hardwaregain_chan0 = float(want.rx_gain_db)
        sdr.tx_hardwaregain_chan0 = float(want.tx_gain_db)
        self._settings = RadioSettings(
            carrier_hz=float(sdr.rx_lo),
            sample_rate_hz=float(sdr.sample_rate),
            tx_gain_db=float(sdr.tx_hardwaregain_chan0),
            rx_gain_db=float(sdr.rx_hardwaregain_chan0),
        )

    def _start(self) -> None:
        """Let the streams flow; once more where that is missed."""
        for left in reversed(range(TRIES)):
            self._streams = PlutoStreams(
                self._sdr, self._address, self._buffer, self._kernel_buffers, self._clock
            )
            try:
                self._streams.start(self._trigger)
            except RadioError as error:
                self._stop()
                if not left or self._is_broken or self._trigger is not None:
                    raise
                _log.info("%s starts again: %s", self._address, error)
            else:
                return

    def _running(self) -> PlutoStreams:
        self._require_open()
        if self._streams is None:
            raise RadioError(f"{self._address}: the streams stand still; configure it again")
        return self._streams

    def _stop(self) -> None:
        if self._streams is not None:
            self._streams.close()
            self._broke = self._is_broken
            self._clock, self._streams = self._streams.now(), None

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """What libiio raises, as what a radio raises."""
        try:
            yield
        except OSError as error:
            if error.errno == errno.EBUSY:
                why = "another program streams from it; end that one"
            elif error.errno == errno.EINVAL:
                why = f"it refuses ({error})"
            else:
                why = f"the connection broke ({error}); open the radio again"
                self._broke = True
            raise RadioError(f"{self._address} {what}: {why}") from error

    @property
    def _is_broken(self) -> bool:
        """Whether the connection is of no more use: late answers would be taken for others."""
        return self._broke or (self._streams is not None and self._streams.is_broken)

    def _require_open(self) -> None:
        if not self._is_open:
            raise RadioError(f"the radio {self._address} is closed; open it again")


def open_pluto(uri: RadioUri) -> PlutoRadio:
    """The PlutoSDR at the URI's address; see the module for the options."""
    uri.require_options("buffer", "kernel_buffers", "timeout_s", "xo_hz", "trigger")
    if not uri.address:
        raise RadioError(f"{uri} does not say which; one looks like pluto://ip:192.168.2.1")
    buffer = uri.option("buffer", int, 8192)
    kernel_buffers = uri.option("kernel_buffers", int, 4)
    timeout_s = uri.option("timeout_s", float, 5.0)
    if not (1024 <= buffer <= 1 << 20 and 2 <= kernel_buffers <= 64 and timeout_s > 0):
        raise RadioError(
            f"{uri}: buffer should be 1024 to 1048576 samples, kernel_buffers 2 to 64, timeout_s "
            "above 0"
        )
    xo_hz, trigger = uri.option("xo_hz", int, None), uri.option("trigger", part, None)
    return PlutoRadio(uri.address, buffer, kernel_buffers, timeout_s, xo_hz, trigger)
