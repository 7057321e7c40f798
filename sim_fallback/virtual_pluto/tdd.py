"""The TDD engine of newer firmware: a timer that a pulse starts, and that lets reception begin.

As the vendor's HDL (`library/axi_tdd`, `projects/pluto`) has it: channel 0 leads to an output pin,
and a transfer of the receiver begins only while channel 1 is high. Channel 2 would reset the
transmitter's unpacker; that is not modelled.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from sim_fallback.virtual_pluto.errors import IioError

IDLE, ARMED, WAITING, RUNNING = range(4)
PIN, RECEIVE, TRANSMIT = range(3)  # channels
LARGEST = (1 << 32) - 1


@dataclass
class Gate:
    """A channel: at its polarity, and from `on` to `off` of a frame at the opposite."""

    polarity: int
    enable: int = 0
    on: int = 0
    off: int = 0


class TddEngine:
    """One engine. Times are in s of the radio's own clock; its caller keeps threads apart.

    All but the switches and the gates' `enable` can be written only while it is disabled, and
    counts from when it is enabled: what is written otherwise is ignored.

    Attributes:
        switches: whether it is enabled, and what a pulse does.
    """

    def __init__(self, rate_hz: Callable[[], float]) -> None:
        """An engine at rest; rate_hz is that of its clock."""
        self._rate_hz = rate_hz
        self.switches = dict.fromkeys(("enable", "sync_external", "sync_reset"), 0)
        self._numbers = dict.fromkeys(("burst_count", "frame_length_raw", "startup_delay_raw"), 0)
        self._gates = [Gate(polarity) for polarity in (0, 1, 0)]
        self._latch()
        self._turned = [1 - gate.polarity for gate in self._live_gates]
        self._begun_s: float | None = None
        self._stops_s = math.inf

    def number(self, name: str) -> int:
        """A count of frames or clock cycles."""
        return self._numbers[name]

    def gate(self, channel: int) -> Gate:
        """A channel as it is set."""
        return self._gates[channel]

    def set_number(self, name: str, value: float) -> None:
        """Set a count; IioError EINVAL beyond 32 bits."""
        if not 0 <= value <= LARGEST:
            raise IioError(errno.EINVAL)
        if not self.switches["enable"]:
            self._numbers[name] = round(value)

    def set_gate(self, channel: int, name: str, value: float) -> None:
        """Set a quality of a channel; IioError EINVAL beyond 32 bits."""
        if not 0 <= value <= LARGEST:
            raise IioError(errno.EINVAL)
        if name == "enable" or not self.switches["enable"]:
            setattr(self._gates[channel], name, round(value))

    def switch(self, name: str, on: int, now_s: float) -> None:
        """Flip a switch. Who disables an engine that runs lets the frame, or the burst, end."""
        runs = self.state(now_s) in (WAITING, RUNNING)
        self.switches[name] = on
        if name == "enable" and on:
            self._latch()
        elif name == "enable" and runs and not self._live["burst_count"]:
            self._stops_s = self._frame_s(max(now_s, self._begun())) + self._length_s()

    def sync(self, now_s: float) -> bool:
        """A pulse came; whether it started the engine."""
        state = self.state(now_s)
        if state == IDLE or (state != ARMED and not self.switches["sync_reset"]):
            return False
        if state == ARMED:
            self._turned = [1 - gate.polarity for gate in self._live_gates]
        self._begun_s = now_s + self._live["startup_delay_raw"] / self._rate_hz()
        burst = self._live["burst_count"]
        self._stops_s = self._begun_s + burst * self._length_s() if burst else math.inf
        return state == ARMED

    def state(self, now_s: float) -> int:
        """IDLE, ARMED until a pulse comes, WAITING for the startup delay, or RUNNING."""
        if self._begun_s is not None and now_s >= self._stops_s:
            self._begun_s = None
        if self._begun_s is None:
            return ARMED if self.switches["enable"] else IDLE
        return WAITING if now_s < self._begun_s else RUNNING

    def high_s(self, channel: int, t_s: float) -> float:
        """From when on, t_s or later, a channel is high; inf where nobody knows."""
        gate = self._live_gates[channel]
        idle = gate.polarity
        if self.state(t_s) in (IDLE, ARMED) or not self._gates[channel].enable:
            return t_s if idle else math.inf
        frame_s, length_s = self._frame_s(max(t_s, self._begun())), self._length_s()
        on_s, off_s = (min(edge / self._rate_hz(), length_s) for edge in (gate.on, gate.off))
        if on_s < off_s:
            for begin_s in (frame_s + on_s, frame_s + length_s + on_s):
                end_s = begin_s + off_s - on_s
                if self._turned[channel] and t_s < end_s:
                    return max(t_s, begin_s)
                if idle and begin_s <= t_s < end_s:
                    return end_s
        return t_s if idle else math.inf

    @property
    def gives(self) -> bool:
        """Whether its output pin rises as it starts."""
        pin = self._live_gates[PIN]
        edge = min(pin.off, self._live["frame_length_raw"])
        return bool(self._gates[PIN].enable) and not pin.polarity and pin.on < edge

    def _begun(self) -> float:
        assert self._begun_s is not None
        return self._begun_s

    def _length_s(self) -> float:
        return max(1, self._live["frame_length_raw"]) / self._rate_hz()

    def _latch(self) -> None:
        self._live_gates = [replace(gate) for gate in self._gates]
        self._live = dict(self._numbers)

    def _frame_s(self, t_s: float) -> float:
        """When the frame began in which t_s lies."""
        frames = math.floor((t_s - self._begun()) / self._length_s())
        return self._begun() + frames * self._length_s()


class SyncWire:
    """Connects the output pins of some radios to the trigger inputs of all of them."""

    def __init__(self) -> None:
        self._inputs: list[Callable[[float], None]] = []

    def connect(self, pulsed: Callable[[float], None]) -> None:
        """Tell of all pulses; called with their true time."""
        self._inputs.append(pulsed)

    def pulse(self, at_s: float) -> None:
        """A pulse, for all at once."""
        for pulsed in self._inputs:
            pulsed(at_s)
