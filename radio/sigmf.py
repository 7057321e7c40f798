"""The SigMF layout of a recording, written and read (SigMF 1.2.6, github.com/sigmf/SigMF).

``x.sigmf-data`` holds the samples as cf32_le, ``x.sigmf-meta`` the JSON beside it: one capture
segment per `Radio.receive`, placed on the radio's own clock by ``core:global_index``. What SigMF
has no word for stands in the namespace ``airmeta``.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radio.api import RadioError, RadioSettings
from radio.json_object import JsonObject

VERSION = "1.2.6"
DATATYPE = "cf32_le"
SAMPLE = np.dtype("<c8")
EXTENSION = {"name": "airmeta", "version": "1.0.0", "optional": True}
META_SUFFIX, DATA_SUFFIX = ".sigmf-meta", ".sigmf-data"

Json = dict[str, Any]


@dataclass(frozen=True)
class Segment:
    """One capture: where it lies in the data and on the radio's clock, and how it was taken.

    Attributes:
        sample_start: of its first sample in the data.
        first_sample: the same on the radio's own clock.
        length: in samples.
        settings: of the radio.
        overflows: as in `radio.api.Capture`.
    """

    sample_start: int
    first_sample: int
    length: int
    settings: RadioSettings
    overflows: int

    @property
    def end(self) -> int:
        """Sample after the last, on the radio's own clock."""
        return self.first_sample + self.length

    def to_json(self) -> Json:
        """The SigMF capture segment."""
        return {
            "core:sample_start": self.sample_start,
            "core:global_index": self.first_sample,
            "core:frequency": self.settings.carrier_hz,
            "airmeta:length": self.length,
            "airmeta:sample_clock_hz": self.settings.sample_rate_hz,
            "airmeta:tx_gain_db": self.settings.tx_gain_db,
            "airmeta:rx_gain_db": self.settings.rx_gain_db,
            "airmeta:overflows": self.overflows,
        }


@dataclass(frozen=True)
class SigmfFile:
    """A recording as read.

    Attributes:
        data: path of the samples.
        sample_rate_hz: of all segments.
        segments: ascending both in the data and on the radio's clock; at least one.
        fields: the ``airmeta:`` fields of the whole recording, without the prefix.
        annotations: as they stand in the file.
    """

    data: Path
    sample_rate_hz: float
    segments: tuple[Segment, ...]
    fields: Mapping[str, Any]
    annotations: tuple[Mapping[str, Any], ...]


def covering(segments: Sequence[Segment], first: int, n: int) -> Sequence[Segment]:
    """The segments that together hold the n samples from `first` of the radio's clock on.

    Raises:
        RadioError: not all of the window was recorded; it says which windows were.
    """
    begin = bisect_right(segments, first, key=lambda segment: segment.first_sample) - 1
    end = begin + 1
    if begin >= 0 and first < segments[begin].end:
        while segments[end - 1].end < first + n and end < len(segments):
            if segments[end].first_sample != segments[end - 1].end:
                break
            end += 1
        if first + n <= segments[end - 1].end:
            return segments[begin:end]
    raise RadioError(
        f"samples {first} to {first + n - 1} were not all recorded; there are "
        + (", ".join(_windows(segments)) or "none")
    )


def _windows(segments: Sequence[Segment]) -> list[str]:
    """What was recorded without a gap, for a message; the middle of a long list left out."""
    stretches: list[list[int]] = []
    for segment in segments:
        if stretches and stretches[-1][1] == segment.first_sample:
            stretches[-1][1] = segment.end
        else:
            stretches.append([segment.first_sample, segment.end])
    shown = [f"{first} to {end - 1}" for first, end in stretches]
    return shown if len(shown) <= 8 else [*shown[:4], "...", *shown[-4:]]


