"""The time of a USRP: ticks of its 100 MHz clock, counted from where its user has set them.

A radio of the air reads t + x(t) at true time t, x being the time error of its oscillator, and its
sample u at rate f_s is at f_s (t + x(t)) + epoch. Here the same reading is counted in ticks, plus a
whole number of them that follows from what the user sets. So radios that share a reference and have
set the same time at the same pulse count alike to the tick, and equal ticks are samples of equal
true time.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from sim_fallback.bands import Bands
from sim_fallback.render import sample_at, true_time_at_s
from sim_fallback.virtual_usrp.reference import Reference

TICK_HZ = 100e6
ALMOST = 1e-3
"""Ticks by which rounding may have fallen short of a whole one."""


class Timebase:
    """Device time of one radio. Safe to use from several threads."""

    def __init__(
        self, bands: Bands, name: str, reference: Reference | None, start_ticks: int = 0
    ) -> None:
        """A time that nobody has set yet.

        Args:
            bands: of the radio.
            name: of the radio.
            reference: whose pulses arrive; None for none.
            start_ticks: what is counted at true time 0.
        """
        self._bands, self._name, self._reference = bands, name, reference
        self._lock = threading.RLock()
        self._ahead = start_ticks  # of the reading of its clock
        self._awaiting: tuple[int, float] | None = None  # what to set at the pulse after a time
        self._latched: tuple[float, int] | None = None  # a pulse, and what was counted at it

    def now(self) -> int:
        """Ticks at present."""
        return self.ticks_at(self._bands.clock.present_s())

    def ticks_at(self, t_s: float) -> int:
        """Ticks that have been counted at a true time."""
        with self._lock:
            return self._whole_reading(t_s) + self._counted_ahead()

    def true_time_s(self, ticks: int) -> float:
        """True time of a tick."""
        equipment = self._bands.equipment(self._name)
        with self._lock:
            reading = ticks - self._counted_ahead()
        return true_time_at_s(equipment, reading + equipment.epoch, TICK_HZ)

    def sample_at(self, ticks: int, rate_hz: float) -> int:
        """The sample next to a tick, on the radio's clock as the air counts it at this rate.

        Args:
            ticks: device time.
            rate_hz: a whole part of `TICK_HZ`.
        """
        per_sample = ticks_per_sample(rate_hz)
        with self._lock:
            reading = ticks - self._counted_ahead()
        epoch = self._bands.equipment(self._name).epoch
        return (reading + per_sample // 2) // per_sample + epoch

    def ticks_of(self, sample: int, rate_hz: float) -> int:
        """The tick of a sample; the inverse of `sample_at`."""
        epoch = self._bands.equipment(self._name).epoch
        with self._lock:
            return (sample - epoch) * ticks_per_sample(rate_hz) + self._counted_ahead()

    def set_now(self, ticks: int) -> None:
        """Count from here at once."""
        with self._lock:
            self._latch()
            self._awaiting = None
            self._ahead = ticks - self._whole_reading(self._bands.clock.present_s())

    def set_at_next_pulse(self, ticks: int) -> None:
        """Count from here at the next pulse of the PPS input, whenever it comes."""
        with self._lock:
            self._counted_ahead()
            self._awaiting = (ticks, self._bands.clock.present_s())

    def at_last_pulse(self) -> int:
        """Ticks at the last pulse, before it has set them; 0 where there was none."""
        with self._lock:
            self._latch()
            return 0 if self._latched is None else self._latched[1]

    def reclock(self, change: Callable[[], None]) -> None:
        """Run from another oscillator, which `change` brings about; ticks are counted on."""
        with self._lock:
            self._latch()
            present_s = self._bands.clock.present_s()
            ticks = self.ticks_at(present_s)
            change()
            self._ahead += ticks - self.ticks_at(present_s)

    def _latch(self) -> None:
        """Keep the ticks of the last pulse, as they are counted now."""
        ahead = self._counted_ahead()
        if self._reference is None:
            return
        pulse_s = self._reference.last_pulse_s(self._bands.clock.present_s())
        if pulse_s is not None and (self._latched is None or pulse_s > self._latched[0]):
            self._latched = (pulse_s, self._nearest_reading(pulse_s) + ahead)

    def _counted_ahead(self) -> int:
        """How far ahead of the reading is counted by now: a pulse may have come."""
        if self._awaiting is not None and self._reference is not None:
            ticks, since_s = self._awaiting
            pulse_s = self._reference.next_pulse_s(since_s)
            if pulse_s <= self._bands.clock.present_s():
                reading = self._nearest_reading(pulse_s)
                self._latched = (pulse_s, reading + self._ahead)
                self._ahead, self._awaiting = ticks - reading, None
        return self._ahead

    def _reading(self, t_s: float) -> float:
        equipment = self._bands.equipment(self._name)
        return sample_at(equipment, t_s, TICK_HZ) - equipment.epoch

    def _whole_reading(self, t_s: float) -> int:
        return math.floor(self._reading(t_s) + ALMOST)

    def _nearest_reading(self, t_s: float) -> int:
        return round(self._reading(t_s))


def ticks_per_sample(rate_hz: float) -> int:
    """Ticks between two samples, which are a whole number."""
    return round(TICK_HZ / rate_hz)
