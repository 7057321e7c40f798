"""Benches of known equipment. docs/impairments.md has the source of each number."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType

import numpy.typing as npt

from sim_fallback.front_end import FrontEnd, IQImbalance
from sim_fallback.oscillator import Oscillator
from sim_fallback.phase_noise import PhaseNoise
from sim_fallback.power_amplifier import PowerAmplifier
from sim_fallback.spread import ALIKE, Spread
from sim_fallback.streams import Key, stream
from sim_fallback.temperature import WARMING_UP, FloatArray, Temperature


@dataclass(frozen=True)
class Equipment:
    """What one radio of the air is made of.

    Attributes:
        oscillator: of its clock and its carriers; the same object in radios that share a clock.
        front_end: between samples and antenna connector.
        tx_lo_rad, rx_lo_rad: phases of the two synthesizers at t = 0. A shared clock fixes their
            frequencies, not their phases.
        epoch: what its sample counter shows at t = 0.
        key: names its randomness: a seed and numbers that divide it further.
        temperature: of the front end, which changes its gains.
    """

    oscillator: Oscillator
    front_end: FrontEnd
    tx_lo_rad: float
    rx_lo_rad: float
    epoch: int
    key: Key
    temperature: Temperature = WARMING_UP

    def serial(self, name: str) -> str:
        """Serial number of the radio of this name; with another seed it is another radio."""
        return f"airmeta-{self.key[0]}-{name}"

    def tx_drift_db(self, t_s: npt.ArrayLike) -> FloatArray:
        """What warmth adds to the transmit gain at true times, float64 of their shape."""
        return self.front_end.tx_gain_db_per_k * self.temperature.warmth_k(t_s)

    def rx_drift_db(self, t_s: npt.ArrayLike) -> FloatArray:
        """As `tx_drift_db`, of the receive gain."""
        return self.front_end.rx_gain_db_per_k * self.temperature.warmth_k(t_s)


@dataclass(frozen=True)
class Preset:
    """A kind of bench, from which radios are drawn.

    Attributes:
        name: of the preset.
        offset_ppm: oscillators are off by up to this much, uniformly.
        allan_deviation: of their random walk of frequency at 0.1 s.
        shared_clock: whether all radios run from one oscillator.
        front_end: of every radio, but for the spread. Its gains change with warmth by half to all
            of what it says, which is drawn.
        random_lo: whether synthesizers start at random phases; otherwise at 0.
        epoch_spread: sample counters start at 0 to this much.
        spread: between the radios.
        temperature: of all radios.
        ppm_per_k: oscillators change with warmth by up to this much either way, uniformly.
    """

    name: str
    offset_ppm: float
    allan_deviation: float
    shared_clock: bool
    front_end: FrontEnd
    random_lo: bool = True
    epoch_spread: int = 1_000_000
    spread: Spread = ALIKE
    temperature: Temperature = WARMING_UP
    ppm_per_k: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.offset_ppm < math.inf:
            raise ValueError(f"offset_ppm must be finite and >= 0, not {self.offset_ppm}")
        if self.epoch_spread < 0:
            raise ValueError(f"epoch_spread must be >= 0, not {self.epoch_spread}")
        if not 0 <= self.ppm_per_k < math.inf:
            raise ValueError(f"ppm_per_k must be finite and >= 0, not {self.ppm_per_k}")

    def equip(self, seed: int, name: str) -> Equipment:
        """The radio of this name; the same for the same seed, whatever else was drawn before."""
        key = (seed, zlib.crc32(name.encode()))
        rng = stream(key, "equipment")
        turns = rng.random(2) if self.random_lo else (0.0, 0.0)
        return Equipment(
            oscillator=self._oscillator((seed,) if self.shared_clock else key),
            front_end=self._front_end(key),
            tx_lo_rad=2 * math.pi * float(turns[0]),
            rx_lo_rad=2 * math.pi * float(turns[1]),
            epoch=int(rng.integers(self.epoch_spread + 1)),
            key=key,
            temperature=self.temperature,
        )

    def _front_end(self, key: Key) -> FrontEnd:
        shares = stream(key, "gains over temperature").uniform(0.5, 1, 2)
        plain = replace(
            self.front_end,
            tx_gain_db_per_k=self.front_end.tx_gain_db_per_k * float(shares[0]),
            rx_gain_db_per_k=self.front_end.rx_gain_db_per_k * float(shares[1]),
        )
        return self.spread.front_end(plain, key)

    def _oscillator(self, key: Key) -> Oscillator:
        offset_ppm = self.offset_ppm * stream(key, "oscillator offset").uniform(-1, 1)
        ppm_per_k = self.ppm_per_k * stream(key, "oscillator over temperature").uniform(-1, 1)
        return _oscillator(key, offset_ppm, self.allan_deviation, ppm_per_k, self.temperature)


@lru_cache(maxsize=1024)
def _oscillator(
    key: Key, offset_ppm: float, allan_deviation: float, ppm_per_k: float, warmth: Temperature
) -> Oscillator:
    """One object for one oscillator, so that its random walk is walked once."""
    return Oscillator(key, offset_ppm, allan_deviation, ppm_per_k, warmth)


PLUTO = FrontEnd(
    tx_full_scale_dbm=7.0,
    rx_full_scale_dbm=6.0,
    noise_figure_db=2.5,
    dac_bits=12,
    adc_bits=12,
    pa=PowerAmplifier(smoothness=1.0, saturation_db=12.0),
    tx_iq=IQImbalance(gain_db=0.017, phase_deg=0.2),
    rx_iq=IQImbalance(gain_db=0.017, phase_deg=0.2),
    tx_dc=0.003,
    rx_dc=0.001,
    tx_phase_noise=PhaseNoise(0.86),
    rx_phase_noise=PhaseNoise(0.86),
    turnaround_s=20e-3,
    clips=True,
)

N210_SBX = FrontEnd(
    tx_full_scale_dbm=-11.5,
    rx_full_scale_dbm=0.0,
    noise_figure_db=5.0,
    dac_bits=16,
    adc_bits=14,
    tx_phase_noise=PhaseNoise(0.86),
    rx_phase_noise=PhaseNoise(0.86),
    turnaround_s=5e-3,
    clips=True,
)

_PRESETS = (
    Preset(
        "ideal",
        offset_ppm=0.0,
        allan_deviation=0.0,
        shared_clock=True,
        front_end=FrontEnd(),
        random_lo=False,
        epoch_spread=0,
    ),
    Preset(
        "cabled-shared-clock",
        offset_ppm=20.0,
        allan_deviation=1e-10,
        shared_clock=True,
        front_end=replace(PLUTO, tx_phase_noise=PhaseNoise(0.3), rx_phase_noise=PhaseNoise(0.3)),
    ),
    Preset(
        "usrp-octoclock",
        offset_ppm=0.025,
        allan_deviation=1e-11,
        shared_clock=True,
        front_end=N210_SBX,
    ),
    Preset(
        "pluto-tcxo",
        offset_ppm=20.0,
        allan_deviation=1e-10,
        shared_clock=False,
        front_end=PLUTO,
    ),
)

PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in _PRESETS})
