"""The uplink over samples: radios, beacons, soundings, grants and bursts behind `fl_core`'s Uplink.

Everything the protocol learns here (gains, noise, who took part) is estimated from samples. A
scorer, where there is one, knows the truth and is asked only after the estimates are made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from radio.api import IQ, Radio
from testbed.on_air.device import Device
from testbed.on_air.link import ComplexArray, Link
from testbed.on_air.receiver import Heard, Receiver, Sounding, Superposition
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
    figures: Mapping[str, float | int | bool | None]


@dataclass
class RoundOnAir:
    """A round under way, and afterwards what there is to look at."""

    index: int
    devices: DeviceArray
    timeline: Timeline
    receiver: Receiver
    nodes: list[Device]
    sounding: Sounding
    sounding_iq: IQ
    bursts: list[Heard] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)

    @property
    def nonce(self) -> int:
        """Names the round in a recording: its start on the receiver's clock."""
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
    """

    def __init__(
        self,
        receiver: Radio,
        devices: Callable[[int], Radio],
        link: Link,
        timeline: Timeline,
        wait: Callable[[int], None] = lambda index: None,
        scorer: Scorer | None = None,
    ) -> None:
        self._receiver = receiver
        self._devices = devices
        self._link = link
        self._timeline = timeline
        self._wait = wait
        self._scorer = scorer
        self.round: RoundOnAir | None = None

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
        timeline = self._timeline
        if len(devices) != timeline.num_devices:
            timeline = replace(timeline, num_devices=len(devices))
        receiver = Receiver(self._receiver, timeline, self._link, self._start(round_index))
        radios = [self._devices(int(i)) for i in devices]
        nodes = [Device(radio, timeline, self._link) for radio in radios]
        # Nobody's clock is known yet: a device is told to listen "now", by its own counter.
        ahead = receiver.start - self._receiver.now()
        expected = [radio.now() + ahead for radio in radios]
        receiver.send_beacon()
        for node, sample in zip(nodes, expected, strict=True):
            node.hear_beacon(sample)
        if not self._link.shared_clock:
            self._sync(receiver, nodes, timeline.early_sync)
        for slot, node in enumerate(nodes):
            if node.synchronised:
                node.sound(slot)
        sounding, iq = receiver.hear_soundings()
        if not self._link.shared_clock:
            self._sync(receiver, nodes, timeline.late_sync)
        self.round = RoundOnAir(round_index, devices, timeline, receiver, nodes, sounding, iq)
        return sounding.gains.astype(np.complex64)

    def transmit(self, round_index: int, devices: DeviceArray, symbols: ComplexArray) -> Reception:
        """Send the rows of `symbols` (complex64 [r, M], after power control) simultaneously."""
        now = self._current
        if now.index != round_index or not np.array_equal(now.devices, devices):
            raise ValueError(f"round {round_index} was not sounded for these devices")
        received = Superposition(symbols.shape[1], now.sounding)
        clipped = 0
        for burst, layout in enumerate(now.timeline.layouts):
            for start in now.timeline.syncs[burst]:
                self._sync(now.receiver, now.nodes, start)
            part = received.part(layout)
            packed: dict[int, ComplexArray] = {}
            for i, node in enumerate(now.nodes):
                if now.sounding.heard[i] and node.synchronised:
                    packed[i] = layout.pack(symbols[i, part], i)
                    clipped += node.send(packed[i], burst, now.sounding.equalisers[i]).clipped
            heard = now.receiver.hear_burst(burst, now.sounding)
            received.add(heard, layout)
            now.bursts = [*now.bursts[:1], heard]  # the first and the last, to look at
            if self._scorer is not None:
                now.scores.append(self._scorer.score(now, burst, heard, packed))
        noise_var = received.noise_var
        return Reception(
            symbols=received.symbols,
            noise_var=noise_var,
            acknowledged=received.acknowledged,
            true_gains=Score.mean_gains(now.scores) if now.scores else None,
            errors=Score.mean_errors(now.scores) if now.scores else None,
            figures={
                "clipped": clipped,
                "noise_db": 10 * math.log10(noise_var) if noise_var > 0 else None,
                "airtime_s": now.timeline.airtime / now.timeline.numerology.sample_rate_hz,
            },
        )

    @property
    def _current(self) -> RoundOnAir:
        if self.round is None:
            raise ValueError("no round was sounded yet")
        return self.round

    def _start(self, round_index: int) -> int:
        """Where the round starts on the receiver's clock.

        It is so near that no clock drifts from now until then, however long the last round ago.
        """
        self._wait(round_index)
        return self._receiver.now() + 2 * self._link.search

    def _sync(self, receiver: Receiver, nodes: list[Device], start: int) -> None:
        receiver.send_sync(start)
        for node in nodes:
            if node.synchronised:
                node.hear_sync(start)
