"""Two radios on the virtual air, whose every property is known: what calibration should find."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from radio.waveform.numerology import Numerology
from sim_fallback.air import Air, Scene
from sim_fallback.front_end import THERMAL_DBM_PER_HZ
from sim_fallback.oscillator import Oscillator
from sim_fallback.path import Path
from sim_fallback.presets import PRESETS, Equipment
from sim_fallback.tapped_delay import TappedDelayLine

ComplexArray = npt.NDArray[np.complex64]

CARRIER_HZ, RATE_HZ = 915e6, 1e6
MAX_CFO_HZ = 40e3
NUMEROLOGY = Numerology()
STILL = TappedDelayLine(kind="awgn")
START = 1000  # sample of the sender's clock at which bursts begin
AFTER = 2000  # samples that a capture goes on after what was sent


@dataclass(frozen=True)
class Pair:
    """A sender "d" that a receiver "rx" hears; without faults unless some are named.

    Full scale of both ends is 0 dBm. The receiver's noise is `snr_db` below samples of mean power
    `level_db` once they have passed the path.

    Attributes:
        snr_db: of those samples.
        level_db: over full scale, as sent.
        gain_db: of the path.
        seed: of all that is random.
        ppm: offsets of the two oscillators.
        allan: deviation of each at 0.1 s.
        shared: whether both run from the sender's oscillator.
        sender, ear: what else differs in the two front ends.
        fading: of the path.
        delay_s: of the path.
    """

    snr_db: float
    level_db: float = 0.0
    gain_db: float = -6.0
    seed: int = 0
    ppm: tuple[float, float] = (3.0, -2.0)
    allan: float = 0.0
    shared: bool = False
    sender: Mapping[str, Any] = field(default_factory=dict)
    ear: Mapping[str, Any] = field(default_factory=dict)
    fading: TappedDelayLine = STILL
    delay_s: float = 0.0

    @cached_property
    def equipment(self) -> dict[str, Equipment]:
        """Of both."""
        floor_dbm = THERMAL_DBM_PER_HZ + 10 * math.log10(RATE_HZ)
        figure = self.level_db + self.gain_db - self.snr_db - floor_dbm
        front_end = replace(PRESETS["ideal"].front_end, clips=True, noise_figure_db=figure)
        turns = 2 * math.pi * np.random.default_rng([self.seed, 17]).random((2, 2))
        ideal = PRESETS["ideal"]
        oscillators = [
            Oscillator((self.seed, index), offset, self.allan)
            for index, offset in enumerate(self.ppm)
        ]
        return {
            name: replace(
                ideal.equip(self.seed, name),
                front_end=replace(front_end, **changes),
                oscillator=oscillators[0 if self.shared else index],
                epoch=0,
                tx_lo_rad=float(turns[index, 0]),
                rx_lo_rad=float(turns[index, 1]),
            )
            for index, (name, changes) in enumerate((("d", self.sender), ("rx", self.ear)))
        }

    def air(self) -> Air:
        """With both on it, silent."""
        path = Path(self.fading, -self.gain_db, self.delay_s, self.seed)
        return Air(Scene(CARRIER_HZ, RATE_HZ, self.equipment, {("d", "rx"): path}))

    def hear(
        self, iq: ComplexArray, tx_gain_db: float = 0.0, rx_gain_db: float = 0.0
    ) -> ComplexArray:
        """What the receiver hears of a burst that begins at `START`, complex64 [n + 3000]."""
        air = self.air()
        air.post("d", iq, START, tx_gain_db)
        return air.window("rx", 0, START + iq.size + AFTER, rx_gain_db)

    def offset_at(self, time_s: float) -> float:
        """By how much the sender's oscillator is fast as the receiver's counts, as a fraction."""
        sender, ear = (
            float(self.equipment[name].oscillator.fractional_frequency(time_s))
            for name in ("d", "rx")
        )
        return (sender - ear) / (1 + ear)

    def arrival(self, sent: int) -> float:
        """Where a sample of the sender's clock arrives on the receiver's."""
        at_s = self.air().scene.true_time_s("d", sent) + self.delay_s
        return RATE_HZ * (at_s + self.equipment["rx"].oscillator.time_error_at_s(at_s))


def mean_level_db(iq: ComplexArray) -> float:
    """Mean power of samples over full scale."""
    return 10 * math.log10(float(np.mean(np.abs(iq) ** 2)))
