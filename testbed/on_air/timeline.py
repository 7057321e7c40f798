"""When everything of a round happens, in samples of the receiver's clock from the round's start.

    beacon   sync | sounding slots | sync   ...control...   sync sync | burst   sync | burst  ...

The first beacon gives every device time and frequency. Sync beacons on both sides of the sounding
and right before each burst tell a device how its oscillator has moved against the receiver's, so
that it can turn its signal back; the closer the last one, the better. How close depends on the
radio's turnaround. Radios that share a clock do not move and need no sync beacons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

from radio.waveform.frame import BurstLayout
from radio.waveform.numerology import Numerology
from radio.waveform.preamble import Preamble

SLOT_GUARD = 80  # silent samples after a sounding symbol: timing errors, long channels
LEAST_TURNAROUND = 1024  # samples
GAP = 400  # samples between two transmissions of different radios


class Span(NamedTuple):
    """A stretch of a round."""

    kind: Literal["beacon", "sync", "sounding", "control", "burst"]
    start: int
    length: int


@dataclass(frozen=True)
class Timeline:
    """The plan of a round.

    Attributes:
        numerology: of the waveform.
        num_devices: r, sounding slots.
        num_symbols: M, analog symbols to carry.
        turnaround_s: of the slowest device, from hearing a beacon to sending with it.
        control_s: from the last sounding to the earliest data: the grants' way to the devices.
        shared_clock: no sync beacons, bursts follow each other.
        burst_symbols: OFDM symbols with data a burst, at most.
        sync_beacons: how many precede the first burst.
        sync_spacing_s: between two of them, start to start.
        search: samples by which a device's first guess of the time may be off. It listens for its
            first beacon until twice as much behind it.
    """

    numerology: Numerology
    num_devices: int
    num_symbols: int
    turnaround_s: float
    control_s: float
    shared_clock: bool = False
    burst_symbols: int = 57
    sync_beacons: int = 2
    sync_spacing_s: float = 10e-3
    search: int = 500

    def legs(self, life_s: float) -> tuple[Timeline, ...]:
        """The round cut into as few rounds as it takes for no sounding to be older than `life_s`.

        Each leg has its own beacon and sounding and nearly the same number of symbols; one that
        is a single burst is not cut further.
        """
        count = 1
        while True:
            sizes = [
                self.num_symbols // count + (i < self.num_symbols % count) for i in range(count)
            ]
            longest = replace(self, num_symbols=sizes[0])
            old = longest.length - longest.sounding_end > self.samples(life_s)
            if not old or len(longest.layouts) == 1:
                return tuple(replace(self, num_symbols=size) for size in sizes)
            count += 1

    @cached_property
    def beacon(self) -> Preamble:
        """What starts a round, long enough to be found at any carrier offset."""
        return Preamble(self.numerology, repeats=8)

    @cached_property
    def sync(self) -> Preamble:
        """What is measured once time and frequency are known."""
        return Preamble(self.numerology, repeats=2)

    @cached_property
    def pilot(self) -> Preamble:
        """What a device sends in its sounding slot."""
        return Preamble(self.numerology, repeats=1)

    def draw(self) -> None:
        """Make all sequences now, which takes a while, rather than when a beacon is waited for."""
        for preamble in (self.beacon, self.sync, self.pilot, *(b.preamble for b in self.layouts)):
            preamble.iq  # noqa: B018 (which keeps it)

    @property
    def turnaround(self) -> int:
        """Samples from the end of a beacon to what is sent with it."""
        return max(self.samples(self.turnaround_s), LEAST_TURNAROUND)

    @property
    def slot(self) -> int:
        """Samples of a sounding slot."""
        return self.pilot.length + SLOT_GUARD

    @cached_property
    def layouts(self) -> tuple[BurstLayout, ...]:
        """The bursts that M symbols need, of nearly equal length."""
        needed = math.ceil(self.num_symbols / self.numerology.used_carriers)
        count = math.ceil(needed / self.burst_symbols)
        sizes = [needed // count + (i < needed % count) for i in range(count)]
        of_size = {s: BurstLayout(self.numerology, s, self.num_devices) for s in set(sizes)}
        return tuple(of_size[size] for size in sizes)

    @property
    def sounding(self) -> int:
        """Start of the first slot."""
        if self.shared_clock:
            answered = 2 * self.search + self.samples(self.turnaround_s)
            return self.beacon.length + max(LEAST_TURNAROUND, answered)
        return self.early_sync + self.sync.length + self.turnaround

    @property
    def early_sync(self) -> int:
        """Start of the sync beacon before the sounding."""
        heard = self.beacon.length + max(GAP, 2 * self.search)
        return max(self.samples(self.sync_spacing_s), heard)

    @property
    def sounding_end(self) -> int:
        """Behind the last slot."""
        return self.sounding + self.num_devices * self.slot

    @cached_property
    def syncs(self) -> tuple[tuple[int, ...], ...]:
        """Starts of the sync beacons before each burst; those around the sounding are others."""
        if self.shared_clock:
            return tuple(() for _ in self.layouts)
        spacing = self.samples(self.sync_spacing_s)
        lead = self.sync.length + self.turnaround
        last = self.bursts[0] - lead
        first = tuple(last - spacing * i for i in reversed(range(self.sync_beacons)))
        return (first, *((start - lead,) for start in self.bursts[1:]))

    @cached_property
    def bursts(self) -> tuple[int, ...]:
        """Starts of the bursts."""
        start = self.sounding_end + max(self.samples(self.control_s), GAP)
        between = GAP
        if not self.shared_clock:
            beacons = (self.sync_beacons - 1) * self.samples(self.sync_spacing_s)
            lead = self.sync.length + self.turnaround
            start = max(start, self.late_sync + self.sync.length + GAP + beacons + lead)
            between = GAP + lead
        starts = []
        for layout in self.layouts:
            starts.append(start)
            start += layout.length + between
        return tuple(starts)

    @property
    def late_sync(self) -> int:
        """Start of the sync beacon behind the sounding."""
        return self.sounding_end + GAP

    @property
    def length(self) -> int:
        """Samples from the round's start to the end of its last burst."""
        return self.bursts[-1] + self.layouts[-1].length

    @property
    def airtime_s(self) -> float:
        """Time in which anybody sends."""
        samples = sum(span.length for span in self.spans if span.kind != "control")
        return samples / self.numerology.sample_rate_hz

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """Everything, in order of time."""
        spans = [Span("beacon", 0, self.beacon.length)]
        if not self.shared_clock:
            around = (self.early_sync, self.late_sync)
            syncs = [start for group in (around, *self.syncs) for start in group]
            spans += [Span("sync", start, self.sync.length) for start in syncs]
        spans += [
            Span("sounding", self.sounding + i * self.slot, self.pilot.length)
            for i in range(self.num_devices)
        ]
        spans.append(Span("control", self.sounding_end, self.bursts[0] - self.sounding_end))
        spans += [
            Span("burst", start, layout.length)
            for start, layout in zip(self.bursts, self.layouts, strict=True)
        ]
        return tuple(sorted(spans, key=lambda span: span.start))

    def samples(self, seconds: float) -> int:
        """A duration in whole samples."""
        return math.ceil(seconds * self.numerology.sample_rate_hz)
