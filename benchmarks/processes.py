"""Processes of a command, as /proc shows them: who they are, and what time and memory they take."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

GONE = (FileNotFoundError, ProcessLookupError, PermissionError)
TICKS = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    with suppress(*GONE):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += family(int(child))
    return found


def cpu_s(pids: list[int]) -> float:
    """Seconds of processor time that these have taken so far, their children's that ended too."""
    total = 0
    for pid in pids:
        with suppress(*GONE):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / TICKS


def pss_bytes(pid: int) -> int:
    """Resident memory, what is shared counted in shares; 0 when the process is gone."""
    with suppress(*GONE):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    return 0


def open_files(pid: int) -> Iterator[str]:
    """Names of what a process has open."""
    with suppress(*GONE):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(*GONE):
                yield Path(entry.readlink()).name
