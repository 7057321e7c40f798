"""``pluto://ip:192.168.2.1``: a PlutoSDR with stock firmware, through pyadi-iio.

A stock PlutoSDR has no time stamps. Both directions therefore stream without a gap, zeros between
bursts, so that counted samples are a clock; how the two counts lie to each other is measured when
the streams start, in the AD9361's digital loopback. A sample lost either way raises a flag in the
data devices' status register; the clock is void then, every operation says so, and opening the
radio again measures it anew.

Options: ``buffer`` samples a transfer (8192), ``kernel_buffers`` of each direction (4),
``timeout_s`` of the connection (5).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import adi
import iio
import numpy as np

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
from radio.drivers.pluto_streams import PlutoStreams
from radio.registry import RadioUri

MUTED_DB = -89.75
GAIN_MODE = "gain_control_mode"
TRACKING = ("quadrature_tracking_en", "rf_dc_offset_tracking_en", "bb_dc_offset_tracking_en")
FOUND = ("sample_rate", "rx_lo", "tx_lo", "rx_rf_bandwidth", "tx_rf_bandwidth")

CARRIER_HZ = Range(70e6, 6e9)
SAMPLE_RATE_HZ = Range(521e3, 61.44e6)
TX_GAIN_DB = Range(MUTED_DB, 0.0)
RX_GAIN_DB = Range(-3.0, 71.0)


class PlutoRadio(Radio):
    """A PlutoSDR, or any AD9364 behind pyadi-iio's `adi.Pluto`."""

    def __init__(self, address: str, buffer: int, kernel_buffers: int, timeout_s: float) -> None:
        """Open it, muted, with manual gain; it streams from now on.

        Args:
            address: as libiio knows it, `ip:192.168.2.1` or `usb:1.5.5`.
            buffer: samples of a transfer.
            kernel_buffers: transfers that the kernel holds in each direction.
            timeout_s: of every exchange with the radio.

        Raises:
            RadioError: there is no such radio, or another program streams from it.
        """
        self._address = address
        self._buffer, self._kernel_buffers = buffer, kernel_buffers
        self._timeout_s = timeout_s
        self._streams: PlutoStreams | None = None
        self._is_open = False
        with self._asking("cannot be opened"):
            iio.Context(address)  # says what is wrong; pyadi-iio only that no device was found
            self._sdr = adi.Pluto(uri=address)
            self._sdr.ctx.set_timeout(round(1e3 * timeout_s))
            self._receiver = self._sdr.ctx.find_device("ad9361-phy").find_channel("voltage0", False)
            self._found = {name: int(getattr(self._sdr, name)) for name in FOUND}
            self._found_modes = {
                name: self._receiver.attrs[name].value
                for name in (GAIN_MODE, *TRACKING)
                if name in self._receiver.attrs
            }
            self._settings = RadioSettings(tx_gain_db=MUTED_DB)
            self._is_open = True
            try:
                self._mute()
                # An automatic gain, and corrections that move during a round, turn the phase of
                # what is heard.
                self._set_modes(dict.fromkeys(self._found_modes, "0") | {GAIN_MODE: "manual"})
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
            carrier_hz=CARRIER_HZ,
            sample_rate_hz=SAMPLE_RATE_HZ,
            tx_gain_db=TX_GAIN_DB,
            rx_gain_db=RX_GAIN_DB,
            max_burst=1 << 24,
            turnaround_s=delay / rate,
        )

    @property
    def settings(self) -> RadioSettings:
        """As the radio reports them."""
        return self._settings

    def configure(self, want: RadioSettings) -> RadioSettings:
        """Apply settings, and return what the radio made of them.

        Another carrier or rate interrupts the streams: the clock goes on, later bursts and
        captures of before are lost.
        """
        self._require_open()
        require_settings(want, self.caps)
        with self._asking("cannot be configured"):
            self._apply(want)
        return self._settings

    def now(self) -> int:
        """The end of what was received."""
        return self._running().now()

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
        """Silence, maximum attenuation; everything else as it was found."""
        if not self._is_open:
            return
        self._is_open = False
        self._stop()
        with self._asking("cannot be restored"):
            self._mute()
            for name, value in self._found.items():
                setattr(self._sdr, name, value)
            self._set_modes(self._found_modes)
            self._mute()  # once more: another sample rate turns the transmitter up

    def describe(self) -> Mapping[str, str]:
        """Model, serial number, firmware, temperature and crystal."""
        self._require_open()
        with self._asking("cannot be asked"):
            return about(self._sdr.ctx)

    def _apply(self, want: RadioSettings) -> None:
        sdr, now = self._sdr, self._settings
        tuned = (now.carrier_hz, now.sample_rate_hz) == (want.carrier_hz, want.sample_rate_hz)
        retuned = self._streams is None or not tuned
        clock = 0 if self._streams is None else self._streams.now()
        if retuned:
            self._stop()
            sdr.sample_rate = int(want.sample_rate_hz)
            sdr.rx_lo = sdr.tx_lo = int(want.carrier_hz)
            sdr.rx_rf_bandwidth = sdr.tx_rf_bandwidth = int(want.sample_rate_hz)
        # Another rate resets the gains: they come last, always.
        sdr.rx_hardwaregain_chan0 = float(want.rx_gain_db)
        if retuned:
            sdr.tx_hardwaregain_chan0 = MUTED_DB  # the probe is nobody's business
            self._streams = PlutoStreams(sdr, self._buffer, self._kernel_buffers, clock)
        sdr.tx_hardwaregain_chan0 = float(want.tx_gain_db)
        self._settings = RadioSettings(
            carrier_hz=float(sdr.rx_lo),
            sample_rate_hz=float(sdr.sample_rate),
            tx_gain_db=float(sdr.tx_hardwaregain_chan0),
            rx_gain_db=float(sdr.rx_hardwaregain_chan0),
        )

    def _running(self) -> PlutoStreams:
        self._require_open()
        if self._streams is None:
            raise RadioError(f"{self._address}: the streams stand still; configure it again")
        return self._streams

    def _stop(self) -> None:
        if self._streams is not None:
            self._streams.close()
            self._streams = None

    def _mute(self) -> None:
        """No tone, no power: without a buffer the DDS plays what it was last told to."""
        self._sdr.tx_hardwaregain_chan0 = MUTED_DB
        self._sdr.dds_scales = np.zeros(4)
        self._sdr.disable_dds()

    def _set_modes(self, modes: Mapping[str, str]) -> None:
        for name, value in modes.items():
            self._receiver.attrs[name].value = value

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """What libiio raises, as what a radio raises."""
        try:
            yield
        except RadioError:
            raise
        except OSError as error:
            raise RadioError(f"{self._address} {what}: {error}") from error

    def _require_open(self) -> None:
        if not self._is_open:
            raise RadioError(f"the radio {self._address} is closed; open it again")


def open_pluto(uri: RadioUri) -> PlutoRadio:
    """The PlutoSDR at the URI's address; see the module for the options."""
    uri.require_options("buffer", "kernel_buffers", "timeout_s")
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
    return PlutoRadio(uri.address, buffer, kernel_buffers, timeout_s)
