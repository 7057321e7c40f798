"""Radios that meet in a flowgraph: what devices send, `mac_channel.grc` adds up for a receiver.

    with MacChannel([DevicePath(delay=3), DevicePath(gain=0.5j)], noise_var=1e-4) as channel:
        receiver, devices = channel.receiver, channel.devices

All of the uplink goes through GNU Radio, sample by sample from the start on. The way back does not:
what the receiver sends reaches a device by the same numbers (delay, gain, the opposite CFO, as much
noise), computed here, without fading. Time is that of the receiver: the samples that came out.
"""

from __future__ import annotations

import cmath
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

import numpy as np
import zmq

from flowgraphs.links import MESSAGE, TO_HOST, Bursts, Entrance, Exit
from flowgraphs.runner import Flowgraph
from radio.api import (
    IQ,
    Capture,
    Radio,
    RadioCaps,
    RadioError,
    RadioSettings,
    Range,
    TxReport,
    require_burst,
    require_count,
    require_future,
    require_settings,
)

FLOWGRAPH = "mac_channel"
PATIENCE_S = 10.0
SILENT_DB = -400.0  # no noise
REMEMBERED_S = 2.0  # for which a device can hear what the receiver sent


@dataclass(frozen=True)
class DevicePath:
    """What lies between a device and the receiver.

    Attributes:
        delay: samples, >= 0.
        cfo_hz: carrier of the device minus that of the receiver.
        gain: from full scale to full scale, not 0.
        doppler_hz: of the Rayleigh fading that GNU Radio adds; 0 for none.
    """

    delay: int = 0
    cfo_hz: float = 0.0
    gain: complex = 1.0
    doppler_hz: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.delay, int) or self.delay < 0:
            raise ValueError(f"delay should be 0 samples or more, not {self.delay}")
        if not (math.isfinite(self.cfo_hz) and 0 <= self.doppler_hz < math.inf):
            raise ValueError("cfo_hz should be finite and doppler_hz finite and not below 0")
        if not 0 < abs(self.gain) < math.inf:
            raise ValueError(f"gain should be finite and not 0, not {self.gain}")


