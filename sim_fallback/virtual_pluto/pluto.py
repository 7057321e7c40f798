"""One virtual PlutoSDR: its settings, its buffers and its place on the air."""

from __future__ import annotations

import errno
import math
import threading
from collections.abc import Callable
from functools import partial

import numpy as np

from sim_fallback.bands import HISTORY_S, Bands, Place
from sim_fallback.clock import VirtualClock
from sim_fallback.codes import Samples
from sim_fallback.playback import CALIBRATION_S, Outlet, Playback
from sim_fallback.streams import stream
from sim_fallback.virtual_pluto.attributes import Attributes
from sim_fallback.virtual_pluto.context import ADC, DAC
from sim_fallback.virtual_pluto.errors import IioError
from sim_fallback.virtual_pluto.gain import Agc, table
from sim_fallback.virtual_pluto.latency import HostLatency
from sim_fallback.virtual_pluto.receiver import LOOPBACK_SHIFT, Receiver, Tuning
from sim_fallback.virtual_pluto.reception import Reception
from sim_fallback.virtual_pluto.ring import Ring
from sim_fallback.virtual_pluto.settings import Settings
from sim_fallback.virtual_pluto.synthesizer import CRYSTAL_HZ
from sim_fallback.virtual_pluto.tdd import RECEIVE, SyncWire, TddEngine
from sim_fallback.virtual_pluto.transmitter import Transmitter, TxBuffer

STATUS = 0x8000_0088
OVERFLOW, UNDERFLOW = 1 << 2, 1 << 0

FAR_HZ = 100e6
"""How far an LO moves before the transceiver calibrates itself."""

DIGITAL, ANTENNAS = 1, 2  # kinds of loopback

BLOCKS, MOST_BLOCKS = 4, 64
MOST_BYTES = 1 << 26
"""That the buffers of a client may take."""

KEPT_S = 1.0
"""How much longer than the air a radio remembers what it sent itself."""

TIDY_EVERY_S = 0.05

ECHO_SIZE, ECHO_BLOCKS = 4096, 4


class Pluto:
    """One radio. Safe to use from several threads; none of its methods waits."""

    def __init__(
        self,
        bands: Bands,
        name: str,
        latency: HostLatency | None = None,
        wire: SyncWire | None = None,
    ) -> None:
        """The radio `name` of an air.

        Args:
            bands: that it sends and receives in.
            name: in the scene of these bands; RadioError where there is none.
            latency: of its host side.
            wire: to the trigger input of a radio that has a TDD engine; None for one that has not.
        """
        self.name, self.bands = name, bands
        self.settings = Settings()
        self._lock = threading.RLock()
        self._latency = HostLatency() if latency is None else latency
        self._rng = stream(bands.equipment(name).key, "host latency")
        self._wire = wire
        self.tdd = None if wire is None else TddEngine(lambda: self.settings.rx_rate_hz)
        self._playback = Playback(bands, name, self._outlet())
        self._transmitter = Transmitter(
            self._playback,
            lambda: self._latency_samples(self.settings.tx_rate_hz),
            self.settings.tones,
        )
        self._reception = Reception(
            bands,
            name,
            Receiver(bands, name, self._sent),
            self._tuning(),
            lambda: self._latency_samples(self.settings.rx_rate_hz),
            None if self.tdd is None else partial(self.tdd.high_s, RECEIVE),
        )
        if wire is not None:
            wire.connect(self._pulsed)
        self._counts = {ADC: BLOCKS, DAC: BLOCKS}
        self._words: dict[tuple[str, int], int] = {}
        self._echo: Ring[Tuning] | None = None
        self._echo_end = 0
        self._tidied_s = -math.inf
        self.attributes = Attributes(self)

    def open_rx(self, size: int) -> Ring[Tuning]:
        """Start a stream of blocks of `size` samples, at a time that nobody knows beforehand.

        Raises:
            IioError: EINVAL, no samples; ENOMEM, too many.
        """
        with self._lock:
            _require_size(self._counts[ADC], size)
            ring = self._reception.open(self._counts[ADC], size)
            self._tidy()
            return ring

    def read(self, ring: Ring[Tuning]) -> Samples | None:
        """The next block of a stream, int16 [size, 2]; None where it is not full yet."""
        with self._lock:
            spans = ring.take()
            if spans is None:
                return None
        samples = self._reception.samples(spans)
        self._tidy_at_times()
        return samples

    def look_ahead(self, ring: Ring[Tuning], wanted: Callable[[], bool]) -> None:
        """Use the time that the client computes for the next block of a stream, until `wanted`.

        With a clock that runs free what comes is decided before it is asked for, unless somebody
        sends.
        """
        with self._lock:
            spans = ring.coming(isinstance(self.bands.clock, VirtualClock))
        self._reception.look_ahead(spans, wanted)

    def release(self, ring: Ring[Tuning]) -> None:
        """Give the block back that was read last."""
        with self._lock:
            ring.release()

    def ready_s(self, ring: Ring[Tuning]) -> float:
        """True time at which the next block of a stream is full."""
        with self._lock:
            return self._reception.ready_s(ring)

    def close_rx(self, ring: Ring[Tuning]) -> None:
        """End a stream."""
        with self._lock:
            self._reception.close(ring)
            self._tidy()

    def open_tx(self, size: int, cyclic: bool) -> TxBuffer:
        """Let samples take the place of the tones.

        Raises:
            IioError: EBUSY, a cyclic buffer is open, or another one and this would be cyclic;
                EINVAL, no samples; ENOMEM, too many.
        """
        with self._lock:
            _require_size(self._counts[DAC], size)
            return self._transmitter.open(self._counts[DAC], cyclic)

    def push(self, buffer: TxBuffer, block: Samples) -> float:
        """Queue a block; as `Transmitter.push`."""
        self._tidy_at_times()
        with self._lock:
            return self._transmitter.push(buffer, block)

    def close_tx(self, buffer: TxBuffer) -> None:
        """Leave the buffer; when the last client does, what is queued is dropped."""
        with self._lock:
            self._transmitter.close(buffer)

    def set_count(self, device: str, count: int) -> None:
        """How many kernel buffers the next stream of a device has.

        Raises:
            IioError: EINVAL, none or too many; EBUSY, the device is open; ENODEV, it has none.
        """
        with self._lock:
            if device not in self._counts:
                raise IioError(errno.ENODEV)
            if not 1 <= count <= MOST_BLOCKS:
                raise IioError(errno.EINVAL)
            if (self._reception if device == ADC else self._transmitter).is_open:
                raise IioError(errno.EBUSY)
            self._counts[device] = count

    def change(self, change: Callable[[Settings], Settings]) -> None:
        """Set some of it, and leave all else as it is by then: other clients set it, too."""
        with self._lock:
            self.apply(change(self.settings))

    def apply(self, settings: Settings) -> None:
        """Set the radio. An LO that moves far calibrates it, where that is automatic."""
        with self._lock:
            self._transmitter.note_underflow()
            before, self.settings = self.settings, settings
            if settings.xo_hz != before.xo_hz:
                self.bands.correct(self.name, CRYSTAL_HZ / settings.xo_hz)
            sent = self._playback.now()
            self._playback.route(self._outlet())
            if settings.tx_rate_hz != before.tx_rate_hz:
                self._transmitter.moved(self._playback.now() - sent)
            self._reception.tune(self._tuning())
            if (settings.tones, settings.tx_rate_hz) != (before.tones, before.tx_rate_hz):
                self._transmitter.play(settings.tones)
            if settings.calib_mode == "auto":
                if abs(settings.tx_lo_hz - before.tx_lo_hz) > FAR_HZ:
                    self.calibrate("tx_quad")
                elif abs(settings.rx_lo_hz - before.rx_lo_hz) > FAR_HZ:
                    self.calibrate("rf_dc_offs")

    def calibrate(self, kind: str) -> None:
        """Reception pauses; of the quadrature of the transmitter, it sends at full drive."""
        with self._lock:
            if kind == "tx_quad":
                self._playback.calibrate()
            self._reception.pause(CALIBRATION_S)

    def rx_gain_db(self) -> float:
        """Gain in force, also where it turns by itself."""
        with self._lock:
            return self._reception.gain_db()

    def rssi_db(self) -> float:
        """How far what arrives lies below full scale at 0 dB of gain."""
        with self._lock:
            return -self._reception.level_db()

    def temperature_c(self) -> float:
        """Of the chip."""
        now_s = self.bands.clock.present_s()
        return float(self.bands.equipment(self.name).temperature.at(now_s))

    def read_register(self, device: str, address: int) -> int:
        """Value of a register; of all but the status, what was written."""
        with self._lock:
            if (device, address) == (ADC, STATUS):
                self._reception.note_overflow()
                return OVERFLOW if self._reception.overflowed else 0
            if (device, address) == (DAC, STATUS):
                self._transmitter.note_underflow()
                return UNDERFLOW if self._transmitter.underflowed else 0
            return self._words.get((device, address), 0)

    def write_register(self, device: str, address: int, value: int) -> None:
        """Set a register; bits of the status are cleared by writing ones."""
        with self._lock:
            if (device, address) == (ADC, STATUS):
                self._reception.note_overflow()
                self._reception.overflowed &= not value & OVERFLOW
            elif (device, address) == (DAC, STATUS):
                self._transmitter.note_underflow()
                self._transmitter.underflowed &= not value & UNDERFLOW
            elif len(self._words) < 4096:
                self._words[device, address] = value

    def echo(self) -> bool:
        """Send on what arrived, where antenna is looped to antenna and nothing else is sent.

        To be called again and again by one thread; what arrives goes out after the time between
        two calls, which the device does within microseconds.

        Returns:
            Whether antenna is looped to antenna.
        """
        with self._lock:
            looped = self.settings.loopback == ANTENNAS and self._transmitter.is_idle
            if self._echo is None and looped:
                self._echo = self._reception.open(ECHO_BLOCKS, ECHO_SIZE)
            elif self._echo is not None and not looped:
                self._reception.close(self._echo)
                self._echo = None
            spans = None if self._echo is None else self._echo.take()
        if self._echo is None or spans is None:
            return looped
        block = self._reception.samples(spans) << LOOPBACK_SHIFT
        with self._lock:
            self._echo.release()
            if self._transmitter.is_idle:
                self._echo_end = max(self._echo_end, self._playback.now())
                self._playback.play(block, self._echo_end)
                self._echo_end += len(block)
        self._tidy_at_times()
        return True

    def turn_tdd(self, turn: Callable[[TddEngine, float], bool]) -> None:
        """Do something to the TDD engine; whoever starts it so gives a pulse by its output pin."""
        assert self.tdd is not None
        with self._lock:
            self._reception.skip()  # what it let begin so far has begun
            now_s = self.bands.clock.present_s()
            gives = turn(self.tdd, self._own_time_s(now_s)) and self.tdd.gives
        if gives and self._wire is not None:
            self._wire.pulse(now_s)

    def _pulsed(self, at_s: float) -> None:
        assert self.tdd is not None
        with self._lock:
            if self.tdd.switches["sync_external"]:
                self.tdd.sync(self._own_time_s(at_s))

    def _own_time_s(self, t_s: float) -> float:
        """What the clock of the receiver counts at a true time; the engine runs by it."""
        return self.bands.own_time_s(self.name, t_s, self.bands.rate_hz(self.settings.rx_rate_hz))

    def _outlet(self) -> Outlet:
        settings = self.settings
        place = Place(settings.tx_lo_hz, self.bands.rate_hz(settings.tx_rate_hz))
        return Outlet(place, settings.tx_gain_db, settings.duplex and not settings.tx_off)

    def _tuning(self) -> Tuning:
        settings = self.settings
        manual = settings.gain_mode == "manual"
        return Tuning(
            Place(settings.rx_lo_hz, self.bands.rate_hz(settings.rx_rate_hz)),
            settings.rx_gain_db if manual else None,
            Agc(settings.gain_mode, table(settings.rx_lo_hz)),
            on=settings.duplex and not settings.rx_off,
            digital=settings.loopback == DIGITAL,
        )

    def _sent(self, first: int, count: int) -> Samples:
        """For the digital loopback, which needs both clocks to count alike."""
        if self.settings.rx_rate_hz != self.settings.tx_rate_hz:
            return np.zeros((count, 2), np.int16)
        with self._lock:
            return self._playback.samples(first, count)

    def _tidy_at_times(self) -> None:
        """As `_tidy`, but not for each of many small blocks."""
        if self.bands.clock.present_s() >= self._tidied_s + TIDY_EVERY_S:
            with self._lock:
                self._tidy()

    def _tidy(self) -> None:
        """Let go of what nobody can ask for any more."""
        since_s = self._reception.needed_since_s()
        self.bands.need(self.name, since_s)
        now_s = self._tidied_s = self.bands.clock.present_s()
        kept_s = max(min(since_s, now_s), now_s - HISTORY_S) - KEPT_S
        rate_hz = self._outlet().place.rate_hz
        self._playback.forget(self.bands.sample_at(self.name, kept_s, rate_hz))

    def _latency_samples(self, rate_hz: float) -> int:
        return math.ceil(self._latency.draw_s(self._rng) * rate_hz)


def _require_size(count: int, size: int) -> None:
    """IioError where blocks of this size cannot be had."""
    if size < 1:
        raise IioError(errno.EINVAL)
    if 4 * count * size > MOST_BYTES:
        raise IioError(errno.ENOMEM)
