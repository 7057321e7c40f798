"""Everything a radio receives, kept on disk: a wrapper around any radio that writes SigMF."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from radio.api import IQ, Capture, Radio, RadioCaps, RadioError, RadioSettings, TxReport
from radio.sigmf import (
    DATA_SUFFIX,
    META_SUFFIX,
    SAMPLE,
    Json,
    Segment,
    covering,
    prefixed,
    write_meta,
)


class Recording:
    """A recording while it is made. Samples go to disk as they come and are not kept."""

    def __init__(self, stream: BinaryIO, sample_rate_hz: float) -> None:
        self._stream = stream
        self._sample_rate_hz = sample_rate_hz
        self._sha512 = hashlib.sha512()
        self._segments: list[Segment] = []
        self._annotations: list[Json] = []
        self._length = 0

    def append(self, capture: Capture, settings: RadioSettings) -> None:
        """Write one capture down, as a segment of its own.

        Raises:
            RadioError: the radio's clock went back, or its sample rate changed.
        """
        end = self._segments[-1].end if self._segments else 0
        if capture.first_sample < end:
            raise RadioError(
                f"a capture begins at sample {capture.first_sample}, before {end} where the last "
                "one ended; a recording needs a clock that goes on"
            )
        if settings.sample_rate_hz != self._sample_rate_hz:
            raise RadioError(
                f"the sample rate went from {self._sample_rate_hz:g} to "
                f"{settings.sample_rate_hz:g} Hz within a recording; begin another"
            )
        samples = np.ascontiguousarray(capture.iq, SAMPLE).data
        self._stream.write(samples)
        self._sha512.update(samples)
        self._segments.append(
            Segment(
                sample_start=self._length,
                first_sample=int(capture.first_sample),
                length=capture.iq.size,
                settings=settings,
                overflows=int(capture.overflows),
            )
        )
        self._length += capture.iq.size

    def annotate(self, first_sample: int, n: int, label: str, **fields: Any) -> None:
        """Say what n recorded samples from `first_sample` of the radio's clock on are.

        Args:
            first_sample: on the radio's own clock, as in `Capture`.
            n: samples, at least 1.
            label: short, for people.
            **fields: kept as ``airmeta:...``: round, device, nonce and so on.

        Raises:
            RadioError: not all of the window was recorded.
            ValueError: n < 1, or JSON cannot hold a field.
        """
        if n < 1:
            raise ValueError(f"an annotation spans at least one sample, not {n}")
        segment = covering(self._segments, first_sample, n)[0]
        self._annotations.append(
            {
                "core:sample_start": segment.sample_start + first_sample - segment.first_sample,
                "core:sample_count": n,
                "core:label": label,
                **prefixed(fields),
            }
        )

    def describe(self, path: Path, fields: Json) -> None:
        """Write the metadata of what was recorded so far to `path`."""
        write_meta(
            path,
            self._segments,
            self._sample_rate_hz,
            self._sha512.hexdigest(),
            fields,
            self._annotations,
        )


class RecordingRadio(Radio):
    """A radio whose captures can be recorded; everything else goes straight through."""

    def __init__(self, radio: Radio) -> None:
        self._radio = radio
        self._recording: Recording | None = None

    @contextmanager
    def into(self, path: str | Path, **fields: Any) -> Iterator[Recording]:
        """Record all captures made inside to ``path.sigmf-data`` and ``path.sigmf-meta``.

        The files get their names when the context ends, the metadata last; a recording of that
        name is replaced. Where it ends with an exception, nothing is left of it.

        Args:
            path: without a suffix; its folder exists.
            **fields: kept as ``airmeta:...`` of the whole recording.

        Raises:
            RadioError: a recording is being made already.
            ValueError: JSON cannot hold a field.
        """
        if self._recording is not None:
            raise RadioError("a recording is being made already; end it first")
        prefixed(fields)
        base = Path(path)
        data, meta = (base.with_name(base.name + end) for end in (DATA_SUFFIX, META_SUFFIX))
        new_data, new_meta = (path.with_name(f".{path.name}.new") for path in (data, meta))
        try:
            with new_data.open("wb") as stream:
                self._recording = Recording(stream, self.settings.sample_rate_hz)
                yield self._recording
            self._recording.describe(new_meta, fields)
            # The old pair goes first: at no time does a description lie beside foreign samples.
            meta.unlink(missing_ok=True)
            new_data.replace(data)
            new_meta.replace(meta)
        finally:
            self._recording = None
            new_data.unlink(missing_ok=True)
            new_meta.unlink(missing_ok=True)

    @property
    def caps(self) -> RadioCaps:
        """Of the radio inside."""
        return self._radio.caps

    @property
    def settings(self) -> RadioSettings:
        """Of the radio inside."""
        return self._radio.settings

    def configure(self, want: RadioSettings) -> RadioSettings:
        """Apply settings."""
        return self._radio.configure(want)

    def now(self) -> int:
        """The sample clock."""
        return self._radio.now()

    def transmit(self, iq: IQ, at: int | None = None) -> TxReport:
        """Send a burst."""
        return self._radio.transmit(iq, at)

    def receive(self, n: int, at: int | None = None) -> Capture:
        """Capture n samples, and keep them where a recording is being made."""
        capture = self._radio.receive(n, at)
        if self._recording is not None:
            self._recording.append(capture, self.settings)
        return capture

    def close(self) -> None:
        """Transmitter off. A recording goes on to the end of its context."""
        self._radio.close()

    def describe(self) -> Mapping[str, str]:
        """Of the radio inside."""
        return self._radio.describe()
