"""Convolution, batch normalisation and ReLU of many tasks at once, with hand-derived derivatives.

Each block is made at a point (parameters and input) and then asked for derivatives there: the
gradient, and the derivative of activations and gradient along a direction (the R-operator of
Pearlmutter, "Fast exact multiplication by the Hessian", 1994). No autograd graph is recorded.

Activations are [T, B, rows, columns, channels]: then the nine taps of a convolution are three
contiguous runs, and gathering them costs little beside the matrix products that follow. The bias of
a convolution is cancelled by the normalisation, so it is ignored and its gradient is zero.

With x̂ = (z − z̄)/σ, u the gradient with respect to x̂, and means over all positions of a task,

    ∂z = (u − ū − x̂·mean(x̂u))/σ     and     ẋ̂ = (ż − mean(ż) − x̂ σ̇)/σ,   σ̇ = mean(x̂ż).
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from fl_core.batched_matmul import Term, multiply, products

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
    y = ReLU([Ā, 1]·[γŵ; β]) with ŵ = w/σ. Neither z nor x̂ is ever formed. Rows of zeros in [Ā, 1]
    for the border of the output make the output padded, without a copy.
    """

    def __init__(self, params: BlockParams, images: Tensor, stride: int) -> None:
        """`images` are [T, B, rows, rows]; the output [T, B, n + 2, n + 2, channels]."""
        tasks, batch = images.shape[:2]
        padded_images = _pad(images.unsqueeze(-1))
        size = _size(padded_images, stride)
        self.params = params
        patches = _patches(padded_images, stride).view(tasks, batch, size, size, _TAPS)
        padded = images.new_zeros(tasks, batch, size + 2, size + 2, _TAPS + 1)
        inside = _inside(padded, size)
        mean = patches.mean(dim=(1, 2, 3), keepdim=True)
        torch.sub(patches, mean, out=inside[..., :_TAPS])
        inside[..., _TAPS] = 1
        self.patches = padded.view(tasks, -1, _TAPS + 1)
        moments = torch.bmm(self.patches.mT, self.patches)[:, :_TAPS, :_TAPS]
        self.covariance = moments / (batch * size * size)
        weight = params.weight.mT  # [T, 9, C]
        self.std = ((self.covariance @ weight) * weight).sum(1, keepdim=True).add(_EPSILON).sqrt()
        self.unit = weight / self.std
        self.folded = self.covariance @ self.unit
        z = self._product(params.scale * self.unit, params.shift)
        self.output = z.relu_().view(*padded.shape[:4], -1)

    def backward(self, dy: Tensor, gradient: BlockParams) -> None:
        """Write the gradient of the parameters, given that of the output."""
        self.pull, d_shift = self._moments(dy)
        self.d_scale = (self.unit * self.pull).sum(1, keepdim=True)
        self.residual = self.pull - self.d_scale * self.folded
        gradient.weight.copy_((self.params.scale / self.std * self.residual).mT)
        _write(gradient, self.d_scale, d_shift)

    def tangent(self, direction: BlockParams) -> Tensor:
        """Derivative of the output along a direction of the parameters."""
        self.direction = direction
        weight = direction.weight.mT
        self.std_dot = (self.folded * weight).sum(1, keepdim=True)
        self.unit_dot = (weight - self.unit * self.std_dot) / self.std
        mixed = direction.scale * self.unit + self.params.scale * self.unit_dot
        z_dot = self._product(mixed, direction.shift).view(self.output.shape)
        return _gate(z_dot, self.output, out=z_dot)

    def backward_tangent(self, dy_dot: Tensor, product: BlockParams) -> None:
        """Write the derivative of the gradient, given that of the output's gradient."""
        pull, d_shift = self._moments(dy_dot)
        d_scale = (self.unit_dot * self.pull + self.unit * pull).sum(1, keepdim=True)
        residual = pull - d_scale * self.folded - self.d_scale * (self.covariance @ self.unit_dot)
        gain = self.params.scale / self.std
        gain_dot = (self.direction.scale - gain * self.std_dot) / self.std
        product.weight.copy_((gain_dot * self.residual + gain * residual).mT)
        _write(product, d_scale, d_shift)

    def _product(self, weight: Tensor, shift: Tensor) -> Tensor:
        """[Ā, 1]·[weight; shift], [T, padded positions, C]."""
        return torch.bmm(self.patches, torch.cat([weight, shift.expand_as(weight[:, :1])], dim=1))

    def _moments(self, dy: Tensor) -> tuple[Tensor, Tensor]:
        """Sums over positions of Ā and of 1 times the gradient before the ReLU."""
        dz = _gate(dy, self.output, out=dy)
        moments = torch.bmm(self.patches.mT, dz.view(len(dz), -1, dz.shape[-1]))
        return moments[:, :_TAPS], moments[:, _TAPS:]


