"""How a run over nodes stands, for people; and how to end it from another terminal.

The coordinator keeps `status.json` in the run folder fresh, so this works wherever that folder is.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import signal
import time
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fl_core.errors import InputError
from testbed.nodes.coordinator_node import STATUS_FILE

PHASES = {
    "gather": "waiting for nodes",
    "compute": "devices compute",
    "pace": "waiting for the next round",
    "call": "on the air",
    "recover": "recovering the sum",
    "commit": "writing",
    "ending": "ending",
    "ended": "ended",
}
END_S = 10.0  # in which a run ends that was told to


def newest_run() -> Path:
    """The run folder below runs/ whose nodes were seen last.

    Raises:
        InputError: there is none.
    """
    found = sorted(Path("runs").glob(f"*/{STATUS_FILE}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise InputError("runs: holds no run over nodes; start one with `airmeta up`, or name it")
    return found[-1].parent


def read_status(folder: Path) -> dict[str, Any]:
    """What the coordinator says; InputError where it never said anything."""
    path = folder / STATUS_FILE
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise InputError(f"{folder}: is no run over nodes; there is no {STATUS_FILE}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is damaged ({error})") from error


def is_running(folder: Path) -> bool:
    """Whether a process writes this run."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def stop_run(folder: Path) -> int:
    """Tell the coordinator of a run to end it, and wait until it has.

    Returns:
        Rounds that are done.

    Raises:
        InputError: nothing is running there, on this machine.
    """
    status = read_status(folder)
    if not is_running(folder):
        how = f"it ended: {status['end']}" if status["end"] else "it was killed; --resume goes on"
        raise InputError(f"{folder}: nothing is running there; {how}")
    if status["host"] != platform.node():
        raise InputError(f"{folder}: runs on {status['host']}; stop it there")
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.kill(status["pid"], signal.SIGTERM)
    deadline = time.monotonic() + END_S
    while is_running(folder):
        if time.monotonic() > deadline:
            raise InputError(f"{folder}: process {status['pid']} does not end; kill it")
        time.sleep(0.05)
    return int(read_status(folder)["round"])


def render(folder: Path, status: dict[str, Any], running: bool) -> RenderableType:
    """A table of the nodes below a line about the run."""
    phase = status["phase"]
    state = PHASES[phase] if running or phase == "ended" else "not running; --resume goes on"
    head = Text(f"{folder}  ", style="bold")
    head.append(f"round {status['round']}/{status['rounds']}  ", style="bold")
    head.append(state)
    if running and status["waits_for"]:
        head.append(f" ({status['stage']}: waiting for {_few(status['waits_for'])})", style="dim")
    if status["calls"] > 1:
        head.append(f"  {status['calls']} calls", style="yellow")
    lines: list[RenderableType] = [head, _nodes(status["nodes"], running)]
    if phase == "ended" and status["end"]:
        lines.append(Text(f"ended: {status['end']}"))
    if status["refused"]:
        refused = ", ".join(f"{count} {reason}" for reason, count in status["refused"].items())
        lines.append(Text(f"refused from outside: {refused}", style="yellow"))
    return Group(*lines)


def _nodes(nodes: dict[str, Any], running: bool) -> Table:
    table = Table("node", "", box=None, pad_edge=False)
    for name in ("gain", "SNR dB", "CFO Hz", "phase °", "rounds"):
        table.add_column(name, justify="right")
    table.add_column("faults")
    for name, node in nodes.items():
        here = node["here"] and running
        faults = ", ".join(f"{fault} {count}" for fault, count in node["faults"].items())
        is_device = node["asked"] or node["gain"] is not None
        table.add_row(
            Text(name),
            Text("●" if here else "○", style="green" if here else "red" if running else "dim"),
            _figure(node["gain"], ".2f"),
            _figure(node["snr_db"], ".1f"),
            _figure(node["cfo_hz"], ".0f"),
            _figure(node["phase_deg"], ".1f"),
            f"{node['applied']}/{node['asked']}" if is_device else "",
            Text(faults, style="yellow"),
        )
    return table


def _figure(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _few(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{len(names)} nodes"
