"""Samples to and from a running flowgraph: counted, with tags, none lost and none twice.

ZMQ's PUSH and PULL lose nothing: whoever is slow makes the other wait. GNU Radio's sinks bind and
its sources connect, so here is bound what they pull from, and connected to what they push to.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import zmq

from flowgraphs.runner import Flowgraph
from flowgraphs.tags import Tag, decoded, encoded
from radio.api import IQ, RadioError
from radio.streaming import SendStream

FROM_HOST, TO_HOST, REPORTS = "from_host", "to_host", "reports"
"""Parameters that a flowgraph has for its addresses: where samples go into it and come out, and
where messages do."""

ADDRESSES = (FROM_HOST, TO_HOST, REPORTS)

MOST_WAITING = 4  # messages on their way into a flowgraph, or out of it
LOOK_MS = 100  # after which a flowgraph that does nothing is looked at
MESSAGE = 1 << 16  # samples
SAMPLE = np.dtype(np.complex64)


def addresses(parameters: Iterable[str], folder: Path) -> dict[str, str]:
    """Addresses in a folder for a flowgraph with these parameters."""
    return {each: f"ipc://{folder}/{each}" for each in ADDRESSES if each in parameters}


class Bursts:
    """What is sent: zeros but for bursts, whose first and last samples are tagged."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stream = SendStream()
        self._edges: list[Tag] = []

    @property
    def position(self) -> int:
        """First sample that has not been handed out yet."""
        return self._stream.position

    def post(self, iq: IQ, at: int | None) -> int:
        """As `SendStream.post`."""
        with self._lock:
            start = self._stream.post(iq, at)
            self._edges += [Tag(start, "tx_sob", True), Tag(start + iq.size - 1, "tx_eob", True)]
            return start

    def take(self, n: int) -> tuple[IQ, list[Tag]]:
        """The next n samples, and their tags in the count of all samples."""
        with self._lock:
            iq, end = self._stream.take(n), self._stream.position
            tags = [tag for tag in self._edges if tag.offset < end]
            self._edges = [tag for tag in self._edges if tag.offset >= end]
            return iq, tags

    def clear(self) -> None:
        """Send nothing that was posted."""
        with self._lock:
            self._stream.clear()
            self._edges.clear()


class Entrance:
    """Where samples go into a flowgraph. One thread uses it."""

    def __init__(self, address: str, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        """Bind where a flowgraph will pull from: one that is there first tries only now and then.

        Raises:
            RadioError: the address is taken, or none.
        """
        self._graph: Flowgraph | None = None
        self._count = 0
        self._socket = context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, MOST_WAITING)
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self._socket.close()
            raise RadioError(f"no samples can be offered at {address}: {error}") from error

    def lead_to(self, graph: Flowgraph) -> None:
        """It is this flowgraph that pulls here."""
        self._graph = graph

    def takes(self) -> bool:
        """Whether `push` would not wait; the first one waits for the connection alone."""
        return not self._count or bool(self._socket.poll(0, zmq.POLLOUT))

    def wait(self) -> bool:
        """Wait a moment until samples are taken; RadioError where the flowgraph has ended."""
        if self._socket.poll(LOOK_MS, zmq.POLLOUT):
            return True
        if self._graph is not None:
            self._graph.require_running()
        return False

    def push(self, iq: IQ, tags: Sequence[Tag]) -> None:
        """Send samples and their tags; waits while the flowgraph takes none.

        Raises:
            RadioError: the flowgraph has ended, and why.
        """
        while not self.wait():
            continue
        self._socket.send(encoded(self._count, tags) + iq.tobytes(), copy=False)
        self._count += iq.size


class Exit:
    """Where samples come out of a flowgraph. One thread uses it."""

    def __init__(self, graph: Flowgraph, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        """Connect to where this flowgraph pushes to."""
        self._graph, self._count = graph, 0
        self._socket = context.socket(zmq.PULL)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVHWM, MOST_WAITING)
        self._socket.connect(str(graph.values[TO_HOST]))

    def wait(self) -> bool:
        """Wait a moment for samples; RadioError where the flowgraph has ended, and why."""
        if self._socket.poll(LOOK_MS, zmq.POLLIN):
            return True
        self._graph.require_running()
        if self._graph.is_over and not self._socket.poll(LOOK_MS, zmq.POLLIN):
            name = self._graph.name
            raise RadioError(f"flowgraph {name} has no more samples: its source is at its end")
        return False

    def pull(self, patience_s: float) -> tuple[IQ, list[Tag]]:
        """The next samples, a copy, and their tags in the count of all samples.

        Raises:
            RadioError: samples are missing, none come for so long, or the flowgraph has ended,
                and why.
        """
        name, until_s = self._graph.name, time.monotonic() + patience_s
        while not self.wait():
            if time.monotonic() > until_s:
                raise RadioError(f"flowgraph {name}: no samples came out for {patience_s:g} s")
        frame = self._socket.recv(copy=False)
        first, tags, place = decoded(frame.buffer)
        if first != self._count or (len(frame.buffer) - place) % SAMPLE.itemsize:
            raise RadioError(
                f"flowgraph {name} pushed samples from {first} on, not {self._count}: its items "
                "should be complex, and nobody else may pull them"
            )
        iq: IQ = np.frombuffer(frame.buffer, np.uint8)[place:].copy().view(SAMPLE)
        self._count += iq.size
        return iq, tags
