"""The clocks of a PlutoSDR: in what steps its synthesizers and dividers make carriers and rates.

Both synthesizers are fractional-N: the reference times N + F / modulus (AD9361 reference manual,
UG-570). Carriers come from an oscillator of 6 to 12 GHz that is divided by a power of two, sample
rates from one of 715 to 1430 MHz that is divided by a power of two and then by the filters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

CRYSTAL_HZ = 40e6
RF_REFERENCE_HZ = 2 * CRYSTAL_HZ
RF_MODULUS = 8_388_593
RF_LOWEST_HZ = 6e9
BB_MODULUS = 2_088_960
BB_LOWEST_HZ = 715e6
CONVERTER_LOWEST_HZ, CONVERTER_HIGHEST_HZ = 25e6, 640e6
DAC_HIGHEST_HZ = 160e6
LOWEST_RATE_HZ = 25e6 / 12  # without a FIR; its decimation divides it further
HIGHEST_RATE_HZ = 61.44e6
STAGES = ((2, 2, 2), (3, 2, 2), (3, 1, 2), (2, 1, 2), (3, 1, 1), (2, 1, 1), (1, 1, 1))
"""By which the half-band filters decimate, in the order in which they are tried."""


def carrier_hz(wanted_hz: float) -> float:
    """The carrier that comes out where one is wanted, by an ideal crystal: within 2.4 Hz."""
    doublings = math.ceil(math.log2(RF_LOWEST_HZ / wanted_hz))
    steps = round(wanted_hz * 2**doublings / RF_REFERENCE_HZ * RF_MODULUS)
    return float(steps * RF_REFERENCE_HZ / RF_MODULUS / 2**doublings)


@dataclass(frozen=True)
class Rates:
    """The chain of clocks behind a sample rate, in Hz.

    Attributes:
        pll: what all others divide.
        adc, dac: of the converters.
        half_band: between the stages before the FIR.
        before_fir: what the FIR decimates.
        sample: the sample rate.
    """

    pll: float
    adc: float
    dac: float
    half_band: tuple[float, float]
    before_fir: float
    sample: float

    @classmethod
    def of(cls, wanted_hz: float, fir_decimation: int) -> Rates:
        """The chain for a wanted rate; fir_decimation is 1 where the FIR is off."""
        before_fir = wanted_hz * fir_decimation
        stages = next(stages for stages in STAGES if _fits(before_fir * math.prod(stages)))
        adc = before_fir * math.prod(stages)
        halvings = math.ceil(math.log2(BB_LOWEST_HZ / adc))
        reference = CRYSTAL_HZ / BB_MODULUS
        pll = round(adc * 2**halvings / reference) * reference
        adc = pll / 2**halvings
        return cls(
            pll=pll,
            adc=adc,
            dac=adc if adc <= DAC_HIGHEST_HZ else adc / 2,
            half_band=(adc / stages[0], adc / stages[0] / stages[1]),
            before_fir=adc / math.prod(stages),
            sample=adc / math.prod(stages) / fir_decimation,
        )

    def text(self, transmit: bool) -> str:
        """As the attributes ``rx_path_rates`` and ``tx_path_rates`` print them."""
        if transmit:
            names, converter = ("DAC", "T2", "T1", "TF", "TXSAMP"), self.dac
        else:
            names, converter = ("ADC", "R2", "R1", "RF", "RXSAMP"), self.adc
        values = (converter, *self.half_band, self.before_fir, self.sample)
        chain = (f"{name}:{value:.0f}" for name, value in zip(names, values, strict=True))
        return " ".join((f"BBPLL:{self.pll:.0f}", *chain))


def _fits(converter_hz: float) -> bool:
    """Whether a converter runs so fast; the lowest rate is rounded down to whole Hz."""
    return CONVERTER_LOWEST_HZ * (1 - 1e-6) <= converter_hz <= CONVERTER_HIGHEST_HZ
