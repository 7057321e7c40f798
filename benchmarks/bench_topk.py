"""Exact top-k selection of a float32 vector, beside numpy's and torch's."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.table import Table, best_of
from fl_core.sparsifier import TopK

SMALL = ((112_261, 0.01), (1_000_000, 0.01))
LARGE = ((10_000_000, 0.001), (10_000_000, 0.01), (10_000_000, 0.1))


def measure(quick: bool = False) -> list[Table]:
    """Milliseconds to the indices of the k largest magnitudes; `quick` leaves d = 1e7 out."""
    cases = SMALL if quick else SMALL + LARGE
    return [
        Table(
            name="topk",
            title="Exact top-k",
            header=("d", "k/d", "TopK", "argpartition", "torch.topk", "× numpy", "× torch"),
            rows=tuple(_row(dim, density) for dim, density in cases),
            note="Milliseconds to the indices of the k largest magnitudes of a Gaussian float32 "
            "vector, one thread, best of 7 in turns. TopK alone breaks ties by index, returns the "
            "indices sorted and refuses NaN. Limit: one pass over the vector, "
            "4 bytes an entry.",
        )
    ]


def _row(dim: int, density: float) -> tuple[str, ...]:
    v = np.random.default_rng(0).standard_normal(dim, dtype=np.float32)
    k = round(density * dim)
    ours, numpys, torchs = best_of(
        {
            "TopK": partial(TopK(k).indices, v),
            "argpartition": partial(_by_argpartition, v, k),
            "torch.topk": partial(_by_torch, torch.from_numpy(v), k),
        },
        repeats=7,
    ).values()
    kept = np.sort(np.abs(v[TopK(k).indices(v)]))
    if not np.array_equal(kept, np.sort(np.abs(v[_by_argpartition(v, k)]))):
        raise AssertionError("TopK and numpy keep different magnitudes")
    milliseconds = (f"{1e3 * seconds:.2f}" for seconds in (ours, numpys, torchs))
    return (
        f"{dim:,}",
        f"{density:g}",
        *milliseconds,
        f"{numpys / ours:.1f}",
        f"{torchs / ours:.1f}",
    )


def _by_argpartition(v: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.int64]:
    return np.argpartition(np.abs(v), v.size - k)[-k:]


def _by_torch(v: torch.Tensor, k: int) -> torch.Tensor:
    return torch.topk(v.abs(), k, sorted=False).indices


if __name__ == "__main__":
    for table in measure():
        print(table.markdown())
