"""Convolution, batch normalisation and ReLU of many tasks at once, with hand-derived derivatives.

Each block is made at a point (parameters and input) and then asked for derivatives there: the
gradient, and the derivative of activations and gradient along a direction (Pearlmutter's R-operator,
"Fast exact multiplication by the Hessian", 1994). No autograd graph is recorded.

Activations are [T, B, rows, columns, channels]: then the nine taps of a convolution are three
contiguous runs, and gathering them costs little beside the matrix products that follow. The bias of
a convolution is cancelled by the normalisation, so it is ignored and its gradient is zero.

With x̂ = (z − z̄)/σ, u the gradient with respect to x̂, and means over all positions of a task,

    ∂z = (u − ū − x̂·mean(x̂u))/σ     and     ẋ̂ = (ż − mean(ż) − x̂ σ̇)/σ,   σ̇ = mean(x̂ż).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fl_core.batched_matmul import batched_matmul

_EPSILON = 1e-5
_TAPS = 9


class BlockParams(NamedTuple):
    """One block's part of a flat vector; the leading axis is T, or 1 where tasks share it."""

    weight: Tensor  # [T, outputs, 9 * inputs], inputs fastest
    bias: Tensor  # [T, outputs]
    scale: Tensor  # [T, 1, outputs]
    shift: Tensor  # [T, 1, outputs]


