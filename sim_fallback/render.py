"""What one radio hears of another: clocks, carriers and path of a transmitter, tile by tile.

True time t. A radio's clock reads t + x(t), its sample u is at f_s (t + x(t)) + epoch, and its
synthesizers stand at 2 pi f_c x(t) plus a constant each. A listener's sample n, at t_n, hears

    e^{j(2 pi f_c (x_tx - x_rx)(t_n) + lo_tx - lo_rx)}
        sum_l a_l(t_n) s(n + D(t_n) - f_s tau_l),    D = f_s (x_tx - x_rx) + epoch_tx - epoch_rx,

s being what the transmitter sends on its own grid. The carrier phase of a delay, e^{-j 2 pi f_c
tau_l}, belongs to the gain a_l of the tap; what the clocks drift apart during a delay
(1e-11 s for 1 us at 10 ppm) is left out. The group delays of both radios add to each tau_l, but
turn no carrier. Gains that drift with warmth stay for a block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import ducc0
import numpy as np
import numpy.typing as npt

from radio.api import IQ
from sim_fallback.interpolation import (
    BLOCK,
    PASSBAND,
    FloatArray,
    Nodes,
    TapFilter,
    node_count,
    phasor,
)
from sim_fallback.oscillator import Oscillator
from sim_fallback.path import Path
from sim_fallback.presets import Equipment

BLOCKS = 16
"""Blocks of a tile: as many as an FFT takes at once in its vector registers."""

TILE = BLOCKS * BLOCK
"""Samples rendered together. Tiles lie at multiples of this on the listener's clock and are always
rendered whole, so that no sample depends on where a window begins or ends."""

FINE = 40
"""Samples between those whose carrier rotation is computed on its own; a divisor of BLOCK."""

Read = Callable[[int, int], IQ | None]
"""What a transmitter sends: (first sample on its clock, count) to complex64 [count], or None where
it is silent."""


@dataclass(frozen=True)
class Times:
    """Where a tile lies in time.

    Attributes:
        first_sample: of the tile on the listener's clock.
        edges_s: true time of the first sample of every block, and of the next tile,
            float64 [BLOCKS + 1].
        time_error_s: of the listener's oscillator there, float64 [BLOCKS + 1].
    """

    first_sample: int
    edges_s: FloatArray
    time_error_s: FloatArray

    @classmethod
    def of_tile(cls, index: int, listener: Equipment, sample_rate_hz: float) -> Times:
        """Tile `index` of a listener."""
        samples = index * TILE + BLOCK * np.arange(BLOCKS + 1)
        edges = true_time_s(listener, samples, sample_rate_hz)
        return cls(index * TILE, edges, listener.oscillator.time_error_s(edges))


def noise_drift_db(listener: Equipment, index: int, sample_rate_hz: float) -> float:
    """What warmth adds to the receive gain in the middle of a tile, for the noise of it."""
    if not listener.front_end.rx_gain_db_per_k:
        return 0.0
    middle_s = true_time_at_s(listener, index * TILE + TILE // 2, sample_rate_hz)
    return float(listener.rx_drift_db(middle_s))


def true_time_s(radio: Equipment, samples: npt.ArrayLike, sample_rate_hz: float) -> FloatArray:
    """True time of samples of a radio's clock, float64 of their shape.

    Solves t + x(t) = (u - epoch) / f_s; every step brings the factor |dx/dt| < 1e-3.
    """
    reading = (np.asarray(samples, np.float64) - radio.epoch) / sample_rate_hz
    t = reading
    for _ in range(4):
        t = reading - radio.oscillator.time_error_s(t)
    return t


def true_time_at_s(radio: Equipment, sample: int, sample_rate_hz: float) -> float:
    """As `true_time_s` for one sample, to the bit, at a fraction of the cost."""
    reading = (float(sample) - radio.epoch) / sample_rate_hz
    t = reading
    for _ in range(4):
        t = reading - radio.oscillator.time_error_at_s(t)
    return t


def sample_at(radio: Equipment, t_s: float, sample_rate_hz: float) -> float:
    """Where the sample clock of a radio stands at true time t_s, in samples."""
    return sample_rate_hz * (t_s + radio.oscillator.time_error_at_s(t_s)) + radio.epoch


class Link:
    """One direction of a path between two radios.

    Attributes:
        delay_s: of the earliest tap.
        reach: samples of the transmitter by which what a tile is made of can exceed it at most.
    """

    def __init__(
        self,
        transmitter: Equipment,
        listener: Equipment,
        path: Path,
        carrier_hz: float,
        sample_rate_hz: float,
    ) -> None:
        self._transmitter, self._listener = transmitter, listener
        self._path = path
        self._carrier_hz = carrier_hz
        self._sample_rate_hz = sample_rate_hz
        self._epochs = transmitter.epoch - listener.epoch
        self._lo_rad = transmitter.tx_lo_rad - listener.rx_lo_rad
        sends, hears = transmitter.front_end, listener.front_end
        level_dbm = sends.tx_full_scale_dbm - hears.rx_full_scale_dbm
        self._amplitude = np.float32(10 ** (level_dbm / 20))
        self._drifts = bool(sends.tx_gain_db_per_k or hears.rx_gain_db_per_k)
        inside_s = (sends.tx_delay + hears.rx_delay) / sample_rate_hz
        delays_s = path.delay_s + np.array(path.fading.delays_s) + inside_s
        self.delay_s = float(delays_s.min())
        self._filter = TapFilter(delays_s * sample_rate_hz)
        self.reach = self._filter.lead + self._filter.size
        skew = _skew(transmitter.oscillator, listener.oscillator)
        turns = PASSBAND * BLOCK * skew + path.fading.doppler_hz * BLOCK / sample_rate_hz
        self._nodes = Nodes.of(node_count(2 * np.pi * turns))

    def tile(self, times: Times, read: Read) -> IQ | None:
        """What the listener hears in a tile at 0 dB of gain.

        Args:
            times: of the tile.
            read: gives what the transmitter sends.

        Returns:
            complex64 [TILE] in units of the listener's full scale; None where all is silent.
        """
        gap_s = self._clock_gap_s(times)
        firsts, advance = self._starts(gap_s, times)
        size = self._filter.size
        begin = int(firsts.min())
        sent = read(begin, int(firsts.max()) - begin + size)
        if sent is None:
            return None
        stretches = np.lib.stride_tricks.sliding_window_view(sent, size)[firsts - begin]
        spectra = ducc0.fft.c2c(stretches, axes=(1,), nthreads=1)
        nodes_s = self._between(times.edges_s)
        gains = self._path.response(nodes_s.ravel()).gains.reshape(*nodes_s.shape, -1)
        response = self._filter.response(gains, advance)
        response *= spectra[:, None]
        ducc0.fft.c2c(response, axes=(2,), forward=False, inorm=2, out=response, nthreads=1)
        kept = self._filter.kept(response)
        heard = kept[:, 0] * self._nodes.weights[0]
        for k, weights in enumerate(self._nodes.weights[1:], 1):
            heard += kept[:, k] * weights
        return self._rotated(heard, gap_s, self._amplitudes(times))

    def _clock_gap_s(self, times: Times) -> FloatArray:
        """How far the transmitter's clock leads the listener's at the edges of the blocks."""
        return self._transmitter.oscillator.time_error_s(times.edges_s) - times.time_error_s

    def _between(self, edges: FloatArray) -> FloatArray:
        """Values at the nodes of what is known at the edges, [BLOCKS + 1] to [BLOCKS, K].

        Within a block of a millisecond an oscillator's curve is a straight line: at an Allan
        deviation of 1e-9 it strays 1e-14 s.
        """
        return edges[:-1, None] + np.diff(edges)[:, None] * self._nodes.positions

    def _starts(self, gap_s: FloatArray, times: Times) -> tuple[npt.NDArray[np.int64], FloatArray]:
        """First input sample of each block [BLOCKS], and the rest of the delay at nodes [.., K]."""
        ahead = self._sample_rate_hz * self._between(gap_s) + self._epochs
        whole = np.round(ahead.mean(axis=1))
        block_starts = times.first_sample + BLOCK * np.arange(BLOCKS) - self._filter.lead
        return block_starts + whole.astype(np.int64), ahead - whole[:, None]

    def _amplitudes(self, times: Times) -> np.float32 | npt.NDArray[np.float32]:
        """By which full scale sent arrives through a path without loss; of blocks, [BLOCKS, 1]."""
        if not self._drifts:
            return self._amplitude
        middles_s = times.edges_s[:-1] + np.diff(times.edges_s) / 2
        drift_db = self._transmitter.tx_drift_db(middles_s) + self._listener.rx_drift_db(middles_s)
        return (self._amplitude * 10 ** (drift_db / 20)).astype(np.float32)[:, None]

    def _rotated(
        self, heard: IQ, gap_s: FloatArray, amplitudes: np.float32 | npt.NDArray[np.float32]
    ) -> IQ:
        """Turned by the difference of the carriers: [BLOCKS, BLOCK] to [TILE].

        The phase is straight within a block and continuous from block to block.
        """
        phase = 2 * np.pi * self._carrier_hz * gap_s + self._lo_rad
        step = np.diff(phase)[:, None] / BLOCK
        coarse = phasor(phase[:-1, None] + step * np.arange(0, BLOCK, FINE)) * amplitudes
        fine = phasor(step * np.arange(FINE))
        turned: IQ = heard.reshape(BLOCKS, BLOCK // FINE, FINE) * coarse[:, :, None]
        turned *= fine[:, None, :]
        return turned.reshape(TILE)


def _skew(one: Oscillator, other: Oscillator) -> float:
    """Largest difference of two fractional frequencies; random walks matter too little."""
    at_first = abs(float(one.fractional_frequency(0.0) - other.fractional_frequency(0.0)))
    return at_first if one is other else at_first + 2 * (one.reach + other.reach)
