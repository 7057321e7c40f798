"""The receiver's part of a round: call, sound the channels, and hear the superposition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from radio.api import IQ, Capture, Radio, RadioError, TxReport
from radio.waveform.chanest import delay_samples, least_squares, smooth
from radio.waveform.frame import BurstLayout
from radio.waveform.numerology import Numerology
from radio.waveform.ofdm import demodulate, null_carriers
from radio.waveform.sync import measure
from testbed.on_air.link import ADVANCE, SOUNDING_ADVANCE, ComplexArray, Link, delay_ramp
from testbed.on_air.timeline import Timeline

RealArray = npt.NDArray[np.float64]

_HEARD = 10.0  # energy of a device's pilots over that of noise, from which on it took part
_SEARCHED = 20.0  # the same for soundings, whose delay is searched: of noise, 256 e^-20
_ROUGH = 1e-6  # of a channel's power, left unexplained: not worth a longer delay spread
_IN_TIME = 0.005  # samples, -43 dB: below that, taking out an estimate costs more than it mends
FULL_SCALE = 0.999  # of I or Q: what a converter of 11 bits and more gives when it is overdriven
SPREADS = (0.0, 4.0, 8.0, 16.0)  # samples over which the energy of a channel may be spread


@dataclass(frozen=True)
class Sounding:
    """What the receiver learnt of r channels; amplitudes are relative to the reference gain.

    Attributes:
        gains: float64 [r], amplitude that each device's symbols will arrive with; 0 if not heard.
        equalisers: complex64 [r, K], granted to the devices.
        channels: complex64 [r, K], estimated.
        delays: float64 [r], samples by which each device's signal was late: its timing advance.
        heard: bool [r].
        noise_var: per carrier and symbol.
    """

    gains: RealArray
    equalisers: ComplexArray
    channels: ComplexArray
    delays: RealArray
    heard: npt.NDArray[np.bool_]
    noise_var: float

    def aimed_at(self, gains: RealArray) -> Sounding:
        """The same channels, with equalisers for these gains instead, [r], where they permit.

        A channel that has become weaker keeps its lower gain: nobody sends above the limit.
        """
        aim = np.minimum(self.gains, gains)
        scale = np.divide(aim, self.gains, out=np.zeros_like(aim), where=self.gains > 0)
        return replace(
            self,
            gains=aim,
            equalisers=self.equalisers * scale[:, None].astype(np.float32),
            heard=self.heard & (gains > 0),
        )

    @property
    def powers(self) -> RealArray:
        """Mean power of each channel over its carriers, [r]; 0 where nothing was heard."""
        power: RealArray = np.mean(np.abs(self.channels.astype(np.complex128)) ** 2, axis=1)
        return power * self.heard

    @property
    def snr_db(self) -> RealArray:
        """SNR of each device's pilot, [r]; -inf where nothing was heard."""
        with np.errstate(divide="ignore"):
            ratio: RealArray = 10 * np.log10(self.powers / self.noise_var)
        return ratio


@dataclass(frozen=True)
class Heard:
    """One burst as received.

    Attributes:
        symbols: complex64 [capacity], the superposition of the analog symbols.
        noise_var: per symbol, what does not belong to the superposition.
        pilots: complex128 [2, r], gain of each device at both pilot symbols, relative to the common
            phase; the sounded gain where all is well.
        rotation: float64 [data_symbols], rad, common phase that was taken out.
        late: samples by which the common preamble came late, taken out.
        present: bool [r], devices that took part.
        iq: the samples.
    """

    symbols: ComplexArray
    noise_var: float
    pilots: npt.NDArray[np.complex128]
    rotation: RealArray
    late: float
    present: npt.NDArray[np.bool_]
    iq: IQ


