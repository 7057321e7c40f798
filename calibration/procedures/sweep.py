"""A gain swept over more dB than a receiver hears at once.

One end's gain goes up step by step. Where the level gets too high for the receiver, the other end's
gain goes down, and the last setting is measured once more: by how much the level went down is
seen, not believed, so that only the one gain's own steps are in the curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from calibration.estimate import Estimate, MeasurementError
from calibration.estimators.tone import tone_levels
from calibration.probes import SATURATED, ToneProbe, saturated_share
from calibration.procedures.procedure import Progress
from calibration.procedures.setup import Setup
from radio.waveform.sync import detect

LEVEL_DB = -3.0  # of the tone that is sent, over full scale
HIGHEST_DBFS = -6.0  # of it at the receiver; above that, converters and amplifiers bend
EASES_DB = (20.0, 10.0, 5.0)  # by which the other end is turned down: the first that is heard
LINK_DB = 0.05  # uncertainty of a level that others are based on
COARSE_DB = 16.0  # of a tone over a step of the converter, below which it takes noise, too

End = Literal["sender", "receiver"]


@dataclass(frozen=True)
class Swept:
    """Levels over a gain.

    Attributes:
        gains_db: as the radio has them, ascending.
        levels: at each, dBFS, as they are with the other end's gain at the end of the sweep; None
            where nothing was heard.
    """

    gains_db: tuple[float, ...]
    levels: tuple[Estimate | None, ...]

    @property
    def columns(self) -> tuple[tuple[float, ...], tuple[Estimate | None, ...]]:
        """Gains and levels."""
        return self.gains_db, self.levels

    def nearest(self, gain_db: float) -> tuple[float, Estimate]:
        """Gain and level that were measured nearest to a gain."""
        pairs = zip(self.gains_db, self.levels, strict=True)
        heard = [(gain, level) for gain, level in pairs if level is not None]
        return min(heard, key=lambda pair: abs(pair[0] - gain_db))


def gains_up_to(highest_db: float, lowest_db: float, step_db: float) -> list[float]:
    """Gains of a sweep, ascending: `highest_db`, and from there down by whole steps."""
    count = int((highest_db - lowest_db) / step_db + 1e-9) + 1
    return [highest_db - step_db * back for back in reversed(range(count))]


@dataclass
class Sweep:
    """A sweep while it is made.

    Attributes:
        setup: whose radios are set up; the gain of the end that is not swept is where it begins.
        end: whose gain is swept.
        samples: of the tone at each gain.
    """

    setup: Setup
    end: End
    samples: int
    _points: list[tuple[float, Estimate | None, int]] = field(default_factory=list, init=False)
    _links: list[Estimate] = field(default_factory=list, init=False)
    _last: tuple[float, Estimate] | None = field(default=None, init=False)

    @property
    def probe(self) -> ToneProbe:
        """That is sent at each gain."""
        return ToneProbe(self.setup.numerology, levels_db=(LEVEL_DB,), step=self.samples)

    def duration_s(self, gains: int) -> float:
        """How long it takes over so many gains."""
        return self.setup.hearing_s(self.probe.iq.size, gains)

    def run(self, gains_db: Sequence[float], progress: Progress) -> Swept:
        """Levels at these gains, ascending; it ends where even the least level is too high.

        Afterwards the other end's gain is that to which the levels belong.

        Raises:
            MeasurementError: fewer than two gains were heard without saturation.
            RadioError: as of `Setup.hear`.
        """
        self.setup.require_allowed(self.probe.iq.size)
        is_saturated = False
        for done, gain_db in enumerate(gains_db):
            progress(done / len(gains_db))
            is_saturated = not self._measure(gain_db)
            if is_saturated:
                break
        heard = sum(level is not None for _, level, _ in self._points)
        if heard < 2:
            raise MeasurementError(
                f"the {self.end} was heard at {heard} of its gains from {gains_db[0]:g} to "
                f"{gains_db[-1]:g} dB: "
                + (
                    "the receiver is saturated; put an attenuator between the radios"
                    if is_saturated
                    else "the receiver is deaf; look at cables and antennas, or raise tx_gain_db"
                )
            )
        # From the last part of the sweep back to the first one each link adds its error.
        shifts = [Estimate(0.0, 0.0, "dB")]
        for link in reversed(self._links):
            shifts.append(shifts[-1].plus(link))
        shifts.reverse()
        return Swept(
            tuple(gain for gain, _, _ in self._points),
            tuple(
                None if level is None else level.minus(shifts[part])
                for _, level, part in self._points
            ),
        )

    def _measure(self, gain_db: float) -> bool:
        """One more gain; False where its level is too high whatever the other end does."""
        while True:
            applied_db = self._turn(gain_db)
            if self._points and applied_db <= self._points[-1][0]:
                return True  # the radio has no gain between
            level, is_high = self._level()
            if not is_high:
                self._points.append((applied_db, level, len(self._links)))
                self._last = self._last if level is None else (applied_db, level)
                return True
            if not self._ease():
                return False

    def _ease(self) -> bool:
        """Turn the other end down, and see by how much the level goes; False where that ends.

        It ends at the lowest gain, and where noise hides what is turned down any further.
        """
        if self.end == "sender":
            turn, allowed = self.setup.set_rx_gain, self.setup.receiver.caps.rx_gain_db
            now_db = self.setup.rx_gain_db
        else:
            turn, allowed = self.setup.set_tx_gain, self.setup.sender.caps.tx_gain_db
            now_db = self.setup.tx_gain_db
        if now_db <= allowed.low:
            return False
        for ease_db in EASES_DB:
            turn(max(now_db - ease_db, allowed.low))
            if self._last is None:
                return True
            gain_db, before = self._last
            self._turn(gain_db)
            after, _ = self._level()
            if after is not None and after.uncertainty < LINK_DB:
                self._links.append(before.minus(after))
                self._last = (gain_db, after)
                return True
        turn(now_db)
        return False

    def _turn(self, gain_db: float) -> float:
        """Set the swept gain; what the radio made of it."""
        if self.end == "sender":
            self.setup.set_tx_gain(gain_db)
            return self.setup.tx_gain_db
        self.setup.set_rx_gain(gain_db)
        return self.setup.rx_gain_db

    def _level(self) -> tuple[Estimate | None, bool]:
        """Level of the tone, None where it is lost; and whether it is too high."""
        setup, probe = self.setup, self.probe
        iq = setup.hear(probe.iq).iq
        if saturated_share(iq) > SATURATED:
            return None, True
        arrival = detect(iq, probe.preamble, setup.max_cfo_hz)
        if arrival is None:
            return None, False
        (level,) = tone_levels(iq, probe, setup.max_cfo_hz, setup.carrier_hz)
        if level is not None and level.value < self._step_dbfs + COARSE_DB:
            # The steps of a converter bend what is hardly larger than they, unless noise moves it.
            noise = float(np.std(iq[: max(int(arrival.start), 0)])) if arrival.start > 1 else 0.0
            if noise < 10 ** (self._step_dbfs / 20):
                return None, False
        return level, level is not None and level.value > HIGHEST_DBFS

    @property
    def _step_dbfs(self) -> float:
        """Of the receiver's converter."""
        return -6.02 * (self.setup.receiver.caps.bits - 1)
