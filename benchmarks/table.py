"""A table of measurements, and how a kernel is timed: best of N, references in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

torch.set_num_threads(1)


@dataclass(frozen=True)
class Table:
    """One benchmark's outcome.

    `name` is the file name under benchmarks/results, `note` says what was measured and the limit.
    """

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        lines = [f"### {self.title}", "", " | ".join(("", *self.header, "")).strip()]
        lines.append("|" + "---|" * len(self.header))
        lines += [" | ".join(("", *row, "")).strip() for row in self.rows]
        return "\n".join([*lines, "", self.note, ""])


def best_of(kernels: dict[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """Seconds of the fastest of `repeats` calls of each kernel, taken in turns.

    Turns spread a disturbance of the machine over all kernels, so that ratios can be trusted.
    """
    best = {name: float("inf") for name in kernels}
    for kernel in kernels.values():
        kernel()
    for _ in range(repeats):
        for name, kernel in kernels.items():
            start = time.perf_counter()
            kernel()
            best[name] = min(best[name], time.perf_counter() - start)
    return best
