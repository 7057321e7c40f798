"""The arrays behind the pictures of a round, in one .npz file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from radio.whole_file import write_atomically
from testbed.on_air.uplink import RoundOnAir

POINTS = 4000  # of the constellation


def save_snapshot(path: Path, now: RoundOnAir) -> None:
    """Write a round's arrays.

    Names and shapes, r devices, K carriers:
        devices [r], cfo_hz [r]; sample_rate_hz, start, carriers [K].
        spans: kind [n] (text), span_start [n], span_length [n], in samples from the round's start.
        beacon_correlation [r, samples].
        channels complex64 [r, K], heard [r], snr_db [r], delays [r].
        sounding_iq, burst_iq: complex64, as received; sounding_start, burst_start.
        pilots complex64 [2, r], rotation [data symbols]: of the first burst.
        received, clean complex64 [points]: analog symbols and what they should have been.
        turns [r, symbols] rad: true phase error of each device over the burst, empty if unknown.
    """
    timeline, first = now.timeline, now.bursts[0]
    arrays: dict[str, Any] = {
        "devices": now.devices,
        "cfo_hz": np.array([node.cfo_hz for node in now.nodes]),
        "sample_rate_hz": np.float64(timeline.numerology.sample_rate_hz),
        "carriers": timeline.numerology.carriers,
        "span_kind": np.array([span.kind for span in timeline.spans]),
        "span_start": np.array([span.start for span in timeline.spans]),
        "span_length": np.array([span.length for span in timeline.spans]),
        "beacon_correlation": np.stack([node.trace for node in now.nodes]),
        "channels": now.sounding.channels,
        "heard": now.sounding.heard,
        "snr_db": now.sounding.snr_db,
        "delays": now.sounding.delays,
        "sounding_iq": now.sounding_iq,
        "sounding_start": np.int64(timeline.sounding),
        "burst_iq": first.iq,
        "burst_start": np.int64(timeline.bursts[0]),
        "pilots": first.pilots.astype(np.complex64),
        "rotation": first.rotation,
        "received": first.symbols[:POINTS],
        "clean": now.scores[0].clean[:POINTS] if now.scores else np.zeros(0, np.complex64),
        "turns": now.scores[0].turns if now.scores else np.zeros((0, 0)),
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, buffer.getvalue())
