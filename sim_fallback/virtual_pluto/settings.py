"""What a PlutoSDR is set to."""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace

from sim_fallback.virtual_pluto.dds import Tone
from sim_fallback.virtual_pluto.errors import IioError
from sim_fallback.virtual_pluto.fir import Fir
from sim_fallback.virtual_pluto.gain import table
from sim_fallback.virtual_pluto.synthesizer import (
    CRYSTAL_HZ,
    HIGHEST_RATE_HZ,
    LOWEST_RATE_HZ,
    Rates,
    carrier_hz,
)

LOWEST_LO_HZ, HIGHEST_LO_HZ = 325_000_000, 3_800_000_000  # of the AD9363 in a stock Pluto
RESET_TX_GAIN_DB = -10.0
DUPLEX_MODES = ("fdd", "pinctrl_fdd_indep")
FPGA_DECIMATION = 8  # of the optional stage behind the transceiver
TAPS_PER_CLOCK = 16  # that the FIR computes in a cycle of the converter


@dataclass(frozen=True)
class Settings:
    """Everything that clients set and the radio acts on, as a stock Pluto starts.

    Attributes:
        rx_lo_hz, tx_lo_hz: as the synthesizers make them of an ideal crystal.
        rate_hz: of the transceiver, as it makes it of an ideal crystal.
        fir: the filter that was loaded; None for none.
        fir_on: whether it filters.
        rx_by_8, tx_by_8: whether the stages behind the transceiver divide the rate by eight.
        gain_mode: of `sim_fallback.virtual_pluto.gain.MODES`.
        rx_gain_db: in manual mode.
        tx_gain_db: 0 or less.
        rx_off, tx_off: whether a synthesizer is powered down.
        ensm_mode: of the state machine; nothing is sent or received but in `DUPLEX_MODES`.
        calib_mode: ``auto`` calibrates when an LO moves far, ``manual`` does not.
        loopback: 0 for none, 1 for samples to samples, 2 for antenna to antenna.
        xo_hz: what the crystal is taken to be.
        tones: of the DDS.
    """

    rx_lo_hz: float = carrier_hz(2.4e9)
    tx_lo_hz: float = carrier_hz(2.45e9)
    rate_hz: float = Rates.of(30.72e6, 1).sample
    fir: Fir | None = None
    fir_on: bool = False
    rx_by_8: bool = False
    tx_by_8: bool = False
    gain_mode: str = "slow_attack"
    rx_gain_db: float = 71.0
    tx_gain_db: float = RESET_TX_GAIN_DB
    rx_off: bool = False
    tx_off: bool = False
    ensm_mode: str = "fdd"
    calib_mode: str = "auto"
    loopback: int = 0
    xo_hz: int = int(CRYSTAL_HZ)
    tones: tuple[Tone, ...] = (Tone(),) * 4

    @property
    def duplex(self) -> bool:
        """Whether the radio is on."""
        return self.ensm_mode in DUPLEX_MODES

    @property
    def rx_rate_hz(self) -> float:
        """Of the samples that clients read."""
        return self.rate_hz / (FPGA_DECIMATION if self.rx_by_8 else 1)

    @property
    def tx_rate_hz(self) -> float:
        """Of the samples that clients write."""
        return self.rate_hz / (FPGA_DECIMATION if self.tx_by_8 else 1)

    @property
    def rates(self) -> Rates:
        """The chain of clocks."""
        return Rates.of(self.rate_hz, self._decimation)

    @property
    def lowest_rate_hz(self) -> float:
        """That the filters in force allow."""
        return LOWEST_RATE_HZ / self._decimation

    def with_rate(self, wanted_hz: float) -> Settings:
        """At another sample rate. That resets the transmit gain, as the device does.

        Raises:
            IioError: EINVAL, out of range or too fast for the taps of the FIR.
        """
        if not int(self.lowest_rate_hz) <= wanted_hz <= HIGHEST_RATE_HZ:
            raise IioError(errno.EINVAL)
        rates = Rates.of(wanted_hz, self._decimation)
        if self.fir_on and self.fir is not None:
            _require_time(self.fir, rates)
        if rates.sample == self.rate_hz:
            return self
        return replace(self, rate_hz=rates.sample, tx_gain_db=RESET_TX_GAIN_DB)

    def with_fir(self, on: bool) -> Settings:
        """With the loaded filter switched on or off.

        Raises:
            IioError: EINVAL, no filter, or the rate is none that there is then.
        """
        if on == self.fir_on:
            return self
        if on and self.fir is None:
            raise IioError(errno.EINVAL)
        return replace(self, fir_on=on).with_rate(round(self.rate_hz))

    def with_rx_lo(self, wanted_hz: float) -> Settings:
        """With another receive carrier; the gain follows into the range of its band."""
        lo_hz = _carrier(wanted_hz)
        gains = table(lo_hz)
        gain_db = max(gains.low, min(gains.high, self.rx_gain_db))
        return replace(self, rx_lo_hz=lo_hz, rx_gain_db=gain_db)

    def with_tx_lo(self, wanted_hz: float) -> Settings:
        """With another transmit carrier."""
        return replace(self, tx_lo_hz=_carrier(wanted_hz))

    @property
    def _decimation(self) -> int:
        return self.fir.decimation if self.fir_on and self.fir is not None else 1


def _carrier(wanted_hz: float) -> float:
    """The nearest carrier that there is; IioError EINVAL out of range."""
    if not LOWEST_LO_HZ <= wanted_hz <= HIGHEST_LO_HZ:
        raise IioError(errno.EINVAL)
    return carrier_hz(wanted_hz)


def _require_time(fir: Fir, rates: Rates) -> None:
    """IioError EINVAL where the converters run too slowly for the taps."""
    if round(rates.dac / rates.sample) * TAPS_PER_CLOCK < fir.taps:
        raise IioError(errno.EINVAL)
