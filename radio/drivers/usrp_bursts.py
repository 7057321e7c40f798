"""Bursts at known times of a USRP, sent ahead of them, and what the board says became of each."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import uhd

from radio.api import IQ, RadioError
from radio.drivers.usrp_captures import Patience
from radio.drivers.usrp_clock import UsrpClock, asking

Events = uhd.types.TXMetadataEventCode
AHEAD_S = 0.1  # of the board's time, by which bursts are handed to it before they begin
POLL_S = 0.05
LOOK_EVERY_S = 0.5  # at what has not been acknowledged, and whatever else is watched
MAX_PENDING = 1 << 26  # samples that wait
END_S = 5.0  # in which the threads end

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)  # one is itself, whatever it holds
class Burst:
    """Samples to be sent from sample `start` of the clock on."""

    start: int
    iq: IQ

    @property
    def end(self) -> int:
        """The first sample after it."""
        return self.start + self.iq.size


class UsrpBursts:
    """Hands bursts to a board, in order and in time, and hears what became of them."""

    def __init__(
        self,
        usrp: uhd.usrp.MultiUSRP,
        clock: UsrpClock,
        name: str,
        lead_s: float,
        timeout_s: float,
        watch: Callable[[], str | None],
    ) -> None:
        """A board's transmitter.

        Args:
            usrp: the board.
            clock: of it.
            name: of it, for messages.
            lead_s: ahead of which a burst without a time begins.
            timeout_s: in which the board takes samples that it should, and acknowledges bursts.
            watch: asked now and then for what else is wrong; None for nothing.
        """
        self._clock, self._name = clock, name
        self._lead_s, self._timeout_s = lead_s, timeout_s
        self._watch = watch
        with asking(name, "takes no stream to send"):
            self._stream = _stream(usrp)
        self._changed = threading.Condition(threading.RLock())
        self._waiting: list[Burst] = []
        self._handed: deque[Burst] = deque()  # and not acknowledged yet
        self._faults: list[str] = []
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, args=(loop,), name=f"{name} {way}", daemon=True)
            for way, loop in (("sends", self._send), ("listens", self._listen))
        ]
        for thread in self._threads:
            thread.start()

    def post(self, iq: IQ, at: int | None) -> int:
        """Send a burst from sample `at` on, or after all others; where it begins.

        Raises:
            RadioError: there is another one then, or too much waits already.
        """
        soonest = 0
        if at is None:
            soonest = self._clock.now() + round(self._lead_s * self._clock.rate_hz)
        with self._changed:
            others = [*self._handed, *self._waiting]
            free = max([soonest, *(other.end for other in others)])
            burst = Burst(int(free if at is None else at), iq)
            for other in others:
                if burst.start < other.end and other.start < burst.end:
                    raise RadioError(
                        f"the {other.iq.size} samples of another burst begin at sample "
                        f"{other.start}: one from {burst.start} on would overlap"
                    )
            if self._handed and burst.start < self._handed[-1].start:
                raise RadioError(
                    f"{self._name} has a burst already that begins at sample "
                    f"{self._handed[-1].start}; one from {burst.start} on can no longer go before"
                )
            if sum(each.iq.size for each in self._waiting) + iq.size > MAX_PENDING:
                raise RadioError(f"{MAX_PENDING} samples wait to be sent already; receive first")
            self._waiting.append(burst)
            self._waiting.sort(key=lambda each: each.start)
            self._changed.notify_all()
            return burst.start

    def require_well(self) -> None:
        """RadioError where bursts went wrong since this was asked last; the next ones may not."""
        with self._changed:
            faults, self._faults = self._faults, []
        if faults:
            raise RadioError(f"{self._name}: {'; '.join(dict.fromkeys(faults))}")

    def forgive(self) -> None:
        """What went wrong is known."""
        with self._changed:
            self._faults.clear()

    def close(self) -> None:
        """Send nothing more; what the board has of a burst under way is to be cut off after."""
        with self._changed:
            self._stopping = True
            self._waiting.clear()
            self._changed.notify_all()
        until_s = time.monotonic() + END_S
        for thread in self._threads:
            thread.join(max(0.0, until_s - time.monotonic()))

    def _run(self, loop: Callable[[], None]) -> None:
        while not self._stopping:
            try:
                loop()
            except RadioError as error:
                self._fail(str(error).removeprefix(f"{self._name}: "))
                with self._changed:
                    self._changed.wait_for(lambda: self._stopping, LOOK_EVERY_S)

    def _fail(self, why: str) -> None:
        with self._changed:
            if why not in self._faults:
                self._faults.append(why)
                _log.warning("%s: %s", self._name, why)

    def _send(self) -> None:
        """Hand over the next burst when its time comes near."""
        with self._changed:
            if not self._waiting:
                self._changed.wait(POLL_S)
                return
            start = self._waiting[0].start
        early_s = (start - self._clock.now()) / self._clock.rate_hz - AHEAD_S
        with self._changed:
            if early_s > 0:
                # The board's time may go slower than ours, and is asked for again then.
                self._changed.wait(min(early_s, POLL_S))
                return
            if not self._waiting or self._stopping:
                return
            burst = self._waiting.pop(0)
            self._handed.append(burst)
        self._hand_over(burst)

    def _hand_over(self, burst: Burst) -> None:
        told = uhd.types.TXMetadata()
        told.start_of_burst = told.has_time_spec = True
        told.time_spec = self._clock.spec(burst.start)
        patience, sent = Patience(self._clock, self._timeout_s), 0
        most = round(POLL_S * self._clock.rate_hz)  # libuhd goes on for as long as it gets on
        while sent < burst.iq.size and self._wants(burst):
            with asking(self._name, "takes no samples to send"):
                told.end_of_burst = sent + most >= burst.iq.size
                count = self._stream.send(burst.iq[sent : sent + most], told, POLL_S)
            if count:
                sent += count
                told.start_of_burst = told.has_time_spec = False
                patience.renew()
            elif patience.ends(burst.end, self._name):
                self._drop(burst)
                self._fail(
                    f"of the burst at sample {burst.start} only {sent} of {burst.iq.size} samples "
                    "were taken: what the board says does not come through"
                )
        if 0 < sent < burst.iq.size:
            told.end_of_burst = True
            with asking(self._name, "takes no end of a burst"):
                self._stream.send(np.zeros(1, np.complex64), told, POLL_S)

    def _wants(self, burst: Burst) -> bool:
        """Whether a burst that was handed over in part goes on."""
        with self._changed:
            return not self._stopping and burst in self._handed

    def _listen(self) -> None:
        """What the board says, and what it should have said by now."""
        told = uhd.types.TXAsyncMetadata()
        look_s = time.monotonic() + LOOK_EVERY_S
        while not self._stopping:
            with asking(self._name, "does not tell what it sent"):
                heard = self._stream.recv_async_msg(told, POLL_S)
            if heard:
                self._hear(told.event_code, self._clock.sample(told.time_spec))
            elif time.monotonic() > look_s:
                look_s = time.monotonic() + LOOK_EVERY_S
                self._look()

    def _hear(self, event: uhd.types.TXMetadataEventCode, when: int) -> None:
        if event == Events.burst_ack:
            self._acknowledge(when)
            return
        with self._changed:
            begun = [burst for burst in self._handed if burst.start <= when]
            burst = begun[0] if begun else None
        place = "" if burst is None else f" of the burst at sample {burst.start}"
        if burst is not None:
            self._drop(burst)  # the board sends no more of it
        if event == Events.time_error:
            self._fail(f"the samples{place} came too late and were not sent; leave more time")
        elif event in (Events.underflow, Events.underflow_in_packet):
            self._fail(f"this host was too slow{place} (underflow): its rest was not sent")
        elif event in (Events.seq_error, Events.seq_error_in_packet):
            self._fail(f"packets{place} were lost on the way to the radio: its rest was not sent")

    def _acknowledge(self, when: int) -> None:
        """The burst that ended then was sent; those before it were not acknowledged."""
        with self._changed:
            if self._handed:
                ended = min(self._handed, key=lambda burst: abs(burst.end - when))
                while (burst := self._handed.popleft()) is not ended:
                    self._fail(_unacknowledged(burst))

    def _look(self) -> None:
        with self._changed:
            oldest = self._handed[0] if self._handed else None
        if oldest is not None:
            over_s = (self._clock.now() - oldest.end) / self._clock.rate_hz
            if over_s > self._timeout_s:
                self._drop(oldest)
                self._fail(_unacknowledged(oldest))
        if (fault := self._watch()) is not None:
            self._fail(fault)

    def _drop(self, burst: Burst) -> None:
        with self._changed:
            if burst in self._handed:
                self._handed.remove(burst)


def cut_off(usrp: uhd.usrp.MultiUSRP, name: str) -> None:
    """Let a board forget what it was still to send; RadioError where it does not answer.

    Its buffers hold a quarter of a second and more, and are emptied for another stream.
    """
    with asking(name, "cannot be kept from sending"):
        _stream(usrp)


def _stream(usrp: uhd.usrp.MultiUSRP) -> uhd.usrp.TXStreamer:
    wanted = uhd.usrp.StreamArgs("fc32", "sc16")
    wanted.channels = [0]
    # The rest of a burst that has a gap, or came too late, would be sent at a wrong time.
    wanted.args = uhd.types.DeviceAddr("underflow_policy=next_burst")
    return usrp.get_tx_stream(wanted)


def _unacknowledged(burst: Burst) -> str:
    return f"the burst at sample {burst.start} was not acknowledged: packets were lost"
