"""The stream that a virtual USRP sends: packets of samples in, bursts and reports out.

Packets are used up in their order, as a queue in front of the converter. What comes `LAG_S` too
late is in time: see `reception`.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto

from sim_fallback.clock import BUFFER_S
from sim_fallback.playback import Playback
from sim_fallback.virtual_usrp import vrt
from sim_fallback.virtual_usrp.board import Board
from sim_fallback.virtual_usrp.reception import LAG_S, in_force_s
from sim_fallback.virtual_usrp.timebase import TICK_HZ

CLEAR, POLICY, TICKS_PER_UPDATE, PACKETS_PER_UPDATE = 0, 3, 4, 5
"""Settings of the stream's control."""

NEXT_PACKET, NEXT_BURST = 1 << 1, 1 << 2  # policies: where to go on after something went wrong
ENABLED = 1 << 31  # of an update
MASK = ENABLED - 1
WORD = (1 << 32) - 1

MEMORY = 1 << 20
"""Bytes of packets that the device holds."""

TOGETHER = 1 << 14
"""Samples that are put on the air at once, at most but for a packet."""

AHEAD_S = 50e-3
"""How long before its time a sample is put on the air, where it has come by then."""


class _State(Enum):
    IDLE = auto()  # between bursts
    BURST = auto()
    DROPPING = auto()  # the rest of a burst


@dataclass(frozen=True)
class _Use:
    """When a packet has been used up.

    Attributes:
        end: sample of the transmit clock.
        sequence: its number.
        size: in bytes.
        acknowledged: whether a burst ends with it.
    """

    end: int
    sequence: int
    size: int
    acknowledged: bool


@dataclass
class _Batch:
    """Packets without a gap between them that are not on the air yet.

    Attributes:
        first: sample of the transmit clock.
        packets: in their order.
        count: of their samples.
    """

    first: int
    packets: list[vrt.Sent]
    count: int