class FirstBlock:
    """The block that sees the image.

    With one input channel z = Āw is a product with nine columns, so the statistics of z follow from
    the 9×9 covariance of the centred patches Ā, and the normalisation folds into the weights:
    y = ReLU([Ā, 1]·[γŵ; β]) with ŵ = w/σ. Neither z nor x̂ is ever formed.
    """

    def __init__(self, params: BlockParams, images: Tensor) -> None:
        """`images` are [T, B, 2n, 2n]."""
        tasks, batch, size, _ = images.shape
        self.params = params
        self.shape = (tasks, batch, size // 2, size // 2, -1)
        patches = _patches(_pad(images.unsqueeze(-1)))
        patches = patches - patches.mean(dim=1, keepdim=True)
        self.covariance = torch.bmm(patches.mT, patches) / patches.shape[1]
        self.patches = torch.cat([patches, patches.new_ones(patches.shape[:2]).unsqueeze(-1)], -1)
        weight = params.weight.mT  # [T, 9, C]
        self.std = ((self.covariance @ weight) * weight).sum(1, keepdim=True).add(_EPSILON).sqrt()
        self.unit = weight / self.std
        self.folded = self.covariance @ self.unit
        z = torch.bmm(
            self.patches, torch.cat([params.scale * self.unit, params.shift.expand_as(self.std)], 1)
        )
        self.output = _relu(z.view(self.shape))

    def backward(self, dy: Tensor, gradient: BlockParams) -> None:
        """Write the gradient of the parameters, given that of the output."""
        moments = self._moments(dy)
        self.pull, d_shift = moments[:, :_TAPS], moments[:, _TAPS:]
        self.d_scale = (self.unit * self.pull).sum(1, keepdim=True)
        self.residual = self.pull - self.d_scale * self.folded
        _write(gradient, (self.params.scale / self.std * self.residual).mT, self.d_scale, d_shift)

    def tangent(self, direction: BlockParams) -> Tensor:
        """Derivative of the output along a direction of the parameters."""
        self.direction = direction
        weight = direction.weight.mT
        self.std_dot = (self.folded * weight).sum(1, keepdim=True)
        self.unit_dot = (weight - self.unit * self.std_dot) / self.std
        mixed = direction.scale * self.unit + self.params.scale * self.unit_dot
        z_dot = torch.bmm(self.patches, torch.cat([mixed, direction.shift], 1))
        return _gate(z_dot.view(self.shape), self.output)

    def backward_tangent(self, dy_dot: Tensor, product: BlockParams) -> None:
        """Write the derivative of the gradient, given that of the output's gradient."""
        moments = self._moments(dy_dot)
        pull, d_shift = moments[:, :_TAPS], moments[:, _TAPS:]
        d_scale = (self.unit_dot * self.pull + self.unit * pull).sum(1, keepdim=True)
        residual = pull - d_scale * self.folded - self.d_scale * (self.covariance @ self.unit_dot)
        gain = self.params.scale / self.std
        gain_dot = (self.direction.scale - gain * self.std_dot) / self.std
        _write(product, (gain_dot * self.residual + gain * residual).mT, d_scale, d_shift)

    def _moments(self, dy: Tensor) -> Tensor:
        """Sums over positions of patches times gradient before the ReLU, [T, 10, C]."""
        return torch.bmm(self.patches.mT, _gated(dy, self.output, self.shape))


class Block:
    """A block whose input is another block's output."""

    def __init__(self, params: BlockParams, x: Tensor) -> None:
        """`x` is the padded output of the block before."""
        tasks, batch, rows = x.shape[:3]
        size = rows // 2 - 1
        self.params = params
        self.shape = (tasks, batch, size, size, -1)
        self.patches = _patches(x)
        z = batched_matmul(self.patches, params.weight.mT)
        z -= z.mean(dim=1, keepdim=True)
        std = (z * z).mean(dim=1, keepdim=True).add_(_EPSILON).sqrt_()
        self.gain = 1 / std
        self.unit = z.mul_(self.gain)
        y = torch.addcmul(params.shift, self.unit, params.scale)
        self.output = _relu(y.view(self.shape))

    def backward(self, dy: Tensor, gradient: BlockParams) -> Tensor:
        """Write the gradient of the parameters; return that of the padded input."""
        self.du = _gated(dy, self.output, self.shape)
        n = self.du.shape[1]
        self.mean_du = self.du.mean(dim=1, keepdim=True)
        self.mean_xdu = (self.du * self.unit).mean(dim=1, keepdim=True)
        gain = self.params.scale * self.gain
        self.dz = torch.addcmul(-gain * self.mean_du, self.du, gain)
        self.dz.addcmul_(self.unit, -gain * self.mean_xdu)
        weight = batched_matmul(self.dz.mT, self.patches)
        _write(gradient, weight, n * self.mean_xdu, n * self.mean_du)
        return _scatter(batched_matmul(self.dz, self.params.weight), self.shape)

    def tangent(self, direction: BlockParams, x_dot: Tensor) -> Tensor:
        """Derivative of the output along a direction of parameters and padded input."""
        self.direction = direction
        self.patches_dot = _patches(x_dot)
        z_dot = batched_matmul(self.patches_dot, self.params.weight.mT)
        z_dot += batched_matmul(self.patches, direction.weight.mT)
        self.std_dot = (z_dot * self.unit).mean(dim=1, keepdim=True)
        self.unit_dot = torch.addcmul(
            -self.gain * z_dot.mean(dim=1, keepdim=True), z_dot, self.gain
        )
        self.unit_dot.addcmul_(self.unit, -self.gain * self.std_dot)
        y_dot = torch.addcmul(direction.shift, self.unit, direction.scale)
        y_dot.addcmul_(self.unit_dot, self.params.scale)
        return _gate(y_dot.view(self.shape), self.output)

    def backward_tangent(self, dy_dot: Tensor, product: BlockParams) -> Tensor:
        """Write the derivative of the gradient; return that of the padded input's gradient."""
        du_dot = _gated(dy_dot, self.output, self.shape)
        n = du_dot.shape[1]
        mean_du_dot = du_dot.mean(dim=1, keepdim=True)
        mean_xdu_dot = (du_dot * self.unit).mean(dim=1, keepdim=True)
        mean_xdu_dot += (self.du * self.unit_dot).mean(dim=1, keepdim=True)
        gain = self.params.scale * self.gain
        gain_dot = (self.direction.scale - gain * self.std_dot) * self.gain
        constant = -gain_dot * self.mean_du - gain * mean_du_dot
        dz_dot = torch.addcmul(constant, self.du, gain_dot)
        dz_dot.addcmul_(du_dot, gain)
        dz_dot.addcmul_(self.unit, -gain_dot * self.mean_xdu - gain * mean_xdu_dot)
        dz_dot.addcmul_(self.unit_dot, -gain * self.mean_xdu)
        weight = batched_matmul(dz_dot.mT, self.patches)
        weight += batched_matmul(self.dz.mT, self.patches_dot)
        _write(product, weight, n * mean_xdu_dot, n * mean_du_dot)
        columns = batched_matmul(dz_dot, self.params.weight)
        columns += batched_matmul(self.dz, self.direction.weight)
        return _scatter(columns, self.shape)


def _write(gradient: BlockParams, weight: Tensor, scale: Tensor, shift: Tensor) -> None:
    gradient.weight.copy_(weight)
    gradient.bias.zero_()
    gradient.scale.copy_(scale)
    gradient.shift.copy_(shift)


def _frame(inside: Tensor) -> tuple[Tensor, Tensor]:
    """An uninitialised array inside a border of zeros, and the whole.

    The border is one row wide before, and one or two after, for an even number of rows.
    """
    tasks, batch, size, _, channels = inside.shape
    rows = 2 * ((size + 1) // 2) + 2
    whole = inside.new_empty(tasks, batch, rows, rows, channels)
    whole[:, :, 0] = 0
    whole[:, :, size + 1 :] = 0
    whole[:, :, :, 0] = 0
    whole[:, :, :, size + 1 :] = 0
    return _inside(whole, size), whole


def _inside(padded: Tensor, size: int) -> Tensor:
    return padded[:, :, 1 : size + 1, 1 : size + 1]


def _pad(x: Tensor) -> Tensor:
    inside, whole = _frame(x)
    inside.copy_(x)
    return whole


def _relu(x: Tensor) -> Tensor:
    """ReLU, padded."""
    inside, whole = _frame(x)
    torch.clamp_min(x, 0, out=inside)
    return whole


def _gate(x: Tensor, output: Tensor) -> Tensor:
    """`x` where the ReLU with this padded output is open, 0 elsewhere; padded."""
    inside, whole = _frame(x)
    torch.ops.aten.threshold_backward.grad_input(
        x, _inside(output, x.shape[2]), 0, grad_input=inside
    )
    return whole


def _gated(x: Tensor, output: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The same of a padded `x`, as [T, positions, channels]."""
    size = shape[2]
    gated: Tensor = torch.ops.aten.threshold_backward(_inside(x, size), _inside(output, size), 0)
    return gated.contiguous().view(shape[0], -1, x.shape[-1])


def _patches(padded: Tensor) -> Tensor:
    """The nine taps of each output position: [T, positions, 9 * channels]."""
    tasks, batch, rows, _, channels = padded.shape
    size = rows // 2 - 1
    task, image, row, column, _ = padded.stride()
    return padded.as_strided(
        (tasks, batch, size, size, 3, 3 * channels),
        (task, image, 2 * row, 2 * column, row, 1),
    ).reshape(tasks, batch * size * size, 9 * channels)


def _scatter(patches: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The adjoint of `_patches`: each tap added to where it came from, border left undefined."""
    tasks, batch, size = shape[:3]
    taps = patches.view(tasks, batch, size, size, 3, 3, -1)
    channels = taps.shape[-1]
    # Row 2i + p of the padded array is block i, parity p.
    blocks = patches.new_empty(tasks, batch, size + 1, 2, size + 1, 2, channels)
    blocks[:, :, size] = 0
    blocks[:, :, :, :, size] = 0
    blocks[:, :, :size, :, :size] = taps[:, :, :, :, :2, :2].transpose(3, 4)
    blocks[:, :, :size, :, 1:, 0] += taps[:, :, :, :, :2, 2].transpose(3, 4)
    blocks[:, :, 1:, 0, :size] += taps[:, :, :, :, 2, :2]
    blocks[:, :, 1:, 0, 1:, 0] += taps[:, :, :, :, 2, 2]
    return blocks.view(tasks, batch, 2 * size + 2, 2 * size + 2, channels)
