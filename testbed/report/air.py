"""Snapshots of rounds on the air, read: what the receiver sampled and what it made of it."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fl_core.errors import InputError
from radio.waveform.frame import BurstLayout
from radio.waveform.numerology import Numerology
from testbed.report.load import Column

FOLDER = "air"
NEIGHBOURS = 4  # samples on each side of a peak that belong to it
KINDS = ("beacon", "sync", "sounding", "control", "burst")
# Kind and axes of every array: r devices, K carriers, n spans, the others as named.
SHAPES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "devices": ("iu", ("r",)),
    "cfo_hz": ("f", ("r",)),
    "sample_rate_hz": ("f", ()),
    "carriers": ("iu", ("K",)),
    "span_kind": ("U", ("n",)),
    "span_start": ("iu", ("n",)),
    "span_length": ("iu", ("n",)),
    "beacon_correlation": ("f", ("r", "samples")),
    "channels": ("c", ("r", "K")),
    "heard": ("b", ("r",)),
    "snr_db": ("f", ("r",)),
    "delays": ("f", ("r",)),
    "sounding_iq": ("c", ("sounded",)),
    "sounding_start": ("iu", ()),
    "burst_iq": ("c", ("sent",)),
    "burst_start": ("iu", ()),
    "pilots": ("c", ("2", "r")),
    "rotation": ("f", ("symbols",)),
    "received": ("c", ("points",)),
    "clean": ("c", ("points",)),
    "turns": ("f", ("r", "symbols")),
}
TRUTHS = ("clean", "turns")  # empty where nobody knows
WANTED = {"iu": "whole numbers", "f": "floats", "c": "complex", "b": "booleans", "U": "text"}


@dataclass(frozen=True)
class Snapshot:
    """One round as the receiver saw it.

    Attributes:
        round: from 0.
        arrays: by the names of `SHAPES`.
        layout: of the first burst.
    """

    round: int
    arrays: Mapping[str, npt.NDArray[Any]]
    layout: BurstLayout

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.arrays[name]

    @property
    def rate_hz(self) -> float:
        """Samples a second."""
        return self.layout.numerology.sample_rate_hz

    @property
    def spans(self) -> list[tuple[str, float, float]]:
        """Kind, start and length of everything in the round, in ms from its start."""
        start, length = (1e3 * self[f"span_{what}"] / self.rate_hz for what in ("start", "length"))
        return list(zip(self["span_kind"].tolist(), start.tolist(), length.tolist(), strict=True))

    @property
    def lasted_ms(self) -> float:
        """From the round's start to the end of its last burst."""
        return max(start + length for _, start, length in self.spans)

    @property
    def airtime_ms(self) -> float:
        """In which anybody sends."""
        return sum(length for kind, _, length in self.spans if kind != "control")

    @property
    def heard(self) -> npt.NDArray[np.int64]:
        """Indices of the devices whose sounding was heard."""
        return np.flatnonzero(self["heard"])

    @property
    def peaks(self) -> npt.NDArray[np.int64]:
        """Where each device found the beacon in its correlation, [r]."""
        peaks: npt.NDArray[np.int64] = np.argmax(self["beacon_correlation"], axis=1)
        return peaks

    @property
    def fits(self) -> Column:
        """How well the beacon fits what each device heard, 0..1, [r].

        Paths, and the samples between which a path lies, are taken together.
        """
        traces, numerology = self["beacon_correlation"].astype(np.float64), self.layout.numerology
        columns = np.arange(traces.shape[1])
        around = np.abs(columns - self.peaks[:, None]) <= NEIGHBOURS
        # A band that is filled to K / N spreads a path over neighbours: their squares sum to N / K.
        energy = np.sum(traces**2, axis=1, where=around)
        share = energy * numerology.used_carriers / numerology.fft_size
        fits: Column = np.sqrt(np.minimum(share, 1.0))
        return fits

    @cached_property
    def phase_errors(self) -> Column:
        """RMS phase error of each device in degrees, [r]: true, else as its pilots show it."""
        error = self["turns"] if self["turns"].size else np.angle(self["pilots"]).T
        rms: Column = np.degrees(np.sqrt(np.mean(error.astype(np.float64) ** 2, axis=1)))
        return rms

    def name(self, i: int) -> str:
        """Of the i-th device."""
        return f"device {self['devices'][i]}"

    @property
    def table(self) -> list[list[str]]:
        """A row of cells for each device, as printed; of one not heard, only what it heard."""
        rows = []
        for i, device in enumerate(self["devices"]):
            heard = bool(self["heard"][i])
            cells = (
                str(device),
                "yes" if heard else "no",
                f"{self['snr_db'][i]:.1f}" if heard else "–",
                f"{self['cfo_hz'][i]:+,.0f}",
                signed(self["delays"][i]) if heard else "–",
                f"{self.fits[i]:.3f}",
                f"{self.phase_errors[i]:.1f}" if heard else "–",
            )
            rows.append([cell.replace("-", "−") for cell in cells])
        return rows


