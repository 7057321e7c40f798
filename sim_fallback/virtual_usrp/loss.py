"""A network that loses datagrams."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sim_fallback.streams import Key, stream


class Loss:
    """Which datagrams are lost on one way, each as probably as the other. For one thread."""

    def __init__(self, share: float, key: Key, way: int) -> None:
        """A way that loses a share of what passes.

        Args:
            share: 0 or more, and less than 1.
            key: of the radio: a seed and numbers that divide it further.
            way: its number, each of which loses others.

        Raises:
            ValueError: everything would be lost, or less than nothing.
        """
        if not 0 <= share < 1:
            raise ValueError(
                f"the share of lost datagrams should be 0 or more and below 1: {share}"
            )
        self._share = share
        self._rng = stream(key, "lost datagrams", way)

    def passes(self, count: int) -> npt.NDArray[np.bool_]:
        """Which of the next datagrams arrive, [count]."""
        if not self._share:
            return np.ones(count, np.bool_)
        return self._rng.random(count) >= self._share