def write_meta(
    path: Path,
    segments: list[Segment],
    sample_rate_hz: float,
    sha512: str,
    fields: Mapping[str, Any],
    annotations: list[Json],
) -> None:
    """Write the JSON of a recording. It holds no time of day: equal runs give equal bytes."""
    document = {
        "global": {
            "core:datatype": DATATYPE,
            "core:sample_rate": sample_rate_hz,
            "core:version": VERSION,
            "core:sha512": sha512,
            "core:recorder": "airmeta",
            "core:extensions": [EXTENSION],
            **prefixed(fields),
        },
        "captures": [segment.to_json() for segment in segments],
        "annotations": sorted(annotations, key=lambda note: int(note["core:sample_start"])),
    }
    path.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def prefixed(fields: Mapping[str, Any]) -> Json:
    """These fields in the namespace ``airmeta``, numpy values as plain ones.

    Raises:
        ValueError: JSON cannot hold one.
    """
    plain: Json = {}
    for name, value in fields.items():
        try:
            text = json.dumps(value, allow_nan=False, default=_without_numpy)
        except (TypeError, ValueError) as error:
            raise ValueError(f"field {name} = {value!r} does not fit into JSON: {error}") from error
        plain[f"airmeta:{name}"] = json.loads(text)
    return plain


def _without_numpy(value: object) -> object:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no JSON type")


def read_sigmf(meta: Path) -> SigmfFile:
    """Read and check a recording, its data too.

    Raises:
        RadioError: a file is missing or broken; it names the file and the key.
    """
    if not meta.name.endswith(META_SUFFIX):
        raise RadioError(f"{meta}: a recording is opened by its {META_SUFFIX} file")
    root = JsonObject.read(meta)
    whole = root.object("global")
    whole.require("core:datatype", DATATYPE)
    whole.require("core:num_channels", 1, 1)
    whole.require("core:offset", 0, 0)
    if (rate := whole.number("core:sample_rate")) <= 0:
        raise RadioError(f"{whole.place('core:sample_rate')} should be above 0 Hz, not {rate:g}")
    data = meta.with_name(meta.name.removesuffix(META_SUFFIX) + DATA_SUFFIX)
    if not data.is_file():
        raise RadioError(f"{data} is missing; {meta.name} describes it")
    samples, rest = divmod(data.stat().st_size, SAMPLE.itemsize)
    if rest:
        raise RadioError(f"{data} ends within a sample: a length of whole {DATATYPE} is right")
    segments = _segments(root, rate, samples)
    with data.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha512").hexdigest()
    if whole.value("core:sha512", str, digest).lower() != digest:
        raise RadioError(f"{meta}: global.core:sha512 is not that of {data.name}: it was changed")
    return SigmfFile(
        data=data,
        sample_rate_hz=rate,
        segments=segments,
        fields={
            key.removeprefix("airmeta:"): value
            for key, value in whole.values.items()
            if key.startswith("airmeta:")
        },
        annotations=tuple(keys.values for keys in root.objects("annotations", [])),
    )


def _segments(root: JsonObject, rate: float, samples: int) -> tuple[Segment, ...]:
    """The capture segments, checked against each other and the samples there are."""
    captures = root.objects("captures")
    if not captures:
        raise RadioError(f"{root.file}: captures is empty; nothing was recorded")
    starts = [*(keys.index("core:sample_start") for keys in captures), samples]
    segments: list[Segment] = []
    for keys, start, end in zip(captures, starts[:-1], starts[1:], strict=True):
        length = end - start
        if length < 1 or keys.index("airmeta:length", length) != length:
            wanted = keys.values.get("airmeta:length", "at least one")
            raise RadioError(
                f"{keys.place('core:sample_start')} = {start} leaves {length} samples for the "
                f"capture, not {wanted}; there are {samples} in all"
            )
        segment = Segment(
            sample_start=start,
            first_sample=keys.index("core:global_index"),
            length=length,
            settings=RadioSettings(
                carrier_hz=keys.number("core:frequency"),
                sample_rate_hz=rate,
                tx_gain_db=keys.number("airmeta:tx_gain_db", 0.0),
                rx_gain_db=keys.number("airmeta:rx_gain_db", 0.0),
            ),
            overflows=keys.index("airmeta:overflows", 0),
        )
        if segments and segment.first_sample < segments[-1].end:
            raise RadioError(
                f"{keys.place('core:global_index')} = {segment.first_sample} goes back behind "
                f"{segments[-1].end}, where the capture before it ends"
            )
        segments.append(segment)
    return tuple(segments)
