"""How messages travel, over ZMQ by ipc or tcp: what both ends of a connection have in common.

The only waits are in `receive`. Whatever comes in from outside is counted and logged when it is
wrong, and never raised. Order holds between two nodes while their connection lasts; nothing is
sent twice, and what was on its way when a connection broke is lost: answers and deadlines are the
nodes' business.
"""

from __future__ import annotations

import logging
import math
import secrets
import socket
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import zmq
from zmq.utils.monitor import parse_monitor_message

from fl_core.errors import InputError
from radio.keys import Keys
from testbed.nodes.messages import Body, Message

_QUEUED = 256  # messages that wait on either side of a connection, at most
_REMEMBERED = 1024  # messages of a sender that are recognised when they come again
_MISSED = 4  # heartbeats after which a connection is given up
_LINGER_MS = 200
_SEALED = 64  # bytes that encryption adds, at most

HEARTBEAT_S = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Joined:
    """The connection to this node stands; what was said over an earlier one may be lost."""

    name: str


@dataclass(frozen=True)
class Lost:
    """The connection to this node broke: it ended, or its host cannot be reached."""

    name: str


@dataclass(frozen=True)
class Denied:
    """This node did not take the connection; it is not tried again when that is final."""

    name: str
    reason: str
    final: bool


Event = Message | Joined | Lost | Denied


class Transport(ABC):
    """A socket and its waits. Use as a context manager; leaving closes everything at once.

    Attributes:
        refused: how often something from outside was refused, by reason.
    """

    def __init__(
        self, heartbeat_s: float, first_number: int | None, clock: Callable[[], float]
    ) -> None:
        self.refused: Counter[str] = Counter()
        self._heartbeat_s = heartbeat_s
        self._number = secrets.randbits(48) if first_number is None else first_number
        self._clock = clock
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._poller = zmq.Poller()
        self._sockets: list[zmq.Socket[bytes]] = []
        self._events: deque[Event] = deque()
        self._seen: dict[str, Window] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all sockets; what was said last has a moment to leave."""
        for one in self._sockets:
            one.close(linger=_LINGER_MS)
        self._context.term()

    def receive(self, timeout_s: float) -> Event | None:
        """The next event, as soon as there is one; None when the time is over."""
        deadline = self._clock() + timeout_s
        while not self._events:
            wait_s = max(0.0, min(deadline - self._clock(), self._heartbeat_s))
            self._serve({ready for ready, _ in self._poller.poll(math.ceil(1e3 * wait_s))})
            if self._clock() >= deadline:
                break
        return self._events.popleft() if self._events else None

    @abstractmethod
    def _serve(self, ready: set[zmq.Socket[bytes]]) -> None:
        """Take what these sockets hold."""

    def _socket(self, kind: int, most_bytes: int) -> zmq.Socket[bytes]:
        """A socket with bounded queues, a bounded size of messages, and heartbeats."""
        made = self._context.socket(kind)
        self._sockets.append(made)
        made.linger = 0
        made.sndhwm = made.rcvhwm = _QUEUED
        made.maxmsgsize = most_bytes + _SEALED
        made.heartbeat_ivl = round(1e3 * self._heartbeat_s)
        made.heartbeat_timeout = made.heartbeat_ttl = round(1e3 * _MISSED * self._heartbeat_s)
        self._poller.register(made, zmq.POLLIN)
        return made

    def _monitor(self, watched: zmq.Socket[bytes], events: int) -> zmq.Socket[bytes]:
        """What happens to the connections of a socket."""
        watched.monitor("inproc://monitor", events)
        monitor = self._context.socket(zmq.PAIR)
        self._sockets.insert(0, monitor)
        monitor.connect("inproc://monitor")
        self._poller.register(monitor, zmq.POLLIN)
        return monitor

    def _envelope(self, body: Body, name: str, run: str, round_index: int) -> Message:
        message = Message(run, round_index, name, self._number, body)
        self._number += 1
        return message

    def _accept(self, message: Message) -> None:
        """Hand a message on, unless it came before."""
        if self._seen.setdefault(message.sender, Window()).has(message.number):
            self._refuse("duplicate", f"{message.sender} repeats message {message.number}")
        else:
            self._events.append(message)

    def _refuse(self, reason: str, line: str) -> None:
        """Count, and log the 1st, 2nd, 4th, 8th … time: nobody fills a disk from outside."""
        self.refused[reason] += 1
        count = self.refused[reason]
        if count & (count - 1) == 0:
            _log.warning("%s (%d): %s", reason, count, line)


class Window:
    """The last numbers of a sender."""

    def __init__(self) -> None:
        self._order: deque[int] = deque()
        self._numbers: set[int] = set()

    def has(self, number: int) -> bool:
        """Whether the number came before; it has from now on."""
        if number in self._numbers:
            return True
        self._order.append(number)
        self._numbers.add(number)
        if len(self._order) > _REMEMBERED:
            self._numbers.remove(self._order.popleft())
        return False


def change(monitor: zmq.Socket[bytes]) -> tuple[zmq.Event, str]:
    """The next event of a monitor, and what it means for a person."""
    seen = parse_monitor_message(monitor.recv_multipart())
    event, value = zmq.Event(seen["event"]), seen["value"]
    return event, _MEANINGS.get(event, "").format(value)


_MEANINGS = {
    zmq.Event.HANDSHAKE_FAILED_AUTH: "it does not know this key ({})",
    zmq.Event.HANDSHAKE_FAILED_PROTOCOL: "keys do not fit, or one end has none ({:#x})",
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL: "the handshake broke off, as with a wrong key",
}


class SocketFile:
    """The file of an ipc address: nobody else's at the start, gone at the end. Tcp has none."""

    def __init__(self, address: str) -> None:
        is_file = address.startswith("ipc://")
        self._path = Path(address.removeprefix("ipc://")) if is_file else None
        self._inode: int | None = None

    def require_free(self) -> None:
        """InputError when somebody listens here; ZMQ would take the file away from them."""
        if self._path is None:
            return
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self._path))
            except OSError:  # nothing there, left by a process that was killed, or no place for one
                return
        raise InputError(f"{self._path}: another process listens here")

    def bound(self) -> None:
        """The file was made."""
        if self._path is not None:
            self._inode = self._path.stat().st_ino

    def remove(self) -> None:
        """Remove it, unless another process has put its own there."""
        if self._path is None or not self._path.exists():
            return
        if self._path.stat().st_ino == self._inode:
            self._path.unlink()


def require_own(keys: Keys | None, name: str) -> None:
    """InputError when these are the keys of another node."""
    if keys is not None and keys.name != name:
        raise InputError(f"{name}: these are the keys of {keys.name}")
