"""The receiver once more, on what its radio recorded."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fl_core.errors import InputError
from fl_core.round import OverTheAir
from radio.api import Radio
from radio.registry import open_radio
from radio.sigmf import EXTENSION, META_SUFFIX, read_sigmf
from testbed import experiment_file
from testbed.on_air.receiver import Receiver, Sounding, Superposition
from testbed.on_air.recordings import recordings_of
from testbed.on_air.virtual_bench import VirtualBench
from testbed.report.load import read_rows
from testbed.run_folder import config_hash, load_checkpoint
from testbed.schemes import build_bench, build_scheme, symbol_uplink


@dataclass(frozen=True)
class Replayed:
    """A round received again.

    Attributes:
        round: its index.
        heard: devices that were heard.
        nmse_predicted_db: of the new estimate; None where the run made none, as nobody took part.
        same: whether the estimate is the run's, bit for bit.
    """

    round: int
    heard: int
    nmse_predicted_db: float | None
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
    state, owner = load_checkpoint(folder / "checkpoint.npz")
    if owner != config_hash(config):
        raise InputError(f"{folder}: config.yaml is not the configuration of checkpoint.npz")
    rows = {row["round"]: row for row in read_rows(folder / "rounds.jsonl")}
    recordings = recordings_of(folder)
    paths = sorted(recordings.glob(f"*{META_SUFFIX}"))
    if not paths:
        raise InputError(f"{recordings}: holds no recording; run with record=true")
    dim = state.params.size
    bench = build_bench(config, dim)
    if isinstance(bench, VirtualBench):
        bench = bench.of_run(folder)
    scheme = build_scheme(config, dim, symbol_uplink(config))
    if not isinstance(bench, VirtualBench) or not isinstance(scheme, OverTheAir):
        raise InputError(f"{folder / 'config.yaml'}: not a run with scheme: air and uplink: iq")
    replayed = []
    for path in paths:
        index = _index(path)
        if index not in rows:
            raise InputError(f"{path}: rounds.jsonl has no round of that number")
        replayed.append(_replay(path, rows[index], bench, scheme, dim))
    return replayed


def _replay(
    path: Path,
    row: Mapping[str, Any],
    bench: VirtualBench,
    scheme: OverTheAir,
    dim: int,
) -> Replayed:
    with open_radio(f"file://{path}") as radio:
        received = _receive(radio, path, bench)
    heard = int(np.count_nonzero(received.acknowledged))
    if row.get("participation") == 0 and "scale" not in row:
        return Replayed(row["round"], heard, nmse_predicted_db=None, same=True)
    scale, checksum = row.get("scale"), row.get("estimate_crc32")
    if not isinstance(scale, float) or not scale > 0 or not isinstance(checksum, int):
        raise InputError(
            f"rounds.jsonl, round {row['round']}: needs a positive scale and estimate_crc32"
        )
    estimate = scheme.recover(
        scheme.compression(row["round"], dim),
        received.symbols,
        received.noise_var,
        scale,
    )
    predicted = float(estimate.nmse_predicted)
    return Replayed(
        round=row["round"],
        heard=heard,
        nmse_predicted_db=10 * math.log10(predicted) if predicted > 0 else -math.inf,
        same=zlib.crc32(estimate.x.tobytes()) == checksum,
    )


def _receive(radio: Radio, path: Path, bench: VirtualBench) -> Superposition:
    """All legs of a round; its annotations say when they began, and how many were called."""
    annotations, space = read_sigmf(path).annotations, EXTENSION["name"]
    named = (note.get(f"{space}:nonce") for note in annotations)
    starts = [start for start in dict.fromkeys(named) if isinstance(start, int)]
    called = sum(
        f"{space}:device" in note and note.get(f"{space}:nonce") == starts[0]
        for note in annotations
    )
    link = bench.link
    timeline = replace(bench.timeline(), num_devices=max(called, 1))
    timelines = timeline.legs(link.sounding_life_s)
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
