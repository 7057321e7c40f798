"""The attributes of a TDD engine, by the name of their file in sysfs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from sim_fallback.virtual_pluto import values
from sim_fallback.virtual_pluto.tdd import TddEngine

COUNTS = ("frame_length", "startup_delay")
CHANNELS = range(3)

Read = Callable[[], str]
Write = Callable[[str], None]
Show = Callable[[TddEngine, float], float]
Change = Callable[[TddEngine, float, float], object]


class Timed(Protocol):
    """What attributes ask of a radio that may have an engine."""

    @property
    def tdd(self) -> TddEngine | None:
        """Its engine."""

    def turn_tdd(self, turn: Callable[[TddEngine, float], bool]) -> None:
        """Do something to the engine, at a true time; it says whether that started it."""


class TddAttributes:
    """How to read and write each; none where there is no engine."""

    def __init__(self, radio: Timed, rate_hz: Callable[[], float]) -> None:
        """Of a radio whose engine has a clock of this rate."""
        self._radio, self._rate_hz = radio, rate_hz
        self.table: dict[str, tuple[Read, Write]] = {}
        if radio.tdd is None:
            return
        self._add("state", lambda tdd, now_s: tdd.state(now_s), lambda *_: None)
        self._add("sync_internal", lambda *_: 0, lambda *_: None)  # a PlutoSDR's has none
        self._add(
            "sync_soft", lambda *_: 0, lambda tdd, value, now_s: bool(value) and tdd.sync(now_s)
        )
        for name in radio.tdd.switches:
            self._add_switch(name)
        self._add_count("burst_count", "burst_count", lambda: 1.0)
        for name in COUNTS:
            self._add_count(f"{name}_raw", f"{name}_raw", lambda: 1.0)
            self._add_count(f"{name}_ms", f"{name}_raw", self._cycles_per_ms)
        for channel in CHANNELS:
            for name in ("enable", "polarity"):
                self._add_gate(channel, name, name, lambda: 1.0)
            for name in ("on", "off"):
                self._add_gate(channel, name, f"{name}_raw", lambda: 1.0)
                self._add_gate(channel, name, f"{name}_ms", self._cycles_per_ms)

    def _cycles_per_ms(self) -> float:
        return self._rate_hz() / 1000

    def _add_switch(self, name: str) -> None:
        self._add(
            name,
            lambda tdd, _: tdd.switches[name],
            lambda tdd, value, now_s: tdd.switch(name, int(bool(value)), now_s),
        )

    def _add_count(self, file: str, name: str, unit: Callable[[], float]) -> None:
        self._add(
            file,
            lambda tdd, _: tdd.number(name) / unit(),
            lambda tdd, value, _: tdd.set_number(name, value * unit()),
        )

    def _add_gate(self, channel: int, name: str, file: str, unit: Callable[[], float]) -> None:
        self._add(
            f"out_channel{channel}_{file}",
            lambda tdd, _: getattr(tdd.gate(channel), name) / unit(),
            lambda tdd, value, _: tdd.set_gate(channel, name, value * unit()),
        )

    def _add(self, file: str, show: Show, change: Change) -> None:
        self.table[file] = partial(self._read, show), partial(self._write, change)

    def _read(self, show: Show) -> str:
        shown: list[float] = []

        def look(tdd: TddEngine, now_s: float) -> bool:
            shown.append(show(tdd, now_s))
            return False

        self._radio.turn_tdd(look)
        return f"{shown[0]:.10g}"

    def _write(self, change: Change, text: str) -> None:
        value = values.number(text)
        self._radio.turn_tdd(lambda tdd, now_s: change(tdd, value, now_s) is True)
