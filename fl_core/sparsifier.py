"""Sparsification with memory: a device sends k entries of what it owes and remembers the rest.

The memory is error feedback (Stich, Cordonnier and Jaggi, "Sparsified SGD with Memory", NeurIPS
2018; in the protocol: Wen, Xing and Simeone, arXiv 2406.11569). With v = memory + update a device

- that takes part sends g = C(v) and keeps v - g: `sparsify`;
- that is silenced by power control, or whose burst is not acknowledged, keeps all of v: `withhold`;
- that is not drawn in a round keeps its memory as it is: nothing is to be called.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fl_core.errors import InputError

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.int64]

# IEEE-754: without the sign bit, float32 numbers order like their bit patterns, and everything
# from infinity upwards is not finite. Comparing patterns thus finds what is undefined on the way.
_MAGNITUDE_BITS = np.int32(0x7FFF_FFFF)
_INFINITY_BITS = 0x7F80_0000

_BLOCK = 1 << 17  # entries scanned at once; the temporaries stay in the second-level cache
_SMALLEST_SAMPLED = 1 << 13  # below this length sampling costs more than it saves


class Contraction(Protocol):
    """A map with E||v - C(v)||^2 <= (1 - k/d) ||v||^2, the expectation over `rng`."""

    def __call__(self, v: FloatArray, rng: np.random.Generator) -> FloatArray:
        """What is sent of v: float32 [d], entries of v or zero; a new array."""


@dataclass(frozen=True)
class Identity:
    """Sends everything (k = d)."""

    def __call__(self, v: FloatArray, rng: np.random.Generator) -> FloatArray:
        """A copy of v, float32 [d]. Raises ValueError where v is not finite."""
        _require_vector(v)
        _require_finite(v)
        return v.copy()


@dataclass(frozen=True)
class RandomK:
    """Keeps k entries drawn uniformly without replacement, unscaled: (1 - k/d) with equality."""

    k: int

    def __post_init__(self) -> None:
        _require_positive(self.k)

    def __call__(self, v: FloatArray, rng: np.random.Generator) -> FloatArray:
        """k entries of v, float32 [d]. Raises InputError for k > d, ValueError where not finite."""
        _require_vector(v, self.k)
        _require_finite(v)
        return _scatter(v, rng.choice(v.size, self.k, replace=False, shuffle=False))


@dataclass(frozen=True)
class TopK:
    """Keeps exactly the k entries of largest magnitude; of equal ones, those that come first."""

    k: int

    def __post_init__(self) -> None:
        _require_positive(self.k)

    def __call__(self, v: FloatArray, rng: np.random.Generator) -> FloatArray:
        """The k largest entries of v, float32 [d]; errors as in `indices`; draws nothing."""
        return _scatter(v, self.indices(v))

    def indices(self, v: FloatArray) -> IndexArray:
        """Where the k largest magnitudes of v (float32 [d]) lie: int64 [k], ascending.

        A threshold guessed from a sample leaves a little more than k candidates after a single
        pass over v; only these are partitioned. The outcome is exact: where the guess was too
        high, all of v is taken as candidates.

        Raises:
            InputError: k > d.
            ValueError: v is no float32 vector, or an entry is infinite or not a number.
        """
        _require_vector(v, self.k)
        bits = v.view(np.int32)
        candidates = _at_least(bits, _guess_threshold(bits, self.k))
        if candidates.size < self.k:
            candidates = np.arange(v.size)
        magnitudes = bits[candidates] & _MAGNITUDE_BITS
        # Whatever is not finite is larger than every number, hence always among the candidates.
        if magnitudes.max() >= _INFINITY_BITS:
            raise ValueError("the vector to sparsify holds infinite or undefined entries")
        threshold = np.partition(magnitudes, magnitudes.size - self.k)[magnitudes.size - self.k]
        keep = magnitudes > threshold
        ties = np.flatnonzero(magnitudes == threshold)
        keep[ties[: self.k - np.count_nonzero(keep)]] = True
        chosen: IndexArray = candidates[keep]
        return chosen


def sparsify(
    contraction: Contraction,
    update: FloatArray,
    memory: FloatArray | None,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray]:
    """What a device sends of v = memory + update, and what it remembers.

    Args:
        contraction: which entries are sent.
        update: float32 [d].
        memory: float32 [d], or None before the first round of the device.
        rng: for contractions that draw.

    Returns:
        (sparse, new memory), float32 [d] each, new arrays, with sparse + new memory == v exactly.
    """
    owed = withhold(update, memory)
    sparse = contraction(owed, rng)
    return sparse, owed - sparse


def withhold(update: FloatArray, memory: FloatArray | None) -> FloatArray:
    """The memory of a device whose update did not get through: all of v = memory + update."""
    return update.copy() if memory is None else memory + update


def _guess_threshold(bits: npt.NDArray[np.int32], k: int) -> int:
    """Magnitude bits that k entries or a few more are very likely to reach; 0 for all entries."""
    if bits.size < _SMALLEST_SAMPLED:
        return 0
    size = min(bits.size // 16, 1 << 16)
    sample = bits[:: bits.size // size] & _MAGNITUDE_BITS
    expected = sample.size * k / bits.size
    rank = math.ceil(expected + 4 * math.sqrt(expected) + 4)  # four standard deviations of slack
    if rank >= sample.size:
        return 0
    return int(np.partition(sample, sample.size - rank)[sample.size - rank])


def _at_least(bits: npt.NDArray[np.int32], threshold: int) -> IndexArray:
    """Ascending indices whose magnitude bits reach the threshold."""
    if threshold == 0:
        return np.arange(bits.size)
    magnitudes = np.empty(_BLOCK, np.int32)
    reached = np.empty(_BLOCK, np.bool_)
    found = []
    for start in range(0, bits.size, _BLOCK):
        block = bits[start : start + _BLOCK]
        np.bitwise_and(block, _MAGNITUDE_BITS, out=magnitudes[: block.size])
        np.greater_equal(magnitudes[: block.size], threshold, out=reached[: block.size])
        indices = np.flatnonzero(reached[: block.size])
        indices += start
        found.append(indices)
    return np.concatenate(found)


def _scatter(v: FloatArray, indices: IndexArray) -> FloatArray:
    sparse = np.zeros_like(v)
    sparse[indices] = v[indices]
    return sparse


def _require_positive(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")


def _require_vector(v: FloatArray, k: int = 1) -> None:
    if v.ndim != 1 or v.dtype != np.float32 or v.size == 0:
        raise ValueError(f"expected a float32 vector, got {v.dtype} of shape {v.shape}")
    if k > v.size:
        raise InputError(f"k = {k} exceeds the dimension d = {v.size}; k must lie in 1..d")


def _require_finite(v: FloatArray) -> None:
    if not np.isfinite(v).all():
        raise ValueError("the vector to sparsify holds infinite or undefined entries")
