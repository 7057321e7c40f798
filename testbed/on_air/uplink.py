"""The uplink over samples: radios, beacons, soundings, grants and bursts behind `fl_core`'s Uplink.

Everything the protocol learns here (gains, noise, who took part) is estimated from samples. A
scorer, where there is one, knows the truth and is asked only after the estimates are made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fl_core.uplink import Figure
from radio.api import IQ, Radio
from testbed.bench import Arrays
from testbed.on_air.device import Device
from testbed.on_air.held_gains import HeldGains
from testbed.on_air.link import ComplexArray, Link
from testbed.on_air.receiver import (
    Heard,
    Receiver,
    Sounding,
    Superposition,
    by_device,
    largest_delay,
    levels_db,
)
from testbed.on_air.scoring import Score, Scorer
from testbed.on_air.timeline import Timeline

DeviceArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Reception:
    """What the receiver has after all bursts; see `fl_core.uplink.Reception`.

    Attributes:
        symbols: complex64 [M], relative to the reference gain.
        noise_var: per symbol, estimated from pilots.
        acknowledged: bool [r], devices that were heard in every burst.
        true_gains: complex64 [r] for scoring, None where nobody knows.
        errors: mean square error of the symbols by cause, None where nobody knows.
        figures: samples that were clipped, and how the devices were heard.
    """

    symbols: ComplexArray
    noise_var: float
    acknowledged: npt.NDArray[np.bool_]
    true_gains: ComplexArray | None
    errors: Mapping[str, float] | None
    figures: Mapping[str, Figure]


@dataclass
class RoundOnAir:
    """A round, or a leg of a long one, under way; afterwards what there is to look at."""

    index: int
    devices: DeviceArray
    timeline: Timeline
    receiver: Receiver
    nodes: list[Device]
    sounding: Sounding
    sounding_iq: IQ
    bursts: list[Heard] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    clipped: int = 0

    @property
    def nonce(self) -> int:
        """Names it in a recording: its start on the receiver's clock."""
        return self.receiver.start


