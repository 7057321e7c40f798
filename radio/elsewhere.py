"""Radios opened under another interpreter, where the vendor's module does not import in this one.

Debian's bindings import under Debian's interpreter only. So a process of that one opens the radio
and serves it through a socket file of this user; here is its client, and whoever opens the radio
does not notice. The process ends when the radio is closed, when the connection breaks, and when
this process ends, however that happens; each mutes the radio.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from radio import interpreter
from radio.api import RadioError
from radio.discovery import Found, Gap, Search
from radio.drivers.remote import RemoteRadio
from radio.registry import Needs, RadioUri
from radio.relayed_log import relay

VARIABLE = "SDR_PYTHON"
"""Environment variable that names the other interpreter, in place of the system's."""

OPENING_S = 60.0  # of a radio that waits for pulses and for a reference
ANSWER_S = 30.0  # of a driver, whose own deadlines are shorter
ENDING_S = 8.0  # of a process that mutes its radio first
LONGEST_PATH = 100  # bytes of a socket's path that every system takes


class RadioElsewhere(RemoteRadio):
    """A radio in a process of another interpreter."""

    def __init__(self, uri: RadioUri, needs: Needs) -> None:
        """Start the process and open the radio there.

        Raises:
            RadioError: the other interpreter is not there, lacks what is needed, too, or the radio
                cannot be opened.
        """
        folder = _folder()
        path = folder / "socket"
        self._process = OtherProcess(folder, ["serve", str(path), str(uri)], uri.scheme, needs)
        super().__init__(
            RadioUri("zmq+ipc", str(path)), timeout_s=ANSWER_S, opening_s=OPENING_S, called=str(uri)
        )

    def _lost(self) -> RadioError:
        super()._lost()
        self._fault = f"what drives {self._where} has ended; is the radio still there?"
        return RadioError(self._fault)

    def _disconnect(self) -> None:
        try:
            super()._disconnect()
        finally:
            self._process.end()


class OtherProcess:
    """A process of the other interpreter, whose answer is there and whose log is relayed.

    Attributes:
        answer: what it said first.
    """

    def __init__(self, folder: Path, task: Sequence[str], scheme: str, needs: Needs) -> None:
        """Start it, and wait for its answer.

        Args:
            folder: of its own, which goes with it.
            task: for `radio.elsewhere_process`.
            scheme: of the radios it is about.
            needs: what it has to have.

        Raises:
            RadioError: there is no such interpreter, it lacks what is needed, or does not answer.
        """
        self._folder = folder
        self._scheme = scheme
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._last = ""
        python = other_python()
        command = [python, "-m", "radio.elsewhere_process", str(os.getpid()), *task]
        environ = {"UHD_LOG_FASTPATH_DISABLE": "1", **os.environ}
        try:
            self._process = subprocess.Popen(
                command,
                cwd=folder,  # where such a command looks for modules first
                env=interpreter.environment(environ, folder, ["radio"]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                process_group=0,  # an interrupt from the keyboard is this process's to handle
            )
        except OSError as error:
            shutil.rmtree(folder)
            raise RadioError(_lacking(scheme, needs, python, error.strerror or "")) from error
        self._readers = [
            threading.Thread(target=target, args=(stream,), daemon=True)
            for target, stream in (
                (self._read, self._process.stdout),
                (self._read_said, self._process.stderr),
            )
        ]
        for reader in self._readers:
            reader.start()
        try:
            self.answer = self._awaited(python, needs)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """End it, if need be by force; once more is fine."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(ENDING_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        if self._folder.exists():
            shutil.rmtree(self._folder)

    def _awaited(self, python: str, needs: Needs) -> dict[str, Any]:
        try:
            answer = self._answers.get(timeout=interpreter.PATIENCE_S)
        except queue.Empty:
            why = f"does not answer within {interpreter.PATIENCE_S:.0f} s"
            raise RadioError(_lacking(self._scheme, needs, python, why)) from None
        if answer is None:
            self._readers[1].join(ENDING_S)  # what it said last
            raise RadioError(_lacking(self._scheme, needs, python, self._last or "ends at once"))
        if missing := answer.get("missing"):
            raise RadioError(_lacking(self._scheme, needs, python, f"there it {missing}"))
        return answer

    def _read(self, stream: IO[str]) -> None:
        """The answer, and what is logged."""
        waits = True
        for line in stream:
            told = _object(line) if waits else None
            if told is not None and "level" not in told:
                waits = False
                self._answers.put(told)
            else:
                relay(line, self._scheme)
        self._answers.put(None)

    def _read_said(self, stream: IO[str]) -> None:
        """What libraries print, and how the interpreter fails."""
        for line in stream:
            self._last = line.strip() or self._last
            relay(line, self._scheme)


def other_python() -> str:
    """Path of the other interpreter."""
    return os.environ.get(VARIABLE) or interpreter.SYSTEM


def open_elsewhere(uri: RadioUri, needs: Needs) -> RadioElsewhere:
    """The radio, opened under the other interpreter; RadioError where it cannot be."""
    return RadioElsewhere(uri, needs)


def find_elsewhere(scheme: str, addresses: Sequence[str], needs: Needs) -> Search:
    """What the finder of a scheme finds under the other interpreter; RadioError without one."""
    process = OtherProcess(_folder(), ["find", scheme, *addresses], scheme, needs)
    process.end()
    told = process.answer["search"]
    return Search(
        tuple(Found(each["uri"], each["about"]) for each in told["found"]),
        tuple(Gap(each["place"], each["why"], each["remedy"]) for each in told["gaps"]),
        tuple(told["advice"]),
    )


def _folder() -> Path:
    """A folder of this user's, whose path is short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="airmeta-"))
    if len(bytes(folder)) <= LONGEST_PATH:
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="airmeta-", dir="/tmp"))


def _lacking(scheme: str, needs: Needs, python: str, why: str) -> str:
    return (
        f"{scheme}:// needs {needs.module}, which does not load here, and {python} "
        f"({why}) cannot stand in: {needs.install}; {VARIABLE} names another interpreter"
    )


def _object(line: str) -> dict[str, Any] | None:
    try:
        told = json.loads(line)
    except ValueError:
        return None
    return told if isinstance(told, dict) else None
