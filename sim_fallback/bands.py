"""One virtual air for radios that retune: a band for every carrier and rate that is sent at.

An `Air` has one carrier and one sample rate. Here a burst goes to the air of its own carrier and
rate, and a radio hears the airs of its rate whose carriers lie within a sample rate of its own,
shifted by the difference; what does not fit into its own band is filtered out. So radios at other
carriers do not disturb each other, and **radios of different sample rates do not hear each
other**, which is the one thing that the real air does and this does not.

Oscillators, paths and the present are the same in all bands. Fading does not depend on the band.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.signal import firwin, oaconvolve

from radio.api import IQ
from sim_fallback.air import SAME_SAMPLE, Air
from sim_fallback.clock import Clock
from sim_fallback.oscillator import FloatArray, Oscillator
from sim_fallback.presets import Equipment
from sim_fallback.render import TILE, sample_at, true_time_at_s

SAME_CARRIER_HZ = 5.0
"""Carriers nearer than the steps of a synthesizer to the scene's are the scene's."""

SAME_RATE = 1e-6
"""By which fraction a rate may miss the scene's and be the scene's."""

HISTORY_S = 10.0
"""How long the air remembers for a client that has stopped reading."""

FILTER_TAPS = 129  # of the filter that keeps to its own band a receiver that is tuned elsewhere


@dataclass(frozen=True)
class Place:
    """Where in the spectrum a radio sends or listens.

    Attributes:
        lo_hz: of its synthesizer.
        rate_hz: of its samples, as `Bands.rate_hz` gives it.
    """

    lo_hz: float
    rate_hz: float


@dataclass(frozen=True, kw_only=True)
class Corrected(Oscillator):
    """An oscillator whose frequency was corrected.

    Attributes:
        plain: the oscillator without correction.
        slope: of the correction, as a fraction.
        shift_s: of the clock at true time 0, so that it does not jump where the correction began.
    """

    plain: Oscillator
    slope: float = 0.0
    shift_s: float = 0.0

    @classmethod
    def of(cls, plain: Oscillator, slope: float, shift_s: float = 0.0) -> Corrected:
        """An oscillator that walks as the plain one does."""
        return cls(
            plain.seed_key,
            plain.offset_ppm,
            plain.allan_deviation,
            plain.ppm_per_k,
            plain.temperature,
            plain=plain,
            slope=slope,
            shift_s=shift_s,
        )

    def _at(self, t: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        y, x = super()._at(t)
        return y + self.slope, x + self.slope * np.asarray(t, np.float64) + self.shift_s

    def _at_once(self, t: float) -> tuple[float, float]:
        y, x = super()._at_once(t)
        return y + self.slope, x + self.slope * t + self.shift_s


class Bands:
    """The airs of one scene. Safe to use from several threads."""

    def __init__(self, air: Air) -> None:
        """Bands around an air, which is the first of them."""
        self._first = air
        self._made_with = {name: radio.oscillator for name, radio in air.scene.equipment.items()}
        self._airs = {(air.scene.carrier_hz, air.scene.sample_rate_hz): air}
        self._needed_s: dict[str, float] = {}
        self._lock = threading.RLock()
        self.version = 0
        """Changes with everything that is sent, cancelled or corrected in any band."""
        self._oscillators = 0  # the version in which one of them was last corrected

    @property
    def clock(self) -> Clock:
        """True time of all bands."""
        return self._first.clock

    def equipment(self, name: str) -> Equipment:
        """Of a radio; RadioError where there is none of that name."""
        return self._first.scene.radio(name)

    def own_oscillator(self, name: str) -> Oscillator:
        """That a radio was made with, whatever it runs from now; RadioError as for `equipment`."""
        self.equipment(name)
        return self._made_with[name]

    def rate_hz(self, rate_hz: float) -> float:
        """The rate, or the scene's where it is as good as that."""
        own = self._first.scene.sample_rate_hz
        return own if abs(rate_hz - own) <= SAME_RATE * own else rate_hz

    def sample_at(self, name: str, t_s: float, rate_hz: float) -> int:
        """First sample of a radio's clock, which counts at this rate, not before true time t_s."""
        return math.ceil(sample_at(self.equipment(name), t_s, rate_hz) - SAME_SAMPLE)

    def own_time_s(self, name: str, t_s: float, rate_hz: float) -> float:
        """Sample of a radio's clock at true time t_s, in seconds as that clock counts them."""
        return float(sample_at(self.equipment(name), t_s, rate_hz)) / rate_hz

    def true_time_s(self, name: str, sample: int, rate_hz: float) -> float:
        """True time of a sample of a radio's clock, which counts at this rate."""
        return true_time_at_s(self.equipment(name), sample, rate_hz)

    def send(
        self, name: str, where: Place, iq: IQ, at: int, gain_db: float, cyclic: bool = False
    ) -> None:
        """Post a burst in the band it is sent in; as `Air.post`."""
        with self._lock:
            carrier_hz = self._carrier_hz(where.lo_hz)
            band = (carrier_hz, where.rate_hz)
            if band not in self._airs:
                scene = self._first.scene
                self._airs[band] = Air(
                    replace(scene, carrier_hz=carrier_hz, sample_rate_hz=where.rate_hz), self.clock
                )
            self._airs[band].post(name, iq, at, gain_db, cyclic)
            self.version += 1

    def silence(self, name: str, t_s: float) -> None:
        """Cancel what a radio has to send from true time t_s on, in every band."""
        with self._lock:
            for (_, rate_hz), air in self._airs.items():
                before = air.version
                air.cancel(name, self.sample_at(name, t_s, rate_hz))
                self.version += air.version != before

    def need(self, name: str, since_s: float) -> None:
        """A radio may still ask for what it heard since a time, inf for nothing of the past.

        What nobody needs is forgotten, and anything after `HISTORY_S`.
        """
        with self._lock:
            self._needed_s[name] = since_s
            now_s = self.clock.present_s()
            oldest_s = min(now_s, max(now_s - HISTORY_S, min(self._needed_s.values())))
            for band, air in list(self._airs.items()):
                air.forget(oldest_s)
                if air is not self._first and air.is_silent:
                    del self._airs[band]

    def bursts(self, name: str, where: Place, index: int) -> tuple[object, ...]:
        """All that decides what arrives at a radio in a tile: the same, by identity, the same."""
        found: list[object] = [self._oscillators]
        with self._lock:
            for air, away_hz in self._near(where):
                for each in (index - 1, index, index + 1) if away_hz else (index,):
                    found += air.bursts(name, each)
        return tuple(found)

    def incident(self, name: str, where: Place, index: int) -> IQ | None:
        """What arrives at a radio's antenna connector in a tile of its clock, as `Air.incident`."""
        total: IQ | None = None
        with self._lock:
            for air, away_hz in self._near(where):
                heard = _tuned(air, name, index, away_hz) if away_hz else air.incident(name, index)
                if heard is not None:
                    total = heard if total is None else total + heard
        return total

    def correct(self, name: str, factor: float) -> None:
        """Multiply the frequency of a radio's oscillator from the present on; its clock goes on.

        What it sent and has not been heard yet is heard as if its clock had always run like that,
        around the present.
        """
        with self._lock:
            oscillator, now_s = self.equipment(name).oscillator, self.clock.present_s()
            plain = oscillator.plain if isinstance(oscillator, Corrected) else oscillator
            slope = (1 + plain.offset_ppm / 1e6) * (factor - 1)
            shift_s = float(oscillator.time_error_s(now_s) - plain.time_error_s(now_s))
            self.run_from(name, Corrected.of(plain, slope, shift_s - slope * now_s))

    def run_from(self, name: str, oscillator: Oscillator) -> None:
        """Let a radio run from another oscillator; heard as if it always had, as in `correct`."""
        with self._lock:
            equipment = self.equipment(name)
            if equipment.oscillator is oscillator:
                return
            for air in self._airs.values():
                air.equip(name, replace(equipment, oscillator=oscillator))
            self.version += 1
            self._oscillators = self.version

    def _near(self, where: Place) -> Iterator[tuple[Air, float]]:
        """Airs that a receiver hears, and how far their carriers lie above its own."""
        own_hz = self._carrier_hz(where.lo_hz)
        for (carrier_hz, rate_hz), air in self._airs.items():
            if rate_hz == where.rate_hz and abs(carrier_hz - own_hz) < rate_hz:
                yield air, carrier_hz - own_hz

    def _carrier_hz(self, lo_hz: float) -> float:
        """The carrier, or the scene's where it is as good as that."""
        own_hz = self._first.scene.carrier_hz
        return own_hz if abs(lo_hz - own_hz) <= SAME_CARRIER_HZ else lo_hz


def _tuned(air: Air, name: str, index: int, away_hz: float) -> IQ | None:
    """A tile of an air whose carrier lies away_hz above the one that a radio is tuned to."""
    tiles = [air.incident(name, each) for each in (index - 1, index, index + 1)]
    if all(tile is None for tile in tiles):
        return None
    around = np.concatenate([np.zeros(TILE, np.complex64) if t is None else t for t in tiles])
    rate_hz, margin = air.scene.sample_rate_hz, FILTER_TAPS // 2
    around = around[TILE - margin : 2 * TILE + margin]
    # What stays is what both bands share, around half of the distance.
    kept = firwin(FILTER_TAPS, max(rate_hz - abs(away_hz), rate_hz / 50), fs=2 * rate_hz)
    turns = -away_hz / 2 / rate_hz * np.arange(-margin, margin + 1)
    heard = oaconvolve(around, kept * np.exp(2j * np.pi * turns), "valid")
    samples = index * TILE + np.arange(TILE, dtype=np.float64)
    shifted: IQ = (heard * np.exp(2j * np.pi * (away_hz / rate_hz * samples % 1))).astype(
        np.complex64
    )
    return shifted
