"""The two gapless streams of a PlutoSDR, and how their counts lie to each other."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

import adi
import numpy as np
from scipy.signal import correlate

from radio.api import IQ, Capture, RadioError, require_future
from radio.streaming import HeardStream, SendStream

FULL_SCALE_TX = 32767.0  # 16 bits, left-aligned
FULL_SCALE_RX = 2048.0  # 12 bits, right-aligned
START_S = 5.0  # in which the first samples come in
HISTORY_S = 1.0  # of what was received that may still be asked for
FLAGS = 0x80000088  # of both data devices; writing a flag clears it
UNDERFLOW, OVERFLOW = 1, 4
LOOK_EVERY_S = 0.05  # at those flags: each look costs several exchanges with the radio
RESERVE = 4  # kernel buffers to receive for each one to send
PROBE = 2048  # samples of the burst that finds the two streams in each other


class PlutoStreams:
    """Both directions of a radio that does not stop, and how their counts lie to each other.

    Samples of the clock are those received, plus what the clock showed when the streams began.
    """

    def __init__(self, sdr: adi.Pluto, buffer: int, kernel_buffers: int, clock: int) -> None:
        self._sdr = sdr
        self._buffer = buffer
        self._kernel_buffers = kernel_buffers
        self._heard = HeardStream(round(HISTORY_S * float(sdr.sample_rate)))
        self._to_send = SendStream()
        self._stopping = threading.Event()
        self._is_watched = False
        self._clock = clock
        self._last_end = clock
        self._adc = sdr.ctx.find_device("cf-ad9361-lpc")
        self._dac = sdr.ctx.find_device("cf-ad9361-dds-core-lpc")
        self._dac.set_kernel_buffers_count(kernel_buffers)
        # Those that receive delay nothing; they only fill while the host is late.
        self._adc.set_kernel_buffers_count(RESERVE * kernel_buffers)
        sdr.rx_buffer_size = buffer
        sdr.tx_cyclic_buffer = False
        self._threads = [
            threading.Thread(target=self._guarded, args=(loop,), daemon=True)
            for loop in (self._hear, self._send)
        ]
        for thread in self._threads:
            thread.start()
        try:
            # The streams start one after the other: until both run, zeros are missing.
            self._heard.read(0, (kernel_buffers + 2) * buffer, START_S)
            self._is_watched = True
            self._lag = self._measure()
        except BaseException:
            self.close()
            raise

    def now(self) -> int:
        """The end of what was received."""
        return self._clock + self._heard.end

    def send(self, iq: IQ, at: int | None) -> int:
        """Put a burst on the stream; its first sample on the clock."""
        self._require_whole()
        place = None if at is None else at - self._clock - self._lag
        return self._to_send.post(iq, place) + self._lag + self._clock

    def receive(self, n: int, at: int | None, timeout_s: float) -> Capture:
        """Capture from the past, as far as nobody has it yet, and the future."""
        self._require_whole()
        oldest = self._clock + self._heard.oldest
        lost = 0
        if at is None:
            first = max(self._last_end, oldest)
            lost = first - self._last_end
        else:
            require_future(at, max(min(self._last_end, self.now()), oldest))
            first = int(at)
        iq = self._heard.read(first - self._clock, n, timeout_s)
        self._last_end = max(self._last_end, first + n)
        return Capture(iq, first, lost)

    def close(self) -> None:
        """Stop both, and give the buffers back while their device is still there."""
        self._to_send.clear()
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._sdr.tx_destroy_buffer()
        self._sdr.rx_destroy_buffer()

    def _require_whole(self) -> None:
        if self._heard.fault is not None:
            raise RadioError(self._heard.fault)

    def _guarded(self, loop: Callable[[], None]) -> None:
        try:
            loop()
        except OSError as error:
            self._heard.fail(f"the stream broke ({error}): the clock is void, open the radio again")

    def _hear(self) -> None:
        """Take what comes in, and see after each transfer whether anything was lost."""
        looked_s = -math.inf
        while not self._stopping.is_set():
            raw = self._sdr.rx()
            self._heard.append((raw / FULL_SCALE_RX).astype(np.complex64))
            now_s = time.monotonic()
            if now_s < looked_s + LOOK_EVERY_S:
                continue
            looked_s = now_s
            lost = self._flags()
            if lost and self._is_watched:
                self._heard.fail(
                    f"samples were lost ({' and '.join(lost)}): the clock is void, open the radio "
                    "again; larger buffers or a lower sample rate help"
                )
                return

    def _send(self) -> None:
        """Hand out the next transfer as soon as the kernel takes it."""
        while not self._stopping.is_set():
            block = self._to_send.take(self._buffer)
            self._sdr.tx(block * np.float32(FULL_SCALE_TX))

    def _measure(self) -> int:
        """How much later a sample comes in than it was handed out, by the two counts.

        A burst is sent into the AD9361's digital loopback, which adds no delay that changes.

        Raises:
            RadioError: it does not come back.
        """
        rng = np.random.default_rng(PROBE)
        turns = rng.integers(0, 4, PROBE)
        probe = (0.5 * np.exp(1j * np.pi * (turns / 2 + 0.25))).astype(np.complex64)
        self._sdr.loopback = 1
        try:
            first = self._heard.end
            place = self._to_send.post(probe, None)
            n = (self._kernel_buffers + 8) * self._buffer + PROBE
            heard = self._heard.read(first, n, START_S)
        finally:
            self._sdr.loopback = 0
        found = np.abs(correlate(heard, probe, "valid", method="fft"))
        peak = int(np.argmax(found))
        if found[peak] < 0.5 * float(np.vdot(probe, probe).real):
            raise RadioError("the radio does not hear itself in its digital loopback")
        return first + peak - place

    def _flags(self) -> list[str]:
        """What was lost since the last look."""
        lost = []
        for device, flag, name in (
            (self._adc, OVERFLOW, "received too late"),
            (self._dac, UNDERFLOW, "sent too late"),
        ):
            status = device.reg_read(FLAGS)
            if status & flag:
                lost.append(name)
            if status:
                device.reg_write(FLAGS, status)
        return lost
