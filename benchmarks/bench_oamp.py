"""Time of one OAMP solve, beside plain numpy and scipy and beside its FFTs alone."""

from __future__ import annotations

import tracemalloc
from functools import partial

import numpy as np
import numpy.typing as npt
import scipy.fft

from benchmarks.bench_nmse import receive, sum_of_topk
from benchmarks.table import Table, best_of
from fl_core.compression import PartialDFT, rotate, unrotate
from fl_core.denoisers import BernoulliGaussian, Bimodal
from fl_core.oamp import oamp

DENSITY, COMPRESSION, SNR_DB = 0.01, 0.2, 10  # near the transition: all iterations are used
ITERATIONS = 15
Float = npt.NDArray[np.float32]


def plain_oamp(y: npt.NDArray[np.complex64], operator: PartialDFT, noise_var: float) -> Float:
    """The same recursion as the equations read: whole arrays, scipy.fft, a fixed prior start."""
    half, measured = operator.length // 2, operator.rows
    target = y * np.sign(operator.symbol_gains) * np.float32(np.sqrt(2))
    target.imag *= operator.mirrors
    ratio = np.float32(half / measured.size)
    x = np.zeros(operator.length, np.float32)
    density, variance = np.float32(0.2), np.float32(np.mean(np.abs(target) ** 2) / 2 / 0.2)
    for _ in range(ITERATIONS):
        spectrum = scipy.fft.fft(x[0::2] + 1j * x[1::2], norm="ortho")
        residual = np.zeros(half, np.complex64)
        residual[measured] = target - spectrum[measured]
        v2 = np.mean(np.abs(residual[measured]) ** 2) / 2 - np.float32(noise_var)
        tau2 = (ratio - 1) * max(v2, np.float32(1e-9)) + ratio * np.float32(noise_var)
        back = scipy.fft.ifft(residual, norm="ortho")
        r = x + ratio * np.stack([back.real, back.imag], axis=1).reshape(-1)
        shrink = variance / (variance + tau2)
        exponent = -(r**2) * shrink / (2 * tau2)
        odds = (1 - density) / density * np.sqrt(1 + variance / tau2)
        active = 1 / (1 + odds * np.exp(exponent))
        estimate = active * shrink * r
        second = active * (shrink * tau2 + (shrink * r) ** 2)
        divergence = np.mean(second - estimate**2) / tau2
        density, variance = np.mean(active), np.sum(second) / np.sum(active)
        x = (estimate - divergence * r) / (1 - divergence)
    return estimate[: operator.dim] * operator.signs


def ffts_alone(length: int) -> None:
    """The two transforms of every iteration, which no form of this recursion can leave out."""
    values = np.ones(length, np.float32)
    spectrum = np.empty_like(values)
    for _ in range(ITERATIONS):
        rotate(values, out=spectrum)
        unrotate(spectrum, out=values)


def _row(dim: int, repeats: int) -> tuple[str, ...]:
    rng = np.random.default_rng(1)
    x = sum_of_topk(dim, DENSITY, rng)
    operator = PartialDFT(dim, round(COMPRESSION * dim), rng)
    y, noise_var = receive(x, operator, SNR_DB, rng)
    gaussian = partial(oamp, y, operator, noise_var, BernoulliGaussian(), ITERATIONS)
    bimodal = partial(oamp, y, operator, noise_var, Bimodal(), ITERATIONS)
    plain = partial(plain_oamp, y, operator, noise_var)
    if gaussian().iterations != ITERATIONS:
        raise AssertionError("the solver stopped early; choose a cell nearer to the transition")
    seconds = best_of(
        {
            "oamp": gaussian,
            "bimodal": bimodal,
            "plain": plain,
            "ffts": partial(ffts_alone, operator.length),
        },
        repeats,
    )
    tracemalloc.start()
    gaussian()
    vectors = tracemalloc.get_traced_memory()[1] / x.nbytes
    tracemalloc.stop()
    errors = (10 * np.log10(np.mean((e - x) ** 2) / np.mean(x**2)) for e in (gaussian().x, plain()))
    return (
        f"{dim:,}",
        *(f"{1e3 * value:.1f}" for value in seconds.values()),
        f"{seconds['plain'] / seconds['oamp']:.1f}",
        f"{seconds['oamp'] / seconds['ffts']:.1f}",
        *(f"{error:.2f}" for error in errors),
        f"{vectors:.1f}",
    )


def measure(quick: bool = False) -> list[Table]:
    """Milliseconds of a solve of 15 iterations; `quick` leaves d = 2^22 out."""
    sizes = (1 << 17, 1 << 20) if quick else (1 << 17, 1 << 20, 1 << 22)
    return [
        Table(
            name="oamp",
            title="One OAMP solve",
            header=(
                "d",
                "OAMP [ms]",
                "bimodal [ms]",
                "numpy + scipy [ms]",
                "FFTs alone [ms]",
                "× numpy",
                "× FFTs",
                "NMSE [dB]",
                "numpy's [dB]",
                "peak memory / x",
            ),
            rows=tuple(_row(dim, 3 if quick else 7) for dim in sizes),
            note=f"{ITERATIONS} iterations in float32 on one thread, folding and prior fitting "
            f"included; sum of ten top-k vectors, k/d = {DENSITY:g}, M/d = {COMPRESSION:g}, "
            f"{SNR_DB} dB. numpy + scipy: the equations with whole arrays and EM from a fixed "
            f"start. FFTs alone: 2 × {ITERATIONS} complex ducc0 transforms of d/2 points, the "
            "limit of any such solver. Best of several, all in turns.",
        )
    ]


if __name__ == "__main__":
    for outcome in measure():
        print(outcome.markdown())
