"""How far a calibration is: bars in a terminal, a line for each procedure elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from calibration.procedures.session import Status


class Bars:
    """One for each device; use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console, self._live = console, console.is_terminal
        self._bars = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[doing]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._last: tuple[str, str] | None = None

    def __enter__(self) -> Self:
        if self._live:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def show(self, device: str, status: Status) -> None:
        """How far the session of a device is."""
        if self._live:
            if device not in self._tasks:
                self._tasks[device] = self._bars.add_task(device, total=1.0, doing="")
            doing = f"{status.name}, {duration(status.left_s)} left" if status.share < 1 else "done"
            self._bars.update(self._tasks[device], completed=status.share, doing=doing)
        elif self._last != (device, status.name):
            self._last = device, status.name
            self._console.print(
                f"{device}: {status.name}, {duration(status.left_s)} left",
                style="dim",
                highlight=False,
                markup=False,
            )

    def fail(self, device: str, error: Exception) -> None:
        """The session of a device has ended before its time."""
        if device in self._tasks:
            self._bars.update(self._tasks[device], doing="failed")
        self._console.print(
            f"{device}: {error}", style="red", soft_wrap=True, highlight=False, markup=False
        )


def duration(seconds: float) -> str:
    """As people say it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes / 60:.1f} h"
