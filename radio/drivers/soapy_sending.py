"""Bursts of a radio behind SoapySDR, and what becomes of them."""

from __future__ import annotations

import logging
import queue
import threading

import SoapySDR
from SoapySDR import SOAPY_SDR_CF32, SOAPY_SDR_END_BURST, SOAPY_SDR_HAS_TIME, SOAPY_SDR_TX

from radio.api import IQ, RadioError
from radio.drivers.soapy_clock import NS, Clock, Patience, SampleTime

PIECE = 1 << 16  # samples that are written at once; between two of them a burst can be given up
WAIT_US = 100_000  # for room in the radio
MOST_WAITING = 1 << 25  # samples; 256 MiB
TROUBLES = {
    SoapySDR.SOAPY_SDR_TIME_ERROR: "came too late and was not sent",
    SoapySDR.SOAPY_SDR_UNDERFLOW: "was cut: its samples did not come in time",
    SoapySDR.SOAPY_SDR_CORRUPTION: "was damaged: some of its samples were lost on the way",
}
TOLD = (0, *TROUBLES)

_log = logging.getLogger(__name__)


class SoapySender:
    """One stream, fed by a thread: a burst may be longer than what the radio holds."""

    def __init__(
        self, device: SoapySDR.Device, channel: int, name: str, clock: Clock, timeout_s: float
    ) -> None:
        """Set the stream up; the arguments are those of `SoapyReceiver`."""
        self._device, self._channel, self._name, self._clock = device, channel, name, clock
        self._timeout_s = timeout_s
        self._stream = device.setupStream(SOAPY_SDR_TX, SOAPY_SDR_CF32, [channel])
        self._device.activateStream(self._stream)
        self._bursts: list[tuple[int, int]] = []  # first samples and ends, of those not over
        self._jobs: queue.SimpleQueue[tuple[IQ, int, bool, SampleTime] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._trouble: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"{name} sends", daemon=True)
        self._thread.start()

    def post(self, iq: IQ, at: int | None, earliest: int, times: SampleTime, timed: bool) -> int:
        """Send a burst.

        Args:
            iq: within full scale.
            at: its first sample; None for as early as that can be.
            earliest: sample at which it can begin.
            times: of the samples.
            timed: whether the radio knows times; otherwise it is sent when the clock says so.

        Returns:
            Its first sample.

        Raises:
            RadioError: another burst is sent then, too many wait, or the stream has ended.
        """
        if self._trouble is not None:
            raise RadioError(self._trouble)
        now = times.samples_in(self._clock.now_ns())
        self._bursts = [(first, end) for first, end in self._bursts if end > now]
        start = max([earliest, *(end for _, end in self._bursts)]) if at is None else int(at)
        for first, end in self._bursts:
            if start < end and first < start + iq.size:
                raise RadioError(
                    f"samples {first} to {end - 1} are taken by another burst: one from {start} on "
                    "would overlap"
                )
        if sum(end - first for first, end in self._bursts) + iq.size > MOST_WAITING:
            raise RadioError(f"{len(self._bursts)} bursts wait to be sent already; wait for them")
        self._bursts.append((start, start + iq.size))
        self._jobs.put((iq, start, timed, times))
        return start

    def look(self) -> None:
        """Log what the radio has told of bursts since the last look, each kind of trouble once."""
        first_ns: dict[int, int] = {}
        while (status := self._device.readStreamStatus(self._stream, timeoutUs=0)).ret in TOLD:
            if status.ret in TROUBLES:  # a packet of a burst, of which each may say so
                first_ns.setdefault(status.ret, status.timeNs)
        for trouble, ns in first_ns.items():
            _log.warning("%s: a burst %s (%d ns on its clock)", self._name, TROUBLES[trouble], ns)

    def close(self) -> None:
        """Send nothing more, not even what the radio holds for later."""
        self._stopping.set()
        self._jobs.put(None)
        self._thread.join(self._timeout_s)
        self.look()
        self._device.deactivateStream(self._stream)
        self._device.closeStream(self._stream)
        if self._bursts:
            # To set a stream up is the only way to have a radio forget what it holds.
            again = self._device.setupStream(SOAPY_SDR_TX, SOAPY_SDR_CF32, [self._channel])
            self._device.closeStream(again)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            iq, start, timed, times = job
            try:
                if not timed:
                    self._await(times.ns_of(start))
                if not self._stopping.is_set():
                    self._write(iq, times.ns_of(start), timed, times.lasts_ns(iq.size))
            except (RadioError, RuntimeError) as error:
                self._trouble = f"{self._name} no longer sends: {error}; open the radio again"
                _log.warning("%s", self._trouble)
                return

    def _await(self, ns: int) -> None:
        """Until the clock shows this, or the stream is closed."""
        while (left_ns := ns - self._clock.now_ns()) > 0 and not self._stopping.is_set():
            self._stopping.wait(left_ns / NS)

    def _write(self, iq: IQ, begin_ns: int, timed: bool, lasts_ns: int) -> None:
        """Hand a burst over, as the radio takes it.

        Raises:
            RadioError: it takes nothing, though its clock goes on, or its clock stands still.
        """
        done, patience = 0, Patience(self._clock, self._name, self._timeout_s)
        while done < iq.size:
            piece = iq[done : done + PIECE]
            flags = SOAPY_SDR_HAS_TIME if timed and done == 0 else 0
            if done + piece.size == iq.size or self._stopping.is_set():
                flags |= SOAPY_SDR_END_BURST
            result = self._device.writeStream(
                self._stream, [piece], piece.size, flags, begin_ns if timed else 0, WAIT_US
            )
            if result.ret > 0:
                done += result.ret
                if self._stopping.is_set():
                    return
            elif result.ret != SoapySDR.SOAPY_SDR_TIMEOUT:
                raise RadioError(SoapySDR.errToStr(result.ret))
            elif patience.look() > begin_ns + lasts_ns + self._timeout_s * NS:
                raise RadioError("it takes no more samples")
