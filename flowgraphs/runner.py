"""A flowgraph that runs: in a process of GNU Radio's interpreter, for as long as its context lasts.

Several run as one where they share a radio that only one process can have.

    with Flowgraph("device_tx", {"sink": "null"}) as graph:
        ...

It is ready when it says so. Whatever ends it is told with its reason, and where it is stopped, or
whoever started it ends, nothing of it is left: no process, and no socket.
"""

from __future__ import annotations

import json
import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from flowgraphs.compiler import Program, compiled, environment
from flowgraphs.failure import reason
from flowgraphs.grc_file import GrcFile, Value
from radio.api import RadioError
from radio.interpreter import Interpreter
from radio.registry import choices

HOST = Path(__file__).with_name("host.py")
START_S = 60.0  # until it is ready, from a cold disk
ANSWER_S = 10.0  # in which something is set
END_S = 4.0  # in which it stops, until it is killed
LINES = 400  # of its log that are kept

_log = logging.getLogger(__name__)


class Flowgraph:
    """A running flowgraph.

    Attributes:
        name: of it, or of all with a ``+`` between.
        parameters: that it has.
        programs: what runs.
        values: of its parameters, as far as they were given.
        folder: of its own, for sockets; gone when it ends.
        endpoints: where its ZMQ blocks are, by the blocks' names.
    """

    def __init__(
        self,
        grc: GrcFile | str | Sequence[GrcFile],
        values: Mapping[str, object],
        environ: Mapping[str, str] = os.environ,
        folder: Path | None = None,
        patience_s: float = START_S,
    ) -> None:
        """Compile it where that was not done before, start it, and wait until it is ready.

        Args:
            grc: the flowgraph, or its name or path; or several that run in one process.
            values: of parameters, each for every flowgraph that has it; ``{folder}`` in texts
                stands for `folder`.
            environ: of the process; says which interpreter, too.
            folder: to be its own; None makes one.
            patience_s: until it is ready.

        Raises:
            RadioError: GNU Radio or a block of it is absent, the flowgraph does not compile, a
                parameter is unknown or has no such value, an address is taken, or it fails.
        """
        one = GrcFile.named(grc) if isinstance(grc, str) else grc
        files = [one] if isinstance(one, GrcFile) else list(one)
        self.name = "+".join(each.name for each in files)
        self.parameters = {name: it for each in files for name, it in each.parameters.items()}
        checked = self._checked(values)
        self.programs: list[Program] = [
            compiled(each, _of(each, checked), environ) for each in files
        ]
        self.folder = folder or Path(tempfile.mkdtemp(prefix="airmeta-flowgraph-"))
        self.values: dict[str, Value] = {
            name: value.replace("{folder}", str(self.folder)) if isinstance(value, str) else value
            for name, value in checked.items()
        }
        bound = [parameter for each in files for parameter in each.bound]
        self._bound = [str(self.values.get(each.name, each.default)) for each in bound]
        self._lines: deque[str] = deque(maxlen=LINES)
        self._heard = b""
        self._number = 0  # of the last thing that was asked
        self._is_over = False
        self._lock = threading.Lock()  # several threads may ask whether it runs
        self._control, theirs = socket.socketpair()
        try:
            with theirs:
                self._require_free()
                self._process = self._spawn(theirs, environ)
            self._reader = threading.Thread(target=self._read_log, daemon=True)
            self._reader.start()
            ready = self._await(("ready",), patience_s)
        except BaseException:
            self.stop()
            raise
        self.endpoints: dict[str, str] = dict(ready["endpoints"])

    @property
    def chosen(self) -> dict[str, str]:
        """Choices that were made."""
        return {name: value for each in self.programs for name, value in each.chosen.items()}

    @property
    def gnuradio(self) -> Interpreter:
        """What it runs under."""
        return self.programs[0].gnuradio

    @property
    def log(self) -> str:
        """The last lines of what it and GNU Radio said."""
        return "\n".join(self._lines)

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def set(self, **values: object) -> None:
        """Set parameters while it runs.

        Raises:
            RadioError: no such parameter or value, a choice, which is made at the start, or a
                block refuses.
        """
        checked = self._checked(values)
        for name in checked:
            if name in self.chosen:
                raise RadioError(
                    f"flowgraph {self.name}: {name} is chosen when it starts; start it again"
                )
        answer = self._asked({"values": checked})
        if answer["kind"] == "refused":
            told = ", ".join(f"{name} = {value!r}" for name, value in checked.items())
            raise RadioError(f"flowgraph {self.name} refuses {told}: {answer['why']}")
        self.values |= checked

    def time(self) -> tuple[int, float, float]:
        """What a radio in it has: seconds of its time, their fraction, and its sample rate.

        Raises:
            RadioError: no block tells of it.
        """
        told = self._radio()
        return int(told["whole_s"]), float(told["part_s"]), float(told["rate_hz"])

    def tuned(self) -> tuple[list[float], dict[str, float]]:
        """Carriers of such a radio's directions, Hz, and its gains by name; errors as of `time`."""
        return (told := self._radio())["carriers_hz"], told["gains_db"]

    def require_running(self) -> None:
        """RadioError with the reason where it has ended or was killed."""
        with self._lock:
            while select.select([self._control], [], [], 0)[0]:
                self._message(0.0)

    @property
    def is_over(self) -> bool:
        """Whether it has no more samples to come: a source of it was at its end."""
        return self._is_over

    def stop(self) -> None:
        """Stop it: told, then terminated, then killed. Stopping twice is fine."""
        self._control.close()  # which tells it
        process = getattr(self, "_process", None)
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                _log.warning("flowgraph %s did not stop, and is killed", self.name)
                process.kill()
                process.wait()
            self._reader.join(END_S)
        shutil.rmtree(self.folder, ignore_errors=True)
        if process is None:
            return
        for address in self._bound:
            if (path := socket_file(address)) and path.is_socket() and not is_served(path):
                path.unlink(missing_ok=True)  # which one that was killed has left

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until its sources are at their end: whether they are.

        Raises:
            RadioError: it failed or was killed, and why.
        """
        until_s = time.monotonic() + seconds
        self.require_running()
        while not self._is_over and (left_s := until_s - time.monotonic()) > 0:
            select.select([self._control], [], [], left_s)
            self.require_running()
        return self._is_over

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _radio(self) -> dict[str, Any]:
        answer = self._asked({})
        if answer["kind"] == "refused":
            raise RadioError(f"flowgraph {self.name} tells of no radio: {answer['why']}")
        return answer

    def _asked(self, what: Mapping[str, object]) -> dict[str, Any]:
        self.require_running()
        with self._lock:
            self._number += 1
            self._control.sendall(_written({"number": self._number, **what}).encode() + b"\n")
            while True:
                answer = self._await(("set", "refused", "radio"), ANSWER_S)
                if answer["number"] == self._number:  # others nobody waited for any more
                    return answer

    def _checked(self, given: Mapping[str, object]) -> dict[str, Value]:
        """As `GrcFile.checked`, of parameters that any of them has."""
        where = f"flowgraph {self.name}"
        for name in given:
            if name not in self.parameters:
                known = choices(name, self.parameters)
                raise RadioError(f"{where} has no parameter {name!r}; {known}")
        return {name: self.parameters[name].read(value, where) for name, value in given.items()}

    def _spawn(self, theirs: socket.socket, environ: Mapping[str, str]) -> subprocess.Popen[str]:
        graphs = [
            {"path": str(it.path), "name": it.grc.name, "values": _of(it.grc, self.values)}
            for it in self.programs
        ]
        sockets = [str(path) for path in map(socket_file, self._bound) if path]
        told = {"graphs": graphs, "folder": str(self.folder), "sockets": sockets}
        return subprocess.Popen(
            # -P: what lies beside the host is not what flowgraphs import.
            [
                self.gnuradio.python,
                "-P",
                "-u",
                HOST,
                str(theirs.fileno()),
                _written(told),
            ],
            pass_fds=[theirs.fileno()],
            env=environment(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # a Ctrl-C is for whoever started it
        )

    def _require_free(self) -> None:
        """ZMQ takes sockets of others, who then hear nothing any more, and deletes other files."""
        for address in self._bound:
            if (path := socket_file(address)) is None:
                continue
            try:
                is_taken = is_served(path) or (path.exists() and not path.is_socket())
            except OSError as error:
                raise RadioError(f"flowgraph {self.name}: {address}: {error}") from error
            if is_taken:
                raise RadioError(f"flowgraph {self.name}: {address} is taken; choose another one")

    def _read_log(self) -> None:
        if self._process.stdout is not None:
            with self._process.stdout as lines:
                for line in lines:
                    self._lines.append(line.rstrip())
                    _log.debug("%s: %s", self.name, line.rstrip())

    def _await(self, kinds: tuple[str, ...], patience_s: float) -> dict[str, Any]:
        until_s = time.monotonic() + patience_s
        while (message := self._message(until_s - time.monotonic()))["kind"] not in kinds:
            continue
        return message

    def _message(self, patience_s: float) -> dict[str, Any]:
        """The next message; RadioError where it has ended, or says nothing for so long."""
        while b"\n" not in self._heard:
            if not select.select([self._control], [], [], max(0.0, patience_s))[0]:
                raise RadioError(
                    f"flowgraph {self.name} does not answer within {patience_s:.0f} s; it said:\n"
                    f"{self.log}"
                )
            try:
                piece = self._control.recv(4096)
            except ConnectionResetError:
                piece = b""
            if not piece:
                raise RadioError(self._reason())
            self._heard += piece
        line, _, self._heard = self._heard.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        self._is_over = self._is_over or message["kind"] == "ended"
        return message

    def _reason(self) -> str:
        """Why it is gone."""
        try:
            code = self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            return f"flowgraph {self.name} closed its connection"
        self._reader.join(END_S)
        if code < 0:
            return f"flowgraph {self.name} was killed by {signal.Signals(-code).name}"
        known = {name: each.default for name, each in self.parameters.items()} | self.values
        return f"flowgraph {self.name} {reason(list(self._lines), code, known)}"


def _of(file: GrcFile, values: Mapping[str, Value]) -> dict[str, Value]:
    """Those of the values that a flowgraph has parameters for."""
    return {name: value for name, value in values.items() if name in file.parameters}


def _written(message: Mapping[str, object]) -> str:
    """As JSON, which has no complex numbers: they go as their two parts."""
    return json.dumps(message, default=lambda z: {"real": z.real, "imag": z.imag})


def socket_file(address: str) -> Path | None:
    """The file that binding to an address makes, if it makes one."""
    path = address.removeprefix("ipc://")
    return Path(path) if path != address and not path.startswith("@") else None


def is_served(path: Path) -> bool:
    """Whether somebody listens at this socket file."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
