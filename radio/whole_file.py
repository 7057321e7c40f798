"""Files that are replaced whole or not at all, whenever power or process end."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes, lasting: bool = True) -> None:
    """Write through a temporary file, so that the path holds the old bytes or all the new ones.

    Args:
        path: to be replaced.
        content: all of it.
        lasting: wait until it is on the disk, where it outlives the machine's power; what is only
            looked at need not be.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(path: Path) -> None:
    """Remove what processes left that were killed while they wrote this file."""
    for left in path.parent.glob(f".{path.name}.*"):
        left.unlink(missing_ok=True)
