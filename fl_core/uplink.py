"""What the protocol asks of the air: sound the channel, then send all devices' symbols at once.

`fl_core` knows the air only through the `Uplink` protocol; the symbol-level channel, the IQ path
and live radios all stand behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

ComplexArray = npt.NDArray[np.complex64]
Number = float | int | bool | None
Figure = Number | Mapping[str, float]  # of the run folder, JSON types only


class Reception(Protocol):
    """What the receiver has after all devices sent at once."""

    @property
    def symbols(self) -> ComplexArray:
        """Received superposition, complex64 [M]."""

    @property
    def noise_var(self) -> float:
        """Noise variance E|z|^2 per complex symbol, as the receiver knows it."""

    @property
    def acknowledged(self) -> npt.NDArray[np.bool_]:
        """Bool [r]; False where a device's burst did not take part."""

    @property
    def true_gains(self) -> ComplexArray | None:
        """The channel the symbols really went through, complex64 [r]; None where nobody knows it.

        For scoring only, never for reception.
        """

    @property
    def errors(self) -> Mapping[str, float] | None:
        """Mean square error of a symbol by cause, for scoring; None where nobody knows."""

    @property
    def figures(self) -> Mapping[str, Figure]:
        """What else is worth a record."""


class Uplink(Protocol):
    """A multiple-access channel from the active devices to the server."""

    @property
    def mean_gain(self) -> float:
        """E|h| over fading and devices, the normaliser mu_h of the server step."""

    @property
    def noise_var(self) -> float:
        """Receiver noise variance per complex symbol, sigma^2."""

    def sound(self, round_index: int, devices: npt.NDArray[np.int64]) -> ComplexArray:
        """Estimated channel gains of these devices, complex64 [r], good for this round."""

    def transmit(
        self, round_index: int, devices: npt.NDArray[np.int64], symbols: ComplexArray
    ) -> Reception:
        """Send the rows of `symbols` (complex64 [r, M], after power control) simultaneously."""
