"""Channel estimates per carrier: least squares, delay, and smoothing over carriers."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import fft

from radio.waveform.numerology import Numerology

ComplexArray = npt.NDArray[np.complex64]
RealArray = npt.NDArray[np.float64]

BLOCKS = 12
# Eigenvalues below this share of the largest hold no channel, only noise.
NEGLIGIBLE = 1e-7


def least_squares(received: ComplexArray, sent: ComplexArray) -> ComplexArray:
    """Channel per carrier, complex64 [..., K], from received [..., K] and sent [K or ..., K].

    Carriers on which nothing was sent have the estimate 0.
    """
    power = np.abs(sent) ** 2
    inverse = np.divide(sent.conj(), power, out=np.zeros_like(sent), where=power > 0)
    channel: ComplexArray = (received * inverse).astype(np.complex64, copy=False)
    return channel


def delay_samples(channel: npt.NDArray[np.complexfloating], numerology: Numerology) -> float:
    """Delay that the phase slope of a channel shows, in samples within +-N/2.

    The centroid of the taps around the strongest one comes first. Carriers, turned back by it, are
    averaged in twelve blocks, and the slope is the angle of the weighted sum of products of
    neighbouring blocks: Kay's estimator ("A fast and accurate single frequency estimator", IEEE
    ASSP 1989), with the sum inside the angle and weights that undo the correlation of the
    products. On a flat channel its variance is within 1 % of the Cramér-Rao bound. On a selective
    one it is a mean of the taps weighted by their energy, as long as they lie within some N/32
    samples of it: noise cannot make it jump from one tap to another.

    Args:
        channel: complex [K].
        numerology: of the waveform.
    """
    size = numerology.fft_size
    starts, counts, weights = _blocks(numerology)
    grid = np.zeros(size, np.complex128)
    grid[numerology.bins] = channel
    energy = np.abs(fft.ifft(grid, workers=1)) ** 2
    strongest = int(np.argmax(energy))
    near = np.arange(-(size // 16), size // 16 + 1)
    around = energy[(strongest + near) % size]
    delay = strongest + (float(around @ near / around.sum()) if around.any() else 0.0)
    for _ in range(3):  # blocks fade with what is left of the delay, and DC makes a gap
        turned = channel * np.exp(2j * np.pi / size * delay * numerology.carriers)
        means = np.add.reduceat(turned, starts) / counts
        slope = float(np.angle(weights @ (means[1:] * means[:-1].conj()))) * weights.sum()
        delay -= slope * size / (2 * np.pi)
    return (delay + size / 2) % size - size / 2


@lru_cache
def _blocks(
    numerology: Numerology,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], RealArray]:
    """First entry and size of each block of carriers, and the weights of their differences."""
    carriers = numerology.carriers
    count = min(BLOCKS, carriers.size)
    starts = (np.arange(count) * carriers.size) // count
    sizes = np.diff(np.append(starts, carriers.size))
    centres = np.add.reduceat(carriers, starts) / sizes
    # The least-squares slope over centres, written in differences of neighbours.
    moment = sizes * (centres - np.average(centres, weights=sizes))
    weights = -np.cumsum(moment)[:-1] / (moment * centres).sum()
    return starts, sizes, weights


def smooth(
    channel: npt.NDArray[np.complexfloating],
    noise_var: float,
    delay_spread: float,
    numerology: Numerology,
    delay: float | None = None,
) -> ComplexArray:
    """LMMSE smoothing over carriers (Edfors et al., "OFDM channel estimation by singular value
    decomposition", IEEE Trans. Communications 1998).

    The prior is a power-delay profile that is uniform over `delay_spread` samples centred on the
    delay measured, with the power measured. A spread of 0 leaves one complex gain and the ramp of
    its delay.

    Args:
        channel: complex [K], least squares.
        noise_var: of each entry of `channel`.
        delay_spread: samples, 0 to N.
        numerology: of the waveform.
        delay: samples, where it is known already; None measures it.

    Returns:
        complex64 [K].

    Raises:
        ValueError: `delay_spread` is out of range.
    """
    basis, powers = _modes(delay_spread, numerology)
    delay = delay_samples(channel, numerology) if delay is None else delay
    ramp = np.exp(-2j * np.pi / numerology.fft_size * delay * numerology.carriers)
    shrink = _shrinkage(powers, _power(channel, noise_var), noise_var)
    modes = basis.conj().T @ (channel * ramp.conj())
    smoothed: ComplexArray = (ramp * (basis @ (shrink * modes))).astype(np.complex64)
    return smoothed


def smoothing_gain(snr: float, delay_spread: float, numerology: Numerology) -> float:
    """Error variance per carrier after `smooth`, as a fraction of the noise variance before it.

    It is the mean of the diagonal of the smoother, for a channel that has the prior's profile.

    Args:
        snr: mean power of the channel over its noise variance, linear.
        delay_spread: samples.
        numerology: of the waveform.
    """
    _, powers = _modes(delay_spread, numerology)
    return float(_shrinkage(powers, snr, 1.0).sum() / numerology.used_carriers)


def _power(channel: npt.NDArray[np.complexfloating], noise_var: float) -> float:
    """Mean power of the channel under its noise; a deep fade is not taken for nothing."""
    power = float(np.mean(np.abs(channel) ** 2))
    return max(power - noise_var, 0.01 * power)


def _shrinkage(powers: RealArray, power: float, noise_var: float) -> RealArray:
    signal = powers * power
    total = signal + noise_var
    shrink: RealArray = np.divide(signal, total, out=np.zeros_like(signal), where=total > 0)
    return shrink


@lru_cache(maxsize=64)
def _modes(
    delay_spread: float, numerology: Numerology
) -> tuple[npt.NDArray[np.complex128], RealArray]:
    """Eigenvectors [K, r] and eigenvalues [r] of the carriers' covariance at unit mean power."""
    if not 0 <= delay_spread <= numerology.fft_size:
        raise ValueError(
            f"delay_spread should be 0 to {numerology.fft_size} samples, not {delay_spread}"
        )
    apart = np.subtract.outer(numerology.carriers, numerology.carriers)
    # A profile centred on 0 has a real covariance: the transform of a rectangle.
    covariance = np.sinc(apart * delay_spread / numerology.fft_size)
    powers, basis = np.linalg.eigh(covariance)
    kept = powers > NEGLIGIBLE * powers[-1]
    return basis[:, kept].astype(np.complex128), powers[kept]
