"""Captures of a radio behind SoapySDR."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import SoapySDR
from SoapySDR import (
    SOAPY_SDR_CF32,
    SOAPY_SDR_END_BURST,
    SOAPY_SDR_HAS_TIME,
    SOAPY_SDR_MORE_FRAGMENTS,
    SOAPY_SDR_RX,
)

from radio.api import IQ, Capture, RadioError
from radio.drivers.soapy_clock import NS, Clock, Patience, SampleTime

WAIT_S = 0.1  # for samples, before the clock is looked at again, and whether it was closed
GRACE_S = 0.2  # of the radio's time, after which what has not come in was lost
ENDS = SOAPY_SDR_END_BURST | SOAPY_SDR_MORE_FRAGMENTS  # a part of the last packet has both


class SoapyReceiver:
    """One stream, which runs while a capture lasts."""

    def __init__(
        self,
        device: SoapySDR.Device,
        channel: int,
        name: str,
        clock: Clock,
        timeout_s: float,
        is_open: Callable[[], bool],
    ) -> None:
        """Set the stream up.

        Args:
            device: that receives.
            channel: of it.
            name: for messages.
            clock: that times are of.
            timeout_s: for which this clock, or the samples, may stand still.
            is_open: whether anybody still wants what is received.
        """
        self._device, self._name, self._clock = device, name, clock
        self._timeout_s, self._is_open = timeout_s, is_open
        self._stream = device.setupStream(SOAPY_SDR_RX, SOAPY_SDR_CF32, [channel])

    def timed(self, n: int, at: int | None, times: SampleTime) -> Capture:
        """Capture n samples that the radio tells the times of.

        Args:
            n: samples.
            at: the first, which the radio is told ahead; None for as soon as it can.
            times: of the samples.

        Raises:
            RadioError: it was told too late, sends nothing, or is closed meanwhile.
        """
        self._drain()
        flags, begin_ns = SOAPY_SDR_END_BURST, 0
        if at is not None:
            flags, begin_ns = flags | SOAPY_SDR_HAS_TIME, times.ns_of(at)
        code = self._device.activateStream(self._stream, flags, begin_ns, n)
        stops = code != SoapySDR.SOAPY_SDR_NOT_SUPPORTED
        self._require(code if stops else self._device.activateStream(self._stream))
        try:
            return self._collect(n, at, times)
        finally:
            if not stops:
                self._device.deactivateStream(self._stream)

    def untimed(self, n: int, at: int | None, times: SampleTime, earliest: int) -> Capture:
        """Capture n samples that nobody tells the times of: about from then on.

        Args:
            n: samples.
            at: the first, by the clock; None for the next.
            times: of the samples.
            earliest: sample of the clock at which the capture can begin.

        Raises:
            RadioError: no samples come in, or it is closed meanwhile.
        """
        while at is not None and (left_ns := times.ns_of(at) - self._clock.now_ns()) > 0:
            self._require_open()
            time.sleep(min(left_ns / NS, WAIT_S))
        self._drain()
        self._require(self._device.activateStream(self._stream))
        try:
            first = max(earliest, times.samples_in(self._clock.now_ns()) if at is None else at)
            iq, got, overflows = np.zeros(n, np.complex64), 0, 0
            most, until_s = _most(times), time.monotonic() + self._timeout_s
            while got < n:
                result = self._read(iq[got : got + most], WAIT_S)
                if result.ret == SoapySDR.SOAPY_SDR_TIMEOUT:
                    if time.monotonic() > until_s:
                        raise RadioError(
                            f"{self._name}: no samples came in for {self._timeout_s:g} s"
                        )
                    continue
                until_s = time.monotonic() + self._timeout_s
                if result.ret == SoapySDR.SOAPY_SDR_OVERFLOW:
                    overflows += 1  # at least: nobody tells how many
                else:
                    self._require(result.ret)
                    got += result.ret
            return Capture(iq, first, overflows)
        finally:
            self._device.deactivateStream(self._stream)

    def close(self) -> None:
        """Receive no more."""
        self._device.deactivateStream(self._stream)
        self._device.closeStream(self._stream)

    def _collect(self, n: int, at: int | None, times: SampleTime) -> Capture:
        """What comes in of a capture, each sample in its place, and zeros for what was lost."""
        iq, place, got, first = np.zeros(n, np.complex64), 0, 0, at
        most, patience = _most(times), Patience(self._clock, self._name, self._timeout_s)
        while place < n:
            result = self._read(iq[place : place + most], WAIT_S)
            if result.ret > 0:
                begin = place
                if result.flags & SOAPY_SDR_HAS_TIME:
                    heard = times.sample_at(result.timeNs)
                    first = heard if first is None else first
                    begin = heard - first
                got += _move(iq, place, begin, result.ret)
                place = max(place, begin + result.ret)
                if result.flags & ENDS == SOAPY_SDR_END_BURST and place > 0:
                    break
            elif result.ret == SoapySDR.SOAPY_SDR_TIMEOUT:
                start_ns = patience.began_ns if first is None else times.ns_of(first)
                if patience.look() > start_ns + times.lasts_ns(n) + GRACE_S * NS:
                    break
            elif result.ret == SoapySDR.SOAPY_SDR_STREAM_ERROR:
                raise RadioError(
                    f"{self._name} was told too late to capture from sample {at} on: its clock "
                    f"stands at {times.samples_in(self._clock.now_ns())}; ask earlier"
                )
            elif result.ret != SoapySDR.SOAPY_SDR_OVERFLOW:  # what is missing shows by the times
                self._require(result.ret)
        if first is None or got == 0:
            raise RadioError(f"{self._name} sent none of the {n} samples of a capture")
        return Capture(iq, first, n - got)

    def _drain(self) -> None:
        """Forget what is left of an earlier capture."""
        rest = np.empty(self._device.getStreamMTU(self._stream), np.complex64)
        until_s = time.monotonic() + self._timeout_s
        while self._read(rest, 0.0).ret != SoapySDR.SOAPY_SDR_TIMEOUT:
            if time.monotonic() > until_s:
                raise RadioError(f"{self._name} does not stop to receive; open it again")

    def _read(self, into: IQ, timeout_s: float) -> SoapySDR.StreamResult:
        self._require_open()
        return self._device.readStream(
            self._stream, [into], into.size, timeoutUs=round(1e6 * timeout_s)
        )

    def _require_open(self) -> None:
        if not self._is_open():
            raise RadioError(f"the radio {self._name} is closed; open it again")

    def _require(self, code: int) -> None:
        if code < 0:
            raise RadioError(f"{self._name} does not receive: {SoapySDR.errToStr(code)}")


def _most(times: SampleTime) -> int:
    """Samples to be read at once: a driver goes on for as long as they come."""
    return max(1, times.samples_in(round(WAIT_S * NS)))


def _move(iq: IQ, place: int, begin: int, count: int) -> int:
    """Move what came in at `place` to where it belongs; how many samples of it are of the capture.

    Those that belong before `place` were there already, or are not asked for.
    """
    if begin == place:
        return count
    came = iq[place : place + count].copy()
    iq[place : place + count] = 0
    low, high = max(begin, place), min(begin + count, iq.size)
    if low >= high:
        return 0
    iq[low:high] = came[low - begin : high - begin]
    return high - low
