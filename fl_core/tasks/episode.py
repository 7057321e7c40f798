"""A few-shot task and who may draw one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch


@dataclass(frozen=True)
class Episode:
    """One task, or T stacked tasks when every tensor has a leading axis T.

    Attributes:
        support_x: float32 [S, *input_shape], what a device adapts on (D in the paper).
        support_y: int64 [S] class labels, or float32 [S, num_outputs] targets.
        query_x: float32 [B, *input_shape], what the adapted model is judged on (D').
        query_y: as `support_y`, [B, ...].
    """

    support_x: torch.Tensor
    support_y: torch.Tensor
    query_x: torch.Tensor
    query_y: torch.Tensor

    def to(self, device: str) -> Episode:
        """The same episode on a torch device; itself when it is there already."""
        if self.support_x.device == torch.device(device):
            return self
        tensors = (self.support_x, self.support_y, self.query_x, self.query_y)
        return Episode(*(tensor.to(device) for tensor in tensors))


def stack(episodes: Sequence[Episode]) -> Episode:
    """T single episodes of equal shapes as one with leading axis T."""
    return Episode(
        torch.stack([e.support_x for e in episodes]),
        torch.stack([e.support_y for e in episodes]),
        torch.stack([e.query_x for e in episodes]),
        torch.stack([e.query_y for e in episodes]),
    )


class Population(Protocol):
    """Devices that each own a distribution over tasks."""

    def __len__(self) -> int:
        """How many devices there are."""

    def sample(self, device: int, rng: np.random.Generator) -> Episode:
        """Draw one task of this device, 0 <= device < len(self)."""


@dataclass(frozen=True)
class TaskFamily:
    """Training devices, new devices, and the shape of what they learn.

    Attributes:
        name: e.g. ``"omniglot"``.
        train: devices that take part in pre-training.
        heldout: new devices, whose data pre-training never saw.
        input_shape: of one example, e.g. (1, 28, 28).
        num_outputs: classes of a task, or outputs of the regression.
        kind: decides the loss and whether accuracy is defined.
    """

    name: str
    train: Population
    heldout: Population
    input_shape: tuple[int, ...]
    num_outputs: int
    kind: Literal["classification", "regression"]
