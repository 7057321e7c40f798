"""The data burst: preamble, pilots, analog symbols, pilots; all devices send it at once.

    | preamble | pilot | data ... data | pilot |

The preamble is common to all. In a pilot symbol every device has carriers of its own, spread over
the band and moved on from one pilot symbol to the next, so that the receiver sees the phase of
each device, and the noise, in the middle of the superposition. Analog symbols are laid on the
data carriers in a seeded order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from radio.waveform.numerology import Numerology
from radio.waveform.preamble import Preamble

ComplexArray = npt.NDArray[np.complex64]
IndexArray = npt.NDArray[np.int64]

_FRONT = 2  # preamble and first pilot
_BACK = 1  # last pilot


@dataclass(frozen=True)
class BurstLayout:
    """Where everything lies in a burst.

    Attributes:
        numerology: of the waveform.
        data_symbols: OFDM symbols with data, at least 1.
        num_devices: r that share the pilots, at most half as many as there are carriers.
        seed: of pilots and order; both ends use the same.
    """

    numerology: Numerology
    data_symbols: int
    num_devices: int
    seed: int = 0

    def __post_init__(self) -> None:
        most = self.numerology.used_carriers // 2
        if self.data_symbols < 1:
            raise ValueError(f"data_symbols must be at least 1, not {self.data_symbols}")
        if not 1 <= self.num_devices <= most:
            raise ValueError(
                f"num_devices = {self.num_devices} must lie in 1..{most}: every device needs two "
                "pilot carriers of its own"
            )

    @property
    def num_symbols(self) -> int:
        """OFDM symbols of the whole burst."""
        return _FRONT + self.data_symbols + _BACK

    @property
    def length(self) -> int:
        """Samples of the whole burst."""
        return self.num_symbols * self.numerology.symbol_length

    @property
    def capacity(self) -> int:
        """Analog symbols it carries."""
        return self.data_symbols * self.numerology.used_carriers

    @property
    def pilot_rows(self) -> IndexArray:
        """Which OFDM symbols are pilots, [2]."""
        return np.array([_FRONT - 1, _FRONT + self.data_symbols])

    @property
    def data_rows(self) -> slice:
        """Which OFDM symbols carry data."""
        return slice(_FRONT, _FRONT + self.data_symbols)

    @cached_property
    def preamble(self) -> Preamble:
        """One period, laid out like an OFDM symbol."""
        return Preamble(self.numerology, repeats=1, seed=self.seed)

    @cached_property
    def pilots(self) -> ComplexArray:
        """What the owners of the carriers send, complex64 [2, K].

        Each device has the power of a full symbol on its few carriers.
        """
        carriers = self.numerology.used_carriers
        rng = np.random.default_rng([self.seed, 1])
        quarter_turns = rng.integers(0, 4, (len(self.pilot_rows), carriers))
        owners = self.owners
        counts = [np.bincount(row, minlength=self.num_devices)[row] for row in owners]
        boost = np.sqrt(carriers / np.stack(counts))
        values = boost * np.exp(1j * np.pi * (quarter_turns / 2 + 0.25))
        pilots: ComplexArray = values.astype(np.complex64)
        return pilots

    @cached_property
    def owners(self) -> IndexArray:
        """Device that owns each carrier of each pilot symbol, int64 [2, K]."""
        carriers = np.arange(self.numerology.used_carriers)
        shift = (self.num_devices + 1) // 2
        return np.stack([(carriers + s * shift) % self.num_devices for s in range(2)])

    @cached_property
    def order(self) -> IndexArray:
        """Place of each analog symbol among the data carriers, int64 [capacity]."""
        return np.random.default_rng([self.seed, 2]).permutation(self.capacity)

    def pack(self, symbols: ComplexArray, device: int) -> ComplexArray:
        """What a device sends on each carrier, complex64 [num_symbols, K].

        Args:
            symbols: complex64 [n <= capacity]; carriers without a symbol stay empty.
            device: its place among those that share the pilots, 0..r-1.
        """
        values = np.zeros((self.num_symbols, self.numerology.used_carriers), np.complex64)
        # In phase the preambles of r devices add up to r, their symbols only to sqrt(r).
        values[0] = self.preamble.values / np.sqrt(np.float32(self.num_devices))
        values[self.pilot_rows] = np.where(self.owners == device, self.pilots, 0)
        values[self.data_rows] = self.lay(symbols)
        return values

    def lay(self, symbols: ComplexArray) -> ComplexArray:
        """Analog symbols [n] on the data carriers, complex64 [data_symbols, K]."""
        data = np.zeros(self.capacity, np.complex64)
        data[self.order[: symbols.size]] = symbols
        return data.reshape(self.data_symbols, -1)

    def collect(self, data: ComplexArray, n: int) -> ComplexArray:
        """The first n analog symbols from the data carriers [data_symbols, K]."""
        return data.reshape(-1)[self.order[:n]]
