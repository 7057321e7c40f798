"""The four-convolution few-shot net, as a torch module and as a fast hand-derived model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fl_core.conv_block import Block, BlockParams, FirstBlock
from fl_core.module_model import Linearisation, ModuleModel

Strides = tuple[int, int, int, int]

# The C library returns freed memory to the system and page-faults to get it back, which took a
# quarter of the time here. Having freed one large block, never touched, glibc keeps up to 64 MiB.
torch.empty(31 << 20, dtype=torch.uint8)


class _StridedConvolution(nn.Module):
    """3×3, padding 1; its weight is stored [outputs, 3, 3, inputs].

    In this order a flat parameter vector is used by `Conv4` as it stands, without a transposed copy
    for each task.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(channels_out, 3, 3, channels_in))
        self.bias = nn.Parameter(torch.empty(channels_out))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As torch's convolutions: uniform within 1/√fan-in."""
        bound = 1 / math.sqrt(self.weight[0].numel())
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, ⌈H/stride⌉, ⌈W/stride⌉]."""
        weight = self.weight.permute(0, 3, 1, 2)
        return F.conv2d(x, weight, self.bias, stride=self.stride, padding=1)


class _SpatialMean(nn.Module):
    """Mean over the map: [B, C, H, W] to [B, C]."""

    def forward(self, x: Tensor) -> Tensor:
        """Average."""
        return x.mean(dim=(2, 3))


def conv4_module(num_outputs: int, width: int = 64, strides: Strides = (2, 2, 2, 2)) -> nn.Module:
    """The few-shot net for 1×28×28 images, as a torch module.

    Four times [3×3 convolution, batch normalisation with batch statistics, ReLU], the mean over the
    map that remains, and a linear layer (Vinyals et al. 2016; Finn et al. 2017, the strided form,
    28→14→7→4→2). 112,261 parameters at width 64 and 5 outputs, whatever the strides.
    """
    layers: list[nn.Module] = []
    for channels_in, stride in zip((1, width, width, width), strides, strict=True):
        layers += [
            _StridedConvolution(channels_in, width, stride),
            nn.BatchNorm2d(width, track_running_stats=False),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, _SpatialMean(), nn.Linear(width, num_outputs))


@dataclass(frozen=True)
class _Parts:
    """A flat vector, [T, d] or [1, d], as views of its layers' parts."""

    blocks: list[BlockParams]
    weight: Tensor  # [T, num_outputs, width], of the linear layer
    bias: Tensor  # [T, 1, num_outputs]


class _Trace:
    """The net at one point: activations of all layers, and whatever derivatives reuse."""

    def __init__(self, parts: _Parts, x: Tensor, strides: Strides) -> None:
        self.parts = parts
        self.first = FirstBlock(parts.blocks[0], x[:, :, 0], strides[0])
        self.rest: list[Block] = []
        output = self.first.output
        for params, stride in zip(parts.blocks[1:], strides[1:], strict=True):
            self.rest.append(Block(params, output, stride))
            output = self.rest[-1].output
        self.features = self._spatial_mean(output)
        self.logits = self.features @ parts.weight.mT + parts.bias

    def backward(self, y: Tensor, gradient: _Parts) -> Tensor:
        """Write the gradient of the mean cross entropy; return the loss, [T]."""
        tasks, batch, outputs = self.logits.shape
        log_probability = self.logits.log_softmax(dim=-1)
        self.probability = log_probability.exp()
        self.d_logits = (self.probability - F.one_hot(y, outputs)) / batch
        gradient.weight.copy_(self.d_logits.mT @ self.features)
        gradient.bias.copy_(self.d_logits.sum(dim=1, keepdim=True))
        self._down(self.d_logits @ self.parts.weight, gradient, "backward")
        return -log_probability.gather(2, y.unsqueeze(2)).view(tasks, batch).mean(dim=1)

    def hvp(self, direction: _Parts, product: _Parts) -> None:
        """After `backward`: write the Hessian times a direction."""
        output = self.first.tangent(direction.blocks[0])
        for block, block_direction in zip(self.rest, direction.blocks[1:], strict=True):
            output = block.tangent(block_direction, output)
        features = self._spatial_mean(output)
        logits = features @ self.parts.weight.mT + self.features @ direction.weight.mT
        logits += direction.bias
        expected = (self.probability * logits).sum(dim=-1, keepdim=True)
        d_logits = self.probability * (logits - expected) / logits.shape[1]
        product.weight.copy_(d_logits.mT @ self.features + self.d_logits.mT @ features)
        product.bias.copy_(d_logits.sum(dim=1, keepdim=True))
        d_features = d_logits @ self.parts.weight + self.d_logits @ direction.weight
        self._down(d_features, product, "backward_tangent")

    def _down(self, d_features: Tensor, into: _Parts, pass_name: str) -> None:
        """From the features' gradient, or its derivative, through all blocks to the parameters."""
        batch, rows, columns, channels = self.rest[-1].output.shape
        dy = d_features.transpose(0, 1).reshape(batch, 1, 1, channels) / (rows * columns)
        dy = dy.expand(batch, rows, columns, channels)
        for block, params in zip(reversed(self.rest), reversed(into.blocks[1:]), strict=True):
            dy = getattr(block, pass_name)(dy, params)
        getattr(self.first, pass_name)(dy, into.blocks[0])

    def _spatial_mean(self, maps: Tensor) -> Tensor:
        """[B, rows, columns, T * width] to [T, B, width]."""
        return maps.mean(dim=(1, 2)).view(len(maps), -1, self.parts.weight.shape[2]).transpose(0, 1)


