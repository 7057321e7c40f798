"""Gradients of the loss after adaptation, and adaptation itself (Finn, Abbeel, Levine 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fl_core.models import FewShotModel
from fl_core.tasks.episode import Episode

Variant = Literal["exact", "first_order", "hessian_free", "plain"]


@dataclass(frozen=True)
class MetaGradient:
    """What one meta-learning step of T tasks needs.

    Attributes:
        gradient: [T, d].
        loss: [T], of the adapted parameters on the query set (``plain``: of the given parameters
            on all examples).
    """

    gradient: Tensor
    loss: Tensor


def meta_gradient(
    model: FewShotModel,
    params: Tensor,
    episode: Episode,
    adapt_lr: float,
    variant: Variant = "exact",
    difference: float = 1e-2,
) -> MetaGradient:
    """The gradient, by the initial parameters θ, of the query loss after one adaptation step.

    With f the support loss, F the query loss and v = ∇F(θ − α∇f(θ)):

    - ``exact``: v − α∇²f(θ)v. ∇f is linearised once; its Hessian-vector product reuses that.
    - ``first_order``: v.
    - ``hessian_free``: as exact, with ∇²f(θ)v from a central difference of ∇f along v (Fallah,
      Mokhtari, Ozdaglar, "Personalized federated learning with theoretical guarantees", 2020). A
      difference does not see the curvature of ReLU networks: it is *wrong* there (4 to 9 times the
      error of first order) and costs as much as the exact product. For smooth activations only.
    - ``plain``: no adaptation, the gradient of the loss on support and query together:
      conventional federated learning.

    Args:
        model: gives losses and derivatives.
        params: θ, [d] shared by all tasks, or [T, d].
        episode: T stacked tasks.
        adapt_lr: α.
        variant: see above.
        difference: length ‖εv‖ of the step to either side that ``hessian_free`` takes.

    Raises:
        ValueError: unknown variant.
    """
    support = episode.support_x, episode.support_y
    query = episode.query_x, episode.query_y
    if variant == "plain":
        x, y = (torch.cat(pair, dim=1) for pair in zip(support, query, strict=True))
        loss, gradient = model.loss_and_gradient(params, x, y)
    elif variant == "exact":
        there = model.linearise(params, *support)
        adapted = torch.sub(params, there.gradient, alpha=adapt_lr)
        loss, outer = model.loss_and_gradient(adapted, *query)
        gradient = torch.sub(outer, there.hvp(outer), alpha=adapt_lr)
    elif variant in ("first_order", "hessian_free"):
        loss, gradient = model.loss_and_gradient(adapt(model, params, *support, adapt_lr), *query)
        if variant == "hessian_free":
            epsilon = difference / gradient.norm(dim=1, keepdim=True).clamp_min(1e-30)
            _, ahead = model.loss_and_gradient(params + epsilon * gradient, *support)
            _, behind = model.loss_and_gradient(params - epsilon * gradient, *support)
            gradient = gradient - adapt_lr * (ahead - behind) / (2 * epsilon)
    else:
        raise ValueError(
            f"variant is {variant!r}; use 'exact', 'first_order', 'hessian_free' or 'plain'"
        )
    return MetaGradient(gradient, loss)


def adapt(
    model: FewShotModel, params: Tensor, x: Tensor, y: Tensor, adapt_lr: float, steps: int = 1
) -> Tensor:
    """Parameters [T, d] after `steps` (0 or more) gradient steps of each task on its examples.

    Args:
        model: gives the gradients.
        params: where all tasks start, [d], or each its own, [T, d].
        x: [T, B, *input_shape].
        y: targets of `x`.
        adapt_lr: step size α.
        steps: 0 returns the parameters as they are, for each task.
    """
    if steps < 0:
        raise ValueError(f"steps is {steps}; use 0 or more")
    for _ in range(steps):
        _, gradient = model.loss_and_gradient(params, x, y)
        params = torch.sub(params, gradient, alpha=adapt_lr)
    return params.expand(len(x), -1)
