"""The server's part of a round: whom to ask, how large a step, and the step itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from fl_core.streams import stream

Vector = npt.NDArray[np.float32]


def draw_devices(
    run_seed: int, round_index: int, num_devices: int, num_active: int
) -> npt.NDArray[np.int64]:
    """The active set S_t: `num_active` of `num_devices`, uniform without replacement, int64 [r]."""
    rng = stream(run_seed, "active devices", round_index)
    return np.sort(rng.choice(num_devices, size=num_active, replace=False)).astype(np.int64)


@dataclass(frozen=True)
class MetaLearningRate:
    """The outer step size eta_t, constant or decaying.

    Attributes:
        initial: eta_0 > 0.
        schedule: ``constant``; ``inverse``: eta_0 / (1 + t/tau); ``inverse_sqrt``:
            eta_0 / sqrt(1 + t/tau); ``cosine``: half a cosine from eta_0 to 0 over the run.
        decay_rounds: tau.
        rounds: length of the run, for ``cosine``.
    """

    initial: float
    schedule: Literal["constant", "inverse", "inverse_sqrt", "cosine"]
    decay_rounds: float
    rounds: int

    def __call__(self, round_index: int) -> float:
        """eta_t for t = `round_index`, counted from 0."""
        age = round_index / self.decay_rounds
        if self.schedule == "inverse":
            return self.initial / (1 + age)
        if self.schedule == "inverse_sqrt":
            return self.initial / math.sqrt(1 + age)
        if self.schedule == "cosine":
            return self.initial * (1 + math.cos(math.pi * min(1, round_index / self.rounds))) / 2
        return self.initial


def step(params: Vector, mean_update: Vector) -> Vector:
    """theta_{t+1} = theta_t - mean update, float32 [d].

    The updates are differences of parameters and so carry eta_t already.
    """
    return params - mean_update