@dataclass(frozen=True)
class Conv4:
    """`conv4_module` with derivatives by hand, for many tasks at once: the fast default.

    Agrees with `ModuleModel(conv4_module(...))` in parameters, loss, gradient and Hessian-vector
    product. A Hessian-vector product reuses the activations of the gradient.

    Attributes:
        num_outputs: classes of a task.
        width: channels of every convolution.
        strides: of the four convolutions, each 1 or 2.
    """

    num_outputs: int
    width: int = 64
    strides: Strides = (2, 2, 2, 2)

    def __post_init__(self) -> None:
        if self.num_outputs < 1 or self.width < 1:
            raise ValueError(
                f"num_outputs is {self.num_outputs} and width {self.width}; both must be positive"
            )
        if len(self.strides) != 4 or not set(self.strides) <= {1, 2}:
            raise ValueError(f"strides are {self.strides}; give four, each 1 or 2")

    @property
    def dim(self) -> int:
        """Number of parameters, d."""
        return sum(self._sizes())

    def init(self, generator: torch.Generator) -> Tensor:
        """Fresh parameters, float32 [d]."""
        with torch.random.fork_rng(devices=[]):  # torch initialises what it constructs
            module = conv4_module(self.num_outputs, self.width, self.strides)
        return ModuleModel(module, "classification").init(generator)

    def predict(self, params: Tensor, x: Tensor) -> Tensor:
        """Logits, [T, B, num_outputs], of images [T, B, 1, 28, 28]."""
        return self._trace(params, x).logits

    def loss_and_gradient(self, params: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Loss [T] and its gradient [T, d]."""
        gradient = params.new_empty(len(x), self.dim)
        loss = self._trace(params, x).backward(y, self._parts(gradient))
        return loss, gradient

    def linearise(self, params: Tensor, x: Tensor, y: Tensor) -> Linearisation:
        """The same with the Hessian-vector product at that point."""
        trace = self._trace(params, x)
        gradient = params.new_empty(len(x), self.dim)
        loss = trace.backward(y, self._parts(gradient))

        def hvp(v: Tensor) -> Tensor:
            product = torch.empty_like(v)
            trace.hvp(self._parts(v), self._parts(product))
            return product

        return Linearisation(loss, gradient, hvp)

    def _trace(self, params: Tensor, x: Tensor) -> _Trace:
        if x.shape[2:] != (1, 28, 28):
            raise ValueError(f"x is {list(x.shape)}; conv4 takes images [T, B, 1, 28, 28]")
        return _Trace(self._parts(params), x, self.strides)

    def _sizes(self) -> list[int]:
        """Lengths of weight, bias, scale and shift of each block, then of the linear layer."""
        width = self.width
        sizes = []
        for channels_in in (1, width, width, width):
            sizes += [9 * channels_in * width, width, width, width]
        return [*sizes, width * self.num_outputs, self.num_outputs]

    def _parts(self, flat: Tensor) -> _Parts:
        rows = flat.view(-1, self.dim)
        *of_blocks, weight, bias = torch.split(rows, self._sizes(), dim=1)
        blocks = [
            BlockParams(
                of_blocks[i].view(len(rows), self.width, -1),
                of_blocks[i + 1],
                of_blocks[i + 2].unsqueeze(1),
                of_blocks[i + 3].unsqueeze(1),
            )
            for i in range(0, len(of_blocks), 4)
        ]
        return _Parts(blocks, weight.view(len(rows), self.num_outputs, -1), bias.unsqueeze(1))
