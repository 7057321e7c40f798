"""The receiver once more, on what its radio recorded."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fl_core.errors import InputError
from fl_core.round import OverTheAir
from radio.api import Radio
from radio.registry import open_radio
from radio.sigmf import EXTENSION, META_SUFFIX, read_sigmf
from testbed import experiment_file
from testbed.on_air.link import Link
from testbed.on_air.receiver import Receiver, Sounding, Superposition
from testbed.on_air.recordings import RECORDINGS
from testbed.on_air.timeline import Timeline
from testbed.on_air.virtual_bench import VirtualBench
from testbed.run_folder import RunFolder, load_checkpoint
from testbed.schemes import build_bench, build_scheme, symbol_uplink


@dataclass(frozen=True)
class Replayed:
    """A round received again.

    Attributes:
        round: its index.
        heard: devices that were heard.
        nmse_predicted_db: of the new estimate.
        same: whether the estimate is the run's, bit for bit.
    """

    round: int
    heard: int
    nmse_predicted_db: float
    same: bool


def replay_run(folder: Path) -> list[Replayed]:
    """Receive all recorded rounds of a run again.

    Beside the samples, only what the control plane told the receiver in the run is used: the
    configuration and the common scale.

    Raises:
        InputError: no run, or nothing was recorded.
        RadioError: a recording is damaged.
    """
    config = experiment_file.read(str(folder / "config.yaml")).config()
    rows = {row["round"]: row for row in RunFolder(folder, config).rows("rounds.jsonl")}
    paths = sorted((folder / RECORDINGS).glob(f"*{META_SUFFIX}"))
    if not paths:
        raise InputError(f"{folder / RECORDINGS}: holds no recording; run with record=true")
    dim = load_checkpoint(folder / "checkpoint.npz")[0].params.size
    bench = build_bench(config, dim)
    scheme = build_scheme(config, dim, symbol_uplink(config))
    if not isinstance(bench, VirtualBench) or not isinstance(scheme, OverTheAir):
        raise InputError(f"{folder / 'config.yaml'}: not a run with scheme: air and uplink: iq")
    timelines = bench.timeline().legs(bench.link.sounding_life_s)
    replayed = []
    for path in paths:
        row = rows.get(_index(path))
        if row is None or "scale" not in row:
            raise InputError(f"{path}: rounds.jsonl has no round of that number that was received")
        replayed.append(_replay(path, row, timelines, bench.link, scheme, dim))
    return replayed


def _replay(
    path: Path,
    row: Mapping[str, Any],
    timelines: Sequence[Timeline],
    link: Link,
    scheme: OverTheAir,
    dim: int,
) -> Replayed:
    with open_radio(f"file://{path}") as radio:
        received = _receive(radio, path, timelines, link)
    estimate = scheme.recover(
        scheme.compression(row["round"], dim),
        received.symbols,
        received.noise_var,
        row["scale"],
    )
    predicted = float(estimate.nmse_predicted)
    return Replayed(
        round=row["round"],
        heard=int(np.count_nonzero(received.acknowledged)),
        nmse_predicted_db=10 * math.log10(predicted) if predicted > 0 else -math.inf,
        same=zlib.crc32(estimate.x.tobytes()) == row["estimate_crc32"],
    )


def _receive(radio: Radio, path: Path, timelines: Sequence[Timeline], link: Link) -> Superposition:
    """All legs of a round."""
    annotations = read_sigmf(path).annotations
    named = (note.get(f"{EXTENSION['name']}:nonce") for note in annotations)
    starts = [start for start in dict.fromkeys(named) if isinstance(start, int)]
    if len(starts) != len(timelines):
        raise InputError(f"{path}: its annotations should name {len(timelines)} starts (nonce)")
    received: list[Superposition] = []
    first: Sounding | None = None
    for timeline, start in zip(timelines, starts, strict=True):
        receiver = Receiver(radio, timeline, link, start)
        sounding, _ = receiver.hear_soundings()
        sounding = sounding if first is None else sounding.aimed_at(first.gains)
        first = first or sounding
        received.append(Superposition(timeline.num_symbols, sounding))
        for burst, layout in enumerate(timeline.layouts):
            received[-1].add(receiver.hear_burst(burst, sounding), layout)
    return Superposition.join(received)


def _index(path: Path) -> int:
    found = re.fullmatch(r"round-(\d+)", path.name.removesuffix(META_SUFFIX))
    if found is None:
        raise InputError(f"{path}: is no recording of this run; its name should be round-00000")
    return int(found[1])
