"""How written texts become settings; what the device would refuse raises `IioError` EINVAL."""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from radio.api import Range
from sim_fallback.virtual_pluto import dds
from sim_fallback.virtual_pluto.dds import Tone
from sim_fallback.virtual_pluto.errors import IioError
from sim_fallback.virtual_pluto.fir import Fir
from sim_fallback.virtual_pluto.gain import MODES, table
from sim_fallback.virtual_pluto.settings import FPGA_DECIMATION, Settings
from sim_fallback.virtual_pluto.synthesizer import CRYSTAL_HZ

CRYSTALS_HZ = Range(CRYSTAL_HZ - 8000, CRYSTAL_HZ + 8000)
LOWEST_TX_GAIN_DB = -89.75
TX_GAIN_STEPS = 4  # in a dB

_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")


def number(text: str) -> float:
    """A finite number."""
    if len(text) > 64 or not _DECIMAL.fullmatch(text):
        raise IioError(errno.EINVAL)
    value = float(text)
    if not math.isfinite(value):
        raise IioError(errno.EINVAL)
    return value


def flag(text: str) -> bool:
    """As the kernel reads truth."""
    if text[:1] in "1yYtT" and text:
        return True
    if text[:1] in "0nNfF" and text:
        return False
    raise IioError(errno.EINVAL)


def one_of(known: str) -> Callable[[str], str]:
    """One of the words in `known`."""

    def read(text: str) -> str:
        if text not in known.split():
            raise IioError(errno.EINVAL)
        return text

    return read


def between(low: float, high: float) -> Callable[[str], str]:
    """A whole number in a range."""

    def read(text: str) -> str:
        value = number(text)
        if not low <= value <= high:
            raise IioError(errno.EINVAL)
        return str(int(value))

    return read


def with_crystal(settings: Settings, text: str) -> Settings:
    """What the crystal is taken to be."""
    return replace(settings, xo_hz=int(between(CRYSTALS_HZ.low, CRYSTALS_HZ.high)(text)))


def with_rx_gain(settings: Settings, text: str) -> Settings:
    """A receive gain, in whole dB; without effect where the gain turns by itself."""
    gains, value = table(settings.rx_lo_hz), number(text.removesuffix(" dB"))
    if value not in gains:
        raise IioError(errno.EINVAL)
    if settings.gain_mode != "manual":
        return settings
    return replace(settings, rx_gain_db=float(int(value)))


def with_tx_gain(settings: Settings, text: str) -> Settings:
    """A transmit gain, in quarters of a dB."""
    value = number(text.removesuffix(" dB"))
    if not LOWEST_TX_GAIN_DB <= value <= 0:
        raise IioError(errno.EINVAL)
    return replace(settings, tx_gain_db=round(value * TX_GAIN_STEPS) / TX_GAIN_STEPS)


def with_gain_mode(settings: Settings, text: str) -> Settings:
    """Who turns the gain."""
    return replace(settings, gain_mode=one_of(" ".join(MODES))(text))


def with_filter(settings: Settings, text: str) -> Settings:
    """Another FIR; the one in use is changed under way."""
    return replace(settings, fir=Fir.parse(text))


def divided(settings: Settings, text: str) -> bool:
    """Whether a rate behind the transceiver is an eighth of it; another is none."""
    wanted = round(number(text))
    if wanted not in (round(settings.rate_hz), round(settings.rate_hz / FPGA_DECIMATION)):
        raise IioError(errno.EINVAL)
    return wanted != round(settings.rate_hz)


def with_frequency(settings: Settings, tone: Tone, text: str) -> Tone:
    """A tone at another frequency, below half the sample rate."""
    wanted_hz, rate_hz = number(text), settings.tx_rate_hz
    if not 0 <= wanted_hz <= rate_hz / 2:
        raise IioError(errno.EINVAL)
    return replace(tone, increment=dds.increment(wanted_hz, rate_hz))


def with_phase(_: Settings, tone: Tone, text: str) -> Tone:
    """A tone of another phase."""
    return replace(tone, phase_mdeg=int(between(0, 360_000)(text)))


def with_scale(_: Settings, tone: Tone, text: str) -> Tone:
    """A tone of another amplitude."""
    wanted = number(text)
    if not 0 <= wanted <= 1:
        raise IioError(errno.EINVAL)
    return replace(tone, scale=round(wanted / dds.SCALE_STEP) * dds.SCALE_STEP)


def with_power(_: Settings, tone: Tone, text: str) -> Tone:
    """A tone on or off."""
    return replace(tone, on=flag(text))


def divisions(settings: Settings) -> str:
    """The rates that there are behind the transceiver."""
    return f"{round(settings.rate_hz)} {round(settings.rate_hz / FPGA_DECIMATION)}"


Shown = Callable[[Settings, Tone], object]
Changed = Callable[[Settings, Tone, str], Tone]

TONE: Mapping[str, tuple[Shown, Changed]] = {
    "frequency": (lambda s, tone: round(tone.frequency_hz(s.tx_rate_hz)), with_frequency),
    "phase": (lambda _, tone: tone.phase_mdeg, with_phase),
    "raw": (lambda _, tone: int(tone.on), with_power),
    "scale": (lambda _, tone: f"{tone.scale:.6f}", with_scale),
}
"""By the name of the attribute: how a tone shows it, and how it takes another."""