class IQUplink:
    """A multiple-access channel made of radios.

    Args:
        receiver: the server's radio.
        devices: opens the radio of a device, at most once each.
        link: settings of waveform and synchronisation.
        timeline: of every round; a round of fewer devices has as many slots less.
        wait: called before each round; returns when it may start.
        scorer: knows the truth, if anybody does.
        gains: of the devices' transmitters, by the names that `name_of` gives; they keep what was
            set elsewhere where nobody planned any.
        name_of: names of the devices.
    """

    def __init__(
        self,
        receiver: Radio,
        devices: Callable[[int], Radio],
        link: Link,
        timeline: Timeline,
        wait: Callable[[int], None] = lambda index: None,
        scorer: Scorer | None = None,
        gains: HeldGains | None = None,
        name_of: Callable[[int], str] = str,
    ) -> None:
        self._receiver = receiver
        self._devices = devices
        self._link = link
        self._timeline = timeline
        self._wait = wait
        self._scorer = scorer
        self.gains = gains
        self._name_of = name_of
        self._plans: dict[int, tuple[Timeline, ...]] = {}
        self.legs: list[RoundOnAir] = []

    @property
    def mean_gain(self) -> float:
        """Mean sounded gain of the devices heard in this round: a weighted mean is normalised."""
        heard = self._current.sounding.heard
        return float(np.mean(self._current.sounding.gains[heard])) if heard.any() else 1.0

    @property
    def noise_var(self) -> float:
        """As measured in the sounding slots of this round."""
        return self._current.sounding.noise_var

    def sound(self, round_index: int, devices: DeviceArray) -> ComplexArray:
        """Beacon and soundings: gains complex64 [r], 0 for a device that was not heard.

        The phase of a channel, and all of its shape over the carriers, is undone by the device
        with the equaliser it is granted; what is left for power control is a positive gain.
        """
        self._wait(round_index)
        self.legs = [self._open(round_index, devices, self._plan(len(devices))[0])]
        return self._current.sounding.gains.astype(np.complex64)

    def transmit(self, round_index: int, devices: DeviceArray, symbols: ComplexArray) -> Reception:
        """Send the rows of `symbols` (complex64 [r, M], after power control) simultaneously."""
        first = self._current
        if first.index != round_index or not np.array_equal(first.devices, devices):
            raise ValueError(f"round {round_index} was not sounded for these devices")
        received: list[Superposition] = []
        done = 0
        for number, timeline in enumerate(self._plan(len(devices))):
            if number:
                leg = self._open(round_index, devices, timeline)
                leg.sounding = leg.sounding.aimed_at(first.sounding.gains)
                self.legs.append(leg)
            part = slice(done, done + timeline.num_symbols)
            received.append(self._send(self.legs[-1], symbols[:, part]))
            done = part.stop
        whole = Superposition.join(received)
        set_gains = self._hold(first)
        scores = [score for leg in self.legs for score in leg.scores]
        return Reception(
            symbols=whole.symbols,
            noise_var=whole.noise_var,
            acknowledged=whole.acknowledged,
            true_gains=Score.mean_gains(scores) if scores else None,
            errors=Score.mean_errors(scores) if scores else None,
            figures={
                "clipped": sum(leg.clipped for leg in self.legs),
                "overdriven": sum(leg.receiver.overdriven for leg in self.legs),
                "delay_samples": max(
                    largest_delay(leg.sounding.delays, leg.sounding.heard) for leg in self.legs
                ),
                "levels_db": by_device(devices.tolist(), levels_db(first.sounding.powers)),
                **set_gains,
                "late_samples": max(abs(b.late) for leg in self.legs for b in leg.bursts),
                "noise_db": 10 * math.log10(whole.noise_var) if whole.noise_var > 0 else None,
                "airtime_s": sum(leg.timeline.airtime_s for leg in self.legs),
            },
        )

    def saved(self) -> Arrays:
        """The gains, for a checkpoint."""
        return {} if self.gains is None else self.gains.saved()

    def restore(self, load: Callable[[str], npt.NDArray[Any]]) -> None:
        """The gains of a checkpoint, from the arrays that `load` finds by name."""
        if self.gains is not None:
            self.gains = self.gains.restored(load)

    def _plan(self, num_devices: int) -> tuple[Timeline, ...]:
        """The legs of a round of so many devices; kept, with the sequences they hold."""
        if num_devices not in self._plans:
            timeline = replace(self._timeline, num_devices=num_devices)
            self._plans[num_devices] = timeline.legs(self._link.sounding_life_s)
        return self._plans[num_devices]

    def _open(self, round_index: int, devices: DeviceArray, timeline: Timeline) -> RoundOnAir:
        """Beacon and sounding, as soon as they can be.

        That is so near that no clock drifts from now until then, however long the last round ago.
        """
        start = self._receiver.now() + self._link.lead
        receiver = Receiver(self._receiver, timeline, self._link, start)
        radios = [self._device(int(i)) for i in devices]
        nodes = [Device(radio, timeline, self._link) for radio in radios]
        # Nobody's clock is known yet: a device is told to listen "now", by its own counter.
        ahead = receiver.start - self._receiver.now()
        expected = [radio.now() + ahead for radio in radios]
        receiver.send_beacon()
        for node, sample in zip(nodes, expected, strict=True):
            node.hear_beacon(sample)
        if not self._link.shared_clock:
            _sync(receiver, nodes, timeline.early_sync)
        for slot, node in enumerate(nodes):
            if node.synchronised:
                node.sound(slot)
        sounding, iq = receiver.hear_soundings()
        if not self._link.shared_clock:
            _sync(receiver, nodes, timeline.late_sync)
        return RoundOnAir(round_index, devices, timeline, receiver, nodes, sounding, iq)

    def _device(self, number: int) -> Radio:
        """A device's radio, at the gain that it should have."""
        radio = self._devices(number)
        if self.gains is not None:
            name = self._name_of(number)
            gains = self.gains.tx_gain_db(name), self.gains.rx_gain_db(name)
            wanted = replace(radio.settings, tx_gain_db=gains[0], rx_gain_db=gains[1])
            if wanted != radio.settings:
                radio.configure(wanted)
        return radio

    def _hold(self, now: RoundOnAir) -> dict[str, dict[str, float]]:
        """Turn the gains by what was sounded; those of this round, for the run folder."""
        if self.gains is None:
            return {}
        names = {str(device): self._name_of(int(device)) for device in now.devices}
        sounding, carriers = now.sounding, now.sounding.channels.shape[1]
        figures = {"tx_gains_db": self.gains.figures(names)}
        levels = levels_db(sounding.powers)
        applied = {
            name: self._devices(int(device)).settings.tx_gain_db
            for device, name in zip(now.devices, names.values(), strict=True)
        }
        self.gains = self.gains.after(
            list(names.values()), levels, sounding.snr_db, carriers, applied
        )
        return figures

    def _send(self, now: RoundOnAir, symbols: ComplexArray) -> Superposition:
        """The bursts of a leg."""
        received = Superposition(symbols.shape[1], now.sounding)
        for burst, layout in enumerate(now.timeline.layouts):
            for start in now.timeline.syncs[burst]:
                _sync(now.receiver, now.nodes, start)
            part = received.part(layout)
            packed: dict[int, ComplexArray] = {}
            for i, node in enumerate(now.nodes):
                if now.sounding.heard[i] and node.synchronised:
                    packed[i] = layout.pack(symbols[i, part], i)
                    grant = now.sounding.equalisers[i], float(now.sounding.delays[i])
                    now.clipped += node.send(packed[i], burst, *grant).clipped
            heard = now.receiver.hear_burst(burst, now.sounding)
            received.add(heard, layout)
            now.bursts = [*now.bursts[:1], heard]  # the first and the last, to look at
            if self._scorer is not None:
                now.scores.append(self._scorer.score(now, burst, heard, packed))
        return received

    @property
    def _current(self) -> RoundOnAir:
        if not self.legs:
            raise ValueError("no round was sounded yet")
        return self.legs[0]


def _sync(receiver: Receiver, nodes: list[Device], start: int) -> None:
    receiver.send_sync(start)
    for node in nodes:
        if node.synchronised:
            node.hear_sync(start)
