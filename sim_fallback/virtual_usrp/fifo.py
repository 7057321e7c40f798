"""The FIFO control port of a USRP: registers read and written in order, some at set times.

A request is a number, a VRT header, a time where the header says so, the register, which has
`POKE` added where it is written, and a word. Each is answered with its register and a readback.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import Any

from sim_fallback.virtual_usrp.board import Board

PORT = 49159
TIMED = 1 << 20  # in a VRT header
ANSWER_HEADER = 0x4000_0003
POKE = 0x100
PLAIN, WITH_TIME = struct.Struct(">IIII"), struct.Struct(">IIQII")
ANSWER = struct.Struct(">III")
MOST_WAITING = 1024

Request = tuple[int | None, int, int]  # time, register, word


class Fifo:
    """Requests of one host; a timed one holds up those behind it. Its caller keeps threads apart.

    What another host has left there is void as soon as the next one comes.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._waiting: deque[Request] = deque()
        self.peer: Any = None
        """Address of the host."""

    @property
    def is_waiting(self) -> bool:
        """Whether there is a request whose time has not come."""
        return bool(self._waiting)

    def take(self, packet: bytes, peer: Any) -> None:
        """Queue the request of a datagram, if it is one."""
        request = _parsed(packet)
        if request is None:
            return
        if peer != self.peer:
            self.peer = peer
            self._waiting.clear()
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(request)

    def answers(self) -> list[bytes]:
        """Do what is due, and answer it."""
        done = []
        while self._waiting:
            ticks, register, word = self._waiting[0]
            if ticks is not None and ticks > self._board.timebase.now():
                break
            self._waiting.popleft()
            done.append(ANSWER.pack(ANSWER_HEADER, register, self._do(ticks, register, word)))
        return done

    def _do(self, ticks: int | None, register: int, word: int) -> int:
        number = register & 0xFF
        if register & POKE:
            self._board.poke(number, word, ticks)
        return self._board.readback(0 if register & POKE else number, ticks)


def _parsed(packet: bytes) -> Request | None:
    """The request of a datagram; None where it is none."""
    if len(packet) < PLAIN.size:
        return None
    _, header, register, word = PLAIN.unpack_from(packet)
    if not header & TIMED:
        return None, register, word
    if len(packet) < WITH_TIME.size:
        return None
    _, _, ticks, register, word = WITH_TIME.unpack_from(packet)
    return ticks, register, word
