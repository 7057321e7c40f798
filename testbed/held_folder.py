"""A folder into which one process writes at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fl_core.errors import InputError

LOCK_TRIES = 5


@contextmanager
def held(folder: Path, what: str) -> Iterator[None]:
    """Keep every other process from writing to a folder meanwhile; makes it if it is new.

    Args:
        folder: to be held.
        what: is written there, for messages: a run, a calibration.

    Raises:
        InputError: another process holds it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    try:
        _lock(handle, f"{folder}: another process is writing this {what}")
        yield
    finally:
        os.close(handle)


def _lock(handle: int, taken: str) -> None:
    """Who only looks whether somebody writes here holds the folder for a moment too."""
    for _ in range(LOCK_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.05)
    raise InputError(taken)
