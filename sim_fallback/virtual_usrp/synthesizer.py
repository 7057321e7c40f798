"""The local oscillators of an SBX: an ADF4350 each, set by 32-bit words.

Register maps are those of the data sheet (Analog Devices, ADF4350 Rev. B). Its registers take
effect when register 0 is written.
"""

from __future__ import annotations

REFERENCE_HZ = 100e6
REGISTERS = 6


class Synthesizer:
    """One ADF4350. Its caller keeps threads apart.

    Attributes:
        carrier_hz: that comes out, by an ideal reference; 0 where none does.
    """

    def __init__(self) -> None:
        self._words = [0] * REGISTERS
        self.carrier_hz = 0.0

    def write(self, word: int) -> None:
        """Take a word."""
        register = word & 7
        if register >= REGISTERS:
            return
        self._words[register] = word
        if register == 0:
            self.carrier_hz = self._output_hz()

    def _output_hz(self) -> float:
        divider, modulus = self._field(2, 14, 10), self._field(1, 3, 12)
        powered_down, enabled = self._field(2, 5, 1), self._field(4, 5, 1)
        if not divider or not modulus or powered_down or not enabled:
            return 0.0
        compared_hz = REFERENCE_HZ * (1 + self._field(2, 25, 1)) / divider
        compared_hz /= 1 + self._field(2, 24, 1)
        looped_hz = compared_hz * (self._field(0, 15, 16) + self._field(0, 3, 12) / modulus)
        fundamental = self._field(4, 23, 1)
        return looped_hz / 2 ** self._field(4, 20, 3) if fundamental else looped_hz

    def _field(self, register: int, lowest: int, bits: int) -> int:
        return self._words[register] >> lowest & ((1 << bits) - 1)