class Transmission:
    """The transmit stream of one radio. Safe to use from several threads."""

    def __init__(self, board: Board, send: Callable[[vrt.Packets], None]) -> None:
        """A stream that nobody has sent anything into.

        Args:
            board: that sends.
            send: takes reports to the host.
        """
        self._board, self._send = board, send
        self._lock = threading.Lock()
        self._outlet = board.tx()
        self._playback = Playback(board.bands, board.name, self._outlet)
        self._policy = NEXT_PACKET
        self._ticks_per_update = self._packets_per_update = 0
        self._batches: deque[_Batch] = deque()
        self._uses: deque[_Use] = deque()
        self._clear()

    def poke(self, offset: int, value: int) -> None:
        """A setting of the stream's control was written."""
        with self._lock:
            if offset == CLEAR:
                self._playback.cut()
                self._clear()
            elif offset == POLICY:
                self._policy = value
            elif offset == TICKS_PER_UPDATE:
                self._ticks_per_update = value & MASK if value & ENABLED else 0
            elif offset == PACKETS_PER_UPDATE:
                self._packets_per_update = value & MASK if value & ENABLED else 0

    def retuned(self, ticks: int) -> None:
        """What the board's outlet is now it is from a device time on."""
        since_s = in_force_s(self._board.timebase, ticks)
        outlet = self._board.tx()
        with self._lock:
            if outlet == self._outlet:
                return
            before = self._sample_at(since_s)
            self._playback.route(outlet, since_s)
            self._outlet = outlet
            moved = self._sample_at(since_s) - before
            self._end += moved
            for batch in self._batches:
                batch.first += moved
            self._uses = deque(replace(use, end=use.end + moved) for use in self._uses)

    def take(self, datagrams: Iterable[bytes | memoryview]) -> None:
        """Take what came from the host; what is no packet of samples is dropped."""
        with self._lock:
            present = self._sample_at(self._board.bands.clock.present_s())
            for datagram in datagrams:
                packet, size = vrt.sent(datagram), len(datagram)
                # Where it is full the gap in the numbers tells the host.
                if packet is not None and self._held + size <= MEMORY:
                    self._held += size
                    acknowledged = self._take(packet, present) and packet.ends
                    self._uses.append(_Use(self._end, packet.sequence, size, acknowledged))

    def work(self) -> float | None:
        """Put on the air and report what is due.

        Returns:
            True time at which there is more to do; None for not before another packet.
        """
        with self._lock:
            now_s = self._board.bands.clock.present_s()
            present = self._sample_at(now_s)
            while self._uses and self._uses[0].end <= present:
                self._used(self._uses.popleft(), now_s)
            if now_s >= self._update_s():
                self._tell(now_s)
            if self._state is _State.BURST and self._end < self._earliest(present):
                self._failed(vrt.UNDERFLOW, ends=False)
            rate_hz = self._outlet.place.rate_hz
            while self._batches and self._batches[0].first <= present + AHEAD_S * rate_hz:
                batch = self._batches.popleft()
                self._playback.play(vrt.joined(batch.packets), batch.first)
            due = min(self._due(), default=math.inf)
            # By a clock that does not wander, which is good enough until somebody asks again.
            due_s = min(now_s + (due - present) / rate_hz, self._update_s())
            return None if due_s == math.inf else due_s

    def tidy(self) -> None:
        """Let go of what has been sent."""
        with self._lock:
            self._playback.forget(self._sample_at(self._board.bands.clock.present_s() - BUFFER_S))

    def _clear(self) -> None:
        now_s = self._board.bands.clock.present_s()
        self._state = _State.IDLE
        self._expected = 0
        self._batches.clear()
        self._end = self._sample_at(now_s)
        self._uses.clear()
        self._held = 0
        self._consumed = self._told = -1
        self._told_s = now_s
        self._reports = 0

    def _take(self, packet: vrt.Sent, present: int) -> bool:
        """Give a packet its place in time; whether it got one."""
        if self._state is _State.BURST and self._end < self._earliest(present):
            self._failed(vrt.UNDERFLOW, ends=False)
        in_order = packet.sequence == self._expected
        self._expected = packet.sequence + 1 & WORD
        if self._state is _State.DROPPING:
            if packet.ends:
                self._state = _State.IDLE
            return False
        if not in_order:
            in_burst = self._state is _State.BURST
            code = vrt.SEQUENCE_ERROR_IN_BURST if in_burst else vrt.SEQUENCE_ERROR
            self._failed(code, packet.ends)
            return False
        start = self._end
        if self._state is _State.IDLE and packet.ticks is None:
            start = max(self._end, present)
        elif self._state is _State.IDLE and packet.ticks is not None:
            start = self._board.timebase.sample_at(packet.ticks, self._outlet.place.rate_hz)
            if start < max(self._end, self._earliest(present)):
                self._failed(vrt.LATE_BURST, packet.ends)
                return False
        self._place(packet, start)
        return True

    def _place(self, packet: vrt.Sent, start: int) -> None:
        last = self._batches[-1] if self._batches else None
        if last is None or start != last.first + last.count or last.count >= TOGETHER:
            last = _Batch(start, [], 0)
            self._batches.append(last)
        last.packets.append(packet)
        last.count += packet.count
        self._end = start + packet.count
        self._state = _State.IDLE if packet.ends else _State.BURST

    def _failed(self, code: int, ends: bool) -> None:
        """Report it and go on as the policy says; `ends` for the last packet of a burst."""
        self._report(code, self._board.timebase.now())
        drops = self._policy & NEXT_BURST and not ends
        self._state = _State.DROPPING if drops else _State.IDLE

    def _used(self, use: _Use, now_s: float) -> None:
        self._held -= use.size
        self._consumed = use.sequence
        if use.acknowledged:
            rate_hz = self._outlet.place.rate_hz
            self._report(vrt.BURST_ACK, self._board.timebase.ticks_of(use.end, rate_hz))
        enough = self._packets_per_update
        if enough and (self._consumed - self._told & WORD) >= enough:
            self._tell(now_s)

    def _tell(self, now_s: float) -> None:
        """Let the host know how far its packets are used up."""
        self._report(vrt.FLOW_CONTROL, self._board.timebase.now())
        self._told, self._told_s = self._consumed, now_s

    def _report(self, code: int, ticks: int) -> None:
        self._send(vrt.transmit_report(ticks, code, self._reports, self._consumed))
        self._reports += 1

    def _update_s(self) -> float:
        """When the host is told again, as what it was told may have got lost; inf for never."""
        ticks = self._ticks_per_update
        return self._told_s + ticks / TICK_HZ if ticks and self._consumed >= 0 else math.inf

    def _due(self) -> Iterator[float]:
        """Samples of the transmit clock at which there is something to do."""
        rate_hz = self._outlet.place.rate_hz
        if self._uses:
            yield self._uses[0].end
        if self._batches:
            yield self._batches[0].first - AHEAD_S * rate_hz
        if self._state is _State.BURST:
            yield self._end + LAG_S * rate_hz

    def _earliest(self, present: int) -> int:
        """The sample before which it is too late to send anything."""
        return present - round(LAG_S * self._outlet.place.rate_hz)

    def _sample_at(self, t_s: float) -> int:
        return self._board.bands.sample_at(self._board.name, t_s, self._outlet.place.rate_hz)
