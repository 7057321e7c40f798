"""Convolution, batch normalisation and ReLU of many tasks at once, with hand-derived derivatives.

Each block is made at a point (parameters and input) and then asked for derivatives there: the
gradient, and the derivative of activations and gradient along a direction (the R-operator of
Pearlmutter, "Fast exact multiplication by the Hessian", 1994). No autograd graph is recorded.

Activations are [B, rows, columns, T * channels]. The T tasks are the groups of one grouped
convolution, and their statistics those of T * channels columns: no operation is repeated per task.
The bias of a convolution is cancelled by the normalisation, so it is ignored and its gradient is 0.

With x̂ = (z − z̄)/σ, u the gradient with respect to x̂, and means over all positions of a task,

    ∂z = (u − ū − x̂·mean(x̂u))/σ     and     ẋ̂ = (ż − mean(ż) − x̂ σ̇)/σ,   σ̇ = mean(x̂ż).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

_EPSILON = 1e-5
_TAPS = 9
_POSITIONS = (0, 1, 2)


class BlockParams(NamedTuple):
    """One block's part of a flat vector; the leading axis is T, or 1 where tasks share it."""

    weight: Tensor  # [T, outputs, 9 * inputs], inputs fastest
    bias: Tensor  # [T, outputs]
    scale: Tensor  # [T, 1, outputs]
    shift: Tensor  # [T, 1, outputs]


class FirstBlock:
    """The block that sees the image.

    With one input channel z = Aw is a product with nine columns, so the statistics of z follow from
    mean ā and 9×9 covariance of the patches A, and the normalisation folds into weight and bias of
    the convolution: y = ReLU(Aγŵ + β − āγŵ) with ŵ = w/σ. Neither z nor x̂ is ever formed.
    """

    def __init__(self, params: BlockParams, images: Tensor, stride: int) -> None:
        """`images` are [T, B, rows, columns]."""
        self.params = params
        self.stride = stride
        self.images = images.permute(1, 0, 2, 3).contiguous(memory_format=torch.channels_last)
        patches = _patches(images, stride)
        self.mean = patches.mean(dim=1, keepdim=True)
        self.patches = F.pad(patches - self.mean, (0, 1), value=1.0)  # [A - ā, 1]
        moments = torch.bmm(self.patches.mT, self.patches)[:, :_TAPS, :_TAPS]
        self.covariance = moments / self.patches.shape[1]
        weight = params.weight.mT  # [T, 9, C]
        self.std = ((self.covariance @ weight) * weight).sum(1, keepdim=True).add(_EPSILON).sqrt()
        self.unit = weight / self.std
        self.folded = self.covariance @ self.unit
        self.output = self._convolve(params.scale * self.unit, params.shift).relu_()

    def backward(self, dy: Tensor, gradient: BlockParams) -> None:
        """Write the gradient of the parameters, given that of the output, which is used up."""
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
        y_dot = self._convolve(mixed, direction.shift)
        return _gate(y_dot, self.output, out=y_dot)

    def backward_tangent(self, dy_dot: Tensor, product: BlockParams) -> None:
        """Write the derivative of the gradient, given that of the output's, which is used up."""
        pull, d_shift = self._moments(dy_dot)
        d_scale = (self.unit_dot * self.pull + self.unit * pull).sum(1, keepdim=True)
        residual = pull - d_scale * self.folded - self.d_scale * (self.covariance @ self.unit_dot)
        gain = self.params.scale / self.std
        gain_dot = (self.direction.scale - gain * self.std_dot) / self.std
        product.weight.copy_((gain_dot * self.residual + gain * residual).mT)
        _write(product, d_scale, d_shift)

    def _convolve(self, weight: Tensor, shift: Tensor) -> Tensor:
        """(A − ā)·weight + shift, [B, rows, columns, T * channels]."""
        tasks = len(self.patches)
        kernels = weight.mT.expand(tasks, -1, -1).reshape(-1, 1, 3, 3)
        bias = (shift - self.mean @ weight).flatten()
        return _rows(F.conv2d(self.images, kernels, bias, self.stride, padding=1, groups=tasks))

    def _moments(self, dy: Tensor) -> tuple[Tensor, Tensor]:
        """Sums over positions of A − ā and of 1 times the gradient before the ReLU."""
        dz = _gate(dy, self.output, out=dy)
        columns = dz.view(self.patches.shape[1], len(self.patches), -1)
        moments = torch.bmm(self.patches.mT, columns.transpose(0, 1))
        return moments[:, :_TAPS], moments[:, _TAPS:]


