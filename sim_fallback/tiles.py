"""Rendered tiles of a virtual radio's receiver, kept for those who read them piece by piece."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from sim_fallback.bands import Bands, Place
from sim_fallback.codes import Samples

KEPT = 32

Tuning = TypeVar("Tuning", bound=Hashable)


class Tiles(Generic[Tuning]):
    """The latest tiles of one radio. Its caller keeps threads apart."""

    def __init__(self, bands: Bands, name: str, render: Callable[[Tuning, int], Samples]) -> None:
        """None so far.

        Args:
            bands: where the radio listens.
            name: of the radio.
            render: makes a tile: tuning and index to int16 [TILE, 2].
        """
        self._bands, self._name, self._render = bands, name, render
        self._tiles: OrderedDict[tuple[Tuning, int, tuple[object, ...]], Samples] = OrderedDict()

    def tile(self, tuning: Tuning, place: Place, index: int) -> Samples:
        """Tile `index` of what is received at a place in a way: kept, or rendered anew."""
        entry = (tuning, index, self._bands.bursts(self._name, place, index))
        if entry in self._tiles:
            return self._tiles[entry]
        tile = self._render(tuning, index)
        if entry[2] == self._bands.bursts(self._name, place, index):  # nobody came between
            self._tiles[entry] = tile
            if len(self._tiles) > KEPT:
                self._tiles.popitem(last=False)
        return tile
