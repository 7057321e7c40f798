"""Power over frequency, as a spectrum analyser shows it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import signal

from radio.api import IQ
from testbed.report.load import Column

HANN_BINS = 1.5  # by which its noise bandwidth is wider than a bin
LOBE = 2  # bins on each side of a tone that hold all of its power


@dataclass(frozen=True)
class Spectrum:
    """Mean power of samples over frequency.

    Attributes:
        offset_hz: from the carrier, ascending, [bins].
        power: of full scale 1.0 within `resolution_hz`, [bins]: that of a tone in its midst.
        resolution_hz: noise bandwidth of a bin.
    """

    offset_hz: Column
    power: Column
    resolution_hz: float

    @classmethod
    def of(cls, iq: IQ, sample_rate_hz: float, bins: int) -> Spectrum:
        """Of complex64 [n], n >= bins, averaged over Hann windows that overlap by half (Welch)."""
        frequency, power = signal.welch(
            iq.astype(np.complex128),
            sample_rate_hz,
            "hann",
            bins,
            detrend=False,
            return_onesided=False,
            scaling="spectrum",
        )
        return cls(
            np.fft.fftshift(frequency),
            np.fft.fftshift(power),
            HANN_BINS * sample_rate_hz / bins,
        )

    @cached_property
    def peak(self) -> tuple[float, float]:
        """Frequency from the carrier in Hz, and power, of the strongest tone beside DC.

        Of a receiver without an intermediate frequency the strongest line is mostly its own offset.
        The frequency is by the two highest bins of a Hann window (Grandke 1983), the power by all
        bins that hold some of it.
        """
        bin_hz = self.resolution_hz / HANN_BINS
        # DC reaches into the bins beside its own: none of them belongs to a tone's lobe.
        aside = np.abs(self.offset_hz) > (LOBE + 1.5) * bin_hz
        strongest = int(np.argmax(np.where(aside, self.power, -1.0)))
        around = self.power.take(range(strongest - LOBE, strongest + LOBE + 1), mode="wrap")
        if around[LOBE] == 0:
            return float(self.offset_hz[strongest]), 0.0
        side = 1 if around[LOBE + 1] >= around[LOBE - 1] else -1
        ratio = float(np.sqrt(around[LOBE + side] / around[LOBE]))
        bins_away = side * (2 * ratio - 1) / (1 + ratio)
        hz = float(self.offset_hz[strongest] + bins_away * bin_hz)
        return hz, float(around.sum() / HANN_BINS)

    @property
    def floor(self) -> float:
        """Power of the noise within `resolution_hz`: the median over all bins."""
        return float(np.median(self.power))
