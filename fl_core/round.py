"""One communication round of Air-meta-pFL, readable on one page.

    updates -> sparsify with memory -> compress -> power control -> air -> OAMP -> mean update

`OverTheAir.combine` is all of it after the local updates. The baselines combine the same updates
by other means behind the same `Scheme` protocol, so that every run has its references.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fl_core import server
from fl_core.compression import PartialDFT, energy
from fl_core.estimators import Estimator
from fl_core.oamp import Estimate
from fl_core.power import PowerPlan, PowerPolicy
from fl_core.sparsifier import Contraction, sparsify
from fl_core.streams import stream
from fl_core.uplink import ComplexArray, Figure, Reception, Uplink

Vector = npt.NDArray[np.float32]
Devices = npt.NDArray[np.int64]
Memory = Mapping[int, Vector]  # long-term memory m_i by device; absent is zero
Lap = Callable[[str], None]  # called with a stage's name when the stage ends


@dataclass(frozen=True)
class RoundState:
    """All that a run carries from round to round.

    Attributes:
        params: theta, float32 [d].
        memory: m_i of every device that ever took part, float32 [d] each.
        round_index: rounds done.
        channel_uses: complex symbols sent so far.
    """

    params: Vector
    memory: Memory = field(default_factory=dict)
    round_index: int = 0
    channel_uses: int = 0


@dataclass(frozen=True)
class Combined:
    """What a scheme made of the updates of one round.

    Attributes:
        mean_update: float32 [d], what the server subtracts; zero when the round failed.
        memory: new m_i of the devices that took part.
        symbols: airtime in complex symbols.
        record: figures for the run folder.
    """

    mean_update: Vector
    memory: Memory
    symbols: int
    record: Mapping[str, Figure]


class Scheme(Protocol):
    """A way to get the mean of the devices' updates to the server."""

    def combine(
        self, round_index: int, devices: Devices, updates: Vector, memory: Memory, lap: Lap
    ) -> Combined:
        """Combine `updates` (float32 [r, d], row i from `devices[i]`)."""


def play(
    state: RoundState, scheme: Scheme, devices: Devices, updates: Vector, lap: Lap
) -> tuple[RoundState, Combined]:
    """The part of a round that follows the local updates; inactive devices keep their memory."""
    combined = scheme.combine(state.round_index, devices, updates, state.memory, lap)
    after = RoundState(
        params=server.step(state.params, combined.mean_update),
        memory={**state.memory, **combined.memory},
        round_index=state.round_index + 1,
        channel_uses=state.channel_uses + combined.symbols,
    )
    lap("server")
    return after, combined


def sparsify_updates(
    run_seed: int,
    contraction: Contraction,
    round_index: int,
    devices: Devices,
    updates: Vector,
    memory: Memory,
) -> tuple[Vector, list[Vector]]:
    """Step 2 at every device: g_i = C_k(m_i + Delta_i), float32 [r, d], and what is left of each.

    A random contraction draws the same way over the air and in the noiseless baseline.
    """
    pairs = [
        sparsify(
            contraction, update, memory.get(int(i)), stream(run_seed, "contraction", round_index, i)
        )
        for i, update in zip(devices, updates, strict=True)
    ]
    return np.stack([g for g, _ in pairs]), [left for _, left in pairs]


