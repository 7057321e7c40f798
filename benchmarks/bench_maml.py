"""Meta-gradients of a batch of ten devices, beside learn2learn's algorithm and autograd by vmap."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from benchmarks.table import Table, best_of
from fl_core.meta_gradient import meta_gradient
from fl_core.models import Conv4, ModuleModel, conv4_module
from fl_core.tasks.episode import Episode

DEVICES = 10
ADAPT_LR = 0.4
HEADER = (
    *("task", "width", "strides", "devices at a time"),
    *("learn2learn [ms]", "Conv4 [ms]", "×", "Conv4, own θ", "×", "vmap", "×"),
)
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
    strides: tuple[int, int, int, int] = (2, 2, 2, 2)
    at_a_time: int = DEVICES

    @property
    def title(self) -> str:
        return f"{self.ways}-way 1-shot, {self.queries} queries a class"

    def episodes(self, generator: torch.Generator) -> list[Episode]:
        """Of the ten devices, so many at a time."""

        def draw(count: int) -> tuple[Tensor, Tensor]:
            x = torch.rand(self.at_a_time, self.ways * count, 1, 28, 28, generator=generator)
            return x, torch.arange(self.ways).repeat(self.at_a_time, count)

        return [Episode(*draw(1), *draw(self.queries)) for _ in range(DEVICES // self.at_a_time)]

    def map_sizes(self) -> list[int]:
        """Rows of the map after each convolution."""
        _, *sizes = accumulate(self.strides, lambda rows, stride: -(-rows // stride), initial=28)
        return sizes


class OmniglotNet(nn.Module):
    """The reference net from torch's own layers."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        width = setting.width
        blocks: list[nn.Module] = []
        for channels_in, stride in zip((1, width, width, width), setting.strides, strict=True):
            blocks += [
                nn.Conv2d(channels_in, width, 3, stride=stride, padding=1),
                nn.BatchNorm2d(width, track_running_stats=False),
                nn.ReLU(),
            ]
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Linear(width, setting.ways)

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
        for size in setting.map_sizes()[1:]:
            x = torch.randn(images * size**2, 9 * setting.width)
            factors += [(x, torch.randn(setting.width, 9 * setting.width))] * count
    return factors * DEVICES


def multiply_all(factors: list[tuple[Tensor, Tensor]]) -> None:
    for x, weight in factors:
        torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")


def kernels(setting: Setting) -> dict[str, Callable[[], object]]:
    """Each way of computing the ten gradients."""
    generator = torch.Generator().manual_seed(0)
    episodes = setting.episodes(generator)
    net = OmniglotNet(setting)
    shape = setting.ways, setting.width, setting.strides
    fast, general = Conv4(*shape), ModuleModel(conv4_module(*shape), "classification")
    shared = fast.init(generator)
    own = shared.repeat(setting.at_a_time, 1)
    factors = matrix_products(setting)
    return {
        "learn2learn": lambda: [learn2learn(net, e) for e in episodes],
        "shared": lambda: [meta_gradient(fast, shared, e, ADAPT_LR) for e in episodes],
        "own": lambda: [meta_gradient(fast, own, e, ADAPT_LR) for e in episodes],
        "vmap": lambda: [meta_gradient(general, shared, e, ADAPT_LR) for e in episodes],
        "limit": lambda: multiply_all(factors),
    }


def measure(quick: bool = False) -> list[Table]:
    """Milliseconds for each way of computing the gradients, in turns."""
    repeats = 3 if quick else 15
    headline, training = Setting(5, 1, 64), Setting(5, 3, 32, (2, 2, 1, 1), at_a_time=5)
    others = [] if quick else [Setting(5, 5, 32), Setting(20, 1, 64)]
    rows = []
    limit = fastest = reference = 0.0
    for setting in (headline, training, *others):
        seconds = best_of(kernels(setting), repeats)
        if setting is headline:
            limit, fastest = seconds["limit"], seconds["shared"]
            reference = seconds["learn2learn"]
        cells = [str(setting.width), str(setting.strides), str(setting.at_a_time)]
        cells.append(f"{1e3 * seconds['learn2learn']:.1f}")
        for way in ("shared", "own", "vmap"):
            ratio = seconds["learn2learn"] / seconds[way]
            cells += [f"{1e3 * seconds[way]:.1f}", f"{ratio:.1f}"]
        title = f"training net: {setting.title}" if setting is training else setting.title
        rows.append((title, *cells))
    note = NOTE.format(n=repeats, limit=1e3 * limit, ratio=reference / limit, share=limit / fastest)
    title = "Exact meta-gradients of ten devices"
    return [Table("maml", title, HEADER, tuple(rows), note)]


if __name__ == "__main__":
    for table in measure():
        print(table.markdown())
