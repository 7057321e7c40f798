"""The four tones that a PlutoSDR sends while no buffer plays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]

STEPS = 1 << 16
"""Of the phase accumulator: every set of tones repeats after this many samples."""

SCALE_STEP = 2.0**-14


@dataclass(frozen=True)
class Tone:
    """One of four: the first two make I, the others Q, and each pair is added.

    Attributes:
        increment: of the phase, in steps per sample.
        phase_mdeg: of a cosine, in thousandths of a degree.
        scale: amplitude in units of full scale.
        on: whether it sounds; the attribute ``raw``.
    """

    increment: int = 0
    phase_mdeg: int = 0
    scale: float = 0.0
    on: bool = False

    def frequency_hz(self, rate_hz: float) -> float:
        """What it sounds at."""
        return self.increment * rate_hz / STEPS


def increment(frequency_hz: float, rate_hz: float) -> int:
    """Steps per sample for a tone of a wanted frequency."""
    return round(frequency_hz / rate_hz * STEPS) % STEPS


def waveform(tones: Sequence[Tone]) -> Samples | None:
    """One period of what the tones add up to, int16 [n, 2]; None for silence.

    A sum beyond full scale ends there. Phases count from a sine, so that a pair of equal tones of
    which I is a quarter turn ahead is e^{+j 2 pi f t}.
    """
    period = STEPS // math.gcd(STEPS, *(tone.increment for tone in tones if _sounds(tone)))
    if not any(_sounds(tone) for tone in tones):
        return None
    parts = np.zeros((period, 2))
    for number, tone in enumerate(tones):
        if _sounds(tone):
            turns = np.arange(period) * tone.increment % STEPS / STEPS + tone.phase_mdeg / 360e3
            parts[:, number // 2] += tone.scale * np.sin(2 * np.pi * turns)
    limit = STEPS // 2 - 1
    return np.clip(np.rint(parts * limit), -limit, limit).astype(np.int16)


def _sounds(tone: Tone) -> bool:
    return tone.on and tone.scale != 0
