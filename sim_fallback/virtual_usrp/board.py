"""One virtual USRP: an N210 with an SBX, its registers and its place on the air.

What a register means was measured with UHD 4.3. Settings are numbered by their words: setting n is
at 0x7000 + 4 n of the device's address space, readback n at 0x5C00 + 4 n.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sim_fallback.bands import Bands, Corrected, Place
from sim_fallback.oscillator import Oscillator
from sim_fallback.playback import Outlet
from sim_fallback.streams import stream
from sim_fallback.virtual_usrp.reference import Reference
from sim_fallback.virtual_usrp.synthesizer import Synthesizer
from sim_fallback.virtual_usrp.timebase import TICK_HZ, Timebase

CLOCK_SOURCE = 0
TIME_HIGH, TIME_LOW, TIME_AT_ONCE = 10, 11, 13
SPI_CONTROL, SPI_DATA = 21, 22
RX_CONTROLS, RX_DSPS = (32, 80), (48, 96)
TX_CONTROL, TX_DSP = 144, 160
GPIO_RX, GPIO_TX = 185, 186  # of the pins while only that direction is in use
GPIO = (GPIO_RX, GPIO_TX)
BLOCK = 16  # settings of each control and each DSP
FREQUENCY, SCALE, FACTOR = 0, 1, 2  # of a DSP

INTERNAL, EXTERNAL, MIMO = 0x12, 0x1C, 0x15
"""Clock sources: its own oscillator, its input, and another device, which is not wired to it."""

RX_LO, TX_LO, CONVERTER = 16, 128, 256  # as chips on the SPI bus

PINS, NOW_HIGH, NOW_LOW, COMPATIBLE, STATUS, PULSE_HIGH, PULSE_LOW = range(9, 16)
COMPATIBLE_WORD = 0x000B_0001
REFERENCE_LOCKED = 1 << 11
WORD = (1 << 32) - 1

DIGITAL_GAIN, FINE_GAIN = 0x17, 0x1A  # registers of the converter
DIGITAL_STEP_DB, FINE_STEP_DB, STEPS = 0.5, 0.05, 15
GAIN_STEP_DB, GAIN_STEPS = 0.5, 63
RX_GAIN_BIT, TX_GAIN_BIT = 8, 24
CORDIC_GAIN = 1.65
RX_ORDER, TX_ORDER = 4, 3  # of the CIC filters
MOST_SINCE_START_S = 10.0


@dataclass(frozen=True)
class Inlet:
    """How samples are received.

    Attributes:
        place: in the spectrum.
        gain_db: of the receiver.
        scale: by which the samples that the host reads are larger than those received.
        on: whether anything is received; otherwise all samples are 0.
    """

    place: Place
    gain_db: float
    scale: float
    on: bool


class Stream(Protocol):
    """What a board tells its receptions and its transmission. It holds no lock meanwhile."""

    def poke(self, offset: int, value: int) -> None:
        """A setting of the stream's control was written."""

    def retuned(self, ticks: int) -> None:
        """What `Board.rx` or `Board.tx` gives is different from a device time on."""


