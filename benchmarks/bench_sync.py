"""Synchronisation in samples: detection, and estimates beside the Cramér-Rao bound.

A full run also draws docs/figures/sync-crb.png and docs/figures/sync-ambiguity.png.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from scipy import fft

from benchmarks.table import Table, best_of
from radio.waveform.numerology import Numerology
from radio.waveform.preamble import Preamble
from radio.waveform.sync import correlation, detect
from radio.waveform.sync import measure as measure_arrival

NUMEROLOGY = Numerology()
BEACON = Preamble(NUMEROLOGY, repeats=8)
SYNC_BEACON = Preamble(NUMEROLOGY, repeats=2)
SOUNDING = Preamble(NUMEROLOGY, repeats=1)
PREAMBLES = {"beacon, 8 × 256": BEACON, "sync beacon, 2 × 256": SYNC_BEACON, "sounding": SOUNDING}
MAX_CFO_HZ = 2 * 25e-6 * 2.45e9
SNR_DB = (10, 15, 20, 25, 30)
QUANTITIES = ("start", "cfo_hz", "phase", "gain")
FIGURES = Path(__file__).parents[1] / "docs" / "figures"

ComplexArray = npt.NDArray[np.complex64]
Ratios = dict[tuple[str, int], dict[str, float]]


def arriving(
    preamble: Preamble,
    n: int,
    start: float,
    rng: np.random.Generator,
    cfo_hz: float = 0.0,
    gain: complex = 1.0,
    noise_var: float = 0.0,
    dc: complex = 0.0,
    taps: dict[float, complex] | None = None,
) -> ComplexArray:
    """A capture of n samples with a preamble from sample `start` on, at any fraction of one.

    A period delayed by a fraction is the inverse transform of its values behind a ramp: exact,
    unlike a filter. `taps` are gains over further delays; the phase of `gain` is at the centre.
    """
    size = preamble.numerology.fft_size
    index = np.arange(n)
    clean = np.zeros(n, np.complex128)
    for delay, tap in (taps or {0.0: 1.0}).items():
        whole, fraction = divmod(start + delay, 1.0)
        grid = np.zeros(size, np.complex128)
        turn = 2j * np.pi * preamble.numerology.carriers * fraction / size
        grid[preamble.numerology.bins] = preamble.values * np.exp(-turn)
        since = index - int(whole)
        inside = (since >= fraction) & (since - fraction < preamble.length)
        period = fft.ifft(grid, norm="ortho")
        clean[inside] += tap * period[(since[inside] - preamble.guard) % size]
    centre = start + preamble.guard + preamble.repeats * size / 2
    time_s = (index - centre) / preamble.numerology.sample_rate_hz
    noise = rng.standard_normal((n, 2)) @ (1, 1j)
    iq = gain * clean * np.exp(2j * np.pi * cfo_hz * time_s) + math.sqrt(noise_var / 2) * noise + dc
    return iq.astype(np.complex64)


def measure(quick: bool = False) -> list[Table]:
    """Detection at 5 dB, estimator variances, and milliseconds; `quick` takes few frames."""
    ratios = variances(trials=100 if quick else 2000)
    if not quick:
        draw_bounds(ratios)
        draw_ambiguity()
    return [
        _detection(frames=200 if quick else 10_000),
        _variances(ratios),
        _speed(samples=20_000 if quick else 100_000),
    ]


def variances(trials: int) -> Ratios:
    """Mean squared error over its bound for each preamble, SNR and quantity."""
    return {
        (name, snr_db): _ratio(preamble, snr_db, trials)
        for name, preamble in PREAMBLES.items()
        for snr_db in SNR_DB
    }


def _ratio(preamble: Preamble, snr_db: int, trials: int) -> dict[str, float]:
    rng = np.random.default_rng([preamble.repeats, snr_db])
    snr = 10 ** (snr_db / 10)
    errors = np.empty((trials, len(QUANTITIES)))
    for row in errors:
        start, phase = 100 + rng.random(), rng.uniform(-np.pi, np.pi)
        cfo_hz = rng.uniform(-1e3, 1e3)
        iq = arriving(
            preamble, 300 + preamble.length, start, rng, cfo_hz, np.exp(1j * phase), 1 / snr
        )
        expected_hz = cfo_hz if preamble.repeats == 1 else 0.0
        arrival = measure_arrival(iq, preamble, 100, expected_hz)
        if arrival is None:
            raise AssertionError(f"a preamble at {snr_db} dB was missed")
        turned = np.angle(np.exp(1j * (arrival.phase - phase)))
        row[:] = arrival.start - start, arrival.cfo_hz - cfo_hz, turned, arrival.gain - 1
    bounds = preamble.bounds(snr)
    mean_squares = dict(zip(QUANTITIES, np.mean(errors**2, axis=0), strict=True))
    return {name: float(value / getattr(bounds, name)) for name, value in mean_squares.items()}


def detection(preamble: Preamble, frames: int, snr_db: float = 5.0) -> tuple[int, int]:
    """Missed frames, and false alarms on as many captures of noise.

    A frame lies anywhere in 4096 samples, at any offset up to 25 ppm a side at 2.45 GHz, on a DC
    of the signal's strength. It is missed too where start or offset are wrong.
    """
    rng = np.random.default_rng([preamble.repeats, 5])
    noise_var = 10 ** (-snr_db / 10)
    misses = alarms = 0
    for _ in range(frames):
        start = rng.uniform(0, 4096 - preamble.length)
        cfo_hz, phase, turn = rng.uniform(-1, 1, 3) * (MAX_CFO_HZ, np.pi, np.pi)
        dc = np.exp(1j * turn)
        iq = arriving(preamble, 4096, start, rng, cfo_hz, np.exp(1j * phase), noise_var, dc)
        arrival = detect(iq, preamble, MAX_CFO_HZ)
        misses += (
            arrival is None
            or abs(arrival.start - start) > 0.2
            or abs(arrival.cfo_hz - cfo_hz) > 200
        )
        empty = math.sqrt(noise_var / 2) * rng.standard_normal((4096, 2)) @ (1, 1j) + dc
        alarms += detect(empty.astype(np.complex64), preamble, MAX_CFO_HZ) is not None
    return misses, alarms


def _detection(frames: int) -> Table:
    rows = []
    for name in ("beacon, 8 × 256", "sync beacon, 2 × 256"):
        misses, alarms = detection(PREAMBLES[name], frames)
        rows.append((name, f"{frames:,}", str(misses), str(alarms)))
    return Table(
        name="sync_detection",
        title="Detection at 5 dB per carrier",
        header=("preamble", "frames", "missed", "false alarms"),
        rows=tuple(rows),
        note="Captures of 4096 samples in white noise: preamble anywhere, offset anywhere within "
        "±122.5 kHz, DC as strong as the signal; and as many captures without a preamble. A start "
        "0.2 samples or an offset 200 Hz wrong counts as missed.",
    )


def _variances(ratios: Ratios) -> Table:
    rows = []
    for (name, snr_db), found in ratios.items():
        values = (
            "–" if name == "sounding" and quantity == "cfo_hz" else f"{_db(found[quantity]):+.2f}"
            for quantity in QUANTITIES
        )
        rows.append((name, str(snr_db), *values))
    return Table(
        name="sync_variance",
        title="Estimates beside the Cramér–Rao bound",
        header=("preamble", "SNR, dB", "timing, dB", "CFO, dB", "phase, dB", "gain, dB"),
        rows=tuple(rows),
        note="Mean squared error over the bound, flat channel, fractional start, offset within "
        "±1 kHz; a sounding's offset is given. docs/synchronisation.md has the bounds.",
    )


def _speed(samples: int) -> Table:
    rng = np.random.default_rng(0)
    kernels: dict[str, Callable[[], object]] = {}
    for name, preamble in PREAMBLES.items():
        iq = arriving(preamble, samples, 0.6 * samples, rng, 500.0, 1.0, 0.1)
        near = iq[int(0.6 * samples) - 100 :][: preamble.length + 200]
        kernels[f"measure, {name}"] = partial(measure_arrival, near, preamble, 100.0, 0.0)
        if preamble.repeats > 1:
            kernels[f"detect, {name}"] = partial(detect, iq, preamble, MAX_CFO_HZ)
            kernels[f"reference, {name}"] = partial(_matched_filters, iq, preamble)
    return Table(
        name="sync_speed",
        title="Synchronisation",
        header=("", "ms"),
        rows=tuple((name, f"{1e3 * seconds:.2f}") for name, seconds in best_of(kernels, 3).items()),
        note=f"Detection in {samples:,} samples, offset within ±122.5 kHz. The reference is a "
        "matched filter at each whole carrier spacing, which still misses what lies between. One "
        "thread, best of 3 in turns.",
    )


def _matched_filters(iq: ComplexArray, preamble: Preamble) -> float:
    spacing_hz = preamble.numerology.carrier_spacing_hz
    reach = math.ceil(MAX_CFO_HZ / spacing_hz)
    offsets = range(-reach, reach + 1)
    return max(float(correlation(iq, preamble, shift * spacing_hz).max()) for shift in offsets)


def draw_bounds(ratios: Ratios) -> None:
    """Measured root mean square errors on their bounds, docs/figures/sync-crb.png."""
    labels = ("timing, samples", "CFO, Hz", "phase, rad", "gain, relative")
    fine = np.linspace(min(SNR_DB), max(SNR_DB), 41)
    figure, axes = _figure(2, 2, figsize=(9, 6.5), sharex=True)
    for axis, quantity, label in zip(axes.flat, QUANTITIES, labels, strict=True):
        for colour, (name, preamble) in enumerate(PREAMBLES.items()):
            if quantity == "cfo_hz" and preamble.repeats == 1:
                continue
            bound = [math.sqrt(getattr(preamble.bounds(10 ** (s / 10)), quantity)) for s in fine]
            measured = [
                math.sqrt(
                    ratios[name, s][quantity] * getattr(preamble.bounds(10 ** (s / 10)), quantity)
                )
                for s in SNR_DB
            ]
            axis.semilogy(fine, bound, color=f"C{colour}", linewidth=1)
            axis.semilogy(SNR_DB, measured, "o", color=f"C{colour}", label=name)
        axis.set_title(f"rms error of {label}", fontsize=10)
        axis.grid(True, which="both", alpha=0.2)
    for axis in axes[1]:
        axis.set_xlabel("SNR per carrier, dB")
        axis.set_xticks(SNR_DB)
    axes[0, 0].legend(title="points: measured, lines: bound", fontsize=9, title_fontsize=9)
    _save(figure, "sync-crb.png")


def draw_ambiguity() -> None:
    """How a period resembles itself delayed and shifted, docs/figures/sync-ambiguity.png."""
    turns = np.arange(NUMEROLOGY.used_carriers + 1)
    chirp = np.exp(-1j * np.pi * turns * (turns + 1) / turns.size)
    sequences = {
        "Zadoff–Chu": np.delete(chirp, NUMEROLOGY.used_carriers // 2),
        "random QPSK": SYNC_BEACON.values,
    }
    reach, size = 40, 4 * NUMEROLOGY.fft_size
    figure, axes = _figure(1, 2, figsize=(9, 3.6), sharey=True)
    for axis, (name, values) in zip(axes, sequences.items(), strict=True):
        spectrum = np.zeros(size, np.complex128)
        spectrum[NUMEROLOGY.carriers] = values
        shifted = np.stack([np.roll(spectrum, shift) for shift in range(-reach, reach + 1)])
        likeness = np.abs(fft.ifft(shifted * spectrum.conj())) * size / values.size
        half = NUMEROLOGY.fft_size / 2
        image = axis.imshow(
            fft.fftshift(likeness, axes=1),
            extent=(-half, half, -reach - 0.5, reach + 0.5),
            aspect="auto",
            origin="lower",
            vmin=0,
            vmax=1,
        )
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("delay, samples")
    axes[0].set_ylabel("frequency shift, carriers")
    figure.colorbar(image, ax=axes, label="likeness")
    _save(figure, "sync-ambiguity.png")


def _figure(rows: int, columns: int, **options: Any) -> tuple[Figure, Any]:
    """A figure that needs no screen."""
    figure = Figure(layout="constrained", figsize=options.pop("figsize"))
    return figure, figure.subplots(rows, columns, **options)


def _save(figure: Figure, name: str) -> None:
    FIGURES.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURES / name, dpi=120)


def _db(ratio: float) -> float:
    return 10 * math.log10(ratio)


if __name__ == "__main__":
    for table in measure():
        print(table.markdown())
