"""Sums of matrix products for many tasks, by whichever library is faster here."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

Term = tuple[Tensor, Tensor]

# Below this much work per task a product is dominated by the cost of its call, which oneDNN's
# interface pays once per matrix and a batched product once altogether.
_SMALL_FLOP = 4e6

_HAS_ONEDNN = hasattr(torch.ops.mkldnn, "_linear_pointwise")


def products(*terms: Term) -> Iterator[tuple[slice, Tensor]]:
    """Σ x @ w for T tasks, a few tasks at a time: yields which tasks, and their [t, P, N].

    In float32 on a CPU, larger products go to oneDNN, whose generated AVX-512 code reaches twice
    the rate of MKL on AMD processors. They come task by task, so that whatever is done with one
    finds it in the cache.

    Args:
        terms: x [T, P, K] and w [T, K, N], or [1, K, N] where the tasks share it.
    """
    (x, w), *_ = terms
    onednn = x.dtype == torch.float32 and x.is_cpu and _HAS_ONEDNN
    if onednn and 2 * x.shape[1] * x.shape[2] * w.shape[2] >= _SMALL_FLOP:
        yield from _products_by_task(*terms)
    else:
        summands = [_product_of_all(x, w, onednn) for x, w in terms]
        for other in summands[1:]:
            summands[0] += other
        yield slice(len(x)), summands[0]


def multiply(out: Tensor, *terms: Term) -> Tensor:
    """The same, written to `out` [T, P, N] and returned."""
    for tasks, product in products(*terms):
        out[tasks] = product
    return out


def _products_by_task(*terms: Term) -> Iterator[tuple[slice, Tensor]]:
    tasks = len(terms[0][0])
    # A linear layer is x @ weight.T; its weight may lie in memory in either order.
    unbound = [(x.unbind(), w.mT.expand(tasks, -1, -1).unbind()) for x, w in terms]
    for task in range(tasks):
        (x, weight), *others = [(xs[task], weights[task]) for xs, weights in unbound]
        total = _linear(x, weight)
        for x, weight in others:
            total = torch.ops.mkldnn._linear_pointwise.binary(x, total, weight, None, "add")
        yield slice(task, task + 1), total.unsqueeze(0)


def _product_of_all(x: Tensor, w: Tensor, onednn: bool) -> Tensor:
    """A shared matrix is multiplied with the rows of all tasks at once."""
    if len(w) == len(x):
        return torch.bmm(x, w)
    rows = x.flatten(0, 1)
    product = _linear(rows, w[0].mT) if onednn else rows @ w[0]
    return product.view(*x.shape[:2], -1)


def _linear(x: Tensor, weight: Tensor) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return product
