"""The devices' transmit gains: as planned, and as they are turned to hold the received powers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.power.loop import GainLoop, Level, LoopState
from calibration.power.plan import GainPlan
from fl_core.errors import InputError
from testbed.bench import Arrays
from testbed.config import ExperimentConfig

RealArray = npt.NDArray[np.float64]

ROWS, PLAN = "tx_gains", "gain_plan"  # arrays of a checkpoint


@dataclass(frozen=True)
class HeldGains:
    """Gains of a bench, and what is known of its paths.

    Attributes:
        loop: that turns them.
        state: of the loop.
        holds: whether they are turned at all.
        at_limit_db: devices whose gain ends before the target does, and by how many dB they are
            above it, below 0 for those that are too weak.
    """

    loop: GainLoop
    state: LoopState
    holds: bool
    at_limit_db: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: GainPlan, config: ExperimentConfig, holds: bool) -> HeldGains:
        """As planned, for the fading of an experiment."""
        loop = GainLoop(plan, fading=power_variance(config))
        return cls(loop, loop.start(), holds)

    def tx_gain_db(self, name: str) -> float:
        """Transmit gain that a device should have."""
        return self.state[name].tx_gain_db

    def rx_gain_db(self, name: str) -> float:
        """Receive gain that a device should have, to hear the receiver."""
        return next(one.rx_gain_db for one in self.loop.plan.devices if one.name == name)

    def after(
        self,
        names: Sequence[str],
        levels_db: RealArray,
        snr_db: RealArray,
        carriers: int,
        applied_db: Mapping[str, float],
    ) -> HeldGains:
        """After a round.

        Args:
            names: of its devices, [r].
            levels_db: power each was sounded with, over the target's, float64 [r]; -inf for one
                that was not heard.
            snr_db: of their pilots, float64 [r].
            carriers: of a pilot, K.
            applied_db: transmit gains as the radios made them, by name: they have steps.
        """
        if not self.holds:
            return self
        levels = {
            name: Level(float(level_db), _variance_db2(float(snr), carriers), applied_db.get(name))
            for name, level_db, snr in zip(names, levels_db, snr_db, strict=True)
            if level_db > -math.inf
        }
        state, turns = self.loop.step(self.state, levels)
        kept = {n: off for n, off in self.at_limit_db.items() if n not in levels}
        return replace(self, state=state, at_limit_db={**kept, **turns.at_limit_db})

    def saved(self) -> Arrays:
        """For a checkpoint: numbers of `Followed` by device, in the order of the plan, and that."""
        rows = [self.state[one.name] for one in self.loop.plan.devices]
        return {ROWS: np.array(rows, np.float64), PLAN: np.array(self._plan_sha256)}

    def restored(self, load: Callable[[str], npt.NDArray[Any]]) -> HeldGains:
        """As a checkpoint has it, or as planned where that was by another plan.

        What was learnt of a path counts from the target of its plan.

        Args:
            load: arrays by name; InputError where there is none.

        Raises:
            InputError: it has no gains, or they are none.
        """
        if str(load(PLAN)) != self._plan_sha256:
            return self
        rows = load(ROWS)
        names = [one.name for one in self.loop.plan.devices]
        try:
            state = self.loop.restore(dict(zip(names, rows.tolist(), strict=True)))
        except (ValueError, TypeError) as error:
            raise InputError(f"the gains of the checkpoint do not fit: {error}") from error
        return replace(self, state=state)

    @property
    def _plan_sha256(self) -> str:
        return hashlib.sha256(repr(self.loop.plan).encode()).hexdigest()

    def figures(self, names: Mapping[str, str]) -> dict[str, float]:
        """Gains for the run folder, dB, by what to call each device there.

        Args:
            names: of the plan, by what to call them.
        """
        return {shown: self.tx_gain_db(name) for shown, name in names.items()}


def power_variance(config: ExperimentConfig) -> float:
    """Variance of the received power from round to round over its squared mean.

    That of a Rician path is (1 + 2 K)/(1 + K)^2, and independent ones share it by their powers.
    """
    channel = config.channel
    if channel.fading == "awgn":
        return 0.0
    k = 10 ** (channel.rician_k_db / 10) if channel.fading == "rician" else 0.0
    powers = 10 ** (np.array(config.iq.powers_db) / 10)
    shares = powers / powers.sum()
    return float((1 + 2 * k) / (1 + k) ** 2 * np.sum(shares**2))


def _variance_db2(snr_db: float, carriers: int) -> float:
    """Of a level by noise: half of what all carriers leave lies along the channel."""
    return (20 / math.log(10)) ** 2 / (2 * carriers * 10 ** (snr_db / 10))
