"""The clock of a radio behind SoapySDR: its own where it has one, or else this machine's."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from typing import Protocol

import SoapySDR

from radio.api import RadioError

NS = 10**9
COARSEST = 1000  # denominators of rates: a master clock of whole hertz, divided


class Clock(Protocol):
    """Nanoseconds that pass."""

    def now_ns(self) -> int:
        """How many have passed since the clock's own beginning."""


class HardwareClock:
    """The clock that counts the radio's samples."""

    def __init__(self, device: SoapySDR.Device) -> None:
        """Of a device that has one."""
        self._device = device

    def now_ns(self) -> int:
        """As the radio tells it; RuntimeError where it does not answer."""
        return int(self._device.getHardwareTime())


class HostClock:
    """This machine's clock, since the radio was opened: times are good to some milliseconds."""

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        """Begin now."""
        self._seconds, self._start_s = seconds, seconds()

    def now_ns(self) -> int:
        """Since it began."""
        return int((self._seconds() - self._start_s) * NS)


class Patience:
    """How long one waits for a radio whose time may pass more slowly than that of this machine."""

    def __init__(self, clock: Clock, name: str, timeout_s: float) -> None:
        """Begin to wait; for a clock of this name that stands still, no longer than so long."""
        self._clock, self._name, self._timeout_s = clock, name, timeout_s
        self.began_ns = self._last_ns = clock.now_ns()
        self._since_s = time.monotonic()

    def look(self) -> int:
        """The clock's ns; RadioError where they have not changed for too long."""
        now_ns = self._clock.now_ns()
        if now_ns != self._last_ns:
            self._last_ns, self._since_s = now_ns, time.monotonic()
        elif time.monotonic() > self._since_s + self._timeout_s:
            raise RadioError(f"the clock of {self._name} stands still for {self._timeout_s:g} s")
        return now_ns


class SampleTime:
    """Samples of a rate by time, both counted from the clock's beginning; exact."""

    def __init__(self, rate_hz: float) -> None:
        """Of a rate whose double stands for a fraction, as a third of 100 MHz."""
        self._per_ns = Fraction(rate_hz).limit_denominator(COARSEST) / NS

    def ns_of(self, sample: int) -> int:
        """The nanosecond nearest to a sample."""
        return round(sample / self._per_ns)

    def sample_at(self, ns: int) -> int:
        """The sample nearest to a time."""
        return round(ns * self._per_ns)

    def samples_in(self, ns: int) -> int:
        """Samples that have passed entirely by then."""
        return int(ns * self._per_ns // 1)

    def lasts_ns(self, samples: int) -> int:
        """How long so many last, or a little longer."""
        return int(-(-samples / self._per_ns // 1))
