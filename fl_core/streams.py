"""Named random streams: every draw of a run follows from its seed, its purpose and its indices."""

from __future__ import annotations

import zlib

import numpy as np
import torch


def stream(run_seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """The generator for one purpose of a run, independent of every other one.

    Because a stream depends on nothing that was drawn before, a resumed run, another number of
    worker processes, or a device on another host sees the same draws.

    Args:
        run_seed: seed of the run, >= 0.
        purpose: what the draws are for, e.g. ``"tasks"``; different words, different streams.
        indices: e.g. round and device, each >= 0.
    """
    key = (zlib.crc32(purpose.encode()), *indices)
    return np.random.default_rng(np.random.SeedSequence(run_seed, spawn_key=key))


def torch_stream(run_seed: int, purpose: str, *indices: int) -> torch.Generator:
    """The same for torch: a CPU generator seeded from the numpy stream."""
    seed = int(stream(run_seed, purpose, *indices).integers(2**63 - 1))
    return torch.Generator().manual_seed(seed)
