"""The four-convolution few-shot net."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from fl_core.module_model import ModuleModel


class _SpatialMean(nn.Module):
    """Mean over the map: [B, C, H, W] to [B, C]."""

    def forward(self, x: Tensor) -> Tensor:
        """Average."""
        return x.mean(dim=(2, 3))


def conv4_module(num_outputs: int, width: int = 64) -> nn.Module:
    """The few-shot net for 1×28×28 images, as a torch module.

    Four times [3×3 convolution of stride 2, batch normalisation with batch statistics, ReLU], the
    mean over the remaining 2×2 map, and a linear layer (Vinyals et al. 2016; Finn et al. 2017, the
    strided form). 112,261 parameters at width 64 and 5 outputs.
    """
    layers: list[nn.Module] = []
    for channels_in, channels_out in pairwise((1, width, width, width, width)):
        layers += [
            nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1),
            nn.BatchNorm2d(channels_out, track_running_stats=False),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, _SpatialMean(), nn.Linear(width, num_outputs))


def Conv4(num_outputs: int, width: int = 64) -> ModuleModel:  # noqa: N802
    """The net as a few-shot model."""
    return ModuleModel(conv4_module(num_outputs, width), "classification")
