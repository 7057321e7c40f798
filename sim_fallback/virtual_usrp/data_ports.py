"""The UDP ports at which a USRP and its host exchange samples."""

from __future__ import annotations

import contextlib
import math
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from sim_fallback.clock import BUFFER_S
from sim_fallback.virtual_usrp import transmission, vrt
from sim_fallback.virtual_usrp.board import Board
from sim_fallback.virtual_usrp.host_queue import ANY, HostQueue
from sim_fallback.virtual_usrp.loss import Loss
from sim_fallback.virtual_usrp.reception import LAG_S, Reception
from sim_fallback.virtual_usrp.transmission import Transmission

RX_PORTS, TX_PORT = (49156, 49158), 49157

UDP_SEGMENT = 103
"""Linux: one system call sends a buffer as many datagrams, ``man 7 udp``."""

MOST_SEGMENTS = 64 if sys.platform == "linux" else 1
MOST_BYTES = 65_000  # of one such call

LONGEST = 1 << 16  # bytes of a datagram
HEAD = 8  # bytes by which a host tells its address
DRAINED = 256  # datagrams that are taken at once
QUEUE_BYTES = 1 << 23
SHORTEST_WAIT_S, LONGEST_WAIT_S = 0.2e-3, 20e-3
TIDY_EVERY_S = 50e-3
TOGETHER_S = 0.3e-3
"""That is left for more datagrams to arrive: each look at them costs as much as some of them."""


class _Line:
    """One port, and the host that has spoken to it last."""

    def __init__(
        self, port: socket.socket, losses: tuple[Loss, Loss], queue: HostQueue | None = None
    ) -> None:
        self.port = port
        self._comes, self._goes = losses
        self.peer: tuple[str, int] | None = None
        self._own: tuple[str, int] = port.getsockname()
        self._queue = queue
        self._longest = LONGEST if queue is None else HEAD  # nothing else comes to a receiver
        self._heads = memoryview(bytearray(HEAD * DRAINED))

    def room(self, size: int) -> int:
        """How many packets of a size in bytes the host can take, whose address may be news."""
        self.drain(self._heads)
        if self.peer is None or self._queue is None:
            return ANY
        return self._queue.room(self.peer, self._own, size)

    def send(self, packets: vrt.Packets) -> None:
        """Send packets to the host; lost where there is none."""
        peer, size = self.peer, packets.shape[1] * 4
        passes = self._goes.passes(len(packets))
        if not passes.all():
            packets = packets[passes]
        if peer is None:
            return
        together = max(1, min(MOST_SEGMENTS, MOST_BYTES // size))
        for first in range(0, len(packets), together):
            some = packets[first : first + together]
            with contextlib.suppress(OSError):  # the network loses datagrams, too
                self._send(some, size, peer)

    def _send(self, packets: vrt.Packets, size: int, peer: tuple[str, int]) -> None:
        if len(packets) > 1:
            segments = (socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", size))
            self.port.sendmsg([packets.data], [segments], 0, peer)
        else:
            self.port.sendto(packets.data, peer)

    def drain(self, buffer: memoryview) -> list[memoryview]:
        """Datagrams that have arrived, each a part of the buffer; the host's address is learnt."""
        found: list[memoryview] = []
        used, longest = 0, self._longest
        while len(found) < DRAINED and used + longest <= len(buffer):
            try:
                size, peer = self.port.recvfrom_into(buffer[used:], longest, socket.MSG_DONTWAIT)
            except (BlockingIOError, ConnectionError):  # that the host's port is closed
                break
            datagram = buffer[used : used + size]
            used += size
            if size >= HEAD and not any(datagram[4:8]):  # what teaches the address
                self.peer = peer
            elif self._comes.passes(1)[0]:
                found.append(datagram)
        return found


class DataPorts:
    """The ports of one radio's samples, and the threads behind them."""

    def __init__(
        self, board: Board, host: str, settle: Callable[[], None], lost: float = 0.0
    ) -> None:
        """Listen, and give the board its streams.

        Args:
            board: whose ports they are.
            host: address of this device.
            settle: does what has arrived at its other ports.
            lost: share of the datagrams that get lost, either way.

        Raises:
            OSError: the address cannot be had.
            ValueError: everything would be lost.
        """
        self._board, self._settle = board, settle
        key, count = board.bands.equipment(board.name).key, len((*RX_PORTS, TX_PORT))
        losses = [(Loss(lost, key, 2 * n), Loss(lost, key, 2 * n + 1)) for n in range(count)]
        with ExitStack() as stack:
            queues = [HostQueue() for _ in RX_PORTS]
            for queue in queues:
                stack.callback(queue.close)
            ports = [stack.enter_context(_bound(host, port)) for port in (*RX_PORTS, TX_PORT)]
            self._woken, self._wake = (stack.enter_context(end) for end in socket.socketpair())
            self._open = stack.pop_all()
        *receiving, sending = ports
        self._lines = list(map(_Line, receiving, losses, queues))
        self._line = _Line(sending, losses[-1])
        self._receptions = [Reception(board, dsp, line) for dsp, line in enumerate(self._lines)]
        self._transmission = Transmission(board, self._line.send)
        board.attach(self._receptions, self._transmission)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._listen, name=f"{board.name} to send")]
        self._threads += [
            threading.Thread(target=self._stream, args=(reception,), name=f"{board.name} received")
            for reception in self._receptions
        ]
        for thread in self._threads:
            thread.daemon = True
            thread.start()

    def close(self) -> None:
        """End all streams; closing twice is fine."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._wake.send(b"!")
        for reception in self._receptions:
            reception.poked.set()
        for thread in self._threads:
            thread.join()
        self._transmission.poke(transmission.CLEAR, 1)
        self._board.bands.need(self._board.name, math.inf)
        self._open.close()

    def _stream(self, reception: Reception) -> None:
        clock = self._board.bands.clock
        while True:
            reception.poked.clear()
            if self._stop.is_set():  # looked at after that, or its poke would be lost
                return
            due_s = reception.work()
            if due_s is None:
                reception.poked.wait()
            elif (wait_s := due_s - clock.present_s()) > 0:
                reception.poked.wait(_within(wait_s))

    def _listen(self) -> None:
        clock, ports = self._board.bands.clock, [line.port for line in (*self._lines, self._line)]
        buffer = memoryview(bytearray(1 << 20))
        tidied_s = time.monotonic()
        while True:
            due_s = self._transmission.work()
            timeout_s = TIDY_EVERY_S if due_s is None else _within(due_s - clock.present_s())
            ready, _, _ = select.select([self._woken, *ports], [], [], timeout_s)
            if self._woken in ready:
                return
            for line in self._lines:
                if line.port in ready:
                    line.drain(buffer)
            if self._line.port in ready:
                datagrams = self._line.drain(buffer)
                self._settle()  # what the host sent before them
                self._transmission.take(datagrams)
                if len(datagrams) < DRAINED:
                    self._stop.wait(TOGETHER_S)
            if time.monotonic() > tidied_s + TIDY_EVERY_S:
                self._tidy()
                tidied_s = time.monotonic()

    def _tidy(self) -> None:
        bands = self._board.bands
        bands.need(self._board.name, bands.clock.present_s() - BUFFER_S - LAG_S)
        self._transmission.tidy()


def _within(wait_s: float) -> float:
    """How long to wait in seconds of the world, whatever the pace of the air is."""
    return min(max(wait_s, SHORTEST_WAIT_S), LONGEST_WAIT_S)


def _bound(host: str, port: int) -> socket.socket:
    """A socket for datagrams to this address."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE_BYTES)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound
