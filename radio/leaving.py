"""The end of a radio, which no interrupt keeps from being muted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress


class Leaving:
    """Does once what mutes a radio, to its end, however often and from wherever it is called."""

    def __init__(self, leave: Callable[[], None], name: str) -> None:
        """What to do, for a radio of this name; it should raise nothing."""
        self._leave = leave
        self._lock = threading.Lock()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._once, name=f"{name} closes")

    def __call__(self) -> None:
        """Return when it is done; an interrupt that came meanwhile is raised then."""
        interrupt: BaseException | None = None
        while not self._left.is_set():
            try:
                self._apart()
            except (KeyboardInterrupt, SystemExit) as error:
                interrupt = error  # in a moment
        if interrupt is not None:
            raise interrupt

    def _apart(self) -> None:
        """In a thread, which no signal reaches."""
        with suppress(RuntimeError):  # it is on its way
            self._thread.start()
        if self._thread.ident is None:  # the interpreter ends, and permits no more threads
            self._once()
        else:
            self._thread.join()

    def _once(self) -> None:
        with self._lock:
            if self._left.is_set():
                return
            try:
                self._leave()
            finally:
                self._left.set()
