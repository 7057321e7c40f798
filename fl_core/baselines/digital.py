"""Digital orthogonal access at equal channel uses: what analog aggregation has to beat.

The M symbols of a round are shared out to the r devices (M/r each, one after the other), and each
sends at the Shannon rate of its own channel, error-free: M/r log2(1 + P |h_i|^2 / sigma^2) bits.
With them it sends as many of the largest entries of v = memory + update as fit: their number, a
32-bit scale, their positions by enumerative coding (log2 C(d, k) bits), and b bits a value. What
is not sent, the error of quantising included, stays in memory. The competitor is meant to be
strong: coding is ideal and costs no delay (compare Amiri and Gunduz, "Machine Learning at the
Wireless Edge: Distributed Stochastic Gradient Descent Over-the-Air", IEEE TSP 2020, D-DSGD).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fl_core.power import ComplexArray
from fl_core.round import Combined, Devices, Lap, Memory, Vector
from fl_core.sparsifier import FloatArray, TopK, withhold
from fl_core.streams import stream
from fl_core.uplink import Uplink

_SCALE_BITS = 32
_MAX_BITS_PER_VALUE = 16


@dataclass(frozen=True)
class DigitalRound:
    """What one round delivers and what it costs.

    Attributes:
        sent: float32 [r, d], the quantised updates as the server decodes them.
        memories: float32 [r, d]; sent + memories == memories before + updates exactly.
        bits: float64 [r], bits used, never more than the rate of the device.
        entries: int64 [r], positions sent by each device.
    """

    sent: FloatArray
    memories: FloatArray
    bits: npt.NDArray[np.float64]
    entries: npt.NDArray[np.int64]


def digital_round(
    updates: FloatArray,
    memories: FloatArray,
    gains: ComplexArray,
    *,
    noise_var: float,
    power: float,
    num_symbols: int,
    rng: np.random.Generator,
    bits_per_value: int = 4,
) -> DigitalRound:
    """Send the updates of all devices over orthogonal shares of the round.

    Args:
        updates: float32 [r, d].
        memories: float32 [r, d].
        gains: complex [r], channel of each device.
        noise_var: sigma^2 per symbol; 0 gives every device that has a channel an infinite rate.
        power: P per symbol, spent only in the device's own share.
        num_symbols: M, channel uses of the whole round.
        rng: for stochastic rounding.
        bits_per_value: b, 2..16, sign included.

    Raises:
        ValueError: shapes differ or a number is out of range.
    """
    if updates.ndim != 2 or updates.shape != memories.shape or gains.shape != updates.shape[:1]:
        raise ValueError(
            f"expected [r, d], [r, d], [r]; got {updates.shape}, {memories.shape}, {gains.shape}"
        )
    if not 2 <= bits_per_value <= _MAX_BITS_PER_VALUE:
        raise ValueError(
            f"bits_per_value must lie in 2..{_MAX_BITS_PER_VALUE}, not {bits_per_value}"
        )
    rates = shannon_rates(gains, noise_var, power, num_symbols)
    num_active, dim = updates.shape
    sent, kept = np.zeros_like(updates), np.empty_like(updates)
    bits, entries = np.zeros(num_active), np.zeros(num_active, np.int64)
    for i in range(num_active):
        owed = withhold(updates[i], memories[i])
        k = entries_that_fit(rates[i], dim, bits_per_value)
        if k > 0:
            indices = TopK(k).indices(owed)
            sent[i, indices] = quantise(owed[indices], bits_per_value, rng)
            entries[i], bits[i] = k, message_bits(k, dim, bits_per_value)
        kept[i] = owed - sent[i]
    return DigitalRound(sent, kept, bits, entries)


@dataclass(frozen=True)
class DigitalAccess:
    """The scheme: every round of updates by `digital_round`, averaged at the server.

    The average is over all r active devices, and a device in a fade, which sends little or
    nothing, catches up from its memory. Rates follow the sounded gains, taken as exact.

    Attributes:
        run_seed: of the run, for stochastic rounding.
        uplink: the air, for gains and noise; nothing is superposed on it.
        num_symbols: M, channel uses of a round.
        power: P, power limit per symbol.
        bits_per_value: b, 2..16.
    """

    run_seed: int
    uplink: Uplink
    num_symbols: int
    power: float
    bits_per_value: int = 4

    def combine(
        self, round_index: int, devices: Devices, updates: Vector, memory: Memory, lap: Lap
    ) -> Combined:
        """Send `updates` one device after the other; see the class."""
        nothing = np.zeros(updates.shape[1], np.float32)
        done = digital_round(
            updates,
            np.stack([memory.get(int(i), nothing) for i in devices]),
            self.uplink.sound(round_index, devices),
            noise_var=self.uplink.noise_var,
            power=self.power,
            num_symbols=self.num_symbols,
            rng=stream(self.run_seed, "digital rounding", round_index),
            bits_per_value=self.bits_per_value,
        )
        lap("digital")
        took_part = done.entries > 0
        return Combined(
            done.sent.mean(axis=0, dtype=np.float32),
            {int(i): left for i, left in zip(devices, done.memories, strict=True)},
            self.num_symbols,
            {
                "union_density": float(np.count_nonzero(done.sent.any(axis=0)) / nothing.size),
                "participation": float(np.mean(took_part)),
                "entries_per_device": float(np.mean(done.entries)),
                "bits_per_device": float(np.mean(done.bits)),
                "failed": not bool(took_part.any()),
            },
        )


def shannon_rates(
    gains: ComplexArray, noise_var: float, power: float, num_symbols: int
) -> npt.NDArray[np.float64]:
    """Bits each of r devices can send in its M/r symbols, float64 [r].

    Raises:
        ValueError: noise_var < 0, power <= 0 or num_symbols < 1.
    """
    if not noise_var >= 0 or not power > 0 or num_symbols < 1:
        raise ValueError(
            "noise_var must be >= 0, power > 0 and num_symbols >= 1; "
            f"got {noise_var}, {power}, {num_symbols}"
        )
    received = power * np.abs(gains.astype(np.complex128)) ** 2
    snr = np.zeros_like(received)
    with np.errstate(divide="ignore"):  # a channel without noise has an infinite rate
        np.divide(received, noise_var, out=snr, where=received > 0)
    rates: npt.NDArray[np.float64] = num_symbols / max(len(gains), 1) * np.log1p(snr) / math.log(2)
    return rates


def message_bits(num_entries: int, dim: int, bits_per_value: int) -> float:
    """Bits that say which entries of d are sent and what they are; 0 if there are none."""
    if num_entries == 0:
        return 0.0
    log_choices = (
        math.lgamma(dim + 1) - math.lgamma(num_entries + 1) - math.lgamma(dim - num_entries + 1)
    )
    header = _SCALE_BITS + math.ceil(math.log2(dim + 1))
    return header + log_choices / math.log(2) + num_entries * bits_per_value


def entries_that_fit(rate: float, dim: int, bits_per_value: int) -> int:
    """The largest k <= d whose message costs at most `rate` bits; 0 if not even one does."""
    if message_bits(dim, dim, bits_per_value) <= rate:
        return dim
    # The cost is concave in k and too high at k = d: what fits is a prefix of 0..d.
    fits, too_many = 0, dim
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if message_bits(middle, dim, bits_per_value) <= rate:
            fits = middle
        else:
            too_many = middle
    return fits


def quantise(values: FloatArray, bits_per_value: int, rng: np.random.Generator) -> FloatArray:
    """Round at random to 2^b - 1 uniform levels between the largest magnitude and its negative.

    The mean is the value (QSGD: Alistarh et al., NeurIPS 2017), but for magnitudes below half a
    step: these become zero, which errs less and leaves them to the memory. Every result is then
    zero or within a factor of two of its value, and by Sterbenz' lemma value minus result is a
    float32 number: the memory takes up exactly what was not delivered.

    Args:
        values: float32 [k], k >= 1.
        bits_per_value: b, 2..16, sign included.
        rng: for the rounding.

    Returns:
        float32 [k], multiples of the step.
    """
    magnitudes = np.abs(values)
    # The next number up, so that the largest level is not below the largest value.
    step = np.nextafter(
        magnitudes.max() / np.float32(2 ** (bits_per_value - 1) - 1), np.float32(np.inf)
    )
    scaled = np.where(magnitudes >= step / 2, values / np.float64(step), 0.0)
    lower = np.floor(scaled)
    levels = lower + (rng.random(values.shape) < scaled - lower)
    decoded: FloatArray = (levels * step).astype(np.float32)
    return decoded
