"""Progress bars with rates, live accuracy and NMSE; one line per evaluation when not a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from testbed.experiment import Progress as Event


class Watcher:
    """Shows the events of one or more runs; call it with each event."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal
        self._bars = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[figures]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._figures: dict[str, dict[str, str]] = {}
        if self._live:
            self._bars.start()

    def close(self) -> None:
        """Leave the bars as they stand."""
        self._bars.stop()

    def __call__(self, event: Event) -> None:
        """Show what the event brings."""
        figures = self._figures.setdefault(event.scheme, {})
        if event.row is not None and event.row.get("nmse_db") is not None:
            figures["NMSE"] = f"{event.row['nmse_db']:.1f} dB"
        if event.evaluation is not None:
            figures |= _held_out(event.evaluation)
        text = "  ".join(f"{name} {value}" for name, value in figures.items())
        if self._live:
            self._advance(event, text)
        elif event.evaluation is not None:
            self._console.print(
                f"{event.scheme}: round {event.round_index}/{event.rounds}  {text}", style="dim"
            )

    def _advance(self, event: Event, text: str) -> None:
        if event.scheme not in self._tasks:
            self._tasks[event.scheme] = self._bars.add_task(
                event.scheme, total=event.rounds, completed=event.round_index, rate="", figures=""
            )
        task = self._tasks[event.scheme]
        speed = self._bars.tasks[task].speed
        rate = f"{speed:.1f} rounds/s" if speed else ""
        self._bars.update(task, completed=event.round_index, rate=rate, figures=text)


def _held_out(evaluation: dict[str, Any]) -> dict[str, str]:
    score = evaluation["heldout"]
    if score["accuracy"] is None:
        return {"held-out loss": f"{score['loss']:.3f}"}
    return {"held-out accuracy": f"{100 * score['accuracy']:.1f} %"}
