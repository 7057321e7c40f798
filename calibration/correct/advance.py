"""Bursts sent earlier by a delay, down to fractions of a sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from radio.api import IQ

REACH = 12  # taps to either side
SHAPE = 7.0  # of the Kaiser window
MOST_DELAY = 1e8  # samples; a difference of two counters is no delay
WHOLE = 4e-4  # of a sample: what is left out where a delay is nearly whole, less than -60 dB


@dataclass(frozen=True)
class Advance:
    """Makes up for a delay: whole samples by starting earlier, the rest by interpolation.

    The interpolator is a sinc under a Kaiser window, 24 taps long. Its error lies below -60 dB of
    a signal that fills 80 % of the band (Laakso et al., "Splitting the unit delay", IEEE Signal
    Processing Magazine 1996, section on windowed sincs). It rings before and after the burst, which
    therefore grows by 23 samples. It is linear: parts of a burst, each advanced alone, add up to
    the burst advanced whole.

    Attributes:
        delay: samples, positive where a burst arrives late.
    """

    delay: float

    def __post_init__(self) -> None:
        if not abs(self.delay) <= MOST_DELAY:
            raise ValueError(f"a delay should be within {MOST_DELAY:g} samples, not {self.delay:g}")

    @property
    def lead(self) -> int:
        """Samples by which a burst begins earlier; negative for later."""
        return self._whole + (REACH if self._fraction else 0)

    @property
    def growth(self) -> int:
        """Samples by which a burst grows."""
        return 2 * REACH - 1 if self._fraction else 0

    def apply(self, iq: IQ) -> IQ:
        """The samples to send, complex64 [n + growth], the first of them `lead` samples earlier."""
        if not self._fraction:
            return iq.copy()
        return np.convolve(iq, self._taps).astype(np.complex64, copy=False)

    @property
    def _whole(self) -> int:
        near = round(self.delay)
        return near if abs(self.delay - near) < WHOLE else math.floor(self.delay)

    @property
    def _fraction(self) -> float:
        return self.delay - self._whole if abs(self.delay - round(self.delay)) >= WHOLE else 0.0

    @cached_property
    def _taps(self) -> npt.NDArray[np.float32]:
        # y[m] = sum over k of x[m + whole + k] sinc(k - fraction), k from 1 - REACH to REACH.
        away = np.arange(REACH, -REACH, -1) - self._fraction
        window = np.i0(SHAPE * np.sqrt(np.maximum(1 - (away / REACH) ** 2, 0))) / np.i0(SHAPE)
        taps: npt.NDArray[np.float32] = (np.sinc(away) * window).astype(np.float32)
        return taps
