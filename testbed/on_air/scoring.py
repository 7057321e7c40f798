"""What each cause adds to the error of a burst, told by an air that can be rendered again.

The air keeps what was sent. Heard again without quantisation, without clipping, without noise,
without phase noise, and at last one device at a time, the burst shows what each of them did, to
the sample: no model of an impairment is assumed. Only scores are made of it, never estimates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from radio.api import IQ
from radio.waveform.chanest import delay_samples
from sim_fallback.air import Air, Scene
from sim_fallback.front_end import Cause
from testbed.on_air.link import ComplexArray, delay_ramp

if TYPE_CHECKING:
    from testbed.on_air.receiver import Heard
    from testbed.on_air.uplink import RoundOnAir

# What is switched off, one after the other, and under which name the difference is booked.
STEPS: Sequence[tuple[str, tuple[Cause, ...]]] = (
    ("quantisation", ("quantisation",)),
    ("clipping", ("clipping",)),
    ("front end", ("amplifier", "mixers")),
    ("noise", ("noise",)),
    ("phase noise", ("phase_noise",)),
)
CAUSES = (*(name for name, _ in STEPS), "CFO and drift", "timing", "channel estimation")


@dataclass(frozen=True)
class Score:
    """Truth about one burst.

    Attributes:
        gains: float64 [r], amplitude with which each device's symbols arrived; 0 if it was silent.
        errors: energy by cause, summed over the burst's analog symbols.
        symbols: analog symbols of the burst.
        clean: complex64 [capacity], the superposition as it should have been.
        turns: float64 [r, data symbols], rad, by which each device is off in phase.
    """

    gains: npt.NDArray[np.float64]
    errors: Mapping[str, float]
    symbols: int
    clean: ComplexArray
    turns: npt.NDArray[np.float64]

    @staticmethod
    def mean_gains(scores: Sequence[Score]) -> ComplexArray:
        """Gains of the round, complex64 [r]."""
        weights = [score.symbols for score in scores]
        mean = np.average([score.gains for score in scores], axis=0, weights=weights)
        gains: ComplexArray = mean.astype(np.complex64)
        return gains

    @staticmethod
    def mean_errors(scores: Sequence[Score]) -> dict[str, float]:
        """Mean square error of a symbol by cause."""
        total = sum(score.symbols for score in scores)
        return {cause: sum(s.errors[cause] for s in scores) / total for cause in CAUSES}


class Scorer:
    """Asks an air for the truth.

    Args:
        air: which keeps what was sent.
        receiver: name of its radio there.
        name_of: names of the devices' radios.
        rx_gain_db: of the receiver.
        corrected: what a calibrated receiver makes of its samples, which begin with this one of
            its clock. The faults of mixers are then made up for by what is sent and heard: they
            are never mended, because that would leave the correction without its fault. What is
            left of them is booked under channel estimation.
    """

    def __init__(
        self,
        air: Air,
        receiver: str,
        name_of: Callable[[int], str],
        rx_gain_db: float,
        corrected: Callable[[IQ, int], IQ] | None = None,
    ) -> None:
        self._air = air
        self._receiver = receiver
        self._name_of = name_of
        self._rx_gain_db = rx_gain_db
        self._corrected = corrected
        off = list(accumulate(causes for _, causes in STEPS))
        if corrected is not None:
            off = [tuple(cause for cause in causes if cause != "mixers") for causes in off]
        self._mended = [air.scene.without(*causes) for causes in off]
        self._sounded: tuple[RoundOnAir, npt.NDArray[np.float64]] | None = None

    def score(
        self, now: RoundOnAir, burst: int, heard: Heard, packed: Mapping[int, ComplexArray]
    ) -> Score:
        """Score a burst right after it was heard; `packed` is what each device wanted to send."""
        layout = now.timeline.layouts[burst]
        start = now.receiver.start + now.timeline.bursts[burst]
        errors = dict.fromkeys(CAUSES, 0.0)
        before = now.receiver.carriers_of(heard.iq)[layout.data_rows]
        for (name, _), scene in zip(STEPS, self._mended, strict=True):
            iq = self._render(start, layout.length, scene)
            after = now.receiver.carriers_of(iq)[layout.data_rows]
            errors[name] = _energy(before - after)
            before = after
        gains = np.zeros(len(now.devices))
        clean = np.zeros((layout.data_symbols, layout.numerology.used_carriers), np.complex64)
        drifted, delayed, distorted = (np.zeros_like(clean) for _ in range(3))
        off = np.zeros((len(now.devices), layout.data_symbols))
        misjudged = self._misjudged(now)
        # What the receiver took out of the burst before anything else.
        on_time = delay_ramp(-heard.late, layout.numerology)
        common = np.exp(-1j * heard.rotation)[:, None].astype(np.complex64)
        for i, sent in packed.items():
            iq = self._render(
                start, layout.length, self._mended[-1], [self._name_of(int(now.devices[i]))]
            )
            arrived = now.receiver.carriers_of(iq) * on_time
            turns = np.angle(np.sum(np.conj(sent) * arrived, axis=1))
            straight = arrived * np.exp(-1j * turns)[:, None]
            shape = np.sum(np.conj(sent) * straight, axis=0)
            energy = np.sum(np.abs(sent) ** 2, axis=0)
            gains[i] = abs(shape.sum()) / energy.sum()
            delay = delay_samples((shape / energy).astype(np.complex64), layout.numerology)
            off[i] = np.angle(np.exp(1j * (turns[layout.data_rows] - heard.rotation)))
            # From what should have arrived, step by step, to what did.
            ideal = np.float32(gains[i]) * sent[layout.data_rows]
            turned = np.exp(1j * off[i]).astype(np.complex64)[:, None]
            as_judged = ideal * np.complex64(np.exp(1j * misjudged[i]))
            as_turned = ideal * turned
            as_timed = as_turned * delay_ramp(delay, layout.numerology)
            clean += ideal
            distorted += (as_judged - ideal) + (arrived[layout.data_rows] * common - as_timed)
            drifted += as_turned - as_judged
            delayed += as_timed - as_turned
        errors["CFO and drift"] = _energy(drifted)
        errors["timing"] = _energy(delayed)
        errors["channel estimation"] = _energy(distorted)
        superposed = layout.collect(clean, layout.capacity)
        return Score(gains, errors, layout.capacity, superposed, off)

    def _misjudged(self, now: RoundOnAir) -> npt.NDArray[np.float64]:
        """By what phase noise in its sounding turns each device's symbols, rad [r]."""
        if self._sounded is None or self._sounded[0] is not now:
            timeline = now.timeline
            start = now.receiver.start + timeline.sounding
            iq = self._render(start, timeline.num_devices * timeline.slot, self._mended[-1])
            true = now.receiver.sounding_of(iq).channels
            turns = -np.angle(np.sum(now.sounding.channels * np.conj(true), axis=1))
            self._sounded = (now, turns)
        return self._sounded[1]

    def _render(
        self, start: int, n: int, scene: Scene, transmitters: Sequence[str] | None = None
    ) -> IQ:
        iq = self._air.window(
            self._receiver, start, n, self._rx_gain_db, transmitters=transmitters, scene=scene
        )
        return iq if self._corrected is None else self._corrected(iq, start)


def _energy(values: ComplexArray) -> float:
    return float(np.sum(np.abs(values).astype(np.float64) ** 2))
