"""What a virtual radio sends: stretches of samples, put on the air as the radio is set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from radio.api import IQ
from sim_fallback.bands import Bands, Place
from sim_fallback.codes import Samples

FULL_SCALE = 1 << 15
CALIBRATION_S = 10e-3
CALIBRATION_PERIOD = 16  # samples of the tone that calibration sends at full drive


@dataclass(frozen=True, eq=False)
class Stretch:
    """Samples to send.

    Attributes:
        first: sample of the transmit clock.
        samples: int16 [n, 2], read-only.
        offset: of its first one in `samples`, where those repeat.
        stop: the sample before which it ends; None for one that repeats for ever.
    """

    first: int
    samples: Samples
    offset: int = 0
    stop: int | None = None

    def part(self, begin: int, end: int) -> Samples:
        """Samples begin .. end - 1 of the clock, which it covers."""
        low, count = begin - self.first + self.offset, end - begin
        if low + count > len(self.samples):
            low %= len(self.samples)
            periods = -(-(low + count) // len(self.samples))
            return np.tile(self.samples, (periods, 1))[low : low + count]
        return self.samples[low : low + count]


@dataclass(frozen=True)
class Outlet:
    """How samples leave the radio.

    Attributes:
        place: in the spectrum.
        gain_db: of the transmitter.
        on: whether they leave it at all.
        scale: by which they are larger than those that were to be sent.
    """

    place: Place
    gain_db: float
    on: bool
    scale: float = 1.0


class Playback:
    """The transmit side of one radio, after its buffers. Its caller keeps threads apart."""

    def __init__(self, bands: Bands, name: str, outlet: Outlet) -> None:
        self._bands, self._name, self._outlet = bands, name, outlet
        self._stretches: list[Stretch] = []

    def now(self) -> int:
        """Where the transmit clock stands."""
        return self._sample_at(self._bands.clock.present_s())

    def true_time_s(self, sample: int) -> float:
        """True time of a sample of the transmit clock."""
        return self._bands.true_time_s(self._name, sample, self._outlet.place.rate_hz)

    def play(self, samples: Samples, first: int, cyclic: bool = False) -> None:
        """Send int16 [n, 2] from a sample on that lies not in the past; again and again if cyclic.

        The samples are kept and must not be changed. Silence leaves no trace.
        """
        if not _any(samples):
            return
        stop = None if cyclic else first + len(samples)
        stretch = Stretch(first, samples, stop=stop)
        self._stretches.append(stretch)
        self._post(stretch)

    def cut(self) -> None:
        """Send nothing more from now on."""
        self._cut(self._bands.clock.present_s())

    def route(self, outlet: Outlet, from_s: float | None = None) -> None:
        """Send what is still to be sent, and all that follows, in another way.

        Args:
            outlet: the other way.
            from_s: true time from which on; None for now.
        """
        if outlet == self._outlet:
            return
        present_s = self._bands.clock.present_s() if from_s is None else from_s
        rest = self._rest(self._sample_at(present_s))
        self._cut(present_s)
        if outlet.place.rate_hz != self._outlet.place.rate_hz:
            self._stretches = []
        self._outlet = outlet
        self._resume(rest, self._sample_at(present_s))

    def calibrate(self) -> None:
        """Send the tone of a calibration at full drive from now on, instead of what was to be."""
        present_s = self._bands.clock.present_s()
        now = self._sample_at(present_s)
        count = round(CALIBRATION_S * self._outlet.place.rate_hz)
        rest = self._rest(now + count)
        self._cut(present_s)
        turns = np.arange(count) % CALIBRATION_PERIOD / CALIBRATION_PERIOD
        tone: IQ = np.exp(2j * np.pi * turns).astype(np.complex64)
        if self._outlet.on:
            self._bands.send(self._name, self._outlet.place, tone, now, 0.0)
        self._resume(rest, now + count)

    def samples(self, first: int, count: int) -> Samples:
        """What was and will be sent in a stretch of the clock, int16 [count, 2]."""
        sent = np.zeros((count, 2), np.int16)
        for stretch in list(self._stretches):
            end = first + count if stretch.stop is None else min(first + count, stretch.stop)
            begin = max(first, stretch.first)
            if begin < end:
                sent[begin - first : end - first] = stretch.part(begin, end)
        return sent

    def forget(self, before: int) -> None:
        """Drop what ended before a sample of the clock."""
        if self._stretches and (self._stretches[0].stop or before) < before:
            self._stretches = [s for s in self._stretches if s.stop is None or s.stop >= before]

    def _sample_at(self, t_s: float) -> int:
        return self._bands.sample_at(self._name, t_s, self._outlet.place.rate_hz)

    def _cut(self, t_s: float) -> None:
        self._bands.silence(self._name, t_s)
        self._stretches = [*self._until(self._sample_at(t_s))]

    def _until(self, now: int) -> Iterator[Stretch]:
        for stretch in self._stretches:
            if stretch.first < now:
                yield (
                    stretch if stretch.stop and stretch.stop <= now else replace(stretch, stop=now)
                )

    def _rest(self, now: int) -> list[Stretch]:
        """What comes after a sample, counted from there."""
        rest = []
        for stretch in self._stretches:
            if stretch.stop is not None and stretch.stop <= now:
                continue
            skipped = max(0, now - stretch.first)
            rest.append(
                Stretch(
                    stretch.first + skipped - now,
                    stretch.samples,
                    (stretch.offset + skipped) % len(stretch.samples),
                    None if stretch.stop is None else stretch.stop - now,
                )
            )
        return rest

    def _resume(self, rest: list[Stretch], start: int) -> None:
        for stretch in rest:
            stop = None if stretch.stop is None else stretch.stop + start
            moved = replace(stretch, first=stretch.first + start, stop=stop)
            self._stretches.append(moved)
            self._post(moved)

    def _post(self, stretch: Stretch) -> None:
        if not self._outlet.on:
            return
        cyclic = stretch.stop is None
        if cyclic:
            samples = np.roll(stretch.samples, -stretch.offset, axis=0)
        else:
            samples = stretch.part(stretch.first, stretch.first + _length(stretch))
        iq = np.ascontiguousarray(samples).astype(np.float32).view(np.complex64)[:, 0]
        iq *= np.float32(self._outlet.scale / FULL_SCALE)
        place, gain_db = self._outlet.place, self._outlet.gain_db
        self._bands.send(self._name, place, iq, stretch.first, gain_db, cyclic)


def _any(samples: Samples) -> bool:
    """Whether int16 [n, 2] holds anything but zeros; a sample is looked at as one number."""
    return bool(np.bitwise_or.reduce(np.ascontiguousarray(samples).view(np.int32), axis=None))


def _length(stretch: Stretch) -> int:
    return len(stretch.samples) if stretch.stop is None else stretch.stop - stretch.first
