"""Bursts of a radio behind SoapySDR, and what becomes of them."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

import SoapySDR
from SoapySDR import SOAPY_SDR_CF32, SOAPY_SDR_END_BURST, SOAPY_SDR_HAS_TIME, SOAPY_SDR_TX

from radio.api import IQ, RadioError
from radio.drivers.soapy_clock import NS, Clock, Patience, SampleTime

PIECE = 1 << 16  # samples that are written at once; between two of them a burst can be given up
WAIT_US = 100_000  # for room in the radio
AHEAD_S = 0.1  # of the radio's time, by which a burst is handed over before it begins
LOOK_EVERY_S = 0.05  # at the radio's clock, which may be slower than this machine's
MOST_WAITING = 1 << 25  # samples; 256 MiB
TROUBLES = {
    SoapySDR.SOAPY_SDR_TIME_ERROR: "came too late and was not sent",
    SoapySDR.SOAPY_SDR_UNDERFLOW: "was cut: its samples did not come in time",
    SoapySDR.SOAPY_SDR_CORRUPTION: "was damaged: some of its samples were lost on the way",
}
TOLD = (0, *TROUBLES)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Burst:
    """Samples to be sent from sample `start` on, and the times that both are counted by."""

    start: int
    iq: IQ
    times: SampleTime

    @property
    def end(self) -> int:
        """The first sample after it."""
        return self.start + self.iq.size


class SoapySender:
    """One stream, fed by a thread: a burst may be longer than what the radio holds."""

    def __init__(
        self,
        device: SoapySDR.Device,
        channel: int,
        name: str,
        clock: Clock,
        timeout_s: float,
    ) -> None:
        """Set the stream up; the arguments are those of `SoapyReceiver`."""
        self._device, self._channel, self._name, self._clock = device, channel, name, clock
        self._timeout_s = timeout_s
        self._timed = bool(device.hasHardwareTime())
        self._stream = device.setupStream(SOAPY_SDR_TX, SOAPY_SDR_CF32, [channel])
        self._device.activateStream(self._stream)
        self._changed = threading.Condition()
        self._waiting: list[Burst] = []
        self._handed: list[Burst] = []  # over, or not yet
        self._stopping = False
        self._fault: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"{name} sends", daemon=True)
        self._thread.start()

    def post(self, iq: IQ, at: int | None, earliest: int, times: SampleTime) -> int:
        """Send a burst.

        Args:
            iq: within full scale.
            at: its first sample; None for as early as that can be.
            earliest: sample at which it can begin then.
            times: of the samples.

        Returns:
            Its first sample.

        Raises:
            RadioError: another burst is sent then, or a later one is in the radio already, or too
                many wait.
        """
        now = times.samples_in(self._clock.now_ns())
        with self._changed:
            self._handed = [burst for burst in self._handed if burst.end > now]
            others = [*self._handed, *self._waiting]
            start = max([earliest, *(each.end for each in others)]) if at is None else int(at)
            burst = Burst(start, iq, times)
            for other in others:
                if start < other.end and other.start < burst.end:
                    raise RadioError(
                        f"samples {other.start} to {other.end - 1} are taken by another burst: one "
                        f"from {start} on would overlap"
                    )
            if any(other.start > start for other in self._handed):
                raise RadioError(
                    f"{self._name} has a later burst already; one from {start} on can no longer go "
                    "before"
                )
            if sum(each.iq.size for each in others) + iq.size > MOST_WAITING:
                raise RadioError(f"{len(others)} bursts wait to be sent already; wait for them")
            self._waiting.append(burst)
            self._waiting.sort(key=lambda each: each.start)
            self._changed.notify()
        return start

    def require_well(self) -> None:
        """RadioError, once, where bursts went wrong; from then on, where none are sent any more."""
        if self._fault is not None:
            raise RadioError(self._fault)
        if troubles := self._troubles():
            raise RadioError(f"{self._name}: {'; '.join(troubles)}; leave more time")

    def close(self) -> None:
        """Send nothing more, not even what the radio holds for later."""
        with self._changed:
            self._stopping = True
            self._waiting.clear()
            self._changed.notify()
        self._thread.join(self._timeout_s)
        self._troubles()
        self._device.deactivateStream(self._stream)
        self._device.closeStream(self._stream)
        if self._handed:
            # To set a stream up is the only way to have a radio forget what it holds.
            again = self._device.setupStream(SOAPY_SDR_TX, SOAPY_SDR_CF32, [self._channel])
            self._device.closeStream(again)

    def _troubles(self) -> list[str]:
        """What the radio has told since it was asked last, each kind of trouble once; logged."""
        first_ns: dict[int, int] = {}
        while (status := self._device.readStreamStatus(self._stream, timeoutUs=0)).ret in TOLD:
            if status.ret in TROUBLES:  # a packet of a burst, of which each may say so
                first_ns.setdefault(status.ret, status.timeNs)
        troubles = [
            f"a burst {TROUBLES[trouble]} ({ns} ns on its clock)"
            for trouble, ns in first_ns.items()
        ]
        for trouble in troubles:
            _log.warning("%s: %s", self._name, trouble)
        return troubles

    def _run(self) -> None:
        try:
            while (burst := self._next()) is not None:
                self._write(burst)
        except (RadioError, RuntimeError) as error:
            with self._changed:
                self._fault = f"{self._name} no longer sends: {error}; open the radio again"
            _log.warning("%s", self._fault)

    def _next(self) -> Burst | None:
        """The next burst, once its time comes near, or has come where the radio knows none."""
        ahead_ns = round(AHEAD_S * NS) if self._timed else 0
        with self._changed:
            while not self._stopping:
                self._changed.wait_for(lambda: self._stopping or self._waiting)
                if self._waiting:
                    due_ns = self._waiting[0].times.ns_of(self._waiting[0].start) - ahead_ns
                    if (left_ns := due_ns - self._clock.now_ns()) <= 0:
                        self._handed.append(self._waiting.pop(0))
                        return self._handed[-1]
                    self._changed.wait(min(left_ns / NS, LOOK_EVERY_S))
        return None

    def _write(self, burst: Burst) -> None:
        """Hand a burst over, as the radio takes it.

        Raises:
            RadioError: it takes nothing, though its clock goes on, or its clock stands still.
        """
        begin_ns, over_ns = burst.times.ns_of(burst.start), burst.times.ns_of(burst.end)
        done, patience = 0, Patience(self._clock, self._name, self._timeout_s)
        while done < burst.iq.size:
            piece = burst.iq[done : done + PIECE]
            flags = SOAPY_SDR_HAS_TIME if self._timed and done == 0 else 0
            if done + piece.size == burst.iq.size or self._stopping:
                flags |= SOAPY_SDR_END_BURST
            result = self._device.writeStream(
                self._stream, [piece], piece.size, flags, begin_ns if self._timed else 0, WAIT_US
            )
            if result.ret > 0:
                done += result.ret
                if self._stopping:
                    return
            elif result.ret != SoapySDR.SOAPY_SDR_TIMEOUT:
                raise RadioError(SoapySDR.errToStr(result.ret))
            elif patience.look() > over_ns + self._timeout_s * NS:
                raise RadioError("it takes no more samples")
