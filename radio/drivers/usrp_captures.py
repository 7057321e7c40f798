"""Captures at known times of a USRP: one command each, and what came in put where it belongs.

A board may be told to go on receiving for a while after each capture. What comes then waits in the
socket's buffer: a capture that begins there may be asked for when its beginning has passed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import uhd

from radio.api import IQ, Capture, RadioError
from radio.drivers.usrp_clock import UsrpClock, asking

Errors = uhd.types.RXMetadataErrorCode
POLL_S = 0.1  # in which a capture notices that the radio was closed
FLUSH_S = 0.02
FURTHER_AHEAD = (1, 4, 16)  # leads, of tries to capture without a time on a busy machine
LONGEST_COMMAND = (1 << 28) - 1  # samples


class UsrpCaptures:
    """Receives from a board when it is told to, and only then."""

    def __init__(
        self,
        usrp: uhd.usrp.MultiUSRP,
        clock: UsrpClock,
        name: str,
        lead_s: float,
        timeout_s: float,
        is_open: Callable[[], bool],
        memory: int = 0,
    ) -> None:
        """A board's receiver.

        Args:
            usrp: the board.
            clock: of it.
            name: of it, for messages.
            lead_s: ahead of which a capture without a time is asked for.
            timeout_s: without a sample, after which no more is expected.
            is_open: whether anybody still wants what is received.
            memory: samples behind each capture that are received, too.
        """
        self._clock, self._name = clock, name
        self._lead_s, self._timeout_s = lead_s, timeout_s
        self._is_open = is_open
        self._memory = memory
        self._read = self._asked = 0  # up to which samples were read, and are to come
        wanted = uhd.usrp.StreamArgs("fc32", "sc16")
        wanted.channels = [0]
        with asking(name, "gives no stream to receive"):
            self._stream = usrp.get_rx_stream(wanted)

    def earliest(self, present: int) -> int:
        """The first sample that can still be had."""
        return min(self._read, present) if self._read < self._asked else present

    def take(self, n: int, at: int | None) -> Capture:
        """Capture n samples, from sample `at` of the clock.

        Without a time from where the last one ended, if that was received on behind it, or else
        from as soon as can be.

        What was lost is zeros, and counted.

        Raises:
            RadioError: the command came too late, nothing came in, or the board is gone.
        """
        if at is not None:
            return self._capture(n, at)
        if (first := self._where_it_ended(n)) is not None:
            with suppress(LateError):
                return self._capture(n, first)
        lead = self._lead_s * self._clock.rate_hz
        for ahead in FURTHER_AHEAD[:-1]:
            with suppress(LateError):
                return self._capture(n, self._clock.now() + math.ceil(lead * ahead))
        return self._capture(n, self._clock.now() + math.ceil(lead * FURTHER_AHEAD[-1]))

    def _where_it_ended(self, n: int) -> int | None:
        """Where the last capture ended, if all of the n samples behind that can be had."""
        if self._read >= self._asked:
            return None
        soon = self._clock.now() + math.ceil(self._lead_s * self._clock.rate_hz)
        return self._read if min(soon, self._read + n) <= self._asked else None

    def _capture(self, n: int, first: int) -> Capture:
        self._ask(first, first + n)
        is_whole = False
        try:
            iq, got = self._collect(n, first)
            is_whole = got == n
            self._read = first + n
        finally:
            if not is_whole:
                self._read = self._asked = 0
                self._stop()
        if got == 0:
            raise RadioError(
                f"{self._name}: none of the {n} samples from {first} on came in; is the network "
                "up, and are its receive buffers large enough?"
            )
        return Capture(np.clip(iq.view(np.float32), -1.0, 1.0).view(np.complex64), first, n - got)

    def _ask(self, first: int, end: int) -> None:
        """Have samples from `first` to before `end` received, as far as they are not anyhow."""
        begin = self._asked if self._read <= first < self._asked else first
        soon = self._clock.now() + math.ceil(self._lead_s * self._clock.rate_hz)
        if begin < end or (self._memory and soon <= begin):
            self._command(end + self._memory - begin, begin)
            self._asked = end + self._memory

    def _command(self, n: int, first: int) -> None:
        """Ask for the samples; for very many, in pieces that follow each other."""
        left, begin = n, first
        while left:
            piece = min(left, LONGEST_COMMAND)
            left -= piece
            modes = uhd.types.StreamMode
            command = uhd.types.StreamCMD(modes.num_more if left else modes.num_done)
            command.num_samps = piece
            command.stream_now = begin != first  # those that follow need no time
            command.time_spec = self._clock.spec(begin)
            begin += piece
            with asking(self._name, "takes no command to receive"):
                self._stream.issue_stream_cmd(command)

    def _collect(self, n: int, first: int) -> tuple[IQ, int]:
        """Samples, zeros where they were lost, and how many came in."""
        iq = np.zeros(n, np.complex64)
        told = uhd.types.RXMetadata()
        end, got, patience = 0, 0, Patience(self._clock, self._timeout_s)
        most = round(POLL_S * self._clock.rate_hz)  # libuhd goes on for as long as samples come
        while end < n:
            with asking(self._name, "does not send what it receives"):
                count = self._stream.recv(iq[end : end + most], told, POLL_S)
            if not self._is_open():
                raise RadioError(f"the radio {self._name} was closed while it received")
            if count:
                begin = self._clock.sample(told.time_spec) - first
                low, high = max(begin, end), min(begin + count, n)
                if begin != end:  # something is missing before, or it is of an older capture
                    piece = iq[end : end + count].copy()
                    iq[end : end + count] = 0
                    iq[low : max(low, high)] = piece[low - begin : max(low, high) - begin]
                got, end = got + max(0, high - low), max(end, high)
                patience.renew()
            code = told.error_code
            if code == Errors.late:
                raise LateError(
                    f"{self._name}: the command to receive from sample {first} on came too late; "
                    "ask for it earlier, by a turnaround at least"
                )
            if code == Errors.timeout:
                if patience.ends(first + n, self._name):
                    break
            elif code == Errors.overflow and not told.out_of_sequence:
                break  # the board has given the capture up
            elif code not in (Errors.none, Errors.overflow):
                raise RadioError(f"{self._name} failed to receive: {told.strerror()}")
        return iq, got

    def _stop(self) -> None:
        """End a capture of which nothing more is wanted."""
        with asking(self._name, "takes no command to stop"):
            self._stream.issue_stream_cmd(uhd.types.StreamCMD(uhd.types.StreamMode.stop_cont))
            rest, told = np.empty(1 << 14, np.complex64), uhd.types.RXMetadata()
            until_s = time.monotonic() + self._timeout_s
            while self._stream.recv(rest, told, FLUSH_S) or told.error_code != Errors.timeout:
                if time.monotonic() > until_s:
                    raise RadioError(f"{self._name} does not stop to receive; open it again")


class LateError(RadioError):
    """A command came too late."""


class Patience:
    """How long samples are waited for: as long as they are to come, and a while longer."""

    def __init__(self, clock: UsrpClock, timeout_s: float) -> None:
        self._clock, self._timeout_s = clock, timeout_s
        self._seen = -1
        self.renew()

    def renew(self) -> None:
        """Something came."""
        self._until_s = time.monotonic() + self._timeout_s

    def ends(self, end: int, name: str) -> bool:
        """Whether what was to come before sample `end` comes no more.

        Raises:
            RadioError: the board does not tell its time, or it stands still.
        """
        now = self._clock.now()
        if now < end and now != self._seen:
            self._seen = now
            self.renew()  # there is still time
        elif time.monotonic() > self._until_s:
            if now < end:
                raise RadioError(f"{name}: its time stands still at sample {now}; open it again")
            return True
        return False
