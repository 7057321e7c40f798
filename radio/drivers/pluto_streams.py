"""The two gapless streams of a PlutoSDR, and how their counts lie to each other."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import adi
import numpy as np

from radio.api import IQ, Capture, RadioError, require_future
from radio.drivers.pluto_state import ADC, DAC, Watched, receives, set_kernel_buffers
from radio.drivers.pluto_trigger import PlutoTrigger
from radio.probe import PROBE, place_of_probe, probe
from radio.streaming import Cadence, HeardStream, SendStream

FULL_SCALE_TX = 32767.0  # 16 bits, left-aligned
FULL_SCALE_RX = 2048.0  # 12 bits, right-aligned
START_S = 5.0  # in which the first samples come in
SETTLE_S = 0.1  # after which what was opened receives
PULSE_S = 3600.0  # in which a pulse comes, unless libiio gives up before
END_S = 2.0  # in which the streams end, unless the radio does not answer
HISTORY_S = 1.0  # of what was received that may still be asked for
RESUMED_S = 0.25  # within which a capture without a time goes on where the last one ended
SLIP, SLIP_S = 0.3, 2e-3  # of a transfer, and in time, by which the streams may get out of step
FLAGS = 0x80000088  # of both data devices; writing a flag clears it
UNDERFLOW, OVERFLOW = 1, 4
LOOK_EVERY_S = 0.05  # at the radio: each look costs several exchanges
AGAIN = "the clock is void, open the radio again"


class PlutoStreams:
    """Both directions of a radio that does not stop, and how their counts lie to each other.

    Samples of the clock are those received, plus what the clock showed when the streams began.
    Where that breaks, both end, and nothing more is sent.

    Attributes:
        is_broken: whether the radio does not answer; its connection is of no more use then.
    """

    def __init__(
        self, sdr: adi.Pluto, name: str, buffer: int, kernel_buffers: int, clock: int
    ) -> None:
        """The streams of a radio of this name, whose clock goes on from where it was."""
        self._sdr = sdr
        self._buffer = buffer
        self._kernel_buffers = kernel_buffers
        self._rate = float(sdr.sample_rate)
        self._heard = HeardStream(name, round(HISTORY_S * self._rate))
        self._to_send = SendStream()
        self._transfer_s = buffer / self._rate
        self._cadence = Cadence(self._transfer_s)
        self._name = name
        self.is_broken = False
        self._stopping = threading.Event()
        self._setting = threading.Lock()
        self._watched: Watched | None = None
        self._clock = self._last_end = clock
        self._lag = 0
        self._adc, self._dac = sdr.ctx.find_device(ADC), sdr.ctx.find_device(DAC)
        self._threads = [
            threading.Thread(target=self._run, args=loop, name=f"{name} {way}", daemon=True)
            for way, *loop in (
                ("receives", self._hear, sdr.rx_destroy_buffer),
                ("sends", self._send, sdr.tx_destroy_buffer),
            )
        ]

    def start(self, trigger: PlutoTrigger | None = None) -> None:
        """Let them flow, and find one in the other.

        Args:
            trigger: lets reception begin with its pulse, which has to come before libiio gives up.

        Raises:
            RadioError: samples were lost on the way, no pulse came, or the radio does not hear
                itself.
            OSError: it does not do as it is told.
        """
        set_kernel_buffers(self._sdr, self._kernel_buffers)
        self._sdr.rx_buffer_size = self._buffer
        self._sdr.tx_cyclic_buffer = False
        if trigger is not None:
            trigger.arm()
        for thread in self._threads:
            thread.start()
        if trigger is not None:
            self._await_pulse(trigger)
        self._await_both()
        with self.setting():
            self._flags()  # of the start
        self._lag = self._measure()
        self._last_end = self.now()

    @property
    def fault(self) -> str | None:
        """Why the streams ended."""
        return self._heard.fault

    def now(self) -> int:
        """The end of what was received."""
        return self._clock + self._heard.end

    def send(self, iq: IQ, at: int | None) -> int:
        """Put a burst on the stream; its first sample on the clock."""
        self._require_whole()
        place = None if at is None else at - self._clock - self._lag
        return self._to_send.post(iq, place) + self._lag + self._clock

    def receive(self, n: int, at: int | None, timeout_s: float) -> Capture:
        """Capture from the past, as far as nobody has it yet, and the future.

        Without a time it goes on where the last one ended, or, where that was a while ago, begins
        with what comes in now.
        """
        self._require_whole()
        now, lost = self.now(), 0
        if at is not None:
            oldest = self._clock + self._heard.oldest
            require_future(at, max(min(self._last_end, now), oldest))
            first = int(at)
        elif now - self._last_end <= RESUMED_S * self._rate:
            first = self._last_end
        else:
            first, lost = now, now - self._last_end
        iq = self._heard.read(first - self._clock, n, timeout_s)
        with self._guarding():
            self._look()  # what was lost in these samples shows by now
        self._require_whole()
        self._last_end = max(self._last_end, first + n)
        return Capture(iq, first, lost)

    @contextmanager
    def setting(self) -> Iterator[None]:
        """While the radio is set; what it reads then is what nobody else may change."""
        with self._setting:
            try:
                yield
            finally:
                self._watched = Watched(self._sdr)

    def close(self) -> None:
        """Stop both; what was still to be sent is not."""
        self._stopping.set()
        self._to_send.clear()
        until_s = time.monotonic() + END_S
        for thread in self._threads:
            if thread.ident is not None:
                # One whose radio is silent ends when libiio gives up.
                thread.join(max(0.0, until_s - time.monotonic()))

    def _require_whole(self) -> None:
        if self._heard.fault is not None:
            raise RadioError(self._heard.fault)

    @contextmanager
    def _guarding(self) -> Iterator[None]:
        """A radio that does not answer has broken the streams."""
        try:
            yield
        except OSError as error:
            self.is_broken = True
            self._heard.fail(f"the connection broke ({error}): {AGAIN}")

    def _run(self, loop: Callable[[], None], destroy_buffer: Callable[[], None]) -> None:
        """Run a loop; when it ends, so does the other, and its buffer."""
        try:
            with self._guarding():
                loop()
        finally:
            self._stopping.set()
            self._to_send.clear()
            destroy_buffer()

    def _hear(self) -> None:
        """Take what comes in, and see now and then whether the clock still holds."""
        looked_s = -math.inf
        while not self._stopping.is_set() and self._heard.fault is None:
            raw = self._sdr.rx()
            now_s = time.monotonic()
            self._heard.append((raw / FULL_SCALE_RX).astype(np.complex64))
            self._cadence.heard(now_s)
            if now_s >= looked_s + LOOK_EVERY_S:
                looked_s = now_s
                self._look()

    def _look(self) -> None:
        """The streams end where samples were lost, or another program interferes."""
        with self._setting:
            lost = self._flags()
            if self._watched is None:
                return
            changed = self._watched.changes()
        if lost:
            self._heard.fail(
                f"samples were lost ({' and '.join(lost)}): {AGAIN}; larger buffers or a lower "
                "sample rate help"
            )
        elif changed:
            self._heard.fail(f"another program changed {changed}: {AGAIN}")
        elif abs(self._cadence.lag()) > max(SLIP, SLIP_S / self._transfer_s):
            self._heard.fail(
                "samples were lost without a flag, as where another program streams from the "
                f"radio, too: {AGAIN}"
            )

    def _send(self) -> None:
        """Hand out the next transfer as soon as the kernel takes it."""
        while not self._stopping.is_set():
            block = self._to_send.take(self._buffer)
            self._sdr.tx(block * np.float32(FULL_SCALE_TX))
            self._cadence.sent(time.monotonic())

    def _await_pulse(self, trigger: PlutoTrigger) -> None:
        """The first sample that comes in is that of the pulse."""
        until_s = time.monotonic() + START_S
        while not receives(self._sdr, self._kernel_buffers):
            if time.monotonic() > until_s or self._heard.fault is not None:
                raise RadioError(f"{self._name} does not begin to receive")
        self._stopping.wait(SETTLE_S)
        trigger.release()
        try:
            self._heard.read(0, 1, PULSE_S)
        except RadioError as error:
            raise RadioError(
                f"{self._name}: no pulse came to start it; it has to within half of timeout_s"
            ) from error
        trigger.rest()

    def _await_both(self) -> None:
        """The streams start one after the other: until both run, zeros are missing."""
        for k in range(2 * self._kernel_buffers + 16):
            self._heard.read(k * self._buffer, self._buffer, START_S)
            # More than the kernel holds was taken: some of it was sent.
            if self._to_send.position > (self._kernel_buffers + 4) * self._buffer:
                return
        raise RadioError(f"{self._name} receives, but does not send")

    def _measure(self) -> int:
        """How much later a sample comes in than it was handed out, by the two counts.

        A burst is sent into the AD9361's digital loopback, which adds no delay that changes.

        Raises:
            RadioError: it does not come back.
        """
        try:
            with self.setting():
                self._sdr.loopback = 1
            first = self._heard.end
            place = self._to_send.post(probe(), None)
            n = (self._kernel_buffers + 8) * self._buffer + PROBE
            heard = self._heard.read(first, n, START_S)
        finally:
            with self.setting():
                self._sdr.loopback = 0
        found = place_of_probe(heard)
        if found is None:
            raise RadioError(f"{self._name} does not hear itself in its digital loopback")
        return first + found - place

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
