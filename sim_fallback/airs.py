"""The airs of this process by name: those that were published, and plain ones made on demand.

``sim://lab?name=d3`` is radio d3 of the air published as "lab". Where none is, the first to ask
makes a plain air of that name, and those who ask later share it until the last of its radios is
closed. It has the radios rx and d0, d1, ..., which all hear each other without fading: samples of
magnitude 1 arrive as such, and the noise of each receiver lies `snr_db` below. Options:

    preset    of `sim_fallback.presets`; ideal unless given
    snr_db    30 unless given
    seed      0 unless given
    devices   how many d there are; 10 unless given
    clock     virtual (unless given) or wall
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations, count
from typing import Protocol, TypeVar

from radio.api import RadioError, RadioSettings
from sim_fallback.air import Air, Scene
from sim_fallback.clock import Clock, VirtualClock, WallClock
from sim_fallback.front_end import THERMAL_DBM_PER_HZ
from sim_fallback.path import Path
from sim_fallback.presets import PRESETS
from sim_fallback.tapped_delay import TappedDelayLine

Value = TypeVar("Value")
Default = TypeVar("Default")

AIR_OPTIONS = ("preset", "snr_db", "seed", "devices", "clock")
CLOCKS: Mapping[str, Callable[[], Clock]] = {
    "virtual": VirtualClock,
    "wall": lambda: WallClock(time.monotonic, time.sleep),
}


class AirUri(Protocol):
    """What a driver is given: `radio.registry.RadioUri`."""

    @property
    def address(self) -> str:
        """Name of the air."""

    @property
    def options(self) -> Mapping[str, str]:
        """Texts by name."""

    def option(self, name: str, kind: Callable[[str], Value], default: Default) -> Value | Default:
        """Option `name` read by `kind`."""

    def require_options(self, *known: str) -> None:
        """RadioError where an option is given that is not known."""


@dataclass
class _Shared:
    """A plain air and how many radios of it are open."""

    air: Air
    options: Mapping[str, str]
    users: int = 0


_published: dict[str, Air] = {}
_shared: dict[str, _Shared] = {}
_numbers = count(1)


@contextmanager
def publish(air: Air, name: str | None = None) -> Iterator[str]:
    """Make an air's radios known as ``sim://NAME?name=RADIO`` in this process.

    Args:
        air: to publish.
        name: free in this process; made up unless given.

    Yields:
        The name.

    Raises:
        RadioError: the name is taken.
    """
    name = f"air-{next(_numbers)}" if name is None else name
    if name in _published or name in _shared:
        raise RadioError(f"there is an air {name!r} already; choose another name")
    _published[name] = air
    try:
        yield name
    finally:
        del _published[name]


def borrow(uri: AirUri) -> tuple[Air, Callable[[], None]]:
    """The air of a URI, and what to call when its radio is closed.

    Raises:
        RadioError: an option that is wrong, or not as the air was made.
    """
    name = uri.address
    if name in _published:
        uri.require_options("name")
        return _published[name], lambda: None
    uri.require_options("name", *AIR_OPTIONS)
    options = {key: text for key, text in uri.options.items() if key in AIR_OPTIONS}
    if name not in _shared:
        _shared[name] = _Shared(_plain_air(uri), options)
    shared = _shared[name]
    for key, text in options.items():
        if shared.options.get(key) != text:
            made = ", ".join(f"{k}={v}" for k, v in shared.options.items()) or "no options"
            raise RadioError(f"{uri}: the air {name!r} is in use and was made with {made}")
    shared.users += 1

    def give_back() -> None:
        shared.users -= 1
        if shared.users == 0:
            del _shared[name]

    return shared.air, give_back


def _plain_air(uri: AirUri) -> Air:
    preset_name = uri.option("preset", str, "ideal")
    clock_name = uri.option("clock", str, "virtual")
    devices = uri.option("devices", int, 10)
    seed = uri.option("seed", int, 0)
    for option, value, known in (
        ("preset", preset_name, PRESETS),
        ("clock", clock_name, CLOCKS),
    ):
        if value not in known:
            raise RadioError(f"{uri}: no {option} {value!r}; there are {', '.join(known)}")
    snr_db = uri.option("snr_db", float, 30.0)
    if devices < 1 or seed < 0 or not snr_db > -math.inf:
        raise RadioError(f"{uri}: devices should be at least 1, seed at least 0, snr_db a number")
    preset, settings = PRESETS[preset_name], RadioSettings()
    # Full scale arrives as full scale, so the noise figure follows from the SNR.
    floor_dbm = THERMAL_DBM_PER_HZ + 10 * math.log10(settings.sample_rate_hz)
    arriving_dbm = preset.front_end.rx_full_scale_dbm
    front_end = replace(
        preset.front_end,
        noise_figure_db=arriving_dbm - snr_db - floor_dbm,
        clips=True,
    )
    names = ["rx", *(f"d{device}" for device in range(devices))]
    path = Path(
        TappedDelayLine(kind="awgn"), loss_db=preset.front_end.tx_full_scale_dbm - arriving_dbm
    )
    scene = Scene(
        settings.carrier_hz,
        settings.sample_rate_hz,
        {name: replace(preset, front_end=front_end).equip(seed, name) for name in names},
        dict.fromkeys(combinations(names, 2), path),
    )
    return Air(scene, CLOCKS[clock_name]())
