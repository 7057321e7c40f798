"""Noise floor of a receiver, and its noise figure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage, signal, special

from calibration.estimate import Estimate, MeasurementError, in_db, mean_of
from calibration.probes import SATURATED, saturated_share

ComplexArray = npt.NDArray[np.complex64]
RealArray = npt.NDArray[np.float64]

BINS = 512  # of a spectrum
LEAST = 16  # spectra
AROUND = 65  # bins whose median says what noise is like there; a carrier fills 9 of them
FALSE = 1e-6  # share of the bins of mere noise that are taken for a carrier
NEAR = 4  # bins to both sides that the window gives a carrier
MOST_CARRIERS = 0.5  # share of the band beyond which what is left is no floor
LEAST_STEPS = 0.57  # of the converter: the deviation that samples should have, see `fills_steps`

THERMAL_DBM_PER_HZ = 10 * math.log10(1.380649e-23 * 290 / 1e-3)
"""k T of the IEEE's standard temperature of 290 K."""


@dataclass(frozen=True)
class NoiseFloor:
    """Noise of a receiver at the gain it had.

    Attributes:
        level: power over the whole sample rate, dBFS.
        carriers: share of the band that was left out because of carriers, DC among them.
    """

    level: Estimate
    carriers: float


def noise_floor(iq: ComplexArray) -> NoiseFloor:
    """The floor from a capture in which nobody sends, whatever DC and single carriers it holds.

    Spectra of 512 bins through Blackman and Harris's window, whose sidelobes lie 92 dB down, are
    averaged (Welch, "The use of fast Fourier transform for the estimation of power spectra",
    1967). A bin is a carrier's where it exceeds the median of the 65 around it by more than noise
    does once in a million bins; it is left out, and so are 4 to either side. What is left is
    averaged, its scatter from spectrum to spectrum being the uncertainty. A signal wider than 32
    bins, a sixteenth of the band, counts as noise. So does the rounding of the converter.

    Args:
        iq: complex64 [n >= 8192].

    Raises:
        MeasurementError: shorter, saturated, carriers all over, or not even noise in it.
    """
    if iq.size < LEAST * BINS:
        raise MeasurementError(
            f"{iq.size} samples are too few for a noise floor; {LEAST * BINS} are needed"
        )
    share = saturated_share(iq)
    if share > SATURATED:
        raise MeasurementError(
            f"the receiver is saturated: {100 * share:.1f} % of the samples are at full scale; "
            "lower its gain, or find out who sends"
        )
    spectra = _spectra(iq)
    kept = ~_carriers(spectra)
    if np.mean(kept) < 1 - MOST_CARRIERS:
        raise MeasurementError(
            f"carriers fill {100 * (1 - np.mean(kept)):.0f} % of the band; measure where nobody "
            "sends, or with the antenna taken off"
        )
    power = mean_of(spectra[:, kept].mean(axis=1), "")
    if not fills_steps(iq):
        raise MeasurementError(
            "the receiver hears no noise: less than half a step of its converter, "
            "which does not see it; raise the gain"
        )
    return NoiseFloor(in_db(power.value, power.uncertainty, "dBFS"), float(1 - np.mean(kept)))


def fills_steps(iq: ComplexArray) -> bool:
    """Whether the steps of the converter are fine enough to tell how much noise there is.

    Samples of noise of s steps have a variance of s^2 + 1/12 within 0.1 dB, wherever between two
    steps DC lies, from s = 0.5 on. Below, it is anything: of 0.2 steps it keeps between a third and
    six times (Widrow and Kollár, "Quantization Noise", 2008, chapter 4). The step is the least
    difference between two values of a capture.

    Args:
        iq: complex64 [n], in which nobody sends.
    """
    return all(
        float(np.std(part, dtype=np.float64)) >= LEAST_STEPS * _step(part)
        for part in (iq.real, iq.imag)
    )


def _step(part: npt.NDArray[np.float32]) -> float:
    """Of the converter; endless where a capture has but one value."""
    return float(np.diff(np.unique(part)).min(initial=math.inf))


def noise_figure(floor: Estimate, rx_gain: Estimate, bandwidth_hz: float) -> Estimate:
    """How much more noise there is than a resistor of 290 K makes at the connector, dB.

    Args:
        floor: dBFS, as of `noise_floor`, with nothing but a termination at the connector.
        rx_gain: level in dBFS of what arrives less its power in dBm at the gain at which the floor
            was measured: of the curve `rx_gain`.
        bandwidth_hz: in which the receiver hears noise: its sample rate, or that of its filter.
    """
    if not 0 < bandwidth_hz < math.inf:
        raise ValueError(f"bandwidth_hz should be positive, not {bandwidth_hz}")
    thermal_dbm = THERMAL_DBM_PER_HZ + 10 * math.log10(bandwidth_hz)
    return floor.minus(rx_gain, "dB").minus(Estimate(thermal_dbm, 0.0, "dBm"))


def _spectra(iq: ComplexArray) -> RealArray:
    """Power in each bin such that the mean over bins is that of samples, [spectra, BINS].

    They do not overlap, so that they are independent.
    """
    window = signal.get_window("blackmanharris", BINS)
    window /= math.sqrt(float(np.mean(window**2)))
    pieces = iq[: iq.size - iq.size % BINS].reshape(-1, BINS) * window
    spectra: RealArray = np.abs(fft.fft(pieces, axis=1, norm="ortho")) ** 2
    return spectra


def _carriers(spectra: RealArray) -> npt.NDArray[np.bool_]:
    """Bins that are no noise, [BINS]."""
    looks = len(spectra)
    power = spectra.mean(axis=0)
    around = ndimage.median_filter(power, AROUND, mode="wrap")
    # Of `looks` exponential variables: a gamma distribution.
    most = special.gammainccinv(looks, FALSE) / special.gammainccinv(looks, 0.5)
    above = (power > most * around) & (power > 0)
    carriers: npt.NDArray[np.bool_] = ndimage.maximum_filter(above, 2 * NEAR + 1, mode="wrap")
    return carriers