class Block:
    """A block whose input is another block's output."""

    def __init__(self, params: BlockParams, x: Tensor, stride: int) -> None:
        """`x` is the padded output of the block before."""
        tasks, batch = x.shape[:2]
        size = _size(x, stride)
        self.params = params
        self.stride = stride
        self.shape = (tasks, batch, size, size, -1)
        self.patches = _patches(x, stride)
        z = x.new_empty(tasks, batch * size * size, params.weight.shape[1])
        multiply(z, (self.patches, params.weight.mT))
        z -= z.mean(dim=1, keepdim=True)
        std = (z * z).mean(dim=1, keepdim=True).add_(_EPSILON).sqrt_()
        self.gain = 1 / std
        self.unit = z.mul_(self.gain)
        y = torch.addcmul(params.shift, self.unit, params.scale)
        inside, self.output = _frame(y.view(self.shape))
        torch.clamp_min(y.view(self.shape), 0, out=inside)

    def backward(self, dy: Tensor, gradient: BlockParams) -> Tensor:
        """Write the gradient of the parameters; return that of the padded input."""
        self.du = self._gated(dy)
        n = self.du.shape[1]
        self.mean_du = self.du.mean(dim=1, keepdim=True)
        self.mean_xdu = (self.du * self.unit).mean(dim=1, keepdim=True)
        gain = self.params.scale * self.gain
        self.dz = torch.addcmul(-gain * self.mean_du, self.du, gain)
        self.dz.addcmul_(self.unit, -gain * self.mean_xdu)
        multiply(gradient.weight, (self.dz.mT, self.patches))
        _write(gradient, n * self.mean_xdu, n * self.mean_du)
        return _scatter(self.shape, self.stride, (self.dz, self.params.weight))

    def tangent(self, direction: BlockParams, x_dot: Tensor) -> Tensor:
        """Derivative of the output along a direction of parameters and padded input."""
        self.direction = direction
        self.patches_dot = _patches(x_dot, self.stride)
        z_dot = multiply(
            torch.empty_like(self.unit),
            (self.patches_dot, self.params.weight.mT),
            (self.patches, direction.weight.mT),
        )
        self.std_dot = (z_dot * self.unit).mean(dim=1, keepdim=True)
        self.unit_dot = torch.addcmul(
            -self.gain * z_dot.mean(dim=1, keepdim=True), z_dot, self.gain
        )
        self.unit_dot.addcmul_(self.unit, -self.gain * self.std_dot)
        y_dot = torch.addcmul(direction.shift, self.unit, direction.scale)
        y_dot.addcmul_(self.unit_dot, self.params.scale)
        inside, whole = _frame(y_dot.view(self.shape))
        _gate(y_dot.view(self.shape), self._open(), out=inside)
        return whole

    def backward_tangent(self, dy_dot: Tensor, product: BlockParams) -> Tensor:
        """Write the derivative of the gradient; return that of the padded input's gradient."""
        du_dot = self._gated(dy_dot)
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
        multiply(product.weight, (dz_dot.mT, self.patches), (self.dz.mT, self.patches_dot))
        _write(product, n * mean_xdu_dot, n * mean_du_dot)
        terms = (dz_dot, self.params.weight), (self.dz, self.direction.weight)
        return _scatter(self.shape, self.stride, *terms)

    def _open(self) -> Tensor:
        return _inside(self.output, self.shape[2])

    def _gated(self, dy: Tensor) -> Tensor:
        """Gradient before the ReLU, [T, positions, C], from that of the padded output."""
        gated = torch.empty_like(self.unit)
        _gate(_inside(dy, self.shape[2]), self._open(), out=gated.view(self.shape))
        return gated


