"""Sparsified but noiseless: what the k-contraction costs, apart from what the air costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fl_core.round import Combined, Devices, Lap, Memory, Vector, sparsify_updates
from fl_core.sparsifier import Contraction


@dataclass(frozen=True)
class Noiseless:
    """The mean of the sparsified updates, with long-term memory, and no channel."""

    run_seed: int
    contraction: Contraction

    def combine(
        self, round_index: int, devices: Devices, updates: Vector, memory: Memory, lap: Lap
    ) -> Combined:
        """Sparsify as over the air, then average exactly."""
        sparse, left = sparsify_updates(
            self.run_seed, self.contraction, round_index, devices, updates, memory
        )
        lap("sparsify")
        kept = {int(i): m for i, m in zip(devices, left, strict=True)}
        record = {
            "union_density": float(np.count_nonzero(sparse.any(axis=0)) / updates.shape[1]),
            "participation": 1.0,
            "failed": False,
        }
        return Combined(sparse.mean(axis=0, dtype=np.float32), kept, symbols=0, record=record)
