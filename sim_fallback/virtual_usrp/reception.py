"""The stream of one receive DSP of a virtual USRP: commands in, packets of samples out.

Everything that is decided here is decided `LAG_S` after it happened on the air. So what reaches
the device and takes effect that much too late, because threads of this process had to wait, is
still heard where it belongs.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from sim_fallback.clock import BUFFER_S
from sim_fallback.virtual_usrp import vrt
from sim_fallback.virtual_usrp.board import Board, Inlet
from sim_fallback.virtual_usrp.commands import Command
from sim_fallback.virtual_usrp.receiver import Receiver
from sim_fallback.virtual_usrp.timebase import TICK_HZ, Timebase, ticks_per_sample

COMMAND, TIME_HIGH, TIME_LOW, FORMAT, STREAM, SIZE, RESET = 0, 1, 2, 3, 5, 7, 8
"""Settings of the stream's control."""

SHORTS = 0  # format: I and Q of 16 bits

LAG_S = 2e-3
QUANTUM_S = 1e-3
"""Packets that are full within this go out together."""

MOST_COMMANDS = 64
MOST_SAMPLES = 1 << 14  # that go out together
LONGEST = 16_000  # samples of a packet, which then fits a datagram
RETRY_S = 0.5e-3  # when the host has no room
SOON_S = 1.0  # what is further away than this is not looked at: clocks wander until then

_log = logging.getLogger(__name__)


class Outbox(Protocol):
    """The way to the host."""

    def room(self, size: int) -> int:
        """How many packets of a size in bytes the host can take."""

    def send(self, packets: vrt.Packets) -> None:
        """Send packets, each of which is a row of big-endian words."""


@dataclass
class _Run:
    """Samples that are being received.

    Attributes:
        command: that it follows.
        cursor: sample of the clock of the inlet in force that comes next.
        left: samples until the command is fulfilled; None while it repeats.
        shift: ticks by which the first sample was wanted after the sample next to it.
    """

    command: Command
    cursor: int
    left: int | None
    shift: int


@dataclass(frozen=True)
class _Part:
    """What goes out together: samples in a row, and then perhaps a report.

    Attributes:
        inlet: by which they are received.
        first: sample of the clock at the inlet's rate.
        count: how many; 0 for a report only.
        ticks: device time of the first one.
        counter: of the first packet.
        ends: whether the last one ends a burst.
        report: code of what went wrong after them; None for nothing.
    """

    inlet: Inlet
    first: int
    count: int
    ticks: int
    counter: int
    ends: bool
    report: int | None = None


