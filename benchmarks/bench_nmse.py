"""Recovery error over sparsity, compression and SNR, beside theory, a genie and a prototype."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmarks.table import Table
from fl_core.compression import PartialDFT
from fl_core.denoisers import BernoulliGaussian, Bimodal
from fl_core.estimators import Genie
from fl_core.oamp import oamp
from fl_core.theory import state_evolution

DEVICES = 10
SNRS_DB = (10, 19, 30)
# (k/d, M/d): what a prototype reached with half-spectrum rows, in dB at 10, 19 and 30 dB.
PROTOTYPE = {
    (0.01, 0.2): (-12.0, -23.9, -35.1),
    (0.01, 0.4): (-17.8, -27.7, -38.8),
    (0.01, 0.8): (-21.3, -30.9, -42.0),
    (0.04, 0.2): (-2.1, -2.4, -2.4),
    (0.04, 0.4): (-8.7, -21.5, -32.7),
    (0.04, 0.8): (-15.3, -25.0, -36.3),
    (0.10, 0.4): (-5.7, -7.2, -7.3),
    (0.10, 0.8): (-12.3, -22.1, -33.2),
}
HEADER = (
    "k/d",
    "M/d",
    "SNR [dB]",
    "prototype",
    "OAMP",
    "predicted",
    "state evolution",
    "bimodal",
    "genie",
    "full rows",
    "iterations",
    "beyond",
)


def sum_of_topk(dim: int, density: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Sum of ten Gaussian vectors, each with only its k largest entries kept."""
    total = np.zeros(dim, np.float32)
    k = round(density * dim)
    for _ in range(DEVICES):
        vector = rng.standard_normal(dim, dtype=np.float32)
        kept = np.argpartition(np.abs(vector), dim - k)[dim - k :]
        total[kept] += vector[kept]
    return total


def receive(
    x: npt.NDArray[np.float32], operator: PartialDFT, snr_db: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.complex64], float]:
    """Symbols at an SNR of the received sum, and their noise variance."""
    clean = operator.forward(x)
    noise_var = float(np.mean(np.abs(clean) ** 2)) / 10 ** (snr_db / 10)
    noise = rng.standard_normal((clean.size, 2), dtype=np.float32) * np.sqrt(noise_var / 2)
    return clean + noise.astype(np.float32).view(np.complex64)[:, 0], noise_var


def _db(ratio: float) -> float:
    return float(10 * np.log10(ratio))


def _cell(
    dim: int, density: float, compression: float, snr_db: float, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """One draw of one cell: the figures of HEADER from `OAMP` on."""
    x = sum_of_topk(dim, density, rng)
    power = float(np.mean(x**2))

    def error(estimate: npt.NDArray[np.float32]) -> float:
        return float(np.mean((estimate - x) ** 2)) / power

    half, full = (PartialDFT(dim, round(compression * dim), rng, rows) for rows in ("half", "full"))
    y, noise_var = receive(x, half, snr_db, rng)
    found = oamp(y, half, noise_var, BernoulliGaussian())
    folded = half.fold(y, noise_var)
    theory = state_evolution(
        x,
        folded.undersampling,
        folded.noise_var[folded.observed > 0],
        BernoulliGaussian(),
        rng,
        iterations=50 if found.iterations > 12 else 20,
    )
    y_full, noise_full = receive(x, full, snr_db, rng)
    return np.array(
        [
            error(found.x),
            found.nmse_predicted,
            theory.nmse[-1],
            error(oamp(y, half, noise_var, Bimodal()).x),
            error(Genie(x != 0)(y, half, noise_var).x),
            error(oamp(y_full, full, noise_full, BernoulliGaussian()).x),
            found.iterations,
            found.beyond_transition,
        ]
    )


def measure(quick: bool = False) -> list[Table]:
    """The whole table; `quick` takes a quarter of the length and one draw."""
    dim, draws = (16_384, 1) if quick else (65_536, 3)
    rows, worst_prototype, worst_theory, worst_predicted = [], -np.inf, 0.0, 0.0
    for (density, compression), prototype in PROTOTYPE.items():
        for snr_db, figure in zip(SNRS_DB, prototype, strict=True):
            rng = np.random.default_rng([round(1000 * density), round(10 * compression), snr_db])
            sums = [_cell(dim, density, compression, snr_db, rng) for _ in range(draws)]
            mean = np.mean(sums, axis=0)
            errors = [_db(value) for value in mean[:6]]
            beyond = bool(mean[7] > 0.5)
            if not beyond:
                worst_prototype = max(worst_prototype, errors[0] - figure)
                worst_predicted = max(worst_predicted, abs(errors[0] - errors[1]))
                worst_theory = max(worst_theory, abs(errors[0] - errors[2]))
            cells = (f"{density:g}", f"{compression:g}", f"{snr_db}", f"{figure:.1f}")
            cells += tuple(f"{value:.2f}" for value in errors)
            rows.append((*cells, f"{mean[6]:.0f}", "yes" if beyond else ""))
    note = (
        f"NMSE in dB of the sum of {DEVICES} top-k Gaussian vectors, d = {dim:,}, mean of {draws} "
        "draws; SNR of the received sum per symbol. Prototype: earlier measurement at d = 65,536. "
        "Predicted: what OAMP itself reports, from Stein's formula. Bimodal: OAMP with spike and "
        "two modes. Genie: least squares on the true support. Full rows: drawn from all d rows, "
        "pairs folded. Inside the transition OAMP is at most "
        f"{worst_prototype:+.2f} dB from the prototype, {worst_theory:.2f} dB from its state "
        f"evolution and {worst_predicted:.2f} dB from its own prediction."
    )
    return [Table("nmse", "Recovery error", HEADER, tuple(rows), note)]


if __name__ == "__main__":
    for outcome in measure():
        print(outcome.markdown())
