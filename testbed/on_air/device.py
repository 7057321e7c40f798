"""A device's part of a round: hear the receiver, and be heard in step with all others."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from radio.api import Radio, TxReport
from radio.waveform.ofdm import modulate
from radio.waveform.preamble import Preamble
from radio.waveform.sync import Arrival, correlation, detect, measure
from radio.waveform.tracker import PhaseTracker
from testbed.on_air.link import ComplexArray, Link, delay_ramp
from testbed.on_air.timeline import Timeline

_MARGIN = 16  # samples by which a sync beacon may be off its predicted time


Time = TypeVar("Time", float, npt.NDArray[np.float64])


class Mark(NamedTuple):
    """A beacon: when it left by the receiver's clock, when it arrived by this radio's."""

    sent: float
    heard: float
    weight: float


class Device:
    """One round of one device. Times are samples from the round's start at the receiver.

    From the first beacon on it knows how its own sample clock relates to the receiver's, and from
    all beacons how its carrier moves against the receiver's. Whatever it sends leaves at the
    receiver's time, on the receiver's carrier, and with the phase of its sounding.
    """

    def __init__(self, radio: Radio, timeline: Timeline, link: Link) -> None:
        self._radio = radio
        self._timeline = timeline
        self._link = link
        self._tracker = PhaseTracker(link.carrier_hz, link.allan_deviation)
        self._marks: list[Mark] = []
        self._cfo_hz = 0.0
        self._sounded: tuple[float, float] | None = None  # own time in s, phase that was sent
        self.trace = np.zeros(0, np.float32)  # of the beacon's correlation, for a figure
        self.turned = 0.0  # rad, by which the last burst was turned back against the sounding

    @property
    def synchronised(self) -> bool:
        """Whether the beacon was heard."""
        return bool(self._marks)

    @property
    def cfo_hz(self) -> float:
        """Receiver's carrier minus one's own."""
        return self._cfo_hz

    def hear_beacon(self, expected: int) -> bool:
        """Listen for the beacon around this sample of the own clock; True when it was heard."""
        beacon, search = self._timeline.beacon, self._link.search
        first = max(expected - search, 0)
        capture = self._radio.receive(beacon.length + 2 * search, at=first)
        arrival = detect(capture.iq, beacon, self._link.max_cfo_hz)
        if arrival is not None:
            self._cfo_hz = 0.0 if self._link.shared_clock else arrival.cfo_hz
            self._take(arrival, beacon, capture.first_sample, sent=0)
        self.trace = correlation(capture.iq, beacon, self._cfo_hz)
        return arrival is not None

    def hear_sync(self, sent: int) -> bool:
        """Listen for the sync beacon that the receiver sends at `sent`; True when it was heard."""
        sync = self._timeline.sync
        expected = self._own(sent)
        first = int(expected) - _MARGIN
        capture = self._radio.receive(sync.length + 2 * _MARGIN, at=first)
        start = expected - capture.first_sample
        arrival = measure(capture.iq, sync, start, self._cfo_hz)
        if arrival is None:
            return False
        self._take(arrival, sync, capture.first_sample, sent)
        self._cfo_hz = self._tracker.cfo_hz(self._tracker.observations[-1].time_s)
        return True

    def sound(self, slot: int) -> TxReport:
        """Send the pilot symbol in one's slot."""
        start = self._timeline.sounding + slot * self._timeline.slot
        values = self._timeline.pilot.values[None]
        centre_s = self._own(start + self._timeline.pilot.length / 2) / self._rate
        self._sounded = (centre_s, self._phase(centre_s))
        return self._send(values, start, turn=0.0)

    def send(
        self, values: ComplexArray, burst: int, equaliser: ComplexArray, advance: float
    ) -> TxReport:
        """Send a burst.

        Args:
            values: of all carriers, complex64 [symbols, K].
            burst: its number in the round.
            equaliser: complex64 [K], granted by the receiver.
            advance: samples to send earlier, granted too.
        """
        assert self._sounded is not None
        # The sounding went out with the phase that was then predicted. Beacons behind it tell
        # better what the phase was; the difference is part of what the receiver took for channel.
        centre_s, predicted = self._sounded
        self.turned = predicted - self._phase(centre_s)
        return self._send(values * equaliser, self._timeline.bursts[burst] - advance, self.turned)

    def _send(self, values: ComplexArray, start: float, turn: float) -> TxReport:
        step = self._timeline.numerology.symbol_length
        starts = self._own(start + step * np.arange(len(values), dtype=np.float64))
        first = int(np.floor(starts[0]))
        # Each symbol is delayed by what its start is off this radio's grid; the ramp's growth from
        # symbol to symbol is the skew of the two sample clocks.
        delays = starts - (first + step * np.arange(len(values)))
        iq = modulate(
            values * delay_ramp(delays, self._timeline.numerology), self._timeline.numerology
        )
        iq *= np.float32(self._link.amplitude)
        if not self._link.shared_clock:
            iq *= self._rotation(first, iq.size, turn)
        return self._radio.transmit(iq, at=first)

    def _rotation(self, first: int, n: int, turn: float) -> ComplexArray:
        """Turns with the predicted phase; beyond the last beacon that is a constant frequency."""
        ends = np.array([first, first + n]) / self._rate
        (begin, end), _ = self._tracker.phase(ends)
        phase = begin + turn + (end - begin) / n * np.arange(n)
        rotation: ComplexArray = np.exp(1j * phase).astype(np.complex64)
        return rotation

    def _phase(self, time_s: float) -> float:
        if self._link.shared_clock:
            return 0.0
        return float(self._tracker.phase(np.array([time_s]))[0][0])

    def _take(self, arrival: Arrival, preamble: Preamble, first: int, sent: int) -> None:
        heard = first + arrival.start
        centre = heard + preamble.guard + (preamble.length - preamble.guard) / 2
        weight = arrival.snr * (preamble.length - preamble.guard)
        self._marks.append(Mark(sent, heard, weight))
        self._tracker.observe(
            centre / self._rate,
            arrival.phase,
            arrival.phase_var,
            arrival.cfo_hz,
            (preamble.length - preamble.guard) / self._rate,
        )

    def _own(self, time: Time) -> Time:
        """Receiver's samples of the round to one's own, fractional."""
        skew = 1 - self._cfo_hz / self._link.carrier_hz
        marks = self._marks
        total = sum(mark.weight for mark in marks)
        origin = sum(m.weight / total * (m.heard - m.sent * skew) for m in marks)
        return origin + skew * time

    @property
    def _rate(self) -> float:
        return self._timeline.numerology.sample_rate_hz
