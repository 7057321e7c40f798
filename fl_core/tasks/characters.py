"""Devices that each own a set of character classes, given as pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from fl_core.errors import InputError
from fl_core.tasks.episode import Episode

Partition = Literal["random", "alphabet"]
QUARTER_TURNS = 4


@dataclass(frozen=True)
class CharacterSet:
    """Drawings of handwritten characters, several of each.

    Attributes:
        images: uint8 [classes, drawings, 28, 28], ink 255 on background 0.
        alphabets: one name per class, the alphabet it belongs to.
    """

    images: NDArray[np.uint8]
    alphabets: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise ValueError(
                f"images are uint8 [classes, drawings, height, width], "
                f"not {self.images.dtype} {self.images.shape}"
            )
        if len(self.alphabets) != len(self.images):
            raise ValueError(f"{len(self.alphabets)} alphabet names for {len(self.images)} classes")

    @property
    def num_drawings(self) -> int:
        """Drawings of each class."""
        return int(self.images.shape[1])


@dataclass(frozen=True)
class CharacterPopulation:
    """Devices, each with character classes of its own, drawing N-way K-shot tasks from them.

    A class is a character at one of four quarter turns. Pictures are kept once, upright and as
    bytes, and turned when drawn, so that 32,460 drawings take 25 MB and not 400.

    Attributes:
        characters: what all devices of this population draw from.
        classes: per device int64 [owned, 2], rows (character, quarter turns).
        ways: classes of a task.
        shots: support drawings per class.
        queries: query drawings per class, none of them in the support.
    """

    characters: CharacterSet
    classes: tuple[NDArray[np.int64], ...]
    ways: int
    shots: int
    queries: int

    def __post_init__(self) -> None:
        if self.ways < 2 or self.shots < 1 or self.queries < 1:
            raise InputError(
                f"ways={self.ways}, shots={self.shots}, queries={self.queries}: "
                "ways must be at least 2, shots and queries at least 1"
            )
        if self.shots + self.queries > self.characters.num_drawings:
            raise InputError(
                f"shots + queries = {self.shots} + {self.queries} exceeds the "
                f"{self.characters.num_drawings} drawings of a character"
            )
        fewest = min((len(owned) for owned in self.classes), default=0)
        if fewest < self.ways:
            raise InputError(f"a device owns {fewest} classes, {self.ways}-way tasks need more")

    def __len__(self) -> int:
        return len(self.classes)

    def sample(self, device: int, rng: np.random.Generator) -> Episode:
        """Draw one task: support float32 [ways * shots, 1, 28, 28], queries alike, ink 1.0.

        Labels number the classes in the order they were drawn, so they carry no identity.
        """
        drawn = self.shots + self.queries
        images = self.characters.images
        owned = self.classes[device]
        classes = owned[rng.choice(len(owned), self.ways, replace=False)]
        drawings = rng.random((self.ways, images.shape[1])).argsort(axis=1)[:, :drawn]
        tiles = np.empty((self.ways, drawn, *images.shape[2:]), np.uint8)
        for tile, (character, turns), chosen in zip(tiles, classes, drawings, strict=True):
            tile[...] = np.rot90(images[character, chosen], turns, axes=(1, 2))
        ink = torch.from_numpy(tiles).to(torch.float32).div_(255).unsqueeze(2)
        labels = torch.arange(self.ways).unsqueeze(1)
        return Episode(
            ink[:, : self.shots].flatten(0, 1),
            labels.expand(-1, self.shots).flatten(),
            ink[:, self.shots :].flatten(0, 1),
            labels.expand(-1, self.queries).flatten(),
        )


def populate(
    characters: CharacterSet,
    *,
    num_devices: int,
    ways: int,
    shots: int,
    queries: int,
    rotations: bool,
    partition: Partition,
    rng: np.random.Generator,
) -> CharacterPopulation:
    """Share classes out among devices, no class to two of them.

    Args:
        characters: what is shared out.
        num_devices: how many devices share; numbers of classes differ by at most one.
        ways: classes of a task.
        shots: support drawings per class.
        queries: query drawings per class.
        rotations: count each quarter turn of a character as a class of its own.
        partition: ``"random"``, or ``"alphabet"`` for neighbouring devices to own whole alphabets
            as far as numbers allow, which makes devices unlike each other.
        rng: decides who owns what.

    Raises:
        InputError: too few classes or drawings for such tasks, or an unknown partition.
    """
    if partition not in ("random", "alphabet"):
        raise InputError(f"partition={partition!r}: must be 'random' or 'alphabet'")
    turns = QUARTER_TURNS if rotations else 1
    total = len(characters.images) * turns
    if num_devices < 1 or total // num_devices < ways:
        raise InputError(
            f"{num_devices} devices cannot own {ways} classes each: there are {total} classes, "
            f"enough for 1 to {total // max(ways, 1)} devices"
        )
    pairs = np.stack(np.divmod(rng.permutation(total), turns), axis=1)
    if partition == "alphabet":
        _, alphabet = np.unique(characters.alphabets, return_inverse=True)
        pairs = pairs[np.argsort(alphabet[pairs[:, 0]], kind="stable")]
    owned = tuple(np.array_split(pairs, num_devices))
    return CharacterPopulation(characters, owned, ways, shots, queries)