def signed(value: float) -> str:
    """With two decimals and its sign, which a zero does not have."""
    text = f"{value:+.2f}".replace("-", "−")
    return text if text[1:] != "0.00" else "0.00"


def snapshots(folder: Path) -> dict[int, Path]:
    """The snapshots of a run folder by round, oldest first; empty for a run without."""
    found = {}
    for path in sorted((folder / FOLDER).glob("round-*.npz")):
        if named := re.fullmatch(r"round-(\d+)\.npz", path.name):
            found[int(named[1])] = path
    return dict(sorted(found.items()))


def load_snapshot(path: Path) -> Snapshot:
    """Read one snapshot.

    Raises:
        InputError: it is missing or damaged, or an array is not what it should be.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected the snapshot of a round") from error
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in SHAPES}
    except KeyError as error:
        raise InputError(f"{path}: should hold the arrays {', '.join(SHAPES)} ({error})") from error
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: not a readable .npz ({error}); remove it to report without this round"
        ) from error
    try:
        return Snapshot(int(path.stem.rpartition("-")[2]), arrays, _checked(arrays))
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def _checked(arrays: Mapping[str, npt.NDArray[Any]]) -> BurstLayout:
    """The layout that explains the arrays.

    Raises:
        ValueError: the arrays contradict each other.
    """
    sizes: dict[str, int] = {"2": 2}
    for name, (kind, axes) in SHAPES.items():
        array = arrays[name]
        if name in TRUTHS and array.size == 0:
            continue
        if array.dtype.kind not in kind:
            raise ValueError(f"{name} should hold {WANTED[kind]}, not {array.dtype}")
        fits = len(axes) == array.ndim and all(
            sizes.setdefault(axis, size) == size
            for axis, size in zip(axes, array.shape, strict=True)
        )
        if not fits:
            shape = ", ".join(f"{axis} = {sizes[axis]}" if axis in sizes else axis for axis in axes)
            raise ValueError(f"{name} should have the axes [{shape}], not {list(array.shape)}")
        if kind in "fc" and name != "snr_db" and not np.isfinite(array).all():
            raise ValueError(f"{name} should be finite")
    if unknown := set(arrays["span_kind"].tolist()) - set(KINDS):
        raise ValueError(f"span_kind should be one of {', '.join(KINDS)}, not {unknown.pop()!r}")
    if not sizes["samples"] or not sizes["points"] or not sizes["n"]:
        raise ValueError("beacon_correlation, received and span_kind should not be empty")
    rate = float(arrays["sample_rate_hz"])
    numerology = Numerology(sample_rate_hz=rate, used_carriers=sizes["K"])
    layout = BurstLayout(numerology, sizes["symbols"], sizes["r"])
    if sizes["points"] > layout.capacity:
        raise ValueError(f"received should have at most {layout.capacity} symbols")
    if sizes["sent"] != layout.length:
        raise ValueError(f"burst_iq should have {layout.length} samples, not {sizes['sent']}")
    return layout