class Reception:
    """One stream. `work` is for one thread; all else may be called by any."""

    def __init__(self, board: Board, dsp: int, outbox: Outbox) -> None:
        """A stream that nobody has asked for yet.

        Args:
            board: whose DSP it is.
            dsp: 0 or 1.
            outbox: to the host.
        """
        self._board, self._dsp, self._outbox = board, dsp, outbox
        self._receiver = Receiver(board.bands, board.name)
        self._lock = threading.Lock()
        self._latched = [0, 0]
        self._stream, self._size = 3 + dsp, 1
        self._commands: deque[Command] = deque()
        self._inlets = [(-math.inf, board.rx(dsp))]
        self._run: _Run | None = None
        self._free_s = -math.inf
        self._counter = 0
        self._resets = 0
        self.poked = threading.Event()
        """Set when there may be something to do."""

    def poke(self, offset: int, value: int) -> None:
        """A setting of the stream's control was written."""
        now_s = self._board.bands.clock.present_s()
        with self._lock:
            if offset in (COMMAND, TIME_HIGH):
                self._latched[offset] = value
            elif offset == TIME_LOW:
                word, high = self._latched
                self._queue(Command.of(word, high << 32 | value, now_s))
            elif offset == FORMAT and value != SHORTS:
                _log.warning("%s sends samples of 16 bits, whatever is asked", self._board.name)
            elif offset == STREAM:
                self._stream = value
            elif offset == SIZE:
                self._size = min(max(1, value), LONGEST)
            elif offset == RESET:
                self._commands.clear()
                self._run, self._free_s = None, now_s
                self._counter = 0
                self._resets += 1
        self.poked.set()

    def retuned(self, ticks: int) -> None:
        """What the board's inlet is now it is from a device time on."""
        since_s = in_force_s(self._board.timebase, ticks)
        inlet = self._board.rx(self._dsp)
        old_s = self._board.bands.clock.present_s() - LAG_S  # a command may be on its way here
        with self._lock:
            if inlet != self._inlets[-1][1]:
                self._inlets.append((max(since_s, self._inlets[-1][0]), inlet))
            if self._run is None and not self._commands:
                self._forget(old_s)

    def work(self) -> float | None:
        """Send some of what is due, if anything is.

        Returns:
            True time at which there may be more; None for not before somebody pokes.
        """
        now_s = self._board.bands.clock.present_s()
        with self._lock:
            part, resets = self._next(now_s), self._resets
        if not isinstance(part, _Part):
            return part
        packets = self._packets(part)
        with self._lock:
            if resets == self._resets:
                for each in packets:
                    self._outbox.send(each)
        return now_s

    def _queue(self, command: Command) -> None:
        if len(self._commands) == MOST_COMMANDS:
            _log.warning("%s drops a command: %d wait", self._board.name, MOST_COMMANDS)
            return
        self._commands.append(command)
        run = self._run
        if run is not None and run.left is None:  # it repeats until now
            now = self._sample_at(command.arrived_s, self._inlets[0][1])
            run.left = max(1, now - run.cursor)

    def _next(self, now_s: float) -> _Part | float | None:
        """What to send, or when to ask again."""
        while self._run is None:
            if not self._commands:
                return None
            if self._commands[0].stops:
                self._commands.popleft()
                continue
            begun = self._begin(self._commands[0], now_s)
            if begun is not None:
                return begun
        run = self._run
        self._enter(run)
        inlet, over = self._inlets[0][1], self._inlets[1:2]
        horizon = self._sample_at(now_s - LAG_S, inlet)
        if horizon - run.cursor > BUFFER_S * inlet.place.rate_hz:
            self._run, self._free_s = None, now_s
            return _Part(inlet, run.cursor, 0, self._ticks(run), 0, False, vrt.OVERFLOW)
        change = self._sample_at(over[0][0], inlet) if over else None
        stops = [stop for stop in (horizon, change) if stop is not None]
        count = min(min(stops) - run.cursor, MOST_SAMPLES)
        if run.left is not None:
            count = min(count, run.left)
        whole = count in (run.left, None if change is None else change - run.cursor)
        if not whole and count > self._size:
            count -= count % self._size
        if count <= 0 or (not whole and count < self._size):
            return self._due_s(run, inlet)
        room = self._outbox.room(4 * (self._size + vrt.HEAD_WORDS + vrt.TAIL_WORDS))
        if room < 1:
            return now_s + RETRY_S
        return self._taken(run, inlet, min(count, room * self._size))

    def _forget(self, t_s: float) -> None:
        """The inlets that were over at a true time."""
        while len(self._inlets) > 1 and self._inlets[1][0] <= t_s:
            del self._inlets[0]

    def _begin(self, command: Command, now_s: float) -> _Part | float | None:
        """Begin to receive: None when done, else as `_next`."""
        timebase = self._board.timebase
        begin_s = max(command.arrived_s, self._free_s)
        if command.ticks is not None:
            if command.ticks < timebase.ticks_at(begin_s):
                self._commands.popleft()
                inlet = self._inlets[0][1]
                return _Part(inlet, 0, 0, timebase.now(), 0, False, vrt.LATE_COMMAND)
            if command.ticks > timebase.ticks_at(now_s + SOON_S):
                return now_s + SOON_S
            begin_s = timebase.true_time_s(command.ticks)
        if now_s < begin_s + LAG_S:
            return begin_s + LAG_S
        self._forget(begin_s)
        self._commands.popleft()
        inlet, shift = self._inlets[0][1], 0
        cursor = self._sample_at(begin_s, inlet)
        if command.ticks is not None:
            cursor = timebase.sample_at(command.ticks, inlet.place.rate_hz)
            shift = command.ticks - timebase.ticks_of(cursor, inlet.place.rate_hz)
        self._run = _Run(command, cursor, self._wanted(command), shift)
        return None

    def _enter(self, run: _Run) -> None:
        """Go on by another inlet, where that of the samples so far is no longer in force."""
        while len(self._inlets) > 1:
            (_, before), (since_s, after) = self._inlets[:2]
            if run.cursor < self._sample_at(since_s, before):
                return
            del self._inlets[0]
            if after.place.rate_hz != before.place.rate_hz:
                run.cursor, run.shift = self._sample_at(since_s, after), 0

    def _taken(self, run: _Run, inlet: Inlet, count: int) -> _Part:
        """The next samples of a run, which is that much further then."""
        first, ticks, counter = run.cursor, self._ticks(run), self._counter
        self._counter += -(-count // self._size)
        run.cursor += count
        ends, report = False, None
        if run.left is not None:
            run.left -= count
        if run.left == 0:
            ends, report = self._fulfilled(run, inlet)
        return _Part(inlet, first, count, ticks, counter, ends, report)

    def _fulfilled(self, run: _Run, inlet: Inlet) -> tuple[bool, int | None]:
        """Go on with the next command: whether a burst has ended, and what went wrong."""
        # A command for the sample that follows is in time, also between two samples of the air.
        last = run.cursor - 1
        self._free_s = self._board.bands.true_time_s(self._board.name, last, inlet.place.rate_hz)
        if run.command.chained and self._commands:
            command = self._commands.popleft()
            if not command.stops:
                run.command, run.left = command, self._wanted(command)
                return False, None
        elif run.command.chained:
            self._run = None
            return False, vrt.BROKEN_CHAIN
        self._run = None
        return True, None

    def _wanted(self, command: Command) -> int | None:
        """Samples of a command; None for as many as come until there is another."""
        return None if command.repeats and not self._commands else command.count

    def _due_s(self, run: _Run, inlet: Inlet) -> float:
        """True time at which enough packets are full, or the last one is."""
        count = -(-round(QUANTUM_S * inlet.place.rate_hz) // self._size) * self._size
        if run.left is not None:
            count = min(count, run.left)
        end = run.cursor + max(count, 1)
        return self._board.bands.true_time_s(self._board.name, end, inlet.place.rate_hz) + LAG_S

    def _packets(self, part: _Part) -> list[vrt.Packets]:
        packets = []
        if part.count:
            samples = self._receiver.samples(part.inlet, part.first, part.count)
            step = ticks_per_sample(part.inlet.place.rate_hz)
            full = part.count - part.count % self._size
            for begin, end, size in ((0, full, self._size), (full, part.count, part.count - full)):
                if begin < end:
                    packets.append(
                        vrt.received(
                            samples[begin:end],
                            size,
                            self._stream,
                            part.ticks + begin * step,
                            step,
                            part.counter + begin // self._size,
                            part.ends and end == part.count,
                        )
                    )
        if part.report is not None:
            packets.append(vrt.receive_report(self._stream, part.ticks, part.report))
        return packets

    def _ticks(self, run: _Run) -> int:
        """Device time of the next sample."""
        rate_hz = self._inlets[0][1].place.rate_hz
        return self._board.timebase.ticks_of(run.cursor, rate_hz) + run.shift

    def _sample_at(self, t_s: float, inlet: Inlet) -> int:
        return self._board.bands.sample_at(self._board.name, t_s, inlet.place.rate_hz)


def in_force_s(timebase: Timebase, ticks: int) -> float:
    """True time from which on a setting counts that was to at a device time; at once where late."""
    now = timebase.now()
    return timebase.true_time_s(min(max(ticks, now - round(LAG_S * TICK_HZ)), now))
