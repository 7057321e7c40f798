"""The virtual air: ten moving devices heard at once, beside a plain renderer and the FFTs alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count

import ducc0
import numpy as np
import numpy.typing as npt

from benchmarks.table import Table, best_of
from sim_fallback.air import Air, Scene
from sim_fallback.front_end import FrontEnd
from sim_fallback.oscillator import Oscillator
from sim_fallback.path import Path
from sim_fallback.presets import PRESETS, Equipment
from sim_fallback.render import BLOCKS, TILE, true_time_s
from sim_fallback.tapped_delay import TappedDelayLine

ComplexArray = npt.NDArray[np.complexfloating]

RATE_HZ = 2e6
CARRIER_HZ = 915e6
DEVICES = 10
DELAYS_S = tuple(1e-6 * delay for delay in (0.0, 0.31, 0.71, 1.09, 1.73, 2.51))
DOPPLER_HZ = 10.0
BAND = 0.4
FFT = 1080


REPEATS = 5


def measure(quick: bool = False) -> list[Table]:
    """Device-samples a second; `quick` renders a fifth of a window, with ideal front ends only."""
    n = 2 * TILE if quick else 10 * TILE
    rows = [_row("ideal", n, FrontEnd())]
    if not quick:
        rows.append(_row("PlutoSDR", n, PRESETS["pluto-tcxo"].front_end))
    return [
        Table(
            name="air",
            title="The virtual air",
            header=("front ends", "Air", "plain", "FFTs alone", "× plain", "error", "plain error"),
            rows=tuple(rows),
            note="Million device-samples a second, one thread, best of 5 in turns: consecutive "
            f"windows of {n:,} samples of a receiver that hears {DEVICES} devices with 6 taps, "
            "10 Hz of Doppler, and oscillators within 20 ppm that walk by 1e-10. 20 is ten devices "
            "at 2 MS/s in real time. Plain: for every tap np.interp of the samples and of the "
            "gains, then the carrier, in float64 and without front ends, which cost noise, phase "
            "noise, amplifier and converters. Limit: one forward and two inverse FFTs of 1,080 for "
            "1,000 samples. Errors: against a sum of tones over 80 % of the band at the exact "
            "times.",
        )
    ]


def _row(title: str, n: int, front_end: FrontEnd) -> tuple[str, ...]:
    scene, tones = _scene(front_end), _Tones()
    air, wave = Air(scene), tones.at(np.arange((REPEATS + 2) * n)).astype(np.complex64)
    for name in list(scene.equipment)[:DEVICES]:
        air.post(name, wave, 0, 0.0)
    # Every call takes the next window, so that nothing kept from the last one helps.
    windows, plain_windows = (count(TILE, n) for _ in range(2))
    ours, plain, limit = best_of(
        {
            "air": lambda: air.window("rx", next(windows), n),
            "plain": lambda: _plain(scene, wave, next(plain_windows), n),
            "limit": lambda: _transforms(DEVICES * n),
        },
        REPEATS,
    ).values()
    exact = _exact(scene, tones, TILE, 5_000)
    ideal = air.window("rx", TILE, 5_000, scene=_scene(FrontEnd()))
    errors = (_error_db(heard, exact) for heard in (ideal, _plain(scene, wave, TILE, 5_000)))
    return (
        title,
        *(f"{DEVICES * n / seconds / 1e6:.1f}" for seconds in (ours, plain, limit)),
        f"{plain / ours:.1f}",
        *(f"{error_db:.0f} dB" for error_db in errors),
    )


class _Tones:
    """A sum of complex exponentials, known at any time."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self._turns = rng.uniform(-BAND, BAND, 12)
        self._amplitudes = 0.1 * np.exp(2j * np.pi * rng.random(12))

    def at(self, samples: npt.NDArray[np.generic]) -> ComplexArray:
        waves = np.zeros(samples.shape, complex)
        for turns, amplitude in zip(self._turns, self._amplitudes, strict=True):
            waves += amplitude * np.exp(2j * np.pi * turns * samples)
        return waves


def _scene(front_end: FrontEnd) -> Scene:
    level = replace(front_end, tx_full_scale_dbm=0.0, rx_full_scale_dbm=0.0)
    equipment = {
        name: Equipment(
            Oscillator((1, k), float(ppm), 1e-10), level, 0.1 * k, 0.2 * k, -37 * k, (1, k)
        )
        for k, (name, ppm) in enumerate(
            zip([*(f"d{k}" for k in range(DEVICES)), "rx"], np.linspace(-20, 20, 11), strict=True)
        )
    }
    line = TappedDelayLine(DELAYS_S, (0.0, -2.0, -4.0, -6.0, -8.0, -10.0), doppler_hz=DOPPLER_HZ)
    paths = {(f"d{k}", "rx"): Path(line, loss_db=20.0, seed=1, index=k) for k in range(DEVICES)}
    return Scene(CARRIER_HZ, RATE_HZ, equipment, paths)


def _received(
    scene: Scene, first: int, n: int, at: Callable[[npt.NDArray[np.float64]], ComplexArray]
) -> ComplexArray:
    """The sum over devices and taps, each sample at its own time; gains at every 100th sample."""
    listener = scene.equipment["rx"]
    samples = first + np.arange(n)
    t = true_time_s(listener, samples, RATE_HZ)
    coarse_t = np.append(t[::100], t[-1] + 100 / RATE_HZ)
    heard = np.zeros(n, complex)
    for (name, _), path in scene.paths.items():
        device = scene.equipment[name]
        x_tx, x_rx = device.oscillator.time_error_s(t), listener.oscillator.time_error_s(t)
        clock = RATE_HZ * (t + x_tx) + device.epoch
        response = path.response(coarse_t)
        field = np.zeros(n, complex)
        for gains, delay_s in zip(response.gains.T, response.delays_s, strict=True):
            field += np.interp(t, coarse_t, gains) * at(clock - RATE_HZ * delay_s)
        phase = 2 * np.pi * CARRIER_HZ * (x_tx - x_rx) + device.tx_lo_rad - listener.rx_lo_rad
        heard += field * np.exp(1j * phase)
    return heard


def _plain(scene: Scene, wave: npt.NDArray[np.complex64], first: int, n: int) -> ComplexArray:
    """As one writes it down: np.interp between the two nearest samples, for every tap."""
    grid = np.arange(wave.size)
    return _received(scene, first, n, lambda clock: np.interp(clock, grid, wave))


def _exact(scene: Scene, tones: _Tones, first: int, n: int) -> ComplexArray:
    return _received(scene, first, n, tones.at)


def _transforms(n: int) -> None:
    """The FFTs of n samples, a tile at a time."""
    spectra = np.zeros((BLOCKS, 3, FFT), np.complex64)
    for _ in range(n // TILE):
        ducc0.fft.c2c(spectra[:, 0], axes=(1,), nthreads=1, out=spectra[:, 0])
        ducc0.fft.c2c(spectra[:, 1:], axes=(2,), forward=False, nthreads=1, out=spectra[:, 1:])


def _error_db(heard: ComplexArray, exact: ComplexArray) -> float:
    error = np.mean(np.abs(heard - exact) ** 2) / np.mean(np.abs(exact) ** 2)
    return float(10 * np.log10(error))


if __name__ == "__main__":
    for table in measure():
        print(table.markdown())
