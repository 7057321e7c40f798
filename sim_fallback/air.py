"""The virtual air: radios post bursts, and hear the sum of what the others sent.

The air knows no frames and no answers. What a radio hears is rendered on demand from the ledger of
bursts, so it costs nothing while nobody listens, and a window is the same samples however often,
in whatever pieces and in whatever order it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from radio.api import IQ, RadioError
from sim_fallback.clock import Clock, VirtualClock
from sim_fallback.front_end import Cause
from sim_fallback.ledger import Burst, Ledger
from sim_fallback.path import Path
from sim_fallback.presets import Equipment
from sim_fallback.render import TILE, Link, Times, noise_drift_db, sample_at, true_time_at_s

if TYPE_CHECKING:
    from sim_fallback.sim_radio import SimRadio

SAME_SAMPLE = 1e-5
"""Samples by which two times may differ and still be one: what float64 seconds can't tell."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Who there is, and what lies between them.

    Attributes:
        carrier_hz, sample_rate_hz: of all radios, as their own oscillators count it.
        equipment: radios by name.
        paths: by pair of names in either order, the same both ways. Radios without a path do not
            hear each other. A path from a radio to itself is what its receiver hears of its own
            transmitter, through a cable or because they are close.
    """

    carrier_hz: float
    sample_rate_hz: float
    equipment: Mapping[str, Equipment]
    paths: Mapping[tuple[str, str], Path]
    _links: dict[tuple[str, str], Link] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("carrier_hz", "sample_rate_hz"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        for one, other in self.paths:
            for name in (one, other):
                if name not in self.equipment:
                    raise ValueError(f"a path leads to {name!r}, which has no equipment")
            if one != other and (other, one) in self.paths:
                raise ValueError(f"there are two paths between {one!r} and {other!r}")

    def without(self, *causes: Cause) -> Scene:
        """The same scene with some faults of all front ends mended; see `FrontEnd.without`."""
        mended = {
            name: replace(radio, front_end=radio.front_end.without(*causes))
            for name, radio in self.equipment.items()
        }
        return replace(self, equipment=mended)

    def radio(self, name: str) -> Equipment:
        """The equipment of a radio; RadioError where there is none of that name."""
        if name not in self.equipment:
            raise RadioError(
                f"no radio {name!r} on this air; there are {', '.join(self.equipment)}"
            )
        return self.equipment[name]

    def link(self, transmitter: str, listener: str) -> Link | None:
        """How the listener hears the transmitter; None where it does not."""
        pair = (transmitter, listener)
        path = self.paths.get(pair, self.paths.get(pair[::-1]))
        if path is None:
            return None
        if pair not in self._links:
            self._links[pair] = Link(
                self.radio(transmitter),
                self.radio(listener),
                path,
                self.carrier_hz,
                self.sample_rate_hz,
            )
        return self._links[pair]

    def sample_at(self, name: str, t_s: float) -> int:
        """First sample of a radio's clock at or after true time t_s."""
        return math.ceil(sample_at(self.radio(name), t_s, self.sample_rate_hz) - SAME_SAMPLE)

    def true_time_s(self, name: str, sample: int) -> float:
        """True time of a sample of a radio's clock."""
        return true_time_at_s(self.radio(name), sample, self.sample_rate_hz)


