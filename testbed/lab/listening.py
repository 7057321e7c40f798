"""What a radio hears from now on, and recordings of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fl_core.errors import InputError
from radio.api import Capture, Radio
from radio.recording import RecordingRadio
from radio.sigmf import DATA_SUFFIX, META_SUFFIX
from testbed.lab.levels import Levels

PIECE = 1 << 18  # samples in memory at a time


def fresh(radio: Radio, n: int) -> Capture:
    """n samples, none of them older than this call.

    A radio that streams gives what it has heard since the last capture, however long ago.
    """
    start = radio.now()
    while (behind := start - (capture := radio.receive(n)).first_sample) > 0:
        if behind > n:
            radio.receive(behind - n)
    return capture


def recording_place(path: Path) -> Path:
    """Where a recording goes: the path without a suffix of SigMF.

    Raises:
        InputError: there is no such folder, or a recording already.
    """
    base = path.with_name(path.name.removesuffix(META_SUFFIX).removesuffix(DATA_SUFFIX))
    if not base.parent.is_dir():
        raise InputError(f"{base.parent}: there is no such folder")
    for suffix in (META_SUFFIX, DATA_SUFFIX):
        file = base.with_name(base.name + suffix)
        if file.exists():
            raise InputError(f"{file}: exists; choose another name, or remove it")
    return base


def record(radio: Radio, base: Path, n: int, stop: Callable[[], bool]) -> Levels:
    """Record n samples from now on as SigMF, fewer where somebody stops it.

    Args:
        radio: open and set up.
        base: path without a suffix, from `recording_place`.
        n: samples.
        stop: asked between pieces.

    Returns:
        The levels of what was recorded.
    """
    levels = Levels(radio.caps.bits)
    with RecordingRadio(radio).into(base, radio=radio.caps.name) as recording:
        capture = fresh(radio, min(n, PIECE))
        while True:
            recording.append(capture, radio.settings)
            levels.add(capture)
            left = n - levels.samples
            if left == 0 or stop():
                return levels
            capture = radio.receive(min(left, PIECE))
