"""What commands print: figures for people, or JSON on stdout and the rest on stderr."""

from __future__ import annotations

import json
from typing import Any

import typer
from rich.console import Console

from testbed import tables
from testbed.runs import RunResult

STOPPED = 130

console = Console()
messages = Console(stderr=True)


def progress(as_json: bool) -> Console:
    """Progress goes to stderr when stdout is for figures."""
    return messages if as_json else console


def present(result: RunResult, as_json: bool) -> None:
    """Show how a run ended; leaves with exit code 130 when it was stopped."""
    if as_json:
        stopped = result.report is None
        print_json(
            {
                "folder": str(result.folder),
                "complete": not stopped,
                "report": None if stopped else str(result.report),
                "schemes": result.summaries,
            }
        )
    elif result.report is not None:
        console.print(tables.of_summaries(result.summaries))
        console.print(f"report: {result.report}", soft_wrap=True)
    if result.report is None:
        messages.print(
            f"stopped; the same command with --resume --out {result.folder} goes on",
            soft_wrap=True,
        )
        raise typer.Exit(STOPPED)


def print_json(value: Any) -> None:
    """To stdout, indented."""
    print(json.dumps(value, indent=2, allow_nan=False))
