"""What a radio behind SoapySDR is set to, and how it was found."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import SoapySDR
from SoapySDR import SOAPY_SDR_RX, SOAPY_SDR_TX

from radio.api import RadioCaps, RadioError, RadioSettings, Range

MAX_BURST = 1 << 24
DEFAULT_BITS = 16
WAYS = {"rx": SOAPY_SDR_RX, "tx": SOAPY_SDR_TX}
THERMOMETER, LOCKED = "temp", "ref_locked"
LOCKING_S = 2.0  # in which a reference is locked to
LOOK_EVERY_S = 0.02
CLOSE = 1e-6  # two rates are the same within this share


@dataclass(frozen=True)
class Wiring:
    """What of a device is used, and what is wired to it; None leaves what it is set to.

    Attributes:
        channel: of both directions.
        rx_antenna, tx_antenna: names of its connectors.
        clock: source of its reference.
        time: source of its pulse per second.
    """

    channel: int = 0
    rx_antenna: str | None = None
    tx_antenna: str | None = None
    clock: str | None = None
    time: str | None = None


class SoapyState:
    """The settings of one channel of a device, in the directions that it has."""

    def __init__(self, device: SoapySDR.Device, name: str, wiring: Wiring) -> None:
        """Look at a device of this name, and keep in mind how it was found.

        Raises:
            RadioError: it receives on no such channel, or has no such antenna or source.
        """
        self._device, self._name, self._channel = device, name, wiring.channel
        self.directions = tuple(
            way for way in WAYS.values() if wiring.channel < device.getNumChannels(way)
        )
        if SOAPY_SDR_RX not in self.directions:
            count = device.getNumChannels(SOAPY_SDR_RX)
            raise RadioError(f"{name} has {count} channels to receive on, and no {wiring.channel}")
        self._wanted = self._choices(wiring)
        self._watched = wiring.clock not in (None, "internal") and LOCKED in device.listSensors()
        self._found = {
            "clock source": device.getClockSource(),
            "time source": device.getTimeSource(),
            **{f"{name} antenna": self._of(way)[0] for name, way in self._ways()},
        }
        self._values = {way: self._of(way)[1:] for way in self.directions}
        self._automatic: bool | None = None  # gain; None where there is no such thing
        if device.hasGainMode(SOAPY_SDR_RX, wiring.channel):
            self._automatic = device.getGainMode(SOAPY_SDR_RX, wiring.channel)

    @property
    def can_transmit(self) -> bool:
        """Whether this channel sends, too."""
        return SOAPY_SDR_TX in self.directions

    def caps(self, timed: bool, turnaround_s: float) -> RadioCaps:
        """What this channel can do.

        Args:
            timed: whether its samples have the times of its own clock.
            turnaround_s: by which commands have to be ahead.
        """
        device, channel = self._device, self._channel
        # What the samples are by themselves, Python is not told: the binding lacks that reference.
        whole = re.findall(r"\bCS(\d+)\b", " ".join(device.getStreamFormats(SOAPY_SDR_RX, channel)))
        return RadioCaps(
            name=self._name,
            can_transmit=self.can_transmit,
            timed=timed,
            full_duplex=self.can_transmit and device.getFullDuplex(SOAPY_SDR_RX, channel),
            bits=max(map(int, whole), default=DEFAULT_BITS),
            carrier_hz=self._common(device.getFrequencyRange),
            sample_rate_hz=self._common(device.getSampleRateRange),
            tx_gain_db=self._gains(SOAPY_SDR_TX),
            rx_gain_db=self._gains(SOAPY_SDR_RX),
            max_burst=MAX_BURST,
            turnaround_s=turnaround_s,
            continuous=False,
        )

    def prepare(self) -> None:
        """Set what stays as it is while the radio is open; RadioError without a reference."""
        self._choose(self._wanted)
        self.require_reference(LOCKING_S)
        if self._automatic is not None:
            self._device.setGainMode(SOAPY_SDR_RX, self._channel, False)

    def require_reference(self, within_s: float = 0.0) -> None:
        """RadioError unless it is locked to a reference that it was told to use, or soon is."""
        until_s = time.monotonic() + within_s
        while self._watched and self._device.readSensor(LOCKED) != "true":
            if time.monotonic() >= until_s:
                clock = self._wanted["clock source"]
                raise RadioError(
                    f"{self._name} is not locked to its reference, clock={clock}; is 10 MHz "
                    "connected, at a level it takes?"
                )
            time.sleep(LOOK_EVERY_S)

    def read(self) -> RadioSettings:
        """The settings in force."""
        device, channel = self._device, self._channel
        return RadioSettings(
            carrier_hz=device.getFrequency(SOAPY_SDR_RX, channel),
            sample_rate_hz=device.getSampleRate(SOAPY_SDR_RX, channel),
            tx_gain_db=device.getGain(SOAPY_SDR_TX, channel) if self.can_transmit else 0.0,
            rx_gain_db=device.getGain(SOAPY_SDR_RX, channel),
        )

    def apply(self, want: RadioSettings) -> None:
        """Set these; RadioError where the device has no such rate, which it keeps then."""
        for way in self.directions:
            self._set_rate(way, want.sample_rate_hz)
        for way in self.directions:
            self._device.setFrequency(way, self._channel, want.carrier_hz)
            self._set_bandwidth(way, want.sample_rate_hz)
            gain_db = want.rx_gain_db if way == SOAPY_SDR_RX else want.tx_gain_db
            self._device.setGain(way, self._channel, gain_db)

    def restore(self) -> None:
        """Set everything to what was found, but for a transmitter, which is left at its weakest."""
        device, channel = self._device, self._channel
        self.mute()
        for way, (rate_hz, carrier_hz, gain_db, bandwidth_hz) in self._values.items():
            device.setSampleRate(way, channel, rate_hz)
            device.setFrequency(way, channel, carrier_hz)
            self._set_bandwidth(way, bandwidth_hz)
            if way == SOAPY_SDR_RX:
                device.setGain(way, channel, gain_db)
        if self._automatic is not None:
            device.setGainMode(SOAPY_SDR_RX, channel, self._automatic)
        self._choose(self._found)

    def about(self) -> dict[str, str]:
        """What the device tells of itself."""
        device = self._device
        told = {"model": device.getHardwareKey(), "driver": device.getDriverKey()}
        told |= dict(device.getHardwareInfo())
        if serial := told.get("serial") or told.get("mboard_serial"):
            told["serial"] = serial
        if THERMOMETER in device.listSensors():
            told["temperature"] = f"{float(device.readSensor(THERMOMETER)):.1f} °C"
        return {name: text for name, text in told.items() if text}

    def mute(self) -> None:
        """Turn the transmitter down as far as it goes."""
        if self.can_transmit:
            self._device.setGain(SOAPY_SDR_TX, self._channel, self._gains(SOAPY_SDR_TX).low)

    def _choices(self, wiring: Wiring) -> dict[str, str]:
        """What is wanted of what there is to choose from."""
        wanted = {}
        for what, name in (
            ("clock source", wiring.clock),
            ("time source", wiring.time),
            ("rx antenna", wiring.rx_antenna),
            ("tx antenna", wiring.tx_antenna),
        ):
            if name is not None and name not in (there := self._there(what)):
                listed = ", ".join(there) or "none"
                raise RadioError(f"{self._name} has no {what} {name!r}; there are {listed}")
            if name is not None:
                wanted[what] = name
        return wanted

    def _there(self, what: str) -> tuple[str, ...]:
        device = self._device
        if what == "clock source":
            return tuple(device.listClockSources())
        if what == "time source":
            return tuple(device.listTimeSources())
        return tuple(device.listAntennas(WAYS[what.partition(" ")[0]], self._channel))

    def _choose(self, names: Mapping[str, str]) -> None:
        """Set sources and antennas; one without a name is none that the device lets choose."""
        device = self._device
        for what, name in names.items():
            if what == "clock source" and name:
                device.setClockSource(name)
            elif what == "time source" and name:
                device.setTimeSource(name)
            elif name:
                device.setAntenna(WAYS[what.partition(" ")[0]], self._channel, name)

    def _of(self, way: int) -> tuple[str, float, float, float, float]:
        """Antenna, rate, carrier, gain and bandwidth of a direction."""
        device, channel = self._device, self._channel
        return (
            device.getAntenna(way, channel),
            device.getSampleRate(way, channel),
            device.getFrequency(way, channel),
            device.getGain(way, channel),
            device.getBandwidth(way, channel),
        )

    def _ways(self) -> Iterator[tuple[str, int]]:
        return ((name, way) for name, way in WAYS.items() if way in self.directions)

    def _set_rate(self, way: int, rate_hz: float) -> None:
        device, channel = self._device, self._channel
        before = device.getSampleRate(way, channel)
        if before == rate_hz:
            return  # some devices stop for it
        device.setSampleRate(way, channel, rate_hz)
        got = device.getSampleRate(way, channel)
        if abs(got - rate_hz) > CLOSE * rate_hz:
            for each in self.directions:
                device.setSampleRate(each, channel, before)
            raise RadioError(
                f"{self._name} has no sample_rate_hz = {rate_hz:.10g}; the nearest it takes is "
                f"{got:.10g}"
            )

    def _set_bandwidth(self, way: int, bandwidth_hz: float) -> None:
        """Where the device has several."""
        device, channel = self._device, self._channel
        ranges = device.getBandwidthRange(way, channel)
        if len(ranges) > 1 or any(each.maximum() > each.minimum() for each in ranges):
            device.setBandwidth(way, channel, bandwidth_hz)

    def _common(self, ranges: Callable[[int, int], tuple[SoapySDR.Range, ...]]) -> Range:
        """What all directions have in common, from the lowest to the highest."""
        spans = [ranges(way, self._channel) for way in self.directions]
        return Range(
            max(min(each.minimum() for each in span) for span in spans),
            min(max(each.maximum() for each in span) for span in spans),
        )

    def _gains(self, way: int) -> Range:
        if way not in self.directions:
            return Range(0.0, 0.0)
        gains = self._device.getGainRange(way, self._channel)
        return Range(gains.minimum(), gains.maximum())
