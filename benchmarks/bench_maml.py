"""Meta-gradients of a batch of ten devices, beside learn2learn's algorithm and autograd by vmap."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from benchmarks.table import Table, best_of
from fl_core.meta_gradient import meta_gradient
from fl_core.models import Conv4, ModuleModel, conv4_module
from fl_core.tasks.episode import Episode

DEVICES = 10
ADAPT_LR = 0.4
HEADER = ("task", "width", "learn2learn [ms]", "Conv4 [ms]", "×", "Conv4, own θ", "×", "vmap", "×")
NOTE = """One exact second-order gradient for each of 10 devices on one core, float32, best of {n}
turns. learn2learn's algorithm: clone the module, differentiate with a graph, update, differentiate
through it, task by task; its own package takes 5 to 8 % longer than this copy of the algorithm.
"Own θ": every device has its own parameters, as in all local steps but the first. "vmap":
`ModuleModel` on the same net. The limit is the matrix products alone, in the sizes of the 5-way
1-shot row, at the rate the library reaches: {limit:.1f} ms, so at most × {ratio:.1f}; Conv4 is at
{share:.0%} of it. A prototype that linearised once reached × 4.5 (20-way: 2.0) on an idle machine;
aim 3 to 4.5, at least 2. Other work on the machine lowers the ratio: activations of ten devices
(some 30 MB) live in the shared cache."""


@dataclass(frozen=True)
class Setting:
    ways: int
    queries: int
    width: int

    @property
    def title(self) -> str:
        return f"{self.ways}-way 1-shot, {self.queries} queries a class"

    def episode(self, generator: torch.Generator) -> Episode:
        def draw(count: int) -> tuple[Tensor, Tensor]:
            x = torch.rand(DEVICES, self.ways * count, 1, 28, 28, generator=generator)
            return x, torch.arange(self.ways).repeat(DEVICES, count)

        return Episode(*draw(1), *draw(self.queries))


class OmniglotNet(nn.Module):
    """The reference net from torch's own layers."""

    def __init__(self, ways: int, width: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for channels_in in (1, width, width, width):
            blocks += [
                nn.Conv2d(channels_in, width, 3, stride=2, padding=1),
                nn.BatchNorm2d(width, track_running_stats=False),
                nn.ReLU(),
            ]
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Linear(width, ways)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean(dim=(2, 3)))


def clone(module: nn.Module, steps: Iterator[Tensor] | None = None) -> nn.Module:
    """A module whose parameters are functions of this one's: themselves, or a step from them."""
    twin = copy.copy(module)
    twin._parameters = {
        name: None if p is None else p.clone() if steps is None else p - ADAPT_LR * next(steps)
        for name, p in module._parameters.items()
    }
    twin._modules = {name: clone(child, steps) for name, child in module._modules.items()}
    return twin


def learn2learn(net: nn.Module, episode: Episode) -> list[tuple[Tensor, ...]]:
    """MAML's gradients as learn2learn computes them."""
    gradients = []
    for task in range(len(episode.support_x)):
        learner = clone(net)
        loss = F.cross_entropy(learner(episode.support_x[task]), episode.support_y[task])
        inner = torch.autograd.grad(loss, list(learner.parameters()), create_graph=True)
        adapted = clone(learner, iter(inner))
        loss = F.cross_entropy(adapted(episode.query_x[task]), episode.query_y[task])
        gradients.append(torch.autograd.grad(loss, list(net.parameters())))
    return gradients


def matrix_products(setting: Setting) -> list[tuple[Tensor, Tensor]]:
    """Of the three large convolutions, support then query: patches and weight, in one size each."""
    factors = []
    for images, count in ((setting.ways, 9), (setting.ways * setting.queries, 3)):
        for positions in (49, 16, 4):
            x = torch.randn(images * positions, 9 * setting.width)
            factors += [(x, torch.randn(setting.width, 9 * setting.width))] * count
    return factors * DEVICES


def multiply_all(factors: list[tuple[Tensor, Tensor]]) -> None:
    for x, weight in factors:
        torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")


def measure(quick: bool = False) -> list[Table]:
    """Milliseconds for each way of computing the gradients, in turns."""
    repeats = 3 if quick else 15
    headline = Setting(5, 1, 64)
    others = [] if quick else [Setting(5, 5, 32), Setting(20, 1, 64)]
    rows = []
    limit = fastest = reference = 0.0
    for setting in (headline, *others):
        generator = torch.Generator().manual_seed(0)
        episode = setting.episode(generator)
        net = OmniglotNet(setting.ways, setting.width)
        fast = Conv4(setting.ways, setting.width)
        general = ModuleModel(conv4_module(setting.ways, setting.width), "classification")
        shared = fast.init(generator)
        own = shared.repeat(DEVICES, 1)
        factors = matrix_products(setting)
        seconds = best_of(
            {
                "learn2learn": lambda net=net, e=episode: learn2learn(net, e),
                "shared": lambda m=fast, p=shared, e=episode: meta_gradient(m, p, e, ADAPT_LR),
                "own": lambda m=fast, p=own, e=episode: meta_gradient(m, p, e, ADAPT_LR),
                "vmap": lambda m=general, p=shared, e=episode: meta_gradient(m, p, e, ADAPT_LR),
                "limit": lambda f=factors: multiply_all(f),
            },
            repeats,
        )
        if setting is headline:
            limit, fastest = seconds["limit"], seconds["shared"]
            reference = seconds["learn2learn"]
        cells = [f"{1e3 * seconds['learn2learn']:.1f}"]
        for way in ("shared", "own", "vmap"):
            ratio = seconds["learn2learn"] / seconds[way]
            cells += [f"{1e3 * seconds[way]:.1f}", f"{ratio:.1f}"]
        rows.append((setting.title, str(setting.width), *cells))
    note = NOTE.format(n=repeats, limit=1e3 * limit, ratio=reference / limit, share=limit / fastest)
    title = "Exact meta-gradients of ten devices"
    return [Table("maml", title, HEADER, tuple(rows), note)]


if __name__ == "__main__":
    for table in measure():
        print(table.markdown())
