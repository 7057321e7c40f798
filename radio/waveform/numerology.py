"""The numerology of the OFDM waveform: sample rate, FFT size, cyclic prefix and used carriers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Numerology:
    """One OFDM numerology, shared by every radio of a bench.

    The used carriers lie symmetrically about an empty DC; the edges of the band are empty too.

    Attributes:
        sample_rate_hz: of the complex baseband.
        fft_size: N, even.
        cyclic_prefix: samples in front of each symbol, 0 to N.
        used_carriers: K, even, 2 to N - 2.
    """

    sample_rate_hz: float = 1e6
    fft_size: int = 256
    cyclic_prefix: int = 32
    used_carriers: int = 200

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sample_rate_hz) and self.sample_rate_hz > 0):
            raise ValueError(f"sample_rate_hz should be positive, not {self.sample_rate_hz}")
        if self.fft_size < 4 or self.fft_size % 2:
            raise ValueError(f"fft_size should be even and at least 4, not {self.fft_size}")
        if not 0 <= self.cyclic_prefix <= self.fft_size:
            raise ValueError(
                f"cyclic_prefix should be 0 to fft_size = {self.fft_size}, not {self.cyclic_prefix}"
            )
        if self.used_carriers % 2 or not 2 <= self.used_carriers <= self.fft_size - 2:
            raise ValueError(
                f"used_carriers should be even and 2 to fft_size - 2 = {self.fft_size - 2}, "
                f"not {self.used_carriers}"
            )

    @cached_property
    def carriers(self) -> npt.NDArray[np.int64]:
        """Signed indices of the used carriers, int64 [K]: -K/2..-1, 1..K/2; read-only."""
        half = self.used_carriers // 2
        carriers = np.concatenate([np.arange(-half, 0), np.arange(1, half + 1)]).astype(np.int64)
        carriers.setflags(write=False)
        return carriers

    @cached_property
    def bins(self) -> npt.NDArray[np.int64]:
        """FFT bins of the used carriers, int64 [K], in the order of `carriers`; read-only."""
        bins = self.carriers % self.fft_size
        bins.setflags(write=False)
        return bins

    @cached_property
    def null_bins(self) -> npt.NDArray[np.int64]:
        """FFT bins that are empty and an eighth of the gap away from the used ones; read-only.

        The distance keeps leakage of the outer carriers out of a noise measurement. DC is not
        among them: it holds the receiver's DC offset.
        """
        half = self.used_carriers // 2
        margin = (self.fft_size - self.used_carriers) // 8
        bins = np.arange(half + 1 + margin, self.fft_size - half - margin, dtype=np.int64)
        bins.setflags(write=False)
        return bins

    @property
    def symbol_length(self) -> int:
        """Samples of a symbol with its cyclic prefix, N + CP."""
        return self.fft_size + self.cyclic_prefix

    @property
    def carrier_spacing_hz(self) -> float:
        """Distance of neighbouring carriers."""
        return self.sample_rate_hz / self.fft_size