class Air:
    """A scene in time: the ledger of what was sent, and how far it has been heard."""

    def __init__(self, scene: Scene, clock: Clock | None = None, history_s: float = 1.0) -> None:
        """An air at true time 0, silent.

        Args:
            scene: who there is.
            clock: of true time; a `VirtualClock` unless given.
            history_s: how long bursts are kept after they ended.
        """
        if not history_s >= 0:
            raise ValueError(f"history_s must be >= 0, not {history_s}")
        self.scene = scene
        self.clock: Clock = VirtualClock() if clock is None else clock
        self.history_s = history_s
        self._ledger = Ledger()
        self._tidied_s = -math.inf
        self._heard_s: dict[str, float] = {}
        self._latest: dict[str, tuple[tuple[int, float, int], IQ]] = {}

    @property
    def present_s(self) -> float:
        """True time."""
        return self.clock.present_s()

    @property
    def version(self) -> int:
        """Changes with everything that is posted or cancelled."""
        return self._ledger.version

    @property
    def is_silent(self) -> bool:
        """Whether nobody has sent anything that is remembered."""
        return not self._ledger.transmitters()

    def equip(self, name: str, equipment: Equipment) -> None:
        """Give a radio other equipment: what it sends and hears from now on passes that."""
        self.scene.radio(name)
        self.scene = replace(self.scene, equipment={**self.scene.equipment, name: equipment})
        self._latest.clear()

    def open(self, name: str) -> SimRadio:
        """A radio of this air; RadioError where there is none of that name."""
        from sim_fallback.sim_radio import SimRadio  # noqa: PLC0415 (which knows this module)

        return SimRadio(self, name)

    def post(self, name: str, iq: IQ, at: int, gain_db: float, cyclic: bool = False) -> int:
        """Enter a burst of a radio into the ledger, which copies the samples.

        Args:
            name: of the transmitter.
            iq: complex64 [n].
            at: first sample, on the transmitter's clock.
            gain_db: transmit gain.
            cyclic: send it again and again until cancelled.

        Returns:
            How many samples the radio clips, of one period of a cyclic burst.

        Raises:
            RadioError: no such radio, somebody has heard the air of that time already, or the
                radio sends another burst then.
        """
        slack_s = SAME_SAMPLE / self.scene.sample_rate_hz
        start_s = self.scene.true_time_s(name, at) + slack_s
        for listener, heard_s in self._heard_s.items():
            link = self.scene.link(name, listener)
            if link is not None and start_s + link.delay_s < heard_s:
                raise RadioError(
                    f"sample {at} of {name} has passed: {listener} has heard the air of "
                    f"{1e6 * (heard_s - start_s):.0f} us later already"
                )
        radio = self.scene.radio(name)
        sent_db = radio.front_end.tx_gain.gain_db(gain_db)
        burst = self._ledger.post(name, iq, at, sent_db, cyclic)
        return self._ledger.clipped(burst, radio.front_end, radio.key, self.scene.sample_rate_hz)

    def cancel(self, name: str, at: int) -> None:
        """Silence a transmitter from sample `at` of its clock on."""
        self._ledger.cancel(name, at)

    def free_from(self, name: str, at: int) -> int:
        """First sample from `at` on after which a transmitter has nothing more to send."""
        return self._ledger.free_from(name, at)

    def capture(self, name: str, first: int, n: int, rx_gain_db: float = 0.0) -> IQ:
        """What a radio hears; the present moves on to the end of the window.

        Args and returns as for `window`.

        Raises:
            RadioError: no such radio, or the window lies before what the air remembers.
        """
        oldest = self.scene.sample_at(name, self.present_s - self.history_s)
        if first < oldest:
            raise RadioError(
                f"sample {first} of {name} has passed: the air remembers {self.history_s:g} s, "
                f"from sample {oldest} on"
            )
        end_s = self.scene.true_time_s(name, first + n)
        self.clock.wait_until(end_s)
        heard = self.window(name, first, n, rx_gain_db)
        self._heard_s[name] = max(end_s, self._heard_s.get(name, end_s))
        if self.present_s - self._tidied_s >= self.history_s / 8:  # not at every capture of many
            self._tidied_s = self.present_s
            self.forget(self.present_s - self.history_s)
        return heard

    def forget(self, before_s: float) -> None:
        """Drop the bursts that ended before a true time."""
        for transmitter in self._ledger.transmitters():
            oldest = self.scene.sample_at(transmitter, before_s)
            self._ledger.forget(transmitter, oldest - 2 * TILE)

    def window(
        self,
        name: str,
        first: int,
        n: int,
        rx_gain_db: float = 0.0,
        transmitters: Collection[str] | None = None,
        scene: Scene | None = None,
    ) -> IQ:
        """What a radio would hear of the bursts posted so far; nothing moves on.

        Args:
            name: of the listener.
            first: sample of its clock.
            n: samples.
            rx_gain_db: receive gain.
            transmitters: of which it hears; all, unless given. For scoring only.
            scene: heard in instead of the air's own, with the same names. For scoring only.

        Returns:
            complex64 [n], in units of its full scale.
        """
        where = self.scene if scene is None else scene
        heard = np.empty(n, np.complex64)
        for index in range(first // TILE, -(-(first + n) // TILE)):
            if scene is None and transmitters is None:
                tile = self._latest_tile(name, index, rx_gain_db)
            else:
                tile = self._tile(where, name, index, rx_gain_db, transmitters)
            low, high = max(first, index * TILE), min(first + n, (index + 1) * TILE)
            heard[low - first : high - first] = tile[low - index * TILE : high - index * TILE]
        return heard

    def _latest_tile(self, name: str, index: int, rx_gain_db: float) -> IQ:
        """The air's own tile; the last of each listener is kept for the window that follows."""
        entry = (index, rx_gain_db, self._ledger.version)
        if name not in self._latest or self._latest[name][0] != entry:
            self._latest[name] = (entry, self._tile(self.scene, name, index, rx_gain_db, None))
        return self._latest[name][1]

    def _tile(
        self,
        scene: Scene,
        name: str,
        index: int,
        rx_gain_db: float,
        transmitters: Collection[str] | None,
    ) -> IQ:
        listener = scene.radio(name)
        incident = self.incident(name, index, transmitters, scene)
        if incident is None:
            incident = np.zeros(TILE, np.complex64)
        gain_db = listener.front_end.rx_gain.gain_db(rx_gain_db)
        incident *= np.float32(10 ** (gain_db / 20))
        rate_hz = scene.sample_rate_hz
        gain_db += noise_drift_db(listener, index, rate_hz)
        return listener.front_end.received(incident, listener.key, index * TILE, rate_hz, gain_db)

    def bursts(self, name: str, index: int) -> tuple[Burst, ...]:
        """All that decides what arrives at a radio in a tile, but for a few samples too many.

        The same bursts, by identity, make the same samples.
        """
        audible = self._audible(self.scene, name, index)
        return tuple(burst for *_, bursts in audible for burst in bursts)

    def _audible(
        self, scene: Scene, name: str, index: int
    ) -> Iterator[tuple[str, Link, tuple[Burst, ...]]]:
        """Transmitters that a radio may hear in a tile, in the order of the scene, and of what.

        Most of what is remembered lies elsewhere in time, which costs little to see.
        """
        sending = self._ledger.transmitters()
        if not sending:
            return
        begin_s, end_s = (scene.true_time_s(name, edge * TILE) for edge in (index, index + 1))
        for other in scene.equipment:
            link = scene.link(other, name) if other in sending else None
            if link is None:
                continue
            begin = scene.sample_at(other, begin_s) - link.reach
            end = scene.sample_at(other, end_s) + link.reach
            bursts = self._ledger.sending(other, begin, end)
            if bursts:
                yield other, link, bursts

    def incident(
        self,
        name: str,
        index: int,
        transmitters: Collection[str] | None = None,
        scene: Scene | None = None,
    ) -> IQ | None:
        """What arrives at a radio's antenna connector in a tile; nothing moves on.

        Args:
            name: of the listener.
            index: of the tile: its first sample, on the listener's clock, is `TILE` times this.
            transmitters: as for `window`.
            scene: as for `window`.

        Returns:
            complex64 [TILE] in units of the listener's full scale at 0 dB of gain; None where
            nobody sends.
        """
        scene = self.scene if scene is None else scene
        listener = scene.radio(name)
        audible = [
            (scene.radio(other), link, other)
            for other, link, _ in self._audible(scene, name, index)
            if transmitters is None or other in transmitters
        ]
        if not audible:
            return None
        times = Times.of_tile(index, listener, scene.sample_rate_hz)
        incident: IQ | None = None
        for radio, link, other in audible:
            sent = partial(
                self._ledger.sent,
                other,
                front_end=radio.front_end,
                key=radio.key,
                sample_rate_hz=scene.sample_rate_hz,
            )
            heard = link.tile(times, sent)
            if heard is not None:
                # From zeros on: a sender sounds alike alone and among silent ones.
                incident = np.zeros(TILE, np.complex64) if incident is None else incident
                incident += heard
        return incident