class Receiver:
    """One round at the receiver. Times are samples from the round's start, on its own clock."""

    def __init__(self, radio: Radio, timeline: Timeline, link: Link, start: int) -> None:
        self._radio = radio
        self._timeline = timeline
        self._link = link
        self.start = start
        self.overdriven = 0

    def send_beacon(self) -> TxReport:
        """Start the round."""
        return self._send(self._timeline.beacon.iq, 0)

    def send_sync(self, start: int) -> TxReport:
        """Send a sync beacon."""
        return self._send(self._timeline.sync.iq, start)

    def hear_soundings(self) -> tuple[Sounding, IQ]:
        """Listen to all slots, and keep what was received."""
        timeline = self._timeline
        iq = self._hear(timeline.sounding, timeline.num_devices * timeline.slot)
        return self.sounding_of(iq), iq

    def sounding_of(self, iq: IQ) -> Sounding:
        """Channels from the samples of all slots."""
        timeline, numerology = self._timeline, self._timeline.numerology
        slots = iq.reshape(timeline.num_devices, timeline.slot)[:, : timeline.pilot.length]
        symbols = np.ascontiguousarray(slots) / self._unit
        received = demodulate(symbols, numerology, SOUNDING_ADVANCE)[:, 0]
        empty = null_carriers(symbols, numerology, SOUNDING_ADVANCE)
        noise_var = float(np.mean(np.abs(empty) ** 2))
        raw = least_squares(received, timeline.pilot.values)
        channels, modes = _smoothed(raw, noise_var, numerology)
        # Noise alone leaves its variance in each of the modes that are estimated, at the best of
        # all delays that are searched.
        energy = np.sum(np.abs(channels) ** 2, axis=1)
        heard = energy > (_SEARCHED + 2 * modes) * noise_var
        delays = np.array([delay_samples(h, numerology) for h in channels])
        # The device undoes the delay in time, the equaliser what is left.
        granted = [
            self._link.equaliser(h) for h in channels * delay_ramp(delays, numerology).conj()
        ]
        return Sounding(
            gains=np.where(heard, [gain for gain, _ in granted], 0.0),
            equalisers=np.stack([equaliser for _, equaliser in granted]),
            channels=channels,
            delays=delays,
            heard=heard,
            noise_var=noise_var,
        )

    def hear_burst(self, burst: int, sounding: Sounding) -> Heard:
        """Listen to a burst."""
        layout = self._timeline.layouts[burst]
        iq = self._hear(self._timeline.bursts[burst], layout.length)
        return self.burst_of(iq, layout, sounding)

    def burst_of(self, iq: IQ, layout: BurstLayout, sounding: Sounding) -> Heard:
        """The superposition from the samples of a burst."""
        arrival = measure(iq, layout.preamble, start=0.0, cfo_hz=0.0, cfo_known=True)
        late = 0.0 if arrival is None or abs(arrival.start) < _IN_TIME else arrival.start
        values = self.carriers_of(iq) * delay_ramp(-late, layout.numerology)
        carriers, r = layout.numerology.used_carriers, layout.num_devices
        pilots = layout.pilots
        received = values[layout.pilot_rows]
        gains = _by_owner(received / pilots, layout)
        common = np.angle(gains @ sounding.gains)
        gains *= np.exp(-1j * common)[:, None]
        explained = np.stack([gains[s, layout.owners[s]] for s in range(2)]) * pilots
        residual = received * np.exp(-1j * common)[:, None] - explained
        # Each device's gain was fitted to its pilots: r of K equations are spent.
        noise_var = float(np.mean(np.abs(residual) ** 2)) * carriers / (carriers - r)
        present = np.mean(np.abs(gains) ** 2, axis=0) * carriers > _HEARD * noise_var
        rotation = _between(common, layout)
        turned_back = np.exp(-1j * rotation).astype(np.complex64)[:, None]
        symbols = layout.collect(values[layout.data_rows] * turned_back, layout.capacity)
        # What devices are turned against each other adds to the superposition's error, in
        # proportion to its power.
        turned = np.mean(gains.imag**2, axis=0) - noise_var / (2 * carriers)
        power = float(np.sum(sounding.gains[present] ** 2))
        share = max(float(np.sum(turned[present])), 0.0) / power if power else 0.0
        received_power = max(float(np.mean(np.abs(symbols) ** 2)) - noise_var, 0.0)
        return Heard(
            symbols=symbols,
            noise_var=noise_var + share * received_power,
            pilots=gains,
            rotation=rotation,
            late=late,
            present=present & sounding.heard,
            iq=iq,
        )

    def carriers_of(self, iq: IQ) -> ComplexArray:
        """Values on all carriers, complex64 [symbols, K], in units of the reference gain."""
        return demodulate(iq, self._timeline.numerology, ADVANCE) / self._unit

    @property
    def _unit(self) -> np.float32:
        return np.float32(self._link.amplitude * self._link.reference_gain)

    def _send(self, iq: IQ, start: int) -> TxReport:
        return self._radio.transmit(iq * np.float32(self._link.amplitude), at=self.start + start)

    def _hear(self, start: int, length: int) -> IQ:
        capture: Capture = self._radio.receive(length, at=self.start + start)
        parts = capture.iq.view(np.float32)
        self.overdriven += int(np.count_nonzero(np.abs(parts) >= FULL_SCALE))
        if capture.overflows:
            raise RadioError(
                f"the receiver lost {capture.overflows} samples at {start} of the round; "
                "lower the sample rate"
            )
        return capture.iq


