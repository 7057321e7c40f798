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


def products(*terms: Term, into: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
    """Σ x @ w for T tasks, a few tasks at a time.

    In float32 on a CPU, larger products go to oneDNN, whose generated AVX-512 code reaches twice
    the rate of MKL on AMD processors. They come task by task, so that whatever is done with one
    finds it in the cache.

    Args:
        terms: x [T, P, K] and w [T, K, N], or [1, K, N] where the tasks share it.
        into: what the products are for, each with a leading axis T.

    Yields:
        The products [t, P, N] of the next t tasks, and those tasks' parts of each of `into`.
    """
    (x, w), *_ = terms
    onednn = _HAS_ONEDNN and x.dtype == torch.float32 and x.is_cpu
    if onednn and 2 * x.shape[1] * x.shape[2] * w.shape[2] >= _SMALL_FLOP:
        parts = (torch.split(target, 1) for target in into)
        yield from zip(_products_by_task(*terms), *parts, strict=True)
    else:
        total = _product_of_all(*terms[0], onednn)
        for x, w in terms[1:]:
            total += _product_of_all(x, w, onednn)
        yield total, *into


def multiply(out: Tensor, *terms: Term) -> Tensor:
    """The same, written to `out` [T, P, N] and returned."""
    for product, part in products(*terms, into=(out,)):
        part.copy_(product)
    return out


def _products_by_task(*terms: Term) -> Iterator[Tensor]:
    # A linear layer is x @ weight.T; its weight may lie in memory in either order.
    unbound = [(x.unbind(), w.mT.expand(len(x), -1, -1).unbind()) for x, w in terms]
    for task in range(len(terms[0][0])):
        (x, weight), *others = [(xs[task], weights[task]) for xs, weights in unbound]
        total = _linear(x, weight)
        for x, weight in others:
            total = torch.ops.mkldnn._linear_pointwise.binary(x, total, weight, None, "add")
        yield total.unsqueeze(0)


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