class Board:
    """One radio. Safe to use from several threads; none of its methods waits."""

    def __init__(
        self,
        bands: Bands,
        name: str,
        reference: Reference | None = None,
        own_ppm: float = 0.0,
    ) -> None:
        """The radio `name` of an air.

        Args:
            bands: that it sends and receives in.
            name: in the scene of these bands; RadioError where there is none.
            reference: what is wired to its inputs; None for nothing.
            own_ppm: by up to how much its own oscillator is off the one of the scene, where that
                is the reference's.
        """
        self.name, self.bands, self.reference = name, bands, reference
        equipment = bands.equipment(name)
        rng = stream(equipment.key, "USRP")
        self._plain = bands.own_oscillator(name)
        self._off = own_ppm / 1e6 * float(rng.uniform(-1, 1))
        start_ticks = int(rng.integers(round(MOST_SINCE_START_S * TICK_HZ)))
        self.timebase = Timebase(bands, name, reference, start_ticks)
        self._lock = threading.RLock()
        self._settings: dict[int, int] = {}
        self._rx_lo, self._tx_lo = Synthesizer(), Synthesizer()
        self._converter: dict[int, int] = {}
        self._inlets = [self._inlet_of(dsp) for dsp in RX_DSPS]
        self._outlet = self._outlet_now()
        self._receptions: Sequence[Stream] = ()
        self._transmission: Stream | None = None
        self._run_from(INTERNAL)

    def attach(self, receptions: Sequence[Stream], transmission: Stream) -> None:
        """Tell these of what concerns them, one reception for each DSP."""
        self._receptions, self._transmission = receptions, transmission

    def rx(self, dsp: int) -> Inlet:
        """How a receive DSP, 0 or 1, receives."""
        return self._inlets[dsp]

    def tx(self) -> Outlet:
        """How is sent."""
        return self._outlet

    def poke(self, setting: int, value: int, ticks: int | None = None) -> None:
        """Write a setting.

        Args:
            setting: its number.
            value: of 32 bits.
            ticks: device time at which it takes effect, which is not far from now; None for now.
        """
        with self._lock:
            self._settings[setting] = value
            if setting == CLOCK_SOURCE:
                self._run_from(value)
            elif setting == TIME_HIGH:
                self._set_time(value)
        if setting == SPI_DATA:
            control = self._setting(SPI_CONTROL)
            length = control >> 24 & 0x3F
            self.write_chip(control & 0xFF_FFFF, value >> max(0, 32 - length), ticks)
        for control, receiver in zip(RX_CONTROLS, self._receptions, strict=False):
            if control <= setting < control + BLOCK:
                receiver.poke(setting - control, value)
        if TX_CONTROL <= setting < TX_CONTROL + BLOCK and self._transmission is not None:
            self._transmission.poke(setting - TX_CONTROL, value)
        if any(dsp <= setting < dsp + BLOCK for dsp in (*RX_DSPS, TX_DSP)) or setting in GPIO:
            self._retune(ticks)

    def readback(self, number: int, ticks: int | None = None) -> int:
        """A word that the device answers; `ticks` as for `poke`."""
        if number in (NOW_HIGH, NOW_LOW):
            now = self.timebase.now() if ticks is None else ticks
            return _half(now, number == NOW_HIGH)
        if number in (PULSE_HIGH, PULSE_LOW):
            return _half(self.timebase.at_last_pulse(), number == PULSE_HIGH)
        if number == PINS:
            return WORD  # both synthesizers are locked
        if number == COMPATIBLE:
            return COMPATIBLE_WORD
        if number == STATUS:
            return REFERENCE_LOCKED if self._is_locked() else 0
        return 0

    def write_chip(self, slaves: int, word: int, ticks: int | None = None) -> None:
        """Write a word to the chips that are selected; most have nothing to do here."""
        with self._lock:
            for slave, synthesizer in ((RX_LO, self._rx_lo), (TX_LO, self._tx_lo)):
                if slaves & slave:
                    synthesizer.write(word)
            if slaves & CONVERTER:
                self._converter[word >> 8 & 0xFF] = word & 0xFF
        self._retune(ticks)

    def _retune(self, ticks: int | None) -> None:
        """Tell those whom it concerns where anything has changed."""
        with self._lock:
            inlets, outlet = [self._inlet_of(dsp) for dsp in RX_DSPS], self._outlet_now()
            moved = [inlet != old for inlet, old in zip(inlets, self._inlets, strict=True)]
            sends_otherwise = outlet != self._outlet
            self._inlets, self._outlet = inlets, outlet
        at = self.timebase.now() if ticks is None else ticks
        for reception, otherwise in zip(self._receptions, moved, strict=False):
            if otherwise:
                reception.retuned(at)
        if sends_otherwise and self._transmission is not None:
            self._transmission.retuned(at)

    def _inlet_of(self, dsp: int) -> Inlet:
        rate_hz, shift_hz, scale = self._dsp(dsp, RX_ORDER)
        place = Place(self._rx_lo.carrier_hz - shift_hz, self.bands.rate_hz(rate_hz))
        gain_db = self._gain_db(GPIO_RX, RX_GAIN_BIT) + self._converter_gain_db()
        return Inlet(place, gain_db, scale, on=self._rx_lo.carrier_hz > 0)

    def _outlet_now(self) -> Outlet:
        rate_hz, shift_hz, scale = self._dsp(TX_DSP, TX_ORDER)
        place = Place(self._tx_lo.carrier_hz + shift_hz, self.bands.rate_hz(rate_hz))
        on = self._tx_lo.carrier_hz > 0
        return Outlet(place, self._gain_db(GPIO_TX, TX_GAIN_BIT), on, scale)

    def _dsp(self, first: int, order: int) -> tuple[float, float, float]:
        """Rate, shift in frequency and gain of a DSP."""
        factor = self._setting(first + FACTOR)
        cic = max(1, factor & 0xFF)
        halvings = (factor >> 8 & 1) + (factor >> 9 & 1)
        shift = self._setting(first + FREQUENCY)
        signed = shift - (1 << 32) if shift >> 31 else shift
        grown = cic**order
        adjustment = 2 ** math.ceil(math.log2(grown)) / (CORDIC_GAIN * grown)
        scale = self._setting(first + SCALE) / 2**17 / adjustment
        return TICK_HZ / cic / 2**halvings, signed / 2**32 * TICK_HZ, scale

    def _gain_db(self, setting: int, lowest: int) -> float:
        """Attenuation is 31.5 dB where all pins are low."""
        return GAIN_STEP_DB * (self._setting(setting) >> lowest & GAIN_STEPS)

    def _converter_gain_db(self) -> float:
        digital, fine = (self._converter.get(at, 0) & STEPS for at in (DIGITAL_GAIN, FINE_GAIN))
        return DIGITAL_STEP_DB * digital + FINE_STEP_DB * fine

    def _setting(self, number: int) -> int:
        return self._settings.get(number, 0)

    def _set_time(self, high: int) -> None:
        ticks = high << 32 | self._setting(TIME_LOW)
        if self._setting(TIME_AT_ONCE) & 1:
            self.timebase.set_now(ticks)
        else:
            self.timebase.set_at_next_pulse(ticks)

    def _is_locked(self) -> bool:
        """Whether its clock is locked to what it was told to run from."""
        source = self._setting(CLOCK_SOURCE)
        if source == EXTERNAL:
            return self.reference is not None and self.reference.locked
        return source != MIMO

    def _run_from(self, source: int) -> None:
        """Run from the reference where that is asked for and there is one, or on its own."""
        reference = self.reference
        if source == EXTERNAL and reference is not None and reference.locked:
            oscillator = reference.oscillator
        else:
            oscillator = self._own()
        self.timebase.reclock(lambda: self.bands.run_from(self.name, oscillator))

    def _own(self) -> Oscillator:
        """Its own oscillator, which was right when it was switched to."""
        shared = self.reference is not None and self._plain is self.reference.oscillator
        if not shared or not self._off:
            return self._plain
        return Corrected.of(self._plain, self._off, -self._off * self.bands.clock.present_s())


def _half(ticks: int, high: bool) -> int:
    return (ticks >> 32 if high else ticks) & WORD