class Superposition:
    """What the bursts behind one sounding carried, put together.

    Args:
        num_symbols: that they carry.
        sounding: of the devices.
    """

    def __init__(self, num_symbols: int, sounding: Sounding) -> None:
        self.symbols = np.empty(num_symbols, np.complex64)
        self.acknowledged = sounding.heard.copy()
        self._done = 0
        self._noise = 0.0

    def part(self, layout: BurstLayout) -> slice:
        """Which analog symbols the next burst carries."""
        return slice(self._done, min(self._done + layout.capacity, self.symbols.size))

    def add(self, heard: Heard, layout: BurstLayout) -> None:
        """Take in the next burst."""
        part = self.part(layout)
        size = part.stop - part.start
        self.symbols[part] = heard.symbols[:size]
        self.acknowledged &= heard.present
        self._noise += heard.noise_var * size
        self._done = part.stop

    @property
    def noise_var(self) -> float:
        """Mean over the symbols so far."""
        return self._noise / self._done

    @classmethod
    def join(cls, parts: Sequence[Superposition]) -> Superposition:
        """Several, one behind the other; a device has to be in all of them."""
        whole = copy(parts[0])
        whole.symbols = np.concatenate([part.symbols for part in parts])
        whole.acknowledged = np.all([part.acknowledged for part in parts], axis=0)
        whole._done = sum(part._done for part in parts)
        whole._noise = sum(part._noise for part in parts)
        return whole


def levels_db(powers: RealArray) -> RealArray:
    """Powers of channels in dB over that of |h| = 1, float64 [r]; -inf for one not heard."""
    with np.errstate(divide="ignore"):
        levels: RealArray = 10 * np.log10(powers)
    return levels


def by_device(devices: Sequence[int], levels: RealArray) -> dict[str, float]:
    """Levels in dB, [r], of the devices that were heard, by number: as rows keep them."""
    return {str(i): float(x) for i, x in zip(devices, levels, strict=True) if x > -math.inf}


def largest_delay(delays: RealArray, heard: npt.NDArray[np.bool_]) -> float:
    """Samples by which a device that was heard, [r], was early or late; 0 without any."""
    return float(np.abs(delays[heard]).max()) if heard.any() else 0.0


def _smoothed(
    raw: ComplexArray, noise_var: float, numerology: Numerology
) -> tuple[ComplexArray, float]:
    """Channels [r, K] smoothed as much as they permit, and how many modes that leaves.

    The shortest delay spread is taken that explains what was received: what is left over is then
    noise.
    """
    carriers = numerology.used_carriers
    silent = len(numerology.null_bins)
    for spread in SPREADS:
        channels = np.stack([smooth(h, noise_var, spread, numerology) for h in raw])
        modes = 1 + spread * carriers / numerology.fft_size
        left = float(np.mean(np.abs(raw - channels) ** 2)) * carriers / (carriers - modes)
        # Both are estimates; four of their standard deviations.
        doubt = 4 * np.sqrt((1 / carriers + 1 / silent) / len(raw))
        if left < (1 + doubt) * noise_var + _ROUGH * float(np.mean(np.abs(raw) ** 2)):
            break
    return channels, modes


def _by_owner(ratios: ComplexArray, layout: BurstLayout) -> npt.NDArray[np.complex128]:
    """Mean of each device's carriers, [2, r], of ratios [2, K]."""
    gains = np.zeros((2, layout.num_devices), np.complex128)
    for s, owners in enumerate(layout.owners):
        np.add.at(gains[s], owners, ratios[s])
        gains[s] /= np.bincount(owners, minlength=layout.num_devices)
    return gains


def _between(common: RealArray, layout: BurstLayout) -> RealArray:
    """The common phase at each data symbol, [data_symbols], the short way between the pilots."""
    first, last = layout.pilot_rows
    turn = float(np.angle(np.exp(1j * (common[1] - common[0]))))
    rows = np.arange(layout.data_symbols) + layout.data_rows.start
    phase: RealArray = common[0] + turn * (rows - first) / (last - first)
    return phase
