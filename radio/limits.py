"""What a bench may send: nothing outside its bands, gain, burst length and duty cycle."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    require_future,
    require_settings,
)

Interval = tuple[int, int]  # samples [start, end) of the radio's own clock


@dataclass(frozen=True)
class Limits:
    """The limits of a bench, as its licence or regulator states them.

    Attributes:
        bands: frequencies in Hz that may be occupied; a signal must fit into one of them whole.
        max_tx_gain_db: as the radio counts it.
        max_duty_cycle: share of any `window_s` during which the transmitter may be on, in (0, 1].
        window_s: over which the duty cycle is taken; regulators often say an hour.
        max_burst_s: longest time on the air without a pause.
    """

    bands: tuple[Range, ...]
    max_tx_gain_db: float
    max_duty_cycle: float
    window_s: float
    max_burst_s: float

    def __post_init__(self) -> None:
        if not self.bands:
            raise ValueError("limits without a band allow nothing; give at least one")
        for band in self.bands:
            if not (0 < band.low < band.high < math.inf):
                raise ValueError(f"a band goes up from above 0 Hz, not {band}")
        if not math.isfinite(self.max_tx_gain_db):
            raise ValueError(f"max_tx_gain_db must be finite, not {self.max_tx_gain_db}")
        if not 0 < self.max_duty_cycle <= 1:
            raise ValueError(f"max_duty_cycle must be in (0, 1], not {self.max_duty_cycle}")
        for name in ("window_s", "max_burst_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0 s, not {getattr(self, name)}")

    def require_settings(self, settings: RadioSettings) -> None:
        """RadioError where a signal of these settings would leave the bands or be too strong."""
        half = settings.sample_rate_hz / 2
        low, high = settings.carrier_hz - half, settings.carrier_hz + half
        if not any(low in band and high in band for band in self.bands):
            allowed = ", ".join(f"{band} Hz" for band in self.bands)
            raise RadioError(
                f"{low:.9g} to {high:.9g} Hz would be occupied; the bench allows {allowed}"
            )
        if not settings.tx_gain_db <= self.max_tx_gain_db:
            raise RadioError(
                f"tx_gain_db = {settings.tx_gain_db:g} exceeds the bench's {self.max_tx_gain_db:g}"
            )

    def require_airtime(self, on_air: list[Interval], sample_rate_hz: float) -> None:
        """RadioError where these disjoint, ascending intervals send too long or too much."""
        longest = max(end - start for start, end in on_air)
        allowed = self.max_burst_s * sample_rate_hz
        if longest > allowed:
            raise RadioError(
                f"{longest} samples without a pause exceed the bench's {allowed:.0f} "
                f"({self.max_burst_s:g} s); cut the burst, or leave a gap"
            )
        window = self.window_s * sample_rate_hz
        allowed = self.max_duty_cycle * window
        busiest = busiest_window(on_air, window)
        # Times are whole samples: half a sample forgives the rounding of seconds.
        if busiest > allowed + 0.5:
            raise RadioError(
                f"{busiest:.0f} samples within {self.window_s:g} s exceed the bench's "
                f"{allowed:.0f} (duty cycle {self.max_duty_cycle:g}); wait"
            )


def busiest_window(on_air: list[Interval], window: float) -> float:
    """Most samples sent within any `window` samples, by disjoint ascending intervals.

    A window that opens in a gap loses nothing by opening at the next interval instead, nor one
    that opens within an interval by opening where that begins: those that open with an interval
    include a busiest one.
    """
    # Counted from the first, so that clocks beyond 2^53 keep their samples.
    edges = (np.array(on_air, np.int64) - on_air[0][0]).astype(np.float64)
    starts, ends = edges.T
    sent = np.cumsum(ends - starts)
    sent_before = np.stack([np.concatenate([[0.0], sent[:-1]]), sent], axis=1)
    closed = np.interp(starts + window, edges.ravel(), sent_before.ravel())
    return float(np.max(closed - sent_before[:, 0]))


def joined(on_air: list[Interval], start: int, end: int) -> list[Interval]:
    """The intervals with [start, end) among them; those that touch it become one with it."""
    first = bisect_left(on_air, start, key=lambda interval: interval[1])
    last = bisect_right(on_air, end, key=lambda interval: interval[0])
    touching = on_air[first:last]
    whole = (min([start, *(s for s, _ in touching)]), max([end, *(e for _, e in touching)]))
    return [*on_air[:first], whole, *on_air[last:]]


class LimitedRadio(Radio):
    """A radio that refuses what its bench does not allow, before it reaches the radio inside.

    Between bursts a radio sends nothing, so after a refusal it is muted already, unless a burst it
    took earlier is still to come or still on the air. The one way to take that back through
    `Radio` is `close`: a refusal then closes the radio inside. So does any other exception, an
    interrupt among them, as nobody knows what the radio was doing. Nothing is sent after either.

    Bursts without a pause between them count as one. Times are those of the radio's sample clock.
    """

    def __init__(self, radio: Radio, limits: Limits) -> None:
        self._radio = radio
        self._limits = limits
        self._on_air: list[Interval] = []

    @property
    def caps(self) -> RadioCaps:
        """Of the radio inside."""
        return self._radio.caps

    @property
    def settings(self) -> RadioSettings:
        """Of the radio inside."""
        return self._radio.settings

    def configure(self, want: RadioSettings) -> RadioSettings:
        """Apply settings; RadioError where the bench or the radio does not allow them."""
        with self._muted_on_error() as present:
            require_settings(want, self.caps)
            self._limits.require_settings(want)
            rate = self._radio.settings.sample_rate_hz
            applied = self._radio.configure(want)
            self._count_at(applied.sample_rate_hz / rate, present)
            # A synthesizer goes to the nearest step, which may be over the edge.
            self._limits.require_settings(applied)
            return applied

    def now(self) -> int:
        """The sample clock."""
        return self._radio.now()

    def transmit(self, iq: IQ, at: int | None = None) -> TxReport:
        """Send a burst, if bands, gain, burst length and duty cycle allow it."""
        with self._muted_on_error() as present:
            require_burst(iq, self.caps)
            start = self._free_from(present) if at is None else at
            require_future(start, present)
            self._limits.require_settings(self.settings)
            rate = self.settings.sample_rate_hz
            horizon = present - self._limits.window_s * rate
            del self._on_air[: bisect_right(self._on_air, horizon, key=lambda sent: sent[1])]
            self._limits.require_airtime(joined(self._on_air, start, start + iq.size), rate)
            report = self._radio.transmit(iq, at)
            started_at = report.started_at
            self._on_air = joined(self._on_air, started_at, started_at + iq.size)
            # A radio that does not keep times to the sample may have started elsewhere.
            self._limits.require_airtime(self._on_air, rate)
            return report

    def receive(self, n: int, at: int | None = None) -> Capture:
        """Capture n samples."""
        with self._muted_on_error():
            return self._radio.receive(n, at)

    def close(self) -> None:
        """Transmitter off."""
        self._radio.close()

    def describe(self) -> Mapping[str, str]:
        """Of the radio inside."""
        return self._radio.describe()

    @contextmanager
    def _muted_on_error(self) -> Iterator[int]:
        """Yield the present; whatever is raised, leave with nothing pending."""
        present = self._radio.now()
        try:
            yield present
        except RadioError as refusal:
            if self._free_from(present) > present:
                refusal.add_note("a burst was still to be sent: the radio was closed to mute it")
                self.close()
            raise
        except BaseException:
            self.close()
            raise

    def _free_from(self, present: int) -> int:
        """Where a burst without a time begins: after those that are still to be sent."""
        return max(present, self._on_air[-1][1]) if self._on_air else present

    def _count_at(self, ratio: float, before: int) -> None:
        """Restate past bursts in samples of another rate; the clock may restart with it."""
        if ratio != 1.0:
            now, past, self._on_air = self._radio.now(), self._on_air, []
            for interval in past:
                start, end = ((sample - before) * ratio for sample in interval)
                self._on_air = joined(self._on_air, now + math.floor(start), now + math.ceil(end))
