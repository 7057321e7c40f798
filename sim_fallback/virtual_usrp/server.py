"""Virtual USRPs, which libuhd opens as ``addr=HOST``. Ports are fixed: each has its own host."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from sim_fallback.air import Air
from sim_fallback.bands import Bands
from sim_fallback.virtual_usrp import control, fifo
from sim_fallback.virtual_usrp.board import Board
from sim_fallback.virtual_usrp.control import Control
from sim_fallback.virtual_usrp.data_ports import DataPorts
from sim_fallback.virtual_usrp.fifo import Fifo
from sim_fallback.virtual_usrp.reference import Reference

LONGEST = 1 << 16
LOOK_EVERY_S = 1e-3  # whether the time of a command has come
STOP, LOOK = b"!", b"?"


class UsrpServer:
    """One radio at one address. Leaving its context frees the address and ends all threads."""

    def __init__(self, board: Board, host: str, lost: float = 0.0) -> None:
        """Listen.

        Args:
            board: that is served.
            host: its address, as 127.0.0.2.
            lost: share of the datagrams at ports of samples that get lost, either way.

        Raises:
            OSError: the address cannot be had.
        """
        self.board, self.host = board, host
        self._control, self._fifo = Control(board, host), Fifo(board)
        self._turn = threading.Lock()
        with ExitStack() as stack:
            self._control_port = stack.enter_context(_bound(host, control.PORT))
            self._fifo_port = stack.enter_context(_bound(host, fifo.PORT))
            self._woken, self._wake = (stack.enter_context(end) for end in socket.socketpair())
            stack.callback(DataPorts(board, host, self.settle, lost).close)
            self._ports = stack.pop_all()
        self._thread = threading.Thread(target=self._serve, name=f"{board.name} control")
        self._thread.daemon = True
        self._thread.start()

    def close(self) -> None:
        """No longer answer; closing twice is fine."""
        if self._thread.is_alive():
            self._wake.send(STOP)
            self._thread.join()
        self._ports.close()

    def __enter__(self) -> UsrpServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def settle(self) -> None:
        """Do everything that has arrived at these ports.

        To be called before what has arrived later elsewhere is looked at: on the one cable of a
        device nothing overtakes, and libuhd does not wait for an answer from the FIFO.
        """
        with self._turn:
            waited = self._fifo.is_waiting
            while self._answer():
                pass
            if self._fifo.is_waiting and not waited:
                self._wake.send(LOOK)  # at the time, in the thread that knew of nothing to wait for

    def _serve(self) -> None:
        ports = [self._woken, self._control_port, self._fifo_port]
        while True:
            timeout_s = LOOK_EVERY_S if self._fifo.is_waiting else None
            ready, _, _ = select.select(ports, [], [], timeout_s)
            if self._woken in ready and STOP in self._woken.recv(LONGEST):
                return
            with self._turn:
                self._answer()

    def _answer(self) -> bool:
        """Do and answer the next request of each port; whether there was one."""
        asked, queued = _taken(self._control_port), _taken(self._fifo_port)
        if asked is not None:
            packet, peer = asked
            answer = self._control.answer(packet)
            if answer is not None:
                _send(self._control_port, answer, peer)
        if queued is not None:
            self._fifo.take(*queued)
        for answer in self._fifo.answers():
            _send(self._fifo_port, answer, self._fifo.peer)
        return asked is not None or queued is not None


def _taken(port: socket.socket) -> tuple[bytes, Any] | None:
    """A datagram and where it came from; None where none has arrived."""
    try:
        return port.recvfrom(LONGEST)
    except BlockingIOError:
        return None


def _bound(host: str, port: int) -> socket.socket:
    """A socket for datagrams to this address."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        bound.bind((host, port))
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def _send(port: socket.socket, packet: bytes, peer: Any) -> None:
    with contextlib.suppress(OSError):  # the network loses datagrams, too
        port.sendto(packet, peer)


@contextmanager
def serve_usrps(
    air: Air | Bands,
    names: Sequence[str],
    hosts: Sequence[str],
    shared: bool = True,
    locked: bool = True,
    pps: bool = True,
    own_ppm: float = 0.0,
    lost: float = 0.0,
) -> Iterator[list[UsrpServer]]:
    """Serve radios of an air as USRPs, each at its own host.

    Air time is that of `air.clock`, which has to go on by itself: a `WallClock`, also one that is
    slower than the world.

    Args:
        air: shared; or its bands, where other virtual radios share them.
        names: of its radios.
        hosts: one for each, as 127.0.0.2.
        shared: whether one distributor is wired to the reference and PPS inputs of all of them;
            otherwise nothing is. Its reference is the oscillator of the first radio.
        locked: whether they can lock to its reference.
        pps: whether it gives pulses.
        own_ppm: by up to how much their own oscillators are off, with which they run unless they
            are told to use the reference. Where each radio of the air has its own anyway, that one
            is it.
        lost: share of the datagrams at ports of samples that get lost, either way.

    Yields:
        The servers, in the order of the names.

    Raises:
        RadioError: the air has no such radio.
        OSError: an address cannot be had.
    """
    bands = air if isinstance(air, Bands) else Bands(air)
    reference = None
    if names:
        oscillator = bands.own_oscillator(names[0])
        reference = Reference(bands.clock, oscillator, shared and locked, shared and pps)
    with ExitStack() as stack:
        servers = []
        for name, host in zip(names, hosts, strict=True):
            board = Board(bands, name, reference, own_ppm)
            servers.append(stack.enter_context(UsrpServer(board, host, lost)))
        yield servers
