"""A multipath channel: a few echoes, each with a gain that fades."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from sim_fallback.fading import Fading, FadingKind
from sim_fallback.streams import stream

TimeArray = npt.NDArray[np.float64]
GainArray = npt.NDArray[np.complex128]

SINUSOIDS = 16


@dataclass(frozen=True)
class TappedDelayLine:
    """h(t, tau) = sum_l g_l(t) delta(tau - tau_l), of mean power 1.

    The first tap fades as `kind` says; later ones are echoes without a line of sight, so Rayleigh.
    With `doppler_hz` = 0 the gains stay for a block and are drawn anew for the next. Otherwise
    they follow Clarke's model, scatterers all around a moving radio, as a sum of sinusoids with
    random angles of arrival and phases: E g(t) g*(t + tau) = J0(2 pi f_d tau) (Clarke, "A
    statistical theory of mobile-radio reception", 1968; Xiao, Zheng and Beaulieu, "Novel
    sum-of-sinusoids simulation models for Rayleigh and Rician fading channels", 2006). The line of
    sight of a Rician tap then turns with the Doppler shift of an angle of its own.

    Attributes:
        delays_s: of the taps, >= 0 and ascending.
        powers_db: mean powers of the taps, relative to each other; their sum becomes 1.
        kind: fading of the first tap; ``awgn`` is a constant 1.
        k_db: ratio of the line of sight to the rest for ``rician``.
        doppler_hz: largest Doppler shift f_d = v f_c / c; 0 for block fading.
        block_s: duration of a block where `doppler_hz` is 0; None for one that never ends.
    """

    delays_s: tuple[float, ...] = (0.0,)
    powers_db: tuple[float, ...] = (0.0,)
    kind: FadingKind = "rayleigh"
    k_db: float = 10.0
    doppler_hz: float = 0.0
    block_s: float | None = None

    def __post_init__(self) -> None:
        if not self.delays_s or len(self.delays_s) != len(self.powers_db):
            raise ValueError(
                f"{len(self.delays_s)} delays_s and {len(self.powers_db)} powers_db; "
                "there should be one of each for every tap, and at least one tap"
            )
        if list(self.delays_s) != sorted(self.delays_s) or not all(
            0 <= delay < math.inf for delay in self.delays_s
        ):
            raise ValueError(f"delays_s must ascend from 0 or more, not {self.delays_s}")
        if not all(math.isfinite(power) for power in self.powers_db):
            raise ValueError(f"powers_db must be finite, not {self.powers_db}")
        if not 0 <= self.doppler_hz < math.inf:
            raise ValueError(f"doppler_hz must be finite and >= 0, not {self.doppler_hz}")
        if self.block_s is not None and not self.block_s > 0:
            raise ValueError(f"block_s must be positive, or None for one block, not {self.block_s}")
        Fading(self.kind, self.k_db)  # raises for what is no fading

    @property
    def amplitudes(self) -> TimeArray:
        """Root mean square gains of the taps, float64 [T]; their squares sum to 1."""
        powers = 10 ** (np.array(self.powers_db) / 10)
        amplitudes: TimeArray = np.sqrt(powers / powers.sum())
        return amplitudes

    def gains(self, seed: int, index: int, t: TimeArray) -> GainArray:
        """Gains of the taps at times t.

        Args:
            seed: of the air.
            index: of the device; each device fades independently.
            t: true time in seconds, float64 [B]; what lies before 0 belongs to the first block.

        Returns:
            complex128 [B, T]; with Doppler good to float32.
        """
        return self.gains_and_rates(seed, index, t)[0]

    def rates(self, seed: int, index: int, t: TimeArray) -> GainArray:
        """Derivatives of the gains in 1/s, complex128 [B, T]; 0 inside a block."""
        return self.gains_and_rates(seed, index, t)[1]

    def gains_and_rates(self, seed: int, index: int, t: TimeArray) -> tuple[GainArray, GainArray]:
        """Both, at the cost of one."""
        if self.doppler_hz:
            return self._moving(seed, index, t)
        gains = np.empty((len(t), len(self.delays_s)), np.complex128)
        blocks = np.zeros(len(t), np.int64)
        if self.block_s is not None:
            blocks = np.maximum(np.floor(t / self.block_s), 0).astype(np.int64)
        for block in np.unique(blocks):
            gains[blocks == block] = _drawn(self, seed, index, int(block))
        return gains, np.zeros_like(gains)

    def _moving(self, seed: int, index: int, t: TimeArray) -> tuple[GainArray, GainArray]:
        shifts_hz, phases, weights = _sinusoids(self, seed, index)
        cycles = t[:, None, None] * shifts_hz + phases  # [B, T, SINUSOIDS + 1]
        cycles -= np.rint(cycles)
        angles = cycles.astype(np.float32)  # within half a turn: sine and cosine are fast and good
        angles *= np.float32(2 * math.pi)
        phasors = np.empty(angles.shape, np.complex64)
        phasors.real, phasors.imag = np.cos(angles), np.sin(angles)
        phasors *= weights
        # Sums over the last axis, and in one precision, do not depend on how many times are asked.
        gains: GainArray = phasors.sum(axis=-1).astype(np.complex128)
        phasors *= shifts_hz.astype(np.float32)
        rates: GainArray = 2j * math.pi * phasors.sum(axis=-1).astype(np.complex128)
        return gains, rates


@lru_cache(maxsize=1024)
def _drawn(line: TappedDelayLine, seed: int, index: int, block: int) -> GainArray:
    """Gains of one block, complex128 [T]; the first is what `SymbolUplink` draws for this round."""
    echoes = range(1, len(line.delays_s))
    first = Fading(line.kind, line.k_db).draw(stream(seed, "fading", block, index))
    others = [Fading("rayleigh").draw(stream(seed, "fading", block, index, tap)) for tap in echoes]
    gains: GainArray = line.amplitudes * np.array([first, *others])
    return gains


@lru_cache(maxsize=1024)
def _sinusoids(
    line: TappedDelayLine, seed: int, index: int
) -> tuple[TimeArray, TimeArray, npt.NDArray[np.float32]]:
    """Doppler shifts in Hz, phases in cycles and weights, [T, SINUSOIDS + 1] each.

    The scatterers of a tap stand one in each of equal sectors of the circle; the last sinusoid is
    the line of sight.
    """
    taps = len(line.delays_s)
    draws = np.array(
        [stream(seed, "doppler", index, tap).random((2, SINUSOIDS + 1)) for tap in range(taps)]
    )
    angles = 2 * math.pi * draws[:, 0]
    angles[:, :-1] = (angles[:, :-1] + 2 * math.pi * np.arange(SINUSOIDS)) / SINUSOIDS
    shifts_hz, phases = line.doppler_hz * np.cos(angles), draws[:, 1]
    # Mean power of the line of sight and of all scatterers of a tap.
    direct, scattered = np.zeros(taps), np.ones(taps)
    if line.kind == "rician":
        k = 10 ** (line.k_db / 10)
        direct[0], scattered[0] = k / (k + 1), 1 / (k + 1)
    if line.kind == "awgn":
        direct[0], scattered[0], shifts_hz[0, -1], phases[0, -1] = 1, 0, 0, 0
    weights = np.sqrt(np.tile(scattered[:, None] / SINUSOIDS, SINUSOIDS + 1))
    weights[:, -1] = np.sqrt(direct)
    weights *= line.amplitudes[:, None]
    return shifts_hz, phases, weights.astype(np.float32)