def _write(gradient: BlockParams, scale: Tensor, shift: Tensor) -> None:
    gradient.bias.zero_()
    gradient.scale.copy_(scale)
    gradient.shift.copy_(shift)


def _frame(inside: Tensor) -> tuple[Tensor, Tensor]:
    """An array to fill inside a border of zeros one position wide, and the whole."""
    tasks, batch, size, _, channels = inside.shape
    whole = inside.new_zeros(tasks, batch, size + 2, size + 2, channels)
    return _inside(whole, size), whole


def _inside(padded: Tensor, size: int) -> Tensor:
    return padded[:, :, 1 : size + 1, 1 : size + 1]


def _pad(x: Tensor) -> Tensor:
    inside, whole = _frame(x)
    inside.copy_(x)
    return whole


def _gate(x: Tensor, output: Tensor, out: Tensor) -> Tensor:
    """`x` where the ReLU with this output is open, 0 elsewhere."""
    gated: Tensor = torch.ops.aten.threshold_backward.grad_input(x, output, 0, grad_input=out)
    return gated


def _size(padded: Tensor, stride: int) -> int:
    """Rows of the output of a convolution."""
    return (padded.shape[2] - 3) // stride + 1


def _patches(padded: Tensor, stride: int) -> Tensor:
    """The nine taps of each output position: [T, positions, 9 * channels]."""
    tasks, batch, _, _, channels = padded.shape
    size = _size(padded, stride)
    task, image, row, column, _ = padded.stride()
    return padded.as_strided(
        (tasks, batch, size, size, 3, 3 * channels),
        (task, image, stride * row, stride * column, row, 1),
    ).reshape(tasks, batch * size * size, 9 * channels)


def _scatter(shape: tuple[int, ...], stride: int, *terms: Term) -> Tensor:
    """The adjoint of `_patches` on a sum of products: each tap is added to where it came from.

    `shape` is that of the block's output. The border of the padded result is left undefined, and
    for an even number of rows it is one wider after than before.
    """
    tasks, batch, size, _, _ = shape
    channels = terms[0][1].shape[2] // _TAPS
    # In cells of stride × stride positions, the taps of output i lie in cells i, i + 1 (and i + 2).
    cells = size + 2 // stride
    runs = [(cell, min(stride, 3 - stride * cell)) for cell in range(cells - size + 1)]
    padded = terms[0][0].new_empty(tasks, batch, cells, stride, cells, stride, channels)
    padded[:, :, size:] = 0
    padded[:, :, :, :, size:] = 0
    targets = tuple(
        padded[:, :, row : row + size, :rows, column : column + size, :columns]
        for (row, rows), (column, columns) in itertools.product(runs, repeat=2)
    )
    for product, first, *others in products(*terms, into=targets):
        taps = product.view(-1, batch, size, size, 3, 3, channels).transpose(3, 4)
        bands = torch.split(taps, stride, dim=3)
        own, *shared = (part for band in bands for part in torch.split(band, stride, dim=5))
        first.copy_(own)
        for target, part in zip(others, shared, strict=True):
            target.add_(part)
    return padded.view(tasks, batch, cells * stride, cells * stride, channels)
