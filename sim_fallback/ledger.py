"""The ledger of the air: who sends what, from which sample of its own clock on."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np

from radio.api import IQ, RadioError
from sim_fallback.front_end import FrontEnd
from sim_fallback.streams import Key

CHUNK = 16_384
"""Samples that pass a front end at once, at multiples of this on the transmitter's clock."""

CHUNKS_KEPT = 512
"""Chunks behind a front end that are kept: 64 MiB."""


@dataclass(frozen=True, eq=False)
class Burst:
    """What a transmitter was asked to send.

    Attributes:
        first_sample: on the transmitter's clock.
        iq: as asked for, complex64 [n], read-only.
        gain_db: of the transmitter.
        cyclic: sent again and again.
        stop: the sample before which it ends on the transmitter's clock; None for never.
    """

    first_sample: int
    iq: IQ
    gain_db: float
    cyclic: bool
    stop: int | None

    def meets(self, first: int, stop: int | None) -> bool:
        """Whether it sends anything from sample `first` on and before `stop` (None: ever)."""
        return (stop is None or self.first_sample < stop) and (
            self.stop is None or first < self.stop
        )

    def part(self, begin: int, end: int) -> IQ:
        """Samples begin .. end - 1, counted from its first."""
        if not self.cyclic:
            return self.iq[begin:end]
        low, count = begin % self.iq.size, end - begin
        return np.tile(self.iq, -(-(low + count) // self.iq.size))[low : low + count]


@dataclass(frozen=True, eq=False)
class _Chunk:
    """A piece of a burst behind a front end.

    Attributes:
        burst: kept, because the identity of its samples names the chunk.
        start: first sample on the transmitter's clock.
        iq: complex64, at 0 dB of gain.
        clipped: samples that the front end clipped.
    """

    burst: Burst
    start: int
    iq: IQ
    clipped: int


class Ledger:
    """Bursts by transmitter; no two of one transmitter overlap.

    Bursts are kept as they were asked for and pass a front end piece by piece when they are heard,
    so that one ledger can be heard through several, and a long burst is held once.
    """

    def __init__(self) -> None:
        self.version = 0
        """Changes with every entry."""
        self._bursts: dict[str, tuple[Burst, ...]] = {}
        self._chunks: OrderedDict[tuple[int, bool, FrontEnd, Key, float, int], _Chunk] = (
            OrderedDict()
        )

    def transmitters(self) -> list[str]:
        """Those who have bursts in the ledger."""
        return [name for name, bursts in self._bursts.items() if bursts]

    def post(self, name: str, iq: IQ, at: int, gain_db: float, cyclic: bool = False) -> Burst:
        """Enter a burst; the samples are copied.

        Raises:
            RadioError: it would overlap another burst of this transmitter.
        """
        stop = None if cyclic else at + iq.size
        bursts = self._bursts.get(name, ())
        for other in bursts:
            if other.meets(at, stop):
                until = "until cancelled" if other.stop is None else f"to {other.stop - 1}"
                raise RadioError(
                    f"{name} already sends from sample {other.first_sample} {until}: "
                    f"a burst from {at} on would overlap"
                )
        samples = iq.copy()
        samples.flags.writeable = False
        burst = Burst(at, samples, gain_db, cyclic, stop)
        self._bursts[name] = (*bursts, burst)
        self.version += 1
        return burst

    def sending(self, name: str, first: int, stop: int) -> tuple[Burst, ...]:
        """What a transmitter sends from its sample `first` on and before `stop`."""
        return tuple(burst for burst in self._bursts.get(name, ()) if burst.meets(first, stop))

    def free_from(self, name: str, at: int) -> int:
        """First sample from `at` on that comes after all finite bursts of a transmitter."""
        stops = (burst.stop for burst in self._bursts.get(name, ()))
        return max((at, *(stop for stop in stops if stop is not None)))

    def cancel(self, name: str, at: int) -> None:
        """Silence a transmitter from its sample `at` on."""
        bursts = self._bursts.get(name, ())
        if all(burst.stop is not None and burst.stop <= at for burst in bursts):
            return
        self._bursts[name] = tuple(
            burst if burst.stop is not None and burst.stop <= at else replace(burst, stop=at)
            for burst in bursts
            if burst.first_sample < at
        )
        self.version += 1

    def forget(self, name: str, before: int) -> None:
        """Drop the bursts of a transmitter that ended before its sample `before`."""
        old = [b for b in self._bursts.get(name, ()) if b.stop is not None and b.stop <= before]
        if old:
            self._bursts[name] = tuple(b for b in self._bursts[name] if b not in old)
            gone = {id(burst.iq) for burst in old}
            for entry in [entry for entry in self._chunks if entry[0] in gone]:
                del self._chunks[entry]

    def sent(
        self,
        name: str,
        first: int,
        count: int,
        front_end: FrontEnd,
        key: Key,
        sample_rate_hz: float,
    ) -> IQ | None:
        """What a transmitter sends in a stretch of its clock, zero between bursts.

        Args:
            name: of the transmitter.
            first: sample of its clock.
            count: samples.
            front_end: that the bursts pass.
            key: of the radio, for the front end.
            sample_rate_hz: of the radio.

        Returns:
            complex64 [count], in units of the transmitter's full scale at 0 dB of gain; None where
            no burst falls in the stretch.
        """
        bursts = self.sending(name, first, first + count)
        if not bursts:
            return None
        wave = np.zeros(count, np.complex64)
        for burst in bursts:
            begin, end = max(first, burst.first_sample), first + count
            if burst.stop is not None:
                end = min(end, burst.stop)
            amplitude = np.float32(10 ** (burst.gain_db / 20))
            for number in range(begin // CHUNK, -(-end // CHUNK)):
                chunk = self._chunk(burst, number, front_end, key, sample_rate_hz)
                low, high = max(begin, chunk.start), min(end, (number + 1) * CHUNK)
                here = wave[low - first : high - first]
                np.multiply(chunk.iq[low - chunk.start : high - chunk.start], amplitude, out=here)
        return wave

    def clipped(self, burst: Burst, front_end: FrontEnd, key: Key, sample_rate_hz: float) -> int:
        """How many samples of a burst, of one period of a cyclic one, its front end clips."""
        once = replace(burst, cyclic=False)
        end = burst.first_sample + burst.iq.size
        return sum(
            self._chunk(once, number, front_end, key, sample_rate_hz).clipped
            for number in range(burst.first_sample // CHUNK, -(-end // CHUNK))
        )

    def _chunk(
        self, burst: Burst, number: int, front_end: FrontEnd, key: Key, sample_rate_hz: float
    ) -> _Chunk:
        """A burst behind a front end, in chunk `number` of the clock; the latest are kept."""
        entry = (id(burst.iq), burst.cyclic, front_end, key, sample_rate_hz, number)
        if entry in self._chunks:
            self._chunks.move_to_end(entry)
            return self._chunks[entry]
        start = max(number * CHUNK, burst.first_sample)
        piece = burst.part(start - burst.first_sample, (number + 1) * CHUNK - burst.first_sample)
        self._chunks[entry] = _Chunk(
            burst, start, *front_end.sent(piece, key, start, sample_rate_hz)
        )
        if len(self._chunks) > CHUNKS_KEPT:
            self._chunks.popitem(last=False)
        return self._chunks[entry]
