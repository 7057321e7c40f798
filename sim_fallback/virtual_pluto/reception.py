"""The receive side of a virtual PlutoSDR: streams of blocks, one for each client."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from sim_fallback.air import SAME_SAMPLE
from sim_fallback.bands import Bands
from sim_fallback.codes import Samples
from sim_fallback.virtual_pluto.receiver import Receiver, Tuning
from sim_fallback.virtual_pluto.ring import Ring, Span, at_once


class Reception:
    """The streams of one radio. Its caller keeps threads apart.

    Attributes:
        overflowed: whether samples of any stream have vanished since this was last set to False.
    """

    def __init__(
        self,
        bands: Bands,
        name: str,
        receiver: Receiver,
        tuning: Tuning,
        latency_samples: Callable[[], int],
        opens_s: Callable[[float], float] | None = None,
    ) -> None:
        """The receive side of a radio.

        Args:
            bands: where it listens.
            name: of the radio.
            receiver: that makes the samples.
            tuning: how it receives.
            latency_samples: draws how late a stream starts.
            opens_s: from which time on, that one or a later one, a block may begin, in seconds of
                the radio's own clock; inf where that is not known yet. None for at once.
        """
        self._bands, self._name = bands, name
        self._receiver, self._tuning = receiver, tuning
        self._latency_samples = latency_samples
        self._opens = at_once if opens_s is None else partial(self._timed, opens_s)
        self._rings: list[Ring[Tuning]] = []
        self.overflowed = False

    @property
    def is_open(self) -> bool:
        """Whether anybody reads."""
        return bool(self._rings)

    def now(self) -> int:
        """Where the receive clock stands."""
        return self._now(self._tuning)

    def open(self, blocks: int, size: int) -> Ring[Tuning]:
        """Start a stream of blocks of `size` samples, at a time that nobody knows beforehand.

        Whoever reads already starts anew without being told: the device rebuilds its buffer.
        """
        ring = Ring(blocks, size, self._tuning, 0, self._now, self._opens)
        self._rings.append(ring)
        self._restart()
        return ring

    def close(self, ring: Ring[Tuning]) -> None:
        """End a stream; others start anew."""
        self.note_overflow()
        self._rings.remove(ring)
        self._restart()

    def samples(self, spans: list[Span[Tuning]]) -> Samples:
        """What a block holds, int16 [size, 2]. Needs no lock."""
        parts = [self._receiver.samples(span) for span in spans]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def look_ahead(self, spans: list[Span[Tuning]], wanted: Callable[[], bool]) -> None:
        """As `Receiver.look_ahead` for what a block will hold. Needs no lock."""
        for span in spans:
            self._receiver.look_ahead(span, wanted)

    def ready_s(self, ring: Ring[Tuning]) -> float:
        """True time at which the next block of a stream is full; inf where nobody knows."""
        if ring.ready is None:
            return math.inf
        tuning, sample = ring.ready
        return self._bands.true_time_s(self._name, sample, tuning.place.rate_hz)

    def tune(self, tuning: Tuning) -> None:
        """Receive in another way from now on."""
        if tuning == self._tuning:
            return
        recount = tuning.place.rate_hz != self._tuning.place.rate_hz
        self._tuning = tuning
        for ring in self._rings:
            ring.tune(tuning, self.now() if recount else None)

    def pause(self, duration_s: float) -> None:
        """Receive nothing for a while; the samples of that time are nowhere."""
        resumed = self.now() + math.ceil(duration_s * self._tuning.place.rate_hz)
        for ring in self._rings:
            ring.tune(self._tuning, resumed)

    def note_overflow(self) -> None:
        """See whether samples have vanished."""
        for ring in self._rings:
            ring.advance()
            self.overflowed |= ring.overflowed
            ring.overflowed = False

    def skip(self) -> None:
        """What waits to begin does not begin before the present."""
        self.note_overflow()
        for ring in self._rings:
            ring.skip()

    def needed_since_s(self) -> float:
        """True time of the first sample that may still be read; inf where there is none."""
        oldest = [ring.oldest for ring in self._rings]
        times = [
            self._bands.true_time_s(self._name, span.first, span.tuning.place.rate_hz)
            for span in oldest
        ]
        return min(times, default=math.inf)

    def gain_db(self) -> float:
        """Gain in force."""
        return self._receiver.gain_db(self._tuning, self.now())

    def level_db(self) -> float:
        """Mean power that arrives, over full scale at 0 dB of gain."""
        return self._receiver.level_db(self._tuning.place, self.now())

    def _now(self, tuning: Tuning) -> int:
        present_s = self._bands.clock.present_s()
        return self._bands.sample_at(self._name, present_s, tuning.place.rate_hz)

    def _timed(self, opens_s: Callable[[float], float], tuning: Tuning, sample: int) -> int | None:
        rate_hz = tuning.place.rate_hz
        begins_s = opens_s(sample / rate_hz)
        if math.isinf(begins_s):
            return None
        return max(sample, math.ceil(begins_s * rate_hz - SAME_SAMPLE))

    def _restart(self) -> None:
        start = self.now() + self._latency_samples()
        for ring in self._rings:
            ring.restart(start)