class MacChannel:
    """`mac_channel.grc` at work, and the radios at its ends.

    Attributes:
        receiver: hears the sum.
        devices: one for each path.
    """

    def __init__(
        self,
        paths: Sequence[DevicePath],
        noise_var: float,
        settings: RadioSettings = RadioSettings(),  # noqa: B008 (frozen)
        seed: int = 0,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Start the flowgraph.

        Args:
            paths: of the devices.
            noise_var: E|z|^2 of a sample, at every radio.
            settings: of all radios.
            seed: of noise and fading.
            environ: of the flowgraph's process.

        Raises:
            RadioError: GNU Radio is absent, or the flowgraph does not start.
        """
        self._rate, self._noise_var = settings.sample_rate_hz, noise_var
        self._rng = np.random.default_rng(seed)
        self._bursts = [Bursts() for _ in paths]
        self._called: list[tuple[int, IQ]] = []
        self._surplus: IQ = np.zeros(0, np.complex64)
        self.now = 0
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(ignore_cleanup_errors=True)))
            context = zmq.Context[zmq.Socket[bytes]]()
            stack.callback(context.destroy, 0)
            places = [f"ipc://{folder}/{i}" for i in range(len(paths))]
            self._entrances = [Entrance(place, context) for place in places]
            values = {
                "from_hosts": ",".join(places),
                TO_HOST: f"ipc://{folder}/sum",
                "delays": _listed(path.delay for path in paths),
                "cfos_hz": _listed(path.cfo_hz for path in paths),
                "gains_db": _listed(20 * math.log10(abs(path.gain)) for path in paths),
                "phases_deg": _listed(math.degrees(cmath.phase(path.gain)) for path in paths),
                "dopplers_hz": _listed(path.doppler_hz for path in paths),
                "noise_db": 10 * math.log10(noise_var) if noise_var > 0 else SILENT_DB,
                "sample_rate_hz": self._rate,
                "seed": seed,
            }
            graph = stack.enter_context(Flowgraph(FLOWGRAPH, values, environ, folder))
            for entrance in self._entrances:
                entrance.lead_to(graph)
            self._exit = Exit(graph, context)
            self._running = stack.pop_all()
        self.receiver: Radio = MacReceiver(self, settings)
        self.devices: list[Radio] = [MacDevice(self, settings, i, p) for i, p in enumerate(paths)]

    def sent(self, device: int, iq: IQ, at: int | None) -> int:
        """A device's burst; where it begins."""
        return self._bursts[device].post(iq, at)

    def heard(self, n: int, first: int) -> IQ:
        """What the receiver hears; time goes on to the end of it."""
        for _ in self._pieces(first):
            continue
        return np.concatenate(list(self._pieces(first + n)))

    def call(self, iq: IQ, at: int) -> None:
        """What the receiver sends to all."""
        kept = self.now - round(REMEMBERED_S * self._rate)
        self._called = [(s, b) for s, b in self._called if s + b.size > kept] + [(at, iq.copy())]

    @property
    def called_until(self) -> int:
        """End of what the receiver sends."""
        return max([self.now, *(start + iq.size for start, iq in self._called)])

    def heard_of_calls(self, n: int, first: int, path: DevicePath) -> IQ:
        """What a device hears of the receiver; time does not go on."""
        heard = np.zeros(n, np.complex64)
        for start, iq in self._called:
            at = start + path.delay
            low, high = max(first, at), min(first + n, at + iq.size)
            if low < high:
                heard[low - first : high - first] = iq[low - at : high - at]
        turn = -2j * np.pi * path.cfo_hz / self._rate
        heard *= (path.gain * np.exp(turn * np.arange(first, first + n))).astype(np.complex64)
        noise = self._rng.standard_normal(2 * n, np.float32).view(np.complex64)
        noisy: IQ = heard + noise * np.float32(math.sqrt(self._noise_var / 2))
        return noisy

    def close(self) -> None:
        """Stop the flowgraph; closing twice is fine."""
        self._running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _pieces(self, end: int) -> Iterator[IQ]:
        """Samples of the sum from now until `end`, as they come: as many as every device sent.

        The delays let some out before, which wait here for their time.
        """
        while self.now < end:
            size = min(end - self.now, MESSAGE)
            for entrance, bursts in zip(self._entrances, self._bursts, strict=True):
                entrance.push(*bursts.take(size))
            pieces, there = [self._surplus], self._surplus.size
            while there < size:
                iq, _ = self._exit.pull(PATIENCE_S)
                pieces.append(iq)
                there += iq.size
            heard = np.concatenate(pieces)
            self._surplus = heard[size:]
            self.now += size
            yield heard[:size]


class MacRadio(Radio):
    """What the radios at both ends have in common: one clock and no fault of their own."""

    def __init__(self, channel: MacChannel, settings: RadioSettings, name: str) -> None:
        self._channel, self._settings, self._is_open = channel, settings, True
        self._caps = RadioCaps(
            name=f"{name} of flowgraph {FLOWGRAPH}",
            can_transmit=True,
            timed=True,
            full_duplex=True,
            bits=24,
            carrier_hz=Range(settings.carrier_hz, settings.carrier_hz),
            sample_rate_hz=Range(settings.sample_rate_hz, settings.sample_rate_hz),
            tx_gain_db=Range(settings.tx_gain_db, settings.tx_gain_db),
            rx_gain_db=Range(settings.rx_gain_db, settings.rx_gain_db),
            max_burst=1 << 24,
            turnaround_s=0.0,
        )

    @property
    def caps(self) -> RadioCaps:
        """All levels are in the paths: gains stay as they are."""
        return self._caps

    @property
    def settings(self) -> RadioSettings:
        """As the channel was given them."""
        return self._settings

    def configure(self, want: RadioSettings) -> RadioSettings:
        """RadioError for anything else than there is."""
        self._require_open()
        require_settings(want, self._caps)
        return self._settings

    def now(self) -> int:
        """The receiver's time."""
        self._require_open()
        return self._channel.now

    def close(self) -> None:
        """The channel goes on without it."""
        self._is_open = False

    def _require_open(self) -> None:
        if not self._is_open:
            raise RadioError(f"{self._caps.name} is closed; start the channel again")

    def _require_transmission(self, iq: IQ, at: int | None) -> None:
        self._require_open()
        require_burst(iq, self._caps)
        if at is not None:
            require_future(at, self._channel.now)


class MacDevice(MacRadio):
    """Sends into an input of the flowgraph."""

    def __init__(
        self, channel: MacChannel, settings: RadioSettings, number: int, path: DevicePath
    ) -> None:
        super().__init__(channel, settings, f"device {number}")
        self._number, self._path = number, path

    def transmit(self, iq: IQ, at: int | None = None) -> TxReport:
        """Post a burst, which goes into the flowgraph when its time comes."""
        self._require_transmission(iq, at)
        start = self._channel.sent(self._number, iq.copy(), at)
        return TxReport(self._settings.tx_gain_db, 0, start)

    def receive(self, n: int, at: int | None = None) -> Capture:
        """Hear the receiver: a capture that was armed in advance, for which no time passes."""
        self._require_open()
        require_count(n)
        first = self._channel.now if at is None else int(at)
        return Capture(self._channel.heard_of_calls(n, first, self._path), first, 0)


class MacReceiver(MacRadio):
    """Hears what comes out of the flowgraph."""

    def __init__(self, channel: MacChannel, settings: RadioSettings) -> None:
        super().__init__(channel, settings, "receiver")

    def transmit(self, iq: IQ, at: int | None = None) -> TxReport:
        """Call all devices."""
        self._require_transmission(iq, at)
        start = self._channel.called_until if at is None else int(at)
        self._channel.call(iq, start)
        return TxReport(self._settings.tx_gain_db, 0, start)

    def receive(self, n: int, at: int | None = None) -> Capture:
        """Let time pass until `at`, and hear n samples of the sum."""
        self._require_open()
        require_count(n)
        first = self._channel.now if at is None else int(at)
        require_future(first, self._channel.now)
        return Capture(self._channel.heard(n, first), first, 0)


def _listed(numbers: Iterator[float]) -> str:
    """As the flowgraph takes lists, to the last bit."""
    return ",".join(repr(float(number)) for number in numbers)
