"""What the active devices compute between two uplinks: their local meta-learning steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fl_core.meta_gradient import Variant, meta_gradient
from fl_core.models import FewShotModel
from fl_core.tasks.episode import Episode


@dataclass(frozen=True)
class LocalUpdate:
    """What r devices learnt in one round.

    Attributes:
        delta: Δ = θ − θ^Q, [r, d]; the server steps against it.
        loss: [r], mean over local steps and tasks of the loss that the steps descend.
    """

    delta: Tensor
    loss: Tensor


def local_update(
    model: FewShotModel,
    params: Tensor,
    episodes: Sequence[Episode],
    adapt_lr: float,
    meta_lr: float,
    variant: Variant = "exact",
    tasks_per_step: int = 1,
) -> LocalUpdate:
    """Q steps of local meta-SGD from common parameters, on r devices at once.

    Args:
        model: the model to learn.
        params: θ, [d].
        episodes: one per local step, so Q = len(episodes). Each holds r·B stacked tasks, B =
            `tasks_per_step`, those of device 0 first.
        adapt_lr: step size α of the adaptation.
        meta_lr: step size η of the local steps.
        variant: of the meta-gradient.
        tasks_per_step: tasks B over which a device averages one step.

    Raises:
        ValueError: no episode, or one whose tasks do not divide into steps.
    """
    if not episodes:
        raise ValueError("there is no episode; each local step needs one")
    num_tasks = len(episodes[0].support_x)
    if tasks_per_step < 1 or num_tasks % tasks_per_step:
        raise ValueError(
            f"tasks_per_step is {tasks_per_step}; use a positive divisor of the {num_tasks} tasks"
        )
    num_devices = num_tasks // tasks_per_step
    local, losses = params, []
    for episode in episodes:
        # The first step is taken from shared parameters, which models compute faster.
        of_tasks = local if local is params else local.repeat_interleave(tasks_per_step, dim=0)
        step = meta_gradient(model, of_tasks, episode, adapt_lr, variant)
        for gradient in step.gradient.view(num_devices, tasks_per_step, -1).unbind(dim=1):
            local = torch.sub(local, gradient, alpha=meta_lr / tasks_per_step)
        losses.append(step.loss.view(num_devices, tasks_per_step).mean(dim=1))
    return LocalUpdate(params - local, torch.stack(losses).mean(dim=0))
