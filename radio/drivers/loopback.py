"""``loopback://?delay=0&gain_db=0``: a cable from a radio's output to its own input."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
from radio.registry import RadioUri

MAX_PENDING = 1 << 24  # samples on their way; 128 MiB

CAPS = RadioCaps(
    name="loopback",
    can_transmit=True,
    timed=True,
    full_duplex=True,
    bits=32,
    carrier_hz=Range(1e6, 6e9),
    sample_rate_hz=Range(1e3, 100e6),
    tx_gain_db=Range(-90.0, 0.0),
    rx_gain_db=Range(0.0, 60.0),
    max_burst=1 << 22,
    turnaround_s=0.0,
)


@dataclass(frozen=True)
class _Burst:
    """Samples on the cable, by the time at which they come out of it."""

    start: int
    iq: IQ

    @property
    def end(self) -> int:
        return self.start + self.iq.size


class LoopbackRadio(Radio):
    """Receives what it transmits `delay` samples later, and zeros elsewhere.

    Its clock is virtual: `receive` advances it, `transmit` does not. Converters have full scale 1.0
    in I and Q, and no other flaw.
    """

    def __init__(self, delay: int = 0, gain_db: float = 0.0) -> None:
        """A cable that takes `delay` samples and changes the level by `gain_db`."""
        if delay < 0:
            raise RadioError(f"a cable's delay is 0 samples or more, not {delay}")
        if not math.isfinite(gain_db):
            raise RadioError(f"a cable's gain_db is finite, not {gain_db}")
        self._delay, self._gain_db = delay, gain_db
        self._settings = RadioSettings()
        self._pending: list[_Burst] = []
        self._now = 0
        self._is_open = True

    @property
    def caps(self) -> RadioCaps:
        """The same for all."""
        return CAPS

    @property
    def settings(self) -> RadioSettings:
        """The settings in force; both gains act on the level."""
        return self._settings

    def configure(self, want: RadioSettings) -> RadioSettings:
        """Apply settings, exactly."""
        self._require_open()
        require_settings(want, CAPS)
        self._settings = want
        return want

    def now(self) -> int:
        """The end of the last capture."""
        self._require_open()
        return self._now

    def transmit(self, iq: IQ, at: int | None = None) -> TxReport:
        """Put a burst on the cable; without a time, after those that are still to be sent.

        Raises:
            RadioError: as every radio, where another burst is sent then, or where more than
                `MAX_PENDING` samples would wait.
        """
        self._require_open()
        require_burst(iq, CAPS)
        start = self._free_from() if at is None else at
        require_future(start, self._now)
        for burst in self._pending:
            if start + self._delay < burst.end and burst.start < start + self._delay + iq.size:
                raise RadioError(
                    f"samples {burst.start - self._delay} to {burst.end - self._delay - 1} are "
                    f"taken by another burst: one from {start} on would overlap"
                )
        waiting = sum(burst.iq.size for burst in self._pending)
        if waiting + iq.size > MAX_PENDING:
            raise RadioError(
                f"{waiting} samples wait to be received already, of {MAX_PENDING}; receive first"
            )
        sent, clipped = converted(iq)
        # After the clip, which is the transmitter's; the clip of the receiver comes on reception.
        sent *= np.float32(10 ** ((self._gain_db + self._settings.tx_gain_db) / 20))
        self._pending.append(_Burst(start + self._delay, sent))
        return TxReport(self._settings.tx_gain_db, clipped, start)

    def receive(self, n: int, at: int | None = None) -> Capture:
        """Capture n samples; the clock goes on to their end."""
        self._require_open()
        require_count(n)
        first = self._now if at is None else at
        require_future(first, self._now)
        end = first + n
        heard = np.zeros(n, np.complex64)
        for burst in self._pending:
            low, high = max(first, burst.start), min(end, burst.end)
            if low < high:
                heard[low - first : high - first] = burst.iq[low - burst.start : high - burst.start]
        heard *= np.float32(10 ** (self._settings.rx_gain_db / 20))
        self._pending = [burst for burst in self._pending if burst.end > end]
        self._now = end
        return Capture(converted(heard)[0], first, 0)

    def close(self) -> None:
        """Nothing is on the cable any more."""
        self._pending.clear()
        self._is_open = False

    def _free_from(self) -> int:
        """First sample after all bursts there are."""
        return max([self._now, *(burst.end - self._delay for burst in self._pending)])

    def _require_open(self) -> None:
        if not self._is_open:
            raise RadioError("the loopback radio is closed; open it again")


def open_loopback(uri: RadioUri) -> LoopbackRadio:
    """Options: ``delay`` in samples, ``gain_db`` of the cable."""
    uri.require_options("delay", "gain_db")
    return LoopbackRadio(uri.option("delay", int, 0), uri.option("gain_db", float, 0.0))
