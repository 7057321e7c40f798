"""The preamble: a known period of N samples, repeated, with a cyclic prefix in front."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import fft

from radio.waveform.numerology import Numerology

DRAWS = 256
OVERSAMPLING = 4

ComplexArray = npt.NDArray[np.complex64]


@dataclass(frozen=True)
class Bounds:
    """Cramér–Rao bounds: the least variance of any unbiased estimate from one preamble.

    Attributes:
        start: of the arrival time, samples^2.
        cfo_hz: of the carrier frequency offset, Hz^2.
        phase: of the phase at the centre of the repeats, rad^2.
        gain: of the amplitude relative to itself.
    """

    start: float
    cfo_hz: float
    phase: float
    gain: float


@dataclass(frozen=True)
class Preamble:
    """Random QPSK on all used carriers, one period repeated.

    QPSK, because a chirp or a Zadoff-Chu sequence delayed resembles itself shifted in frequency:
    its ambiguity function has a ridge, on which an oscillator's offset is mistaken for a delay.
    Random values have a thumbtack. Of 256 draws the one with the smallest crest is taken.

    Attributes:
        numerology: of the waveform.
        repeats: R periods, at least 1; CFO is measured between periods, so it takes 2.
        seed: of the draws. Preambles of other seeds or other repeats are other sequences.
        guard: samples of cyclic prefix in front; None stands for `numerology.cyclic_prefix`. Well
            below N, or it passes for one more repeat and detection may be a period early.
    """

    numerology: Numerology
    repeats: int
    seed: int = 0
    guard: int = None  # type: ignore[assignment]  # replaced at once: readers find an int

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise ValueError(f"repeats should be at least 1, not {self.repeats}")
        if self.seed < 0:
            raise ValueError(f"seed should be 0 or more, not {self.seed}")
        if self.guard is None:
            object.__setattr__(self, "guard", self.numerology.cyclic_prefix)
        if not 0 <= self.guard <= self.numerology.fft_size:
            raise ValueError(
                f"guard should be 0 to fft_size = {self.numerology.fft_size}, not {self.guard}"
            )

    @property
    def length(self) -> int:
        """Samples with the guard, guard + R N."""
        return self.guard + self.repeats * self.numerology.fft_size

    @cached_property
    def values(self) -> ComplexArray:
        """Values on the used carriers, complex64 [K], unit modulus; read-only."""
        carriers, size = self.numerology.used_carriers, self.numerology.fft_size
        quarter_turns = np.random.default_rng([self.seed, self.repeats]).integers(
            0, 4, (DRAWS, carriers)
        )
        draws = np.exp(1j * np.pi * (quarter_turns / 2 + 0.25))
        grid = np.zeros((DRAWS, OVERSAMPLING * size), np.complex128)
        grid[:, self.numerology.carriers] = draws
        # All draws have the same power, so the smallest peak is the smallest crest. Between the
        # samples there is more of it: what the converter's filter makes counts.
        peaks = np.abs(fft.ifft(grid, workers=1)).max(axis=1)
        values: ComplexArray = draws[np.argmin(peaks)].astype(np.complex64)
        values.setflags(write=False)
        return values

    @cached_property
    def iq(self) -> ComplexArray:
        """Samples, complex64 [length], of mean power K/N over a period; read-only."""
        size = self.numerology.fft_size
        grid = np.zeros(size, np.complex64)
        grid[self.numerology.bins] = self.values
        period = fft.ifft(grid, norm="ortho", workers=1)
        iq: ComplexArray = period[np.arange(-self.guard, self.repeats * size) % size]
        iq.setflags(write=False)
        return iq

    def bounds(self, snr: float) -> Bounds:
        """Least variances with which a preamble in white noise can be measured.

        Gain A, phase, delay and frequency offset f of r(n) = A e^{j(phase + 2 pi f t_n)} p(n) + w
        are all unknown, t_n counts from the centre, the noise has variance A^2/snr, and the R N
        samples behind the guard are looked at. With D the derivatives of the mean, the Fisher
        information of circular Gaussian noise is 2 snr Re(D^H D) (Kay, "Fundamentals of
        Statistical Signal Processing", vol. I, section 15.7). Carriers on both sides of DC and a
        phase taken at the centre leave next to nothing off its diagonal, so that closely

            start   1 / (2 snr R sum_k (2 pi k / N)^2)                     samples^2
            cfo     6 N fs^2 / ((2 pi)^2 snr K (R N)^3)                    Hz^2
            phase   1 / (2 snr R K)                                        rad^2
            gain    1 / (2 snr R K), relative

        Args:
            snr: per used carrier, linear.

        Raises:
            ValueError: `snr` is not positive.
        """
        if not snr > 0:
            raise ValueError(f"snr should be positive, not {snr}")
        size, repeats = self.numerology.fft_size, self.repeats
        grid = np.zeros((2, size), np.complex128)
        turn = 2j * np.pi * self.numerology.carriers / size
        grid[:, self.numerology.bins] = self.values * np.stack([np.ones_like(turn), -turn])
        samples, slope = np.tile(fft.ifft(grid, norm="ortho", workers=1), repeats)
        time_s = (np.arange(repeats * size) - repeats * size / 2) / self.numerology.sample_rate_hz
        derivatives = np.stack([slope, 2j * np.pi * time_s * samples, 1j * samples, samples])
        information = 2 * snr * (derivatives @ derivatives.conj().T).real
        # Seconds and hertz are far apart: the information is scaled before it is inverted.
        scale = 1 / np.sqrt(np.diag(information))
        variances = np.diag(np.linalg.inv(information * np.outer(scale, scale))) * scale**2
        return Bounds(*(float(variance) for variance in variances))
