"""The TDD engine of newer firmware, with which reception begins at a pulse.

Its channel 1 lets transfers from the receiver begin, channel 0 leads to an output pin; the engine
is started by a pulse at an input pin or by command (`library/axi_tdd`, `projects/pluto` of the
vendor's HDL). It is used for one start only: as soon as samples come in it rests again, with all
outputs as they are when it is not used.
"""

from __future__ import annotations

from typing import Any, Literal

import adi

ENGINE = "iio-axi-tdd-0"
LONGEST = (1 << 32) - 1  # clock cycles
PULSE = 1000  # clock cycles of it at the output pin
SHORT = 16  # clock cycles of the frame in which the engine comes to rest

Part = Literal["wait", "give"]


def part(text: str) -> Part:
    """What a radio does about the pulse; ValueError for another text."""
    if text == "wait":
        return "wait"
    if text == "give":
        return "give"
    raise ValueError(f"{text!r} is neither wait nor give")


class PlutoTrigger:
    """The engine of a radio, and which part the radio plays: it waits for a pulse, or gives one."""

    def __init__(self, sdr: adi.Pluto, part: Part) -> None:
        self._gives = part == "give"
        self._engine = sdr.ctx.find_device(ENGINE)

    def arm(self) -> None:
        """From now on no transfer begins; pulses are not listened to yet."""
        _rest(self._engine)
        _set_gate(self._engine, 0, on=0, off=PULSE, polarity=0, enable=int(self._gives))
        _set_gate(self._engine, 1, on=0, off=LONGEST, polarity=0, enable=1)
        _set_gate(self._engine, 2, on=LONGEST, off=LONGEST, polarity=0, enable=0)
        _set(self._engine, burst_count=0, startup_delay_raw=0, frame_length_raw=LONGEST)
        _set(self._engine, enable=1)

    def release(self) -> None:
        """Give the pulse, or listen to it."""
        if self._gives:
            _set(self._engine, sync_soft=1)
        else:
            _set(self._engine, sync_external=1)

    def rest(self) -> None:
        """Let transfers begin at any time, as without an engine."""
        _rest(self._engine)


def rest_engine(sdr: adi.Pluto) -> None:
    """Bring the engine of a radio to rest, if there is one: left otherwise, the radio is deaf."""
    engine = sdr.ctx.find_device(ENGINE)
    if engine is not None:
        _rest(engine)


def _rest(engine: Any) -> None:
    """Bring an engine to rest, wherever it was left.

    A frame that runs has to end, and while it is disabled the outputs stay where they were when it
    was enabled last: one short frame with the outputs at their usual levels does both.
    """
    _set(engine, enable=0)
    for channel, polarity in enumerate((0, 1, 0)):
        _set_gate(engine, channel, on=LONGEST, off=LONGEST, polarity=polarity, enable=1)
    _set(engine, burst_count=0, startup_delay_raw=0, frame_length_raw=SHORT)
    _set(engine, sync_external=0, sync_reset=1, enable=1, sync_soft=1)
    _set(engine, enable=0, sync_reset=0)


def _set(engine: Any, **values: int) -> None:
    for name, value in values.items():
        engine.attrs[name].value = str(value)


def _set_gate(engine: Any, channel: int, on: int, off: int, polarity: int, enable: int) -> None:
    attributes = engine.find_channel(f"channel{channel}", True).attrs
    attributes["on_raw"].value = str(on)
    attributes["off_raw"].value = str(off)
    attributes["polarity"].value = str(polarity)
    attributes["enable"].value = str(enable)
