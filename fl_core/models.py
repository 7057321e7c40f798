"""The models of the shipped experiments, by name."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

from torch import nn

from fl_core.conv4 import Conv4, Strides, conv4_module
from fl_core.module_model import FewShotModel, Kind, Linearisation, ModuleModel
from fl_core.tasks.episode import TaskFamily

__all__ = [
    "Conv4",
    "FewShotModel",
    "Linearisation",
    "ModuleModel",
    "build_model",
    "conv4_module",
    "mlp",
]


def mlp(
    input_shape: tuple[int, ...],
    num_outputs: int,
    hidden: tuple[int, ...] = (40, 40),
    activation: Literal["relu", "tanh"] = "relu",
    kind: Kind = "classification",
) -> ModuleModel:
    """A multilayer perceptron on flattened inputs; two layers of 40 are MAML's sinusoid net."""
    activations = {"relu": nn.ReLU, "tanh": nn.Tanh}
    if activation not in activations:
        raise ValueError(f"activation is {activation!r}; use one of {', '.join(activations)}")
    widths = (math.prod(input_shape), *hidden)
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), activations[activation]()]
    layers.append(nn.Linear(widths[-1], num_outputs))
    return ModuleModel(nn.Sequential(*layers), kind)


def build_model(
    name: Literal["conv4", "mlp"],
    family: TaskFamily,
    width: int = 64,
    activation: Literal["relu", "tanh"] = "relu",
    strides: Strides = (2, 2, 2, 2),
) -> FewShotModel:
    """The model an experiment names, shaped for a family of tasks.

    Args:
        name: ``"conv4"`` (classifies 1×28×28 images) or ``"mlp"`` (anything).
        family: gives input shape, outputs and kind.
        width: channels of each convolution, or units of each of two hidden layers.
        activation: of the perceptron; the convolutional net has ReLU.
        strides: of the four convolutions, each 1 or 2.

    Raises:
        ValueError: unknown name, or a net that cannot take this family.
    """
    if width < 1:
        raise ValueError(f"width is {width}; use at least 1")
    if name == "mlp":
        return mlp(family.input_shape, family.num_outputs, (width, width), activation, family.kind)
    if name != "conv4":
        raise ValueError(f"model is {name!r}; use 'conv4' or 'mlp'")
    if family.input_shape != (1, 28, 28) or family.kind != "classification":
        raise ValueError(
            f"conv4 classifies images of shape (1, 28, 28); {family.name} is a "
            f"{family.kind} of shape {family.input_shape}: use 'mlp'"
        )
    return Conv4(family.num_outputs, width, strides)
