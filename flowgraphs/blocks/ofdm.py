"""The analog OFDM mapper and demapper: a vector of values in, a vector of samples out, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from gnuradio import gr

from radio.waveform.numerology import Numerology
from radio.waveform.ofdm import demodulate, modulate


class OfdmMapper(gr.sync_block):  # type: ignore[misc]
    """Values on the used carriers to samples, symbol by symbol.

    In: complex64 vectors of `used_carriers` values. Out: complex64 vectors of
    `cyclic_prefix + fft_size` samples, `amplitude` times what `radio.waveform.ofdm` makes.
    """

    def __init__(self, numerology: Numerology, amplitude: float = 1.0) -> None:
        gr.sync_block.__init__(
            self,
            "OFDM mapper",
            [(np.complex64, numerology.used_carriers)],
            [(np.complex64, numerology.symbol_length)],
        )
        self._numerology = numerology
        self.set_amplitude(amplitude)

    def set_amplitude(self, amplitude: float) -> None:
        """From now on."""
        self._amplitude = np.float32(amplitude)

    def work(self, input_items: Any, output_items: Any) -> int:
        """As many symbols as there are."""
        values, samples = input_items[0], output_items[0]
        iq = modulate(values, self._numerology) * self._amplitude
        samples[:] = iq.reshape(samples.shape)
        return len(samples)


class OfdmDemapper(gr.sync_block):  # type: ignore[misc]
    """Samples to values on the used carriers, symbol by symbol.

    In: complex64 vectors of `cyclic_prefix + fft_size` samples that begin where a symbol does. Out:
    complex64 vectors of `used_carriers` values. The FFT window starts `advance` samples early.
    """

    def __init__(self, numerology: Numerology, advance: int = 0) -> None:
        gr.sync_block.__init__(
            self,
            "OFDM demapper",
            [(np.complex64, numerology.symbol_length)],
            [(np.complex64, numerology.used_carriers)],
        )
        if not 0 <= advance <= numerology.cyclic_prefix:
            raise ValueError(f"advance should be 0 to {numerology.cyclic_prefix}, not {advance}")
        self._numerology, self._advance = numerology, advance

    def work(self, input_items: Any, output_items: Any) -> int:
        """As many symbols as there are."""
        samples, values = input_items[0], output_items[0]
        values[:] = demodulate(samples, self._numerology, self._advance)[:, 0]
        return len(values)
