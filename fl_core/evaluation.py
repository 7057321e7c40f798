"""Adaptation on tasks never seen: what pre-training is for.

A device downloads the parameters, adapts on its shots and is scored on its queries. New tasks of
training devices and tasks of new devices are scored apart; their difference is the
meta-generalization gap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch

from fl_core.meta_gradient import adapt
from fl_core.models import FewShotModel
from fl_core.streams import stream
from fl_core.tasks.episode import Episode, Population

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Adaptation:
    """How a model is adapted before it is scored: `steps` gradient steps of size `lr`."""

    lr: float
    steps: int


@dataclass(frozen=True)
class Score:
    """Means over tasks with half-widths of their 95 % confidence intervals.

    `accuracy` is None for regression. `loss` is cross entropy in nats, or mean squared error.
    """

    accuracy: float | None
    accuracy_ci95: float | None
    loss: float
    loss_ci95: float
    tasks: int

    def as_dict(self) -> dict[str, float | int | None]:
        """JSON types."""
        return asdict(self)


def draw_tasks(population: Population, purpose: str, run_seed: int, tasks: range) -> list[Episode]:
    """Tasks `tasks` of an endless seeded list, dealt to the population's devices in turn.

    The list depends on the seed and the purpose only, so that every scheme and every round of a run
    is scored on the same tasks.
    """
    return [
        population.sample(index % len(population), stream(run_seed, purpose, index))
        for index in tasks
    ]


def score_tasks(
    model: FewShotModel, params: torch.Tensor, episode: Episode, adaptation: Adaptation
) -> Scores:
    """Accuracy and loss of every task after adaptation.

    Args:
        model: the few-shot model.
        params: flat parameters [d].
        episode: T stacked tasks.
        adaptation: number and size of the steps.

    Returns:
        float64 [T, 2]: accuracy in 0..1 (NaN for regression) and loss.
    """
    adapted = adapt(
        model, params, episode.support_x, episode.support_y, adaptation.lr, adaptation.steps
    )
    with torch.no_grad():
        outputs = model.predict(adapted, episode.query_x)
        target = episode.query_y
        if target.is_floating_point():
            loss = (outputs - target).square().flatten(1).mean(1)
            accuracy = torch.full_like(loss, math.nan)
        else:
            log_probability = outputs.log_softmax(-1).gather(-1, target[..., None])
            loss = -log_probability.flatten(1).mean(1)
            accuracy = (outputs.argmax(-1) == target).double().mean(1)
    return torch.stack([accuracy.double(), loss.double()], dim=1).cpu().numpy()


def summarise(parts: Sequence[Scores]) -> Score:
    """Means over at least two tasks and their 95 % confidence intervals (normal approximation)."""
    scores = np.concatenate(parts)
    tasks = len(scores)
    mean = scores.mean(axis=0)
    with np.errstate(invalid="ignore"):  # a diverged model has infinite losses
        half = 1.96 * scores.std(axis=0, ddof=1) / math.sqrt(tasks)
    known = not math.isnan(mean[0])
    return Score(
        accuracy=float(mean[0]) if known else None,
        accuracy_ci95=float(half[0]) if known else None,
        loss=float(mean[1]),
        loss_ci95=float(half[1]),
        tasks=tasks,
    )
