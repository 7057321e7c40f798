"""What a virtual PlutoSDR receives: 12-bit samples of its band, at its gain."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from radio.api import IQ
from sim_fallback.bands import Bands, Place
from sim_fallback.codes import Codes, Samples
from sim_fallback.render import TILE, noise_drift_db
from sim_fallback.tiles import KEPT, Tiles
from sim_fallback.virtual_pluto.gain import Agc
from sim_fallback.virtual_pluto.ring import Span

CODES = Codes(full_scale=1 << 11, levels=1 << 11)

PIECE = 1000
"""Samples between two decisions of the automatic gain control; a divisor of a tile."""

LOOPBACK_DELAY = 4
"""Samples by which what was sent comes back through the digital loopback."""

LOOPBACK_SHIFT = 4
"""Bits of 16 that the 12 received ones lack."""

FLOOR_DIGITS = 2  # after the point, of a drift of the gain in dB: tables of codes are kept

AGC_START_DB = 71.0
MOST_DECISIONS = 100  # that lead from any gain to any other


@dataclass(frozen=True)
class Tuning:
    """How samples are received.

    Attributes:
        place: in the spectrum.
        gain_db: of the receiver; None where it turns by itself.
        agc: which turns it then.
        on: whether the radio receives; otherwise all samples are 0.
        digital: whether samples to send come back instead.
    """

    place: Place
    gain_db: float | None
    agc: Agc
    on: bool = True
    digital: bool = False


class Receiver:
    """The receive side of one radio, before its buffers. Safe to use from several threads."""

    def __init__(self, bands: Bands, name: str, sent: Callable[[int, int], Samples]) -> None:
        """The receiver of a radio of these bands.

        Args:
            bands: where it listens.
            name: of the radio.
            sent: first sample and count to what the radio itself sends, for the digital loopback.
        """
        self._bands, self._name, self._sent = bands, name, sent
        self._equipment = bands.equipment(name)
        self._lock = threading.Lock()
        self._tiles = Tiles(bands, name, self._rendered)
        self._version = bands.version
        self._agc_gain_db = AGC_START_DB
        self._agc_tile: tuple[int, float] | None = None
        self._agc_end_s = 0.0

    def samples(self, span: Span[Tuning]) -> Samples:
        """A span as a client reads it, int16 [count, 2]."""
        tuning, first, count = span.tuning, span.first, span.count
        if not tuning.on:
            return np.zeros((count, 2), np.int16)
        if tuning.digital:
            return self._sent(first - LOOPBACK_DELAY, count) >> LOOPBACK_SHIFT
        self._version = self._bands.version
        received = np.empty((count, 2), np.int16)
        for index in range(first // TILE, -(-(first + count) // TILE)):
            low, high = max(first, index * TILE), min(first + count, (index + 1) * TILE)
            with self._lock:
                tile = self._tile(tuning, index)
            received[low - first : high - first] = tile[low - index * TILE : high - index * TILE]
        return received

    def look_ahead(self, span: Span[Tuning], wanted: Callable[[], bool]) -> None:
        """Render tiles of a span that will be asked for if nobody sends anything until then.

        Where somebody did so since the last samples, that is too seldom true.

        Args:
            span: of samples.
            wanted: whether to stop.
        """
        tuning = span.tuning
        if not tuning.on or tuning.digital or tuning.gain_db is None:
            return
        first = span.first // TILE
        last = min(-(-(span.first + span.count) // TILE), first + KEPT)
        for index in range(first, last):
            if wanted() or self._bands.version != self._version:
                return
            with self._lock:
                self._tile(tuning, index)

    def level_db(self, place: Place, sample: int) -> float:
        """Mean power in the tile before a sample, noise included, over full scale at 0 dB."""
        return 10 * math.log10(max(self._powers(place, sample // TILE - 1)[1].mean(), 1e-30))

    def gain_db(self, tuning: Tuning, sample: int) -> float:
        """Gain in force at a sample of the clock."""
        if tuning.gain_db is not None:
            return tuning.gain_db
        with self._lock:
            index = sample // TILE - 1
            if self._agc_tile is None or self._agc_tile[0] < index:
                self._gains(tuning, index, self._powers(tuning.place, index)[1])
            return self._agc_gain_db

    def _tile(self, tuning: Tuning, index: int) -> Samples:
        return self._tiles.tile(tuning, tuning.place, index)

    def _rendered(self, tuning: Tuning, index: int) -> Samples:
        rate_hz, front_end = tuning.place.rate_hz, self._equipment.front_end
        if tuning.gain_db is not None:
            incident = self._bands.incident(self._name, tuning.place, index)
            gains = np.full(TILE // PIECE, tuning.gain_db)
        else:
            incident, powers = self._powers(tuning.place, index)
            gains = self._gains(tuning, index, powers)
        drift_db = noise_drift_db(self._equipment, index, rate_hz)
        changes = [0, *(np.flatnonzero(np.diff(gains)) + 1), len(gains)]
        if incident is None and len(changes) == 2:
            gain_db = front_end.rx_gain.gain_db(float(gains[0])) + round(drift_db, FLOOR_DIGITS)
            return CODES.of_silence(front_end, self._equipment.key, index, rate_hz, gain_db)
        signal = np.zeros(TILE, np.complex64) if incident is None else incident
        parts = []
        for begin, end in pairwise(changes):
            gain_db = front_end.rx_gain.gain_db(float(gains[begin]))
            part = signal[begin * PIECE : end * PIECE] * np.float32(10 ** (gain_db / 20))
            first = index * TILE + begin * PIECE
            gain_db += drift_db  # which the signal has already
            parts.append(front_end.received(part, self._equipment.key, first, rate_hz, gain_db))
        iq = np.concatenate(parts)
        return CODES.of(iq.view(np.float32).reshape(-1, 2))

    def _powers(self, place: Place, index: int) -> tuple[IQ | None, npt.NDArray[np.float64]]:
        """A tile, and the mean power of each of its pieces with the noise, at 0 dB of gain."""
        incident = self._bands.incident(self._name, place, index)
        drift_db = noise_drift_db(self._equipment, index, place.rate_hz)
        noise_var = self._equipment.front_end.noise_var(place.rate_hz, drift_db)
        powers = np.full(TILE // PIECE, noise_var)
        if incident is not None:
            powers += np.square(np.abs(incident)).reshape(-1, PIECE).mean(axis=1)
        return incident, powers

    def _gains(
        self, tuning: Tuning, index: int, powers: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Gains of the pieces of a tile; each follows from the piece before it.

        The control works on while nobody asks. What it met then is taken to be as loud as what the
        tile begins with.
        """
        levels_db = [float(level) for level in 10 * np.log10(np.maximum(powers, 1e-30))]
        rate_hz = tuning.place.rate_hz
        if self._agc_tile is None or self._agc_tile[0] != index:
            gain_db = self._agc_gain_db
            unheard = round((index * TILE / rate_hz - self._agc_end_s) * rate_hz / PIECE)
            for _ in range(min(unheard, MOST_DECISIONS)):
                gain_db = tuning.agc.next_gain(gain_db, levels_db[0])
            self._agc_tile = (index, gain_db)
            self._agc_end_s = (index + 1) * TILE / rate_hz
        gain_db = self._agc_tile[1]
        gains = np.empty(len(powers))
        for k, level_db in enumerate(levels_db):
            gains[k] = gain_db
            gain_db = tuning.agc.next_gain(gain_db, level_db)
        self._agc_gain_db = gain_db
        return gains
