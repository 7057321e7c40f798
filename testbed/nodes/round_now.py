"""The round that is under way at the coordinator, and what came of it."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fl_core.power import PowerPlan
from testbed.nodes.brief import Brief
from testbed.nodes.call import Stage
from testbed.nodes.device_messages import Ready
from testbed.nodes.receiver_messages import BurstHeard, Estimate, Soundings
from testbed.on_air.receiver import by_device, largest_delay, levels_db
from testbed.on_air.timeline import Timeline

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Result:
    """What is to be committed.

    Attributes:
        mean_update: float32 [d]; None where the round failed.
        applied: numbers of the devices whose updates are in it.
        symbols: that were sent, those of failed calls too.
        row: figures for the run folder.
    """

    mean_update: npt.NDArray[np.float32] | None
    applied: tuple[int, ...]
    symbols: int
    row: Mapping[str, Any]


@dataclass(frozen=True)
class RoundNow:
    """A round under way. Devices are numbers; a slot is a place among those that are ready.

    Attributes:
        active: that were asked for an update.
        updates: what those said that have one.
        slots: devices of the calls.
        calls: made so far.
        failures: of calls.
        leg: of the call under way.
        legs: of the round.
        todo: what is still to be asked in the call.
        ahead: samples until its beacon.
        tx_gains_db: as the radios applied them in the last call, by number.
        synchronised: devices that heard it and have answered ever since.
        senders: devices that have a grant.
        soundings: of the first leg.
        power: what all legs are sent with.
        acknowledged: by leg, bool [r], devices that were in all of its bursts.
        delay: largest time by which a sounding was early or late, samples.
        late: the same of a burst.
        clipped: samples, at all transmitters.
        overdriven: by call, samples at the receiver.
        symbols: sent so far.
    """

    active: tuple[int, ...]
    updates: Mapping[int, Ready] = field(default_factory=dict)
    slots: tuple[int, ...] = ()
    calls: int = 0
    failures: int = 0
    leg: int = 0
    legs: tuple[Timeline, ...] = ()
    todo: tuple[Stage, ...] = ()
    ahead: int = 0
    tx_gains_db: Mapping[int, float] = field(default_factory=dict)
    synchronised: frozenset[int] = frozenset()
    senders: frozenset[int] = frozenset()
    soundings: Soundings | None = None
    power: PowerPlan | None = None
    acknowledged: Mapping[int, Flags] = field(default_factory=dict)
    delay: float = 0.0
    late: float = 0.0
    clipped: int = 0
    overdriven: Mapping[int, int] = field(default_factory=dict)
    symbols: int = 0

    @property
    def call(self) -> int:
        """Number of the call under way."""
        return self.calls - 1

    def ready(self, updates: Mapping[int, Ready]) -> RoundNow:
        """With the updates that came in time."""
        return replace(self, updates=updates, slots=tuple(sorted(updates)))

    def again(self, from_start: bool) -> RoundNow:
        """With one failure more, and a leg to be called again, from_start the first."""
        return replace(self, failures=self.failures + 1, leg=0 if from_start else self.leg)

    def calling(self, leg: int, legs: tuple[Timeline, ...]) -> RoundNow:
        """With a new call for a leg."""
        return replace(
            self,
            calls=self.calls + 1,
            leg=leg,
            legs=legs,
            synchronised=frozenset(self.slots),
            senders=frozenset(),
            acknowledged={n: flags for n, flags in self.acknowledged.items() if n < leg},
            symbols=self.symbols + legs[leg].num_symbols,
        )

    def marked(self, tx_gains_db: Mapping[int, float]) -> RoundNow:
        """With gains of devices that have noted when the beacon comes."""
        return replace(self, tx_gains_db={**self.tx_gains_db, **tx_gains_db})

    def without(self, device: int) -> RoundNow:
        """With a device less in this call."""
        return replace(self, synchronised=self.synchronised - {device})

    def sounded(self, soundings: Soundings, brief: Brief) -> RoundNow:
        """With the channels of this call, and the power of the round from its first leg."""
        now = self
        if self.leg == 0:
            energies = [self.updates[i].energy for i in self.slots]
            gains = soundings.gains.astype(np.complex64)
            power = brief.policy.plan(gains, energies, brief.num_symbols, soundings.noise_var)
            now = replace(self, soundings=soundings, power=power)
        heard = {i for i, ok in zip(self.slots, soundings.heard, strict=True) if ok}
        return replace(
            now,
            senders=frozenset(heard) & self.synchronised,
            delay=max(self.delay, largest_delay(soundings.delays, soundings.heard)),
            acknowledged={**self.acknowledged, self.leg: soundings.heard},
        )

    def burst(self, heard: BurstHeard) -> RoundNow:
        """With one burst more."""
        flags = self.acknowledged[self.leg] & heard.present
        late = max(self.late, abs(heard.late))
        return replace(self, acknowledged={**self.acknowledged, self.leg: flags}, late=late)

    def clipping(self, samples: int) -> RoundNow:
        """With samples that a transmitter clipped."""
        return replace(self, clipped=self.clipped + samples)

    def overdriving(self, samples: int) -> RoundNow:
        """With the samples that were too loud in this call so far."""
        return replace(self, overdriven={**self.overdriven, self.call: samples})

    @property
    def heard(self) -> Flags:
        """Devices that were in all bursts so far, bool [r]."""
        flags: Flags = np.logical_and.reduce(list(self.acknowledged.values()))
        return flags

    def result(self, estimate: Estimate | None, brief: Brief) -> Result:
        """What came of the round; without an estimate it has failed."""
        losses = [self.updates[i].loss for i in self.slots]
        row: dict[str, Any] = {
            "loss": float(np.mean(losses)) if losses else None,
            "update_norm": 0.0,
            "devices": list(self.active),
            "participation": 0.0,
            "failed": True,
            "calls": self.calls,
        }
        if estimate is None or self.power is None or self.soundings is None:
            return Result(None, (), self.symbols, row)
        heard = self.power.active & self.heard
        applied = tuple(i for i, ok in zip(self.slots, heard, strict=True) if ok)
        predicted = estimate.nmse_predicted
        failed = predicted is None or not predicted <= brief.fail_above or not applied
        sounded = self.soundings.gains[self.soundings.heard]
        power = replace(self.power, active=heard)
        mean_gain = float(np.mean(sounded)) if sounded.size else 1.0
        mean_update = None
        if not failed:
            mean_update = estimate.estimate / np.float32(power.normaliser(mean_gain))
            row["update_norm"] = float(np.linalg.norm(mean_update.astype(np.float64)))
        row |= {
            "nmse_db": None,
            "nmse_predicted_db": _db(predicted),
            "snr_db": _db(estimate.snr),
            "participation": 0.0 if failed else len(applied) / len(self.active),
            "iterations": estimate.iterations,
            "beyond_transition": estimate.beyond_transition,
            "failed": failed,
            "scale": self.power.scale,
            "estimate_crc32": zlib.crc32(estimate.estimate.tobytes()),
            "clipped": self.clipped,
            "overdriven": sum(self.overdriven.values()),
            "delay_samples": self.delay,
            "levels_db": by_device(self.slots, levels_db(self.soundings.powers)),
            "late_samples": self.late,
            "noise_db": _db(estimate.noise_var),
            "airtime_s": sum(leg.airtime_s for leg in self.legs),
        }
        return Result(mean_update, () if failed else applied, self.symbols, row)


def _db(ratio: float | None) -> float | None:
    """10 log10, or None for nothing and for zero, which JSON cannot hold."""
    return 10 * math.log10(ratio) if ratio is not None and ratio > 0 else None