class Block:
    """A block whose input is another block's output."""

    def __init__(self, params: BlockParams, x: Tensor, stride: int) -> None:
        """`x` is the output of the block before."""
        self.x = x
        self.tasks = _TAPS * x.shape[-1] // params.weight.shape[2]
        self.stride = stride
        self.params = self._columns(params)
        z = self._convolve(x, self.params.weight)
        z -= z.mean(_POSITIONS)
        self.gain = (z * z).mean(_POSITIONS).add_(_EPSILON).rsqrt_()
        self.unit = z.mul_(self.gain)
        self.output = torch.addcmul(self.params.shift, self.unit, self.params.scale).relu_()

    def backward(self, dy: Tensor, gradient: BlockParams) -> Tensor:
        """Write the gradient of the parameters; return that of the input."""
        self.du = _gate(dy, self.output, out=torch.empty_like(self.output))
        self.mean_du = self.du.mean(_POSITIONS)
        self.mean_xdu = (self.du * self.unit).mean(_POSITIONS)
        gain = self.params.scale * self.gain
        self.dz = torch.addcmul(-gain * self.mean_du, self.du, gain)
        self.dz.addcmul_(self.unit, -gain * self.mean_xdu)
        dx, d_weight = self._adjoint(self.dz, self.x, self.params.weight)
        self._write(gradient, d_weight, self.mean_xdu, self.mean_du)
        return dx

    def tangent(self, direction: BlockParams, x_dot: Tensor) -> Tensor:
        """Derivative of the output along a direction of parameters and input."""
        self.x_dot = x_dot
        self.direction = self._columns(direction)
        z_dot = self._convolve(x_dot, self.params.weight)
        z_dot += self._convolve(self.x, self.direction.weight)
        self.std_dot = (z_dot * self.unit).mean(_POSITIONS)
        self.unit_dot = torch.addcmul(-self.gain * z_dot.mean(_POSITIONS), z_dot, self.gain)
        self.unit_dot.addcmul_(self.unit, -self.gain * self.std_dot)
        y_dot = torch.addcmul(self.direction.shift, self.unit, self.direction.scale)
        y_dot.addcmul_(self.unit_dot, self.params.scale)
        return _gate(y_dot, self.output, out=y_dot)

    def backward_tangent(self, dy_dot: Tensor, product: BlockParams) -> Tensor:
        """Write the derivative of the gradient; return that of the input's gradient."""
        du_dot = _gate(dy_dot, self.output, out=torch.empty_like(self.output))
        mean_du_dot = du_dot.mean(_POSITIONS)
        mean_xdu_dot = (du_dot * self.unit).mean(_POSITIONS)
        mean_xdu_dot += (self.du * self.unit_dot).mean(_POSITIONS)
        gain = self.params.scale * self.gain
        gain_dot = (self.direction.scale - gain * self.std_dot) * self.gain
        constant = -gain_dot * self.mean_du - gain * mean_du_dot
        dz_dot = torch.addcmul(constant, self.du, gain_dot)
        dz_dot.addcmul_(du_dot, gain)
        dz_dot.addcmul_(self.unit, -gain_dot * self.mean_xdu - gain * mean_xdu_dot)
        dz_dot.addcmul_(self.unit_dot, -gain * self.mean_xdu)
        dx_dot, d_weight = self._adjoint(dz_dot, self.x, self.params.weight)
        dx_of_weight, d_weight_of_x = self._adjoint(self.dz, self.x_dot, self.direction.weight)
        self._write(product, d_weight.add_(d_weight_of_x), mean_xdu_dot, mean_du_dot)
        return dx_dot.add_(dx_of_weight)

    def _columns(self, params: BlockParams) -> BlockParams:
        """Weights as the kernels of a grouped convolution, vectors as [T * outputs]."""
        whole = (part.expand(self.tasks, *part.shape[1:]) for part in params)
        weight, *vectors = (part.reshape(-1, *part.shape[2:]) for part in whole)
        kernels = weight.view(len(weight), 3, 3, -1).permute(0, 3, 1, 2)
        return BlockParams(kernels, *(vector.flatten() for vector in vectors))

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        maps = F.conv2d(_maps(x), weight, None, self.stride, padding=1, groups=self.tasks)
        return _rows(maps)

    def _adjoint(self, dz: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of input and weight, given that of `_convolve`."""
        stride, padding, dilation = [self.stride] * 2, [1, 1], [1, 1]
        dx, d_weight, _ = torch.ops.aten.convolution_backward(
            _maps(dz), _maps(x), weight, None, stride, padding, dilation,
            False, [0, 0], self.tasks, [True, True, False],
        )  # fmt: skip
        return _rows(dx), d_weight

    def _write(self, into: BlockParams, weight: Tensor, scale: Tensor, shift: Tensor) -> None:
        """Scale and shift are given as means over the positions, which their gradients sum."""
        positions = self.unit[..., 0].numel()
        by_task = weight.view(self.tasks, -1, *weight.shape[1:]).permute(0, 1, 3, 4, 2)
        into.weight.view(by_task.shape).copy_(by_task)
        _write(into, positions * scale, positions * shift)


def _write(gradient: BlockParams, scale: Tensor, shift: Tensor) -> None:
    gradient.bias.zero_()
    gradient.scale.copy_(scale.view_as(gradient.scale))
    gradient.shift.copy_(shift.view_as(gradient.shift))


def _maps(x: Tensor) -> Tensor:
    """As torch's convolutions take activations."""
    return x.permute(0, 3, 1, 2)


def _rows(maps: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1).contiguous()


def _gate(x: Tensor, output: Tensor, out: Tensor) -> Tensor:
    """`x` where the ReLU with this output is open, 0 elsewhere."""
    gated: Tensor = torch.ops.aten.threshold_backward.grad_input(x, output, 0, grad_input=out)
    return gated


def _patches(images: Tensor, stride: int) -> Tensor:
    """The nine pixels under the kernel, [T, positions, 9]."""
    padded = F.pad(images, (1, 1, 1, 1))
    return padded.unfold(2, 3, stride).unfold(3, 3, stride).reshape(len(images), -1, _TAPS)
