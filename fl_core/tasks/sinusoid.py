"""Sinusoid regression: y = amplitude * sin(x - phase), a task where adaptation can be seen.

Source: Finn, Abbeel, Levine, "Model-Agnostic Meta-Learning", ICML 2017, section 5.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fl_core.errors import InputError
from fl_core.tasks.episode import Episode

AMPLITUDES = (0.1, 5.0)
PHASES_RAD = (0.0, math.pi)
INPUTS = (-5.0, 5.0)


@dataclass(frozen=True)
class SinusoidPopulation:
    """Devices that each own a range of amplitudes and one of phases.

    Attributes:
        low: float64 [devices, 2], smallest amplitude and phase (rad) of each device.
        high: float64 [devices, 2], the largest.
        shots: support points of a task.
        queries: query points of a task.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    shots: int
    queries: int

    def __post_init__(self) -> None:
        if self.shots < 1 or self.queries < 1:
            raise InputError(f"shots={self.shots}, queries={self.queries}: both must be at least 1")

    def __len__(self) -> int:
        return len(self.low)

    def sample(self, device: int, rng: np.random.Generator) -> Episode:
        """Draw one task: x and y float32 [shots, 1] and [queries, 1]."""
        amplitude, phase = rng.uniform(self.low[device], self.high[device])
        x = rng.uniform(*INPUTS, size=(self.shots + self.queries, 1))
        y = amplitude * np.sin(x - phase)
        inputs, targets = (torch.from_numpy(a.astype(np.float32)) for a in (x, y))
        return Episode(
            inputs[: self.shots],
            targets[: self.shots],
            inputs[self.shots :],
            targets[self.shots :],
        )


def populate(
    *, num_devices: int, num_new_devices: int, shots: int, queries: int, rng: np.random.Generator
) -> tuple[SinusoidPopulation, SinusoidPopulation]:
    """Training and new devices, each with its own cell of the amplitude-phase rectangle.

    The cells form a square grid and are dealt out at random, so that what new devices own lies
    among, but never inside, what training devices own.

    Raises:
        InputError: a count that is not positive.
    """
    if num_devices < 1 or num_new_devices < 1:
        raise InputError(
            f"num_devices={num_devices}, num_new_devices={num_new_devices}: both must be at least 1"
        )
    total = num_devices + num_new_devices
    side = math.ceil(math.sqrt(total))
    cells = np.stack(np.divmod(rng.permutation(side * side)[:total], side), axis=1)
    start = np.array([AMPLITUDES[0], PHASES_RAD[0]])
    size = (np.array([AMPLITUDES[1], PHASES_RAD[1]]) - start) / side
    low = start + cells * size
    high = low + size
    return (
        SinusoidPopulation(low[:num_devices], high[:num_devices], shots, queries),
        SinusoidPopulation(low[num_devices:], high[num_devices:], shots, queries),
    )
