"""A tone without gaps, by bursts that follow each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from radio.api import IQ, Radio

PIECE_S, MOST_SAMPLES = 0.25, 1 << 20  # of a burst
LOOK_S = 0.05  # between two looks whether to stop


@dataclass(frozen=True)
class Tone:
    """A complex exponential.

    Attributes:
        hz: its frequency from the carrier.
        level_db: its power in dB of full scale.
    """

    hz: float
    level_db: float

    def samples(self, first: int, n: int, sample_rate_hz: float) -> IQ:
        """Its samples [first, first + n), complex64."""
        turns = self.hz / sample_rate_hz * (first + np.arange(n)) % 1
        amplitude = 10 ** (self.level_db / 20)
        samples: IQ = (amplitude * np.exp(2j * np.pi * turns)).astype(np.complex64)
        return samples


@dataclass(frozen=True)
class Sent:
    """What became of a tone.

    Attributes:
        samples: handed to the radio; where it was stopped, the last of them were taken back.
        clipped: of them.
        applied_gain_db: transmit gain in force.
    """

    samples: int
    clipped: int
    applied_gain_db: float


def send(radio: Radio, tone: Tone, n: int, stop: Callable[[], bool]) -> Sent:
    """Send n samples of a tone, fewer where somebody stops it; the caller then closes the radio.

    Args:
        radio: open and set up.
        tone: to send.
        n: samples.
        stop: asked now and then.
    """
    rate = radio.settings.sample_rate_hz
    piece = min(math.ceil(PIECE_S * rate), MOST_SAMPLES)
    # The next burst has to reach the radio while one is on the air.
    piece = min(max(piece, math.ceil(3 * radio.caps.turnaround_s * rate)), radio.caps.max_burst)
    posted = clipped = 0
    gain_db = radio.settings.tx_gain_db
    while posted < n and not stop():
        samples = tone.samples(posted, min(piece, n - posted), rate)
        report = radio.transmit(samples)
        posted += samples.size
        clipped += report.clipped
        gain_db = report.applied_gain_db
        begun = report.started_at + (samples.size if posted == n else 0)
        while (ahead := begun - radio.now()) > 0 and not stop():
            radio.receive(min(ahead, math.ceil(LOOK_S * rate)))
    return Sent(posted, clipped, gain_db)
