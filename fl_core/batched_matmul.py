"""Products of many matrices with one or many others, by whichever library is faster here."""

from __future__ import annotations

import torch
from torch import Tensor

# Below this much work a product is dominated by the cost of the call, which oneDNN's interface
# pays once per matrix and a batched product once altogether.
_SMALL_FLOP = 4e6


def batched_matmul(x: Tensor, w: Tensor) -> Tensor:
    """x @ w for each of T tasks: [T, P, K] by [T, K, N], or by [1, K, N] shared: [T, P, N].

    A shared matrix is multiplied with all rows at once. In float32 on a CPU, larger products go to
    oneDNN, whose generated AVX-512 code reaches twice the rate of MKL on AMD processors.
    """
    tasks, rows, inner = x.shape
    columns = w.shape[2]
    if len(w) == 1:
        return _matmul(x.reshape(-1, inner), w[0]).view(tasks, rows, columns)
    if 2 * rows * inner * columns < _SMALL_FLOP or not _onednn_takes(x):
        return torch.bmm(x, w)
    return torch.stack([_onednn(a, b) for a, b in zip(x.unbind(), w.unbind(), strict=True)])


def _matmul(x: Tensor, w: Tensor) -> Tensor:
    if x.shape[0] * x.shape[1] * w.shape[1] * 2 < _SMALL_FLOP or not _onednn_takes(x):
        return x @ w
    return _onednn(x, w)


def _onednn_takes(x: Tensor) -> bool:
    return (
        x.dtype == torch.float32 and x.device.type == "cpu" and torch.backends.mkldnn.is_available()
    )


def _onednn(x: Tensor, w: Tensor) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, w.mT, None, "none", [], "")
    return product
