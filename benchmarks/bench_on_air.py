"""A round on the virtual air beside the same round over symbols: error, frequency, time, memory.

A full run also draws docs/figures/turnaround.png.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.table import Table
from fl_core.round import Combined
from testbed.config import ExperimentConfig
from testbed.on_air.uplink import RoundOnAir
from testbed.on_air.virtual_bench import VirtualBench
from testbed.schemes import build_scheme, symbol_uplink

DIM = 28_485
FIGURES = Path(__file__).parents[1] / "docs" / "figures"
THREE_TAPS = {"delays_s": [0.0, 1e-6, 2.5e-6], "powers_db": [0.0, -3.0, -6.0]}
CASES: tuple[tuple[str, float, dict[str, Any], str], ...] = (
    ("usrp-octoclock", 19.0, {}, "≤ -28"),
    ("pluto-tcxo, Allan 1e-10", 20.0, {}, "≤ -26"),
    ("pluto-tcxo, Allan 1e-9", 20.0, {"allan_deviation": 1e-9}, "≤ -18"),
    ("pluto-tcxo, three taps", 20.0, THREE_TAPS, "≤ -20"),
    ("usrp-octoclock, three taps", 20.0, THREE_TAPS, "≤ -20"),
    ("pluto-tcxo, 100 ms turnaround", 20.0, {"turnaround_s": 0.1, "sync_beacons": 4}, ""),
)
TURNAROUNDS_S = (2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 100e-3, 150e-3)
ALLAN_DEVIATIONS = (1e-10, 3e-10, 1e-9)


@dataclass(frozen=True)
class Round:
    """One round over samples, and the same over symbols."""

    config: ExperimentConfig
    symbol: Combined
    iq: Combined
    seconds: float
    symbol_seconds: float
    residual_cfo_hz: np.ndarray  # see `_residual_cfo_hz`

    def nmse_db(self, combined: Combined) -> float:
        value = combined.record["nmse_db"]
        assert isinstance(value, float)
        return value


def play(
    seed: int, snr_db: float, dim: int = DIM, devices: int = 10, scored: bool = True, **iq: Any
) -> Round:
    """The first round of a run: top-k of Gaussian updates over a flat or selective Rayleigh air."""
    config = ExperimentConfig.model_validate(
        {
            "name": "bench",
            "seed": seed,
            "uplink": "iq",
            "devices": {"num_devices": devices, "num_active": devices},
            "channel": {"snr_db": snr_db},
            "iq": {"error_budget": scored, **iq},
        }
    )
    updates = np.random.default_rng(seed).standard_normal((devices, dim)).astype(np.float32)
    who = np.arange(devices)
    symbols = symbol_uplink(config)
    begin = time.perf_counter()
    over_symbols = build_scheme(config, dim, symbols).combine(0, who, updates, {}, _no_lap)
    symbol_seconds = time.perf_counter() - begin
    closed = VirtualBench(config, config.compression.symbols(dim), symbols.path_amplitudes)
    with closed.open(Path(tempfile.gettempdir())) as bench:
        scheme = build_scheme(config, dim, bench.uplink)
        begin = time.perf_counter()
        over_iq = scheme.combine(0, who, updates, {}, _no_lap)
        seconds = time.perf_counter() - begin
        residual = _residual_cfo_hz(bench.uplink.legs[0]) if scored else np.zeros(0)
    return Round(config, over_symbols, over_iq, seconds, symbol_seconds, residual)


def _residual_cfo_hz(now: RoundOnAir) -> np.ndarray:
    """Slope of each device's true phase over the first burst, [2, loud devices].

    Relative to the receiver's common phase, which is taken out, and in itself.
    """
    score, numerology = now.scores[0], now.timeline.numerology
    loud = score.turns[score.gains > 0.5]
    times = np.arange(loud.shape[1]) * numerology.symbol_length / numerology.sample_rate_hz
    both = (loud, loud + now.bursts[0].rotation)
    slopes = [np.polyfit(times, np.unwrap(turns, axis=1).T, 1)[0] for turns in both]
    return np.array(slopes) / (2 * np.pi)


def _no_lap(stage: str) -> None:
    pass


def measure(quick: bool = False) -> list[Table]:
    """All tables; `quick` takes few seeds, and neither large models nor the figure."""
    tables = [ideal(quick), presets(3 if quick else 16), frequency(2 if quick else 12)]
    if not quick:
        tables += [turnaround(12), speed(), memory()]
    return tables


def ideal(quick: bool) -> Table:
    """All impairments off: estimates over samples against estimates over symbols."""
    rows = []
    for dim in (DIM,) if quick else (DIM, 112_261):
        for devices in (1, 10) if quick else (1, 2, 10, 50):
            one = play(0, math.inf, dim, devices, preset="ideal")
            # Both are scaled to a mean update; what they are divided by differs.
            mean, reference = one.iq.mean_update, one.symbol.mean_update
            scale = float(mean @ reference) / float(reference @ reference)
            error = float(np.linalg.norm(mean / scale - reference) / np.linalg.norm(reference))
            rows.append((f"{dim:,}", str(devices), f"{error:.1e}"))
    return Table(
        "onair-ideal",
        "Round on the air, all impairments off",
        ("d", "devices", "relative error"),
        tuple(rows),
        "Estimate over samples against the estimate over symbols, Rayleigh fading, k/d = 0.04, "
        "M/d = 0.4, no noise; at most 1e-3 is allowed. With 50 devices OAMP is beyond its "
        "transition; the two then agree on the same failure.",
    )


def presets(seeds: int) -> Table:
    """NMSE by preset."""
    rows = []
    for name, snr_db, changes, wanted in CASES:
        preset = name.partition(",")[0]
        rounds = [play(seed, snr_db, preset=preset, **changes) for seed in range(seeds)]
        symbol = np.median([r.nmse_db(r.symbol) for r in rounds])
        iq = [r.nmse_db(r.iq) for r in rounds]
        predicted = np.median([r.iq.record["nmse_predicted_db"] for r in rounds])
        worst = _costs_most([r.iq for r in rounds])
        rows.append(
            (
                name,
                f"{snr_db:.0f}",
                f"{symbol:.1f}",
                f"{np.median(iq):.1f}",
                f"{np.percentile(iq, 10):.1f} … {np.percentile(iq, 90):.1f}",
                f"{predicted:.1f}",
                wanted,
                worst,
            )
        )
    return Table(
        "onair-presets",
        "Round on the air by preset",
        (
            "bench",
            "SNR [dB]",
            "over symbols [dB]",
            "over samples [dB]",
            "10 … 90 %",
            "predicted [dB]",
            "wanted",
            "costs most",
        ),
        tuple(rows),
        f"NMSE of the recovered sum, medians over {seeds} seeds; ten devices, d = {DIM:,}, "
        "k/d = 0.04, M/d = 0.4, Rayleigh, 100 ms control round trip, 20 ms turnaround of a Pluto "
        "unless said. The last column is the largest entry of the error budget after noise.",
    )


def _costs_most(rounds: list[Combined]) -> str:
    budgets = [r.record["budget"] for r in rounds]
    causes = [cause for cause in budgets[0] if cause not in ("noise", "compression")]
    shares = {cause: float(np.median([b[cause] for b in budgets])) for cause in causes}
    cause = max(shares, key=lambda name: shares[name])
    return f"{cause}, {10 * math.log10(shares[cause]):.0f} dB"


def frequency(seeds: int) -> Table:
    """What is left of the carrier offset while data are sent."""
    rows = []
    for carrier_hz in (915e6, 2.45e9):
        for deviation in (0.0, 1e-10):
            changes = {"carrier_hz": carrier_hz, "offset_ppm": 25.0, "allan_deviation": deviation}
            rounds = [play(seed, 20.0, preset="pluto-tcxo", **changes) for seed in range(seeds)]
            residual = np.concatenate([r.residual_cfo_hz for r in rounds], axis=1)
            relative, itself = np.sqrt(np.mean(residual**2, axis=1))
            rows.append(
                (
                    f"{carrier_hz / 1e6:,.0f}",
                    f"{deviation:g}",
                    str(residual.shape[1]),
                    f"{itself:.2f}",
                    f"{relative:.2f}",
                    f"{1e6 * itself / carrier_hz:.1e}",
                )
            )
    return Table(
        "onair-frequency",
        "Residual frequency while data are sent",
        (
            "carrier [MHz]",
            "Allan deviation",
            "devices",
            "rms [Hz]",
            "against the common phase [Hz]",
            "skew, rms [ppm]",
        ),
        tuple(rows),
        "Oscillators up to 25 ppm off either way, 20 dB, 1 MS/s, the default frame with 20 ms "
        "turnaround, devices with a gain above 0.5: slope of the true phase error over the burst. "
        "At most 0.5 Hz and 0.2 ppm are allowed. Two radios 50 ppm apart at 2.45 GHz differ by 122 "
        "kHz, which pushes the outermost carriers past the edge of the sampled band: at 10 ppm the "
        "offset alone leaves 0.12 Hz there too. What oscillators walk after the last beacon comes "
        "on top. The skew follows from the carrier, one oscillator making both.",
    )


def turnaround(seeds: int) -> Table:
    """NMSE over turnaround, also as a figure."""
    curves: dict[float, list[float]] = {}
    for deviation in ALLAN_DEVIATIONS:
        curves[deviation] = []
        for turnaround_s in TURNAROUNDS_S:
            changes = {"turnaround_s": turnaround_s, "allan_deviation": deviation}
            rounds = [
                play(s, 20.0, preset="pluto-tcxo", sync_beacons=4, **changes) for s in range(seeds)
            ]
            curves[deviation].append(float(np.median([r.nmse_db(r.iq) for r in rounds])))
    _draw(curves)
    return Table(
        "onair-turnaround",
        "NMSE over turnaround",
        ("turnaround [ms]", *(f"Allan {d:g} [dB]" for d in ALLAN_DEVIATIONS)),
        tuple(
            (f"{1e3 * t:g}", *(f"{curves[d][i]:.1f}" for d in ALLAN_DEVIATIONS))
            for i, t in enumerate(TURNAROUNDS_S)
        ),
        f"pluto-tcxo at 20 dB, four sync beacons, medians over {seeds} seeds. A stock Pluto driven "
        "by its host needs 50 to over 100 ms from the last beacon to its samples on the air.",
    )


def _draw(curves: dict[float, list[float]]) -> None:
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for deviation, values in curves.items():
        axes.plot(1e3 * np.array(TURNAROUNDS_S), values, marker="o", label=f"{deviation:g}")
    axes.set_xscale("log")
    axes.set_xticks([1e3 * t for t in TURNAROUNDS_S], [f"{1e3 * t:g}" for t in TURNAROUNDS_S])
    axes.minorticks_off()
    axes.set_xlabel("turnaround: last sync beacon to data [ms]")
    axes.set_ylabel("NMSE of the recovered sum [dB]")
    axes.grid(alpha=0.3)
    axes.legend(title="Allan deviation at 0.1 s", frameon=False)
    figure.savefig(FIGURES / "turnaround.png", dpi=150)


def speed() -> Table:
    """Seconds of a whole round without learning."""
    rows = []
    for preset in ("usrp-octoclock", "pluto-tcxo"):
        for scored in (False, True):
            rounds = [play(0, 20.0, 112_261, scored=scored, preset=preset) for _ in range(5)]
            seconds = min(r.seconds for r in rounds)
            symbol = min(r.symbol_seconds for r in rounds)
            budget = "yes" if scored else "no"
            rows.append((preset, budget, f"{seconds:.2f}", f"{symbol:.3f}"))
    return Table(
        "onair-speed",
        "Seconds of a round on the air",
        ("preset", "error budget", "over samples [s]", "over symbols [s]"),
        tuple(rows),
        "Sparsify, compress, send, receive, recover: d = 112,261, r = 10, M/d = 0.4, one core, "
        "best of 5. At most 1 s is allowed. The error budget renders each burst five more times.",
    )


def memory() -> Table:
    """Peak memory of the largest model."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_large, args=(theirs,))
    process.start()
    before, peak, seconds, error_db = json.loads(ours.recv())
    process.join()
    return Table(
        "onair-memory",
        "Memory of a round on the air",
        ("d", "M", "r", "symbols to send [MB]", "peak [MB]", "seconds", "error of the sum [dB]"),
        (
            (
                "10,000,000",
                "4,000,000",
                "10",
                f"{before:.0f}",
                f"{peak:.0f}",
                f"{seconds:.0f}",
                f"{error_db:.1f}",
            ),
        ),
        "Largest resident memory of the process that sends and receives all symbols, with "
        "these symbols, interpreter and libraries; usrp-octoclock at 20 dB with its error "
        "budget; 351 bursts, each rendered, received and forgotten in turn. At most 1 GB is "
        "allowed. Ten dense updates and their sparse parts are another 1.6 GB where one process "
        "plays all devices: each device holds its own.",
    )


def _large(answer: Any) -> None:
    devices, num_symbols = 10, 4_000_000
    config = ExperimentConfig.model_validate(
        {
            "name": "bench",
            "uplink": "iq",
            "devices": {"num_devices": devices, "num_active": devices},
            "channel": {"snr_db": 20.0},
            "iq": {"preset": "usrp-octoclock"},
        }
    )
    rng, who = np.random.default_rng(0), np.arange(devices)
    sent = np.empty((devices, num_symbols), np.complex64)
    for row in sent:
        row[:] = rng.standard_normal(2 * num_symbols, dtype=np.float32).view(np.complex64)
    sent *= np.float32(math.sqrt(0.5))
    with VirtualBench(config, num_symbols, np.ones(devices)).open(Path("/nowhere")) as bench:
        begin = time.perf_counter()
        bench.uplink.sound(0, who)
        reception = bench.uplink.transmit(0, who, sent)
        seconds = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    clean = reception.true_gains @ sent
    error = np.mean(np.abs(reception.symbols - clean) ** 2) / np.mean(np.abs(clean) ** 2)
    answer.send(json.dumps([sent.nbytes / 2**20, peak, seconds, 10 * math.log10(error)]))


if __name__ == "__main__":
    for table in measure():
        print(table.markdown())
