"""``file://x.sigmf-meta``: a recording as a radio that only receives, on the recorded clock."""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path

import numpy as np

from radio.api import (
    IQ,
    Capture,
    Radio,
    RadioCaps,
    RadioError,
    RadioSettings,
    Range,
    TxReport,
    require_count,
    require_future,
)
from radio.registry import RadioUri
from radio.sigmf import SAMPLE, SigmfFile, covering, read_sigmf


class FileRadio(Radio):
    """Plays a recording back: a capture of a recorded window is that window, sample for sample.

    The clock stands where the last capture ended, at first where the recording begins. A capture
    without `at` takes the next samples there are. `settings` are those under which the last
    capture was made; `configure` takes any that occur in the recording.
    """

    def __init__(self, recording: SigmfFile) -> None:
        self._recording = recording
        self._samples: IQ = np.memmap(recording.data, SAMPLE, mode="r")
        self._now = recording.segments[0].first_sample
        self._settings = recording.segments[0].settings
        self._occurring = list(dict.fromkeys(segment.settings for segment in recording.segments))
        self._is_open = True

    @property
    def caps(self) -> RadioCaps:
        """Ranges span what occurs in the recording."""
        return RadioCaps(
            name=f"recording {self._recording.data.stem}",
            can_transmit=False,
            timed=True,
            full_duplex=False,
            bits=32,
            carrier_hz=self._span("carrier_hz"),
            sample_rate_hz=self._span("sample_rate_hz"),
            tx_gain_db=self._span("tx_gain_db"),
            rx_gain_db=self._span("rx_gain_db"),
            max_burst=0,
            turnaround_s=0.0,
        )

    @property
    def settings(self) -> RadioSettings:
        """Under which the last capture was made, or the next will be."""
        return self._settings

    def configure(self, want: RadioSettings) -> RadioSettings:
        """Settings of the recording; RadioError for others."""
        self._require_open()
        if want not in self._occurring:
            there = "; ".join(str(settings) for settings in self._occurring)
            raise RadioError(f"{self.caps.name} was not made under {want}; it has {there}")
        self._settings = want
        return want

    def now(self) -> int:
        """The end of the last capture."""
        self._require_open()
        return self._now

    def transmit(self, iq: IQ, at: int | None = None) -> TxReport:
        """RadioError: a recording only receives."""
        raise RadioError(f"{self.caps.name} only receives; open a radio that can transmit")

    def receive(self, n: int, at: int | None = None) -> Capture:
        """The recorded window.

        Raises:
            RadioError: not all of it was recorded; it says which windows were.
        """
        self._require_open()
        require_count(n)
        first = self._next_recorded() if at is None else at
        require_future(first, self._now)
        segments = covering(self._recording.segments, first, n)
        begin = segments[0].sample_start + first - segments[0].first_sample
        self._now, self._settings = first + n, segments[-1].settings
        return Capture(
            iq=np.array(self._samples[begin : begin + n], np.complex64),
            first_sample=first,
            overflows=sum(segment.overflows for segment in segments),
        )

    def close(self) -> None:
        """No more captures."""
        self._is_open = False

    def _next_recorded(self) -> int:
        """The first recorded sample from the present on; the present itself after the last."""
        segments = self._recording.segments
        index = bisect_right(segments, self._now, key=lambda segment: segment.end)
        if index == len(segments):
            return self._now
        return max(self._now, segments[index].first_sample)

    def _span(self, name: str) -> Range:
        values = [getattr(settings, name) for settings in self._occurring]
        return Range(min(values), max(values))

    def _require_open(self) -> None:
        if not self._is_open:
            raise RadioError(f"{self.caps.name} is closed; open it again")


def open_file(uri: RadioUri) -> FileRadio:
    """The recording at the URI's address, a path ending in ``.sigmf-meta``."""
    uri.require_options()
    return FileRadio(read_sigmf(Path(uri.address)))
