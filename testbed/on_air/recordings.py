"""What a run folder keeps of its rounds on the air: recordings of all, pictures of some."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from radio.recording import Recording, RecordingRadio
from testbed.config import ExperimentConfig
from testbed.on_air.snapshot import save_snapshot
from testbed.on_air.timeline import Timeline
from testbed.on_air.uplink import DeviceArray, IQUplink

RECORDINGS = "recordings"
SNAPSHOTS = "air"


def recording_path(folder: Path, index: int) -> Path:
    """Where the recording of a round lies, without its suffix."""
    return folder / RECORDINGS / f"round-{index:05d}"


def recordings_of(folder: Path) -> Path:
    """Where the recordings of a run lie: in its folder, or with its receiver's node."""
    elsewhere = sorted(folder.glob(f"nodes/*/*/{RECORDINGS}"))
    return elsewhere[-1] if elsewhere else folder / RECORDINGS


class Keeper:
    """Goes around every round of a run."""

    def __init__(
        self, config: ExperimentConfig, folder: Path, receiver: RecordingRadio, uplink: IQUplink
    ) -> None:
        self._config = config
        self._folder = folder
        self._receiver = receiver
        self._uplink = uplink

    @contextmanager
    def round(self, index: int) -> Iterator[None]:
        """Around round `index`."""
        path = recording_path(self._folder, index)
        if self._config.record:
            path.parent.mkdir(exist_ok=True)
        context = self._receiver.into(path, round=index) if self._config.record else nullcontext()
        with context as recording:
            yield
            legs = self._uplink.legs
            if not legs or not legs[0].bursts or legs[0].index != index:
                return  # nobody had anything to send
            if recording is not None:
                for leg in legs:
                    annotate(recording, index, leg.timeline, leg.nonce, leg.devices)
        if index % self._config.evaluation.every == 0 or index + 1 == self._config.rounds:
            save_snapshot(self._folder / SNAPSHOTS / f"round-{index:05d}.npz", legs[0])


def annotate(
    recording: Recording, index: int, timeline: Timeline, start: int, devices: DeviceArray
) -> None:
    """Say what the samples of a leg are.

    Args:
        recording: of its round.
        index: of the round.
        timeline: of the leg.
        start: on the receiver's clock; names the leg.
        devices: int64 [r], by slot.
    """

    def note(first: int, n: int, label: str, **fields: int) -> None:
        recording.annotate(start + first, n, label, round=index, nonce=start, **fields)

    for slot, device in enumerate(devices):
        first = timeline.sounding + slot * timeline.slot
        note(first, timeline.pilot.length, f"sounding of d{device}", device=int(device))
    for burst, (first, layout) in enumerate(zip(timeline.bursts, timeline.layouts, strict=True)):
        note(first, layout.length, f"burst {burst}", burst=burst)