@dataclass(frozen=True)
class OverTheAir:
    """Air-meta-pFL's uplink: all devices send at once and the channel adds.

    Attributes:
        run_seed: from which both ends derive the compression of each round.
        contraction: C_k.
        num_symbols: M.
        rows: row mode of the partial DFT.
        policy: power control.
        uplink: the air.
        estimator: recovery of the weighted sum.
        fail_above_nmse_db: a round whose predicted NMSE is above is not stepped on and not
            acknowledged, so that the devices keep all of it in memory.
    """

    run_seed: int
    contraction: Contraction
    num_symbols: int
    rows: str
    policy: PowerPolicy
    uplink: Uplink
    estimator: Estimator
    fail_above_nmse_db: float

    def combine(
        self, round_index: int, devices: Devices, updates: Vector, memory: Memory, lap: Lap
    ) -> Combined:
        """Send the updates over the air; see the class."""
        dim = updates.shape[1]
        sparse, left = sparsify_updates(
            self.run_seed, self.contraction, round_index, devices, updates, memory
        )
        lap("sparsify")

        compression = self.compression(round_index, dim)
        symbols = compression.forward(sparse)
        lap("compress")

        gains = self.uplink.sound(round_index, devices)
        energies = np.array([energy(one) for one in symbols])
        plan = self.policy.plan(gains, energies, self.num_symbols, self.uplink.noise_var)
        sent = plan.precode(symbols)
        reception = self.uplink.transmit(round_index, devices, sent)
        lap("air")

        heard = plan.active & reception.acknowledged
        if plan.scale == 0 or not heard.any():
            return _silence(devices, sparse, left, self.num_symbols)
        estimate = self.recover(compression, reception.symbols, reception.noise_var, plan.scale)
        failed = not float(estimate.nmse_predicted) <= 10 ** (self.fail_above_nmse_db / 10)
        lap("estimate")

        # Whoever was not heard has no part in the sum: no weight, no share in the mean.
        plan = replace(plan, active=heard, precoders=np.where(heard, plan.precoders, 0))
        kept = {
            int(i): m if ok and not failed else m + g
            for i, ok, g, m in zip(devices, heard, sparse, left, strict=True)
        }
        mean_update = estimate.x / np.float32(plan.normaliser(self.uplink.mean_gain))
        truth = _true_sum(sparse, plan, reception)
        nmse = _nmse(estimate.x, truth)
        record: dict[str, Figure] = {
            "nmse_db": _db(nmse),
            "nmse_predicted_db": _db(estimate.nmse_predicted),
            "snr_db": _db(received_snr(reception.symbols, reception.noise_var)),
            "union_density": float(np.count_nonzero(sparse[heard].any(axis=0)) / dim),
            "participation": 0.0 if failed else float(np.mean(heard)),
            "papr_db": _papr_db(sent),
            "iterations": estimate.iterations,
            "beyond_transition": estimate.beyond_transition,
            "failed": failed,
            "scale": plan.scale,
            "estimate_crc32": zlib.crc32(estimate.x.tobytes()),
            **reception.figures,
        }
        if reception.errors is not None and truth is not None and nmse is not None:
            exact = self.estimator(compression.forward(truth), compression, 0.0)
            floor = _nmse(exact.x, truth) or 0.0
            record["budget"] = _budget(nmse, floor, reception.errors)
            lap("score")
        return Combined(
            np.zeros_like(mean_update) if failed else mean_update,
            kept,
            self.num_symbols,
            record,
        )

    def compression(self, round_index: int, dim: int) -> PartialDFT:
        """A, which both ends derive for each round."""
        rng = stream(self.run_seed, "compression", round_index)
        return PartialDFT(dim, self.num_symbols, rng, self.rows)

    def recover(
        self, compression: PartialDFT, symbols: ComplexArray, noise_var: float, scale: float
    ) -> Estimate:
        """The weighted sum from what was received at the scale c, > 0."""
        return self.estimator(symbols / np.float32(scale), compression, noise_var / scale**2)


def _silence(devices: Devices, sparse: Vector, left: list[Vector], num_symbols: int) -> Combined:
    """A round in which no device had anything to send, or none was allowed to."""
    kept = {int(i): m + g for i, g, m in zip(devices, sparse, left, strict=True)}
    record: dict[str, Figure] = {"participation": 0.0, "failed": True}
    return Combined(np.zeros(sparse.shape[1], np.float32), kept, num_symbols, record)


def _true_sum(sparse: Vector, plan: PowerPlan, reception: Reception) -> Vector | None:
    """The weighted sum that should have been recovered; None where nobody knows the channel."""
    if reception.true_gains is None:
        return None
    truth: Vector = plan.weights(reception.true_gains).astype(np.float32) @ sparse
    return truth


def _nmse(estimate: Vector, truth: Vector | None) -> float | None:
    """Error relative to the true weighted sum; None where there is none."""
    if truth is None or not truth.any():
        return None
    return float(np.sum((estimate - truth) ** 2)) / float(truth @ truth)


def _budget(nmse: float, compression: float, errors: Mapping[str, float]) -> dict[str, float]:
    """The error budget: what compression and each cause on the air add to the NMSE.

    Compression is what is left without any error on the air. The rest belongs to the air, to each
    cause in proportion to the error that it makes in the symbols.
    """
    rest = max(nmse - compression, 0.0)
    total = sum(errors.values())
    shares = {name: rest * error / total if total > 0 else 0.0 for name, error in errors.items()}
    return {"compression": min(compression, nmse), **shares}


def received_snr(symbols: ComplexArray, noise_var: float) -> float | None:
    """Signal over noise of the received sum, from the received power."""
    if noise_var == 0:
        return None
    return max(float(np.mean(np.abs(symbols) ** 2)) / noise_var - 1, 0.0)


def _papr_db(sent: ComplexArray) -> float | None:
    """Largest peak-to-average power ratio of the devices that sent anything."""
    power = np.abs(sent) ** 2
    mean = power.mean(axis=1)
    loud = mean > 0
    return _db(float(np.max(power.max(axis=1)[loud] / mean[loud]))) if loud.any() else None


def _db(ratio: float | None) -> float | None:
    """10 log10, or None for nothing and for zero, which JSON cannot hold."""
    return 10 * math.log10(ratio) if ratio is not None and ratio > 0 else None
