"""Holds the received powers over rounds: slow changes of a path are made up for by gain.

Level l of a device is what its path p and its gain g make of the target, l = p + g in dB. The loop
estimates p from soundings and turns g towards -p.

The estimate averages in the power domain, over fading and noise, with exponential forgetting:

    p <- p + 10 log10(1 - K + K 10^((l - g - p)/10)).

As p belongs to the path alone, a turn of the gain disturbs nothing, whether or not it was carried
out. With the variance R = v + (10/ln 10)^2 f of a level, v from noise and f from fading, and V of
the estimate, the memory K is the larger of V/(V + R), the best for a path that stands still, and of

    K = (4 s^2/R)^(1/3),

which has the least error (s/K)^2 + R K/2 for one that drifts by s a round: lag, and what noise and
fading leave. Fast fading is averaged over and left to the protocol.

A device that was moved shows in a second average of short memory, which takes the place of the
first where it is too far off for chance.

The gain turns only where the estimate is off by more than half a step of the gain, a margin, and
its own standard deviation: nothing hunts. It turns at a bounded rate.

Over a drift of 3 dB in 200 rounds, in steps of 0.25 dB, powers stay within 0.4 dB where nothing
fades, for soundings at 10 dB and more. Behind Rayleigh fading that is flat they are held to 0.7 dB
rms, behind that of four equal paths to 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from calibration.power.plan import GainPlan, Planned
from calibration.power.sender import nearest_gain

_DB = 10 / math.log(10)  # of a small relative change of power
_RECENT = 0.15  # K of the short memory
_CHANCE = 5.0  # standard deviations of the short average: fading gets there once in 1e5 rounds
MOST_DB = 1000.0  # of a level or a gain; beyond it something else is wrong


class Level(NamedTuple):
    """What was heard of a device in a round.

    Attributes:
        level_db: 10 log10 of its power over the target's, the power of noise taken off.
        variance_db2: of it, by noise alone.
        tx_gain_db: in force then, as the radio applied it; None for what the loop asked for.
    """

    level_db: float
    variance_db2: float
    tx_gain_db: float | None = None


class Followed(NamedTuple):
    """What is known of a device: plain numbers, for a checkpoint.

    Attributes:
        path_db: estimated level at gain 0.
        variance_db2: of it.
        recent_db: the same of short memory.
        tx_gain_db: in force, or asked for last.
    """

    path_db: float
    variance_db2: float
    recent_db: float
    tx_gain_db: float


LoopState = Mapping[str, Followed]
"""By name of the device."""


class Turns(NamedTuple):
    """What a step asks for.

    Attributes:
        tx_gains_db: new gains, of those devices only that are to change theirs.
        at_limit_db: devices whose gain ends before the target does, and by how many dB they are
            above it, below 0 for those that are too weak.
    """

    tx_gains_db: Mapping[str, float]
    at_limit_db: Mapping[str, float]


@dataclass(frozen=True)
class GainLoop:
    """The loop of a bench: pure, the state is the caller's.

    Attributes:
        plan: where it begins; its bounds and steps of the gains hold throughout.
        fading: variance of the received power from round to round over its squared mean: 1 for
            Rayleigh fading that is flat, 1/L for L equal paths that the band resolves, 0 for none.
            Fading that lasts for many rounds counts as a change of the path, and is followed.
        drift_db: by which a path changes in a round at most, for long.
        turn_db: by which a gain is turned in a round at most, but at least by a step of it.
        margin_db: by which a path may be off besides, before its gain is turned.
    """

    plan: GainPlan
    fading: float = 0.0
    drift_db: float = 0.015
    turn_db: float = 1.0
    margin_db: float = 0.05

    def __post_init__(self) -> None:
        for name in ("fading", "margin_db"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} should be 0 or more, not {getattr(self, name)}")
        for name in ("drift_db", "turn_db"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} should be above 0, not {getattr(self, name)}")

    def start(self) -> LoopState:
        """As the plan has it, known as well as the plan knows it."""
        state = {}
        for one in self.plan.devices:
            path_db = one.received_dbm - self.plan.target_dbm - one.tx_gain_db
            state[one.name] = Followed(path_db, one.doubt_db**2, path_db, one.tx_gain_db)
        return state

    def restore(self, rows: Mapping[str, Sequence[float]]) -> LoopState:
        """The state from a checkpoint: the numbers of `Followed` by name.

        Raises:
            ValueError: of other devices than the plan's, or no numbers of `Followed`.
        """
        names = [one.name for one in self.plan.devices]
        if sorted(rows) != sorted(names):
            raise ValueError(
                f"the checkpoint has the gains of {', '.join(sorted(rows)) or 'nobody'}, "
                f"and the plan is for {', '.join(sorted(names))}"
            )
        for name, row in rows.items():
            sane = len(row) == len(Followed._fields) and all(
                abs(number) <= MOST_DB for number in row
            )
            if not (sane and row[1] >= 0):
                raise ValueError(
                    f"the checkpoint has {list(row)} for {name}, not {', '.join(Followed._fields)}"
                )
        return {name: Followed(*map(float, rows[name])) for name in names}

    def step(self, state: LoopState, levels: Mapping[str, Level]) -> tuple[LoopState, Turns]:
        """After a round.

        Args:
            state: before.
            levels: of the devices that were heard; all others hold what they have.

        Raises:
            ValueError: a level is of a device that is not in the plan, or no finite number.
        """
        if strangers := set(levels) - set(state):
            raise ValueError(f"no gain was planned for {', '.join(sorted(strangers))}")
        after, turned, at_limit = dict(state), {}, {}
        for planned in self.plan.devices:
            if planned.name not in levels:
                continue
            known = self._heard(planned.name, state[planned.name], levels[planned.name])
            off_db, tolerated = known.path_db + known.tx_gain_db, self._tolerated_db(planned, known)
            gain_db = known.tx_gain_db
            if abs(off_db) > tolerated or gain_db not in planned.gains_db:
                gain_db = nearest_gain(
                    gain_db - self._turn_db(off_db, planned.step_db),
                    planned.gains_db,
                    planned.step_db,
                )
            if gain_db != known.tx_gain_db:
                turned[planned.name] = gain_db
            left_db = known.path_db + min(
                max(-known.path_db, planned.gains_db.low), planned.gains_db.high
            )
            if abs(left_db) > tolerated:
                at_limit[planned.name] = left_db
            after[planned.name] = known._replace(tx_gain_db=gain_db)
        return after, Turns(turned, at_limit)

    def _heard(self, name: str, known: Followed, level: Level) -> Followed:
        """The estimate after a level."""
        gain_db = known.tx_gain_db if level.tx_gain_db is None else level.tx_gain_db
        sane = abs(level.level_db) <= MOST_DB and abs(gain_db) <= MOST_DB
        if not (sane and 0 <= level.variance_db2 < math.inf):
            raise ValueError(f"{name} cannot have been heard with {level}")
        scatter = level.variance_db2 + _DB**2 * self.fading
        share = 1.0
        if scatter > 0:
            still = known.variance_db2 / (known.variance_db2 + scatter)
            share = min(max(still, (4 * self.drift_db**2 / scatter) ** (1 / 3)), 1.0)
        now_db = level.level_db - gain_db
        path_db = recent_db = _averaged(known.path_db, now_db, share)
        variance_db2 = (1 - share) ** 2 * known.variance_db2 + share**2 * scatter
        if share < _RECENT:
            recent_db = _averaged(known.recent_db, now_db, _RECENT)
            recent_db2 = scatter * _RECENT / (2 - _RECENT)
            if abs(recent_db - path_db) > _CHANCE * math.sqrt(recent_db2):
                path_db, variance_db2 = recent_db, recent_db2
        return Followed(path_db, variance_db2, recent_db, gain_db)

    def _tolerated_db(self, planned: Planned, known: Followed) -> float:
        """By how much a level may be off before the gain is turned."""
        return planned.step_db / 2 + self.margin_db + math.sqrt(known.variance_db2)

    def _turn_db(self, off_db: float, step_db: float) -> float:
        """Towards the target, as many whole steps as fit, or one: never far beyond it."""
        size = min(abs(off_db), self.turn_db)
        if step_db:
            size = step_db * max(math.floor(size / step_db), 1)
        return math.copysign(size, off_db)


def _averaged(before_db: float, now_db: float, share: float) -> float:
    """A power of which a share is of now."""
    return before_db + 10 * math.log10(1 - share + share * 10 ** ((now_db - before_db) / 10))
