"""Samples at times between samples, block by block: delays, clock skew and moving channels.

A waveform is taken in blocks of `BLOCK` output samples. Within a block everything that changes
slowly (delay, tap gains) is known at a few nodes and interpolated between them; at a node the
channel is a plain filter, applied with an FFT that is longer than the block by a guard on each
side, so that the circularity of the FFT stays outside the block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betainc

from radio.api import IQ

FloatArray = npt.NDArray[np.float64]

BLOCK = 1000
"""Output samples of a block: short, so that few nodes suffice; 1080 = 1000 + 2 * 32 + 16 is a fast
length for an FFT."""

GUARD = 32
"""Samples on each side that the kernels of two fractional delays need."""

PASSBAND = 0.4
"""Delays are exact for |f| up to this, in cycles a sample."""

NODE_ERROR = 2e-3
"""Largest error of the interpolation between nodes, relative to full amplitude."""


def warped_frequency(size: int) -> FloatArray:
    """Angular frequency psi(f) of the bins of an FFT, in radians a sample; float64 [size].

    e^{j psi d} advances by d samples. psi = 2 pi f in the pass band; beyond, it returns smoothly to
    zero at the Nyquist frequency, because a fractional delay that jumps there has a kernel that
    never ends. All bins keep magnitude 1, so that no delay at all is the identity (Laakso et al.,
    "Splitting the unit delay", 1996, on the trade of band against length).
    """
    f = np.fft.fftfreq(size)
    beyond = np.clip((np.abs(f) - PASSBAND) / (0.5 - PASSBAND), 0.0, 1.0)
    psi: FloatArray = 2 * np.pi * f * (1 - betainc(3, 3, beyond))
    return psi


def node_count(turn_rad: float) -> int:
    """Nodes a block needs where the phase of its channel turns by up to `turn_rad` over it.

    The Chebyshev interpolant of e^{j theta s / 2}, |s| <= 1, errs by at most
    2 (theta / 4)^K / K! with K nodes. A channel that does not move has one node and no error.
    """
    if turn_rad == 0:
        return 1
    count = 2
    while 2 * (turn_rad / 4) ** count / math.factorial(count) > NODE_ERROR:
        count += 1
    return count


@dataclass(frozen=True)
class Nodes:
    """Chebyshev nodes of a block and the weights of its samples.

    Attributes:
        positions: of the nodes in the block, 0 its first sample and 1 the first of the next,
            float64 [K].
        weights: Lagrange polynomials at the samples, float32 [K, BLOCK].
    """

    positions: FloatArray
    weights: npt.NDArray[np.float32]

    @classmethod
    def of(cls, count: int) -> Nodes:
        """`count` nodes."""
        positions = 0.5 - 0.5 * np.cos(np.pi * (np.arange(count) + 0.5) / count)
        samples = np.arange(BLOCK) / BLOCK
        weights = np.ones((count, BLOCK))
        for k, own in enumerate(positions):
            for other in np.delete(positions, k):
                weights[k] *= (samples - other) / (own - other)
        return cls(positions, weights.astype(np.float32))


def phasor(phase_rad: npt.NDArray[np.floating]) -> npt.NDArray[np.complex64]:
    """e^{j phase} in the precision of the phase; faster than a complex exponential."""
    unit = np.empty(phase_rad.shape, np.complex64)
    np.cos(phase_rad, out=unit.real, casting="same_kind")
    np.sin(phase_rad, out=unit.imag, casting="same_kind")
    return unit


class TapFilter:
    """Filters of blocks: a few taps at constant delays, with gains and a delay of each block.

    Attributes:
        size: of the FFT, and of the stretch of input that a block needs.
        lead: samples of input before the one that a block's first sample stands on.
    """

    def __init__(self, delays: FloatArray) -> None:
        """Taps at these delays in samples, float64 [T], 0 or more."""
        whole = np.round(delays)
        latest = int(whole.max())
        spread = latest - int(whole.min())
        self.size = _fast_size(BLOCK + 2 * GUARD + spread)
        self.lead = GUARD + latest
        # Input and filter count from the earliest tap on.
        self._first = GUARD + spread
        psi = warped_frequency(self.size)
        turns = np.outer(whole - whole.min(), np.fft.fftfreq(self.size))
        steering = np.exp(-2j * np.pi * turns - 1j * np.outer(delays - whole, psi))
        self._steering = steering.astype(np.complex64)
        self._psi = psi.astype(np.float32)

    def response(
        self, gains: npt.NDArray[np.complex128], advance: FloatArray
    ) -> npt.NDArray[np.complex64]:
        """Filters of B blocks at K nodes, complex64 [B, K, size].

        Args:
            gains: of the taps, complex128 [B, K, T].
            advance: in samples, on top of the taps' delays, float64 [B, K], about |.| <= 1/2.
        """
        phase = np.multiply.outer(advance.astype(np.float32), self._psi)
        filters = phasor(phase)
        # A small product for every block: of one large product a BLAS makes work for several
        # threads, which costs many times what they save where the cores are shared.
        filters *= gains.astype(np.complex64) @ self._steering
        return filters

    def kept(self, blocks: IQ) -> IQ:
        """The samples of filtered stretches that are free of the FFT's circularity.

        complex64 [..., size] to [..., BLOCK], a view.
        """
        return blocks[..., self._first : self._first + BLOCK]


def _fast_size(least: int) -> int:
    """Smallest FFT length from `least` up with prime factors up to 5, and not a power of two.

    Rows a power of two long fall on the same cache lines, which doubles the time of a batch.
    """
    size = max(least, 1080)
    while not _is_smooth(size) or size & (size - 1) == 0:
        size += 1
    return size


def _is_smooth(size: int) -> bool:
    for prime in (2, 3, 5):
        while size % prime == 0:
            size //= prime
    return size == 1
