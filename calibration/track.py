"""What was heard of beacons over time: the raw material of all that has to do with clocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from calibration.estimate import MeasurementError
from calibration.probes import HIGHEST_SNR, Beacons, hear, preamble_amplitude
from radio.waveform.preamble import Preamble
from radio.waveform.sync import Arrival, measure

ComplexArray = npt.NDArray[np.complex64]
IndexArray = npt.NDArray[np.int64]
RealArray = npt.NDArray[np.float64]

FIRST_RATES = 8  # beacons whose own frequencies say how the phase turns to begin with


@dataclass(frozen=True, eq=False)
class Track:
    """Beacons of one sender at one receiver.

    Attributes:
        preamble: that was sent.
        sent: where each began on the sender's clock, int64 [n], ascending.
        first: sample of the receiver's clock from which the `start` of each arrival counts,
            int64 [n].
        arrivals: of each.
    """

    preamble: Preamble
    sent: IndexArray
    first: IndexArray
    arrivals: tuple[Arrival, ...]

    def __post_init__(self) -> None:
        if not len(self.sent) == len(self.first) == len(self.arrivals):
            raise ValueError(
                f"{len(self.sent)} times sent and {len(self.first)} captures for "
                f"{len(self.arrivals)} arrivals; there should be one of each"
            )
        if np.any(np.diff(self.sent) <= 0):
            raise ValueError("beacons should be in the order in which they were sent")

    def __len__(self) -> int:
        return len(self.arrivals)

    @classmethod
    def of(
        cls,
        iq: ComplexArray,
        beacons: Beacons,
        max_cfo_hz: float,
        first_sample: int = 0,
        sent_at: int = 0,
    ) -> Track:
        """The beacons that were heard in one capture; those lost on the way are left out.

        Args:
            iq: complex64 [n].
            beacons: that were sent.
            max_cfo_hz: largest carrier offset.
            first_sample: of the capture on the receiver's clock.
            sent_at: first sample of the burst on the sender's clock.

        Raises:
            MeasurementError: saturated, or nothing heard. The first beacon has to be.
        """
        last = hear(iq, beacons.preamble, max_cfo_hz)
        arrivals, sent, step = [last], [0], 0
        for at in beacons.sent[1:]:
            # Clocks within 100 ppm stray less than the search over a spacing of 0.08 s.
            expected = last.start + float(at) - step
            # Only what is near, or every beacon would cost a look at the whole capture.
            near = max(int(expected) - beacons.spacing // 2, 0)
            piece = iq[near : near + beacons.spacing + beacons.preamble.length]
            found = measure(piece, beacons.preamble, expected - near, last.cfo_hz)
            if found is not None:
                arrivals.append(replace(found, start=found.start + near))
                sent.append(int(at))
                last, step = arrivals[-1], int(at)
        where = np.array(sent, np.int64) + sent_at
        return cls(beacons.preamble, where, np.full(len(sent), first_sample), tuple(arrivals))

    @classmethod
    def join(cls, tracks: Sequence[Track]) -> Track:
        """One track of several that follow each other, as from one capture each."""
        return cls(
            tracks[0].preamble,
            np.concatenate([track.sent for track in tracks]),
            np.concatenate([track.first for track in tracks]),
            tuple(arrival for track in tracks for arrival in track.arrivals),
        )

    @cached_property
    def starts(self) -> RealArray:
        """Where each began on the receiver's clock, in samples, float64 [n]."""
        return np.array([a.start for a in self.arrivals]) + self.first

    @cached_property
    def start_vars(self) -> RealArray:
        """Variances of `starts` from noise, samples^2: the Cramér-Rao bounds, float64 [n]."""
        return np.array(
            [self.preamble.bounds(min(a.snr, HIGHEST_SNR)).start for a in self.arrivals]
        )

    @cached_property
    def times_s(self) -> RealArray:
        """Of the middle of each on the receiver's clock, where its phase counts, float64 [n]."""
        numerology = self.preamble.numerology
        half = self.preamble.repeats * numerology.fft_size / 2
        return (self.starts + self.preamble.guard + half) / numerology.sample_rate_hz

    @cached_property
    def phase_vars(self) -> RealArray:
        """Variances of the phases from noise, rad^2, float64 [n]."""
        return np.array([a.phase_var for a in self.arrivals])

    @cached_property
    def phases(self) -> RealArray:
        """At `times_s`, in rad, float64 [n], without jumps: cycles between beacons are counted.

        Each beacon is expected where the turning between the two before it leads.

        Raises:
            MeasurementError: one is more than a quarter turn away from there: the channel moves, or
                the beacons lie too far apart for these oscillators.
        """
        rate = 2 * math.pi * float(np.mean([a.cfo_hz for a in self.arrivals[:FIRST_RATES]]))
        phases = [self.arrivals[0].phase]
        for arrival, passed in zip(self.arrivals[1:], np.diff(self.times_s), strict=True):
            expected = phases[-1] + rate * float(passed)
            beyond = math.remainder(arrival.phase - expected, 2 * math.pi)
            if abs(beyond) > math.pi / 2:
                raise MeasurementError(
                    f"the phase turned by {math.degrees(beyond):.0f} degrees more than expected "
                    f"within {1e3 * passed:.1f} ms; the channel has to stay as it is meanwhile"
                )
            phases.append(expected + beyond)
            rate = (phases[-1] - phases[-2]) / float(passed)
        return np.array(phases)

    @property
    def gains(self) -> npt.NDArray[np.complex128]:
        """Complex gain of each over what was sent, complex128 [n]; the phase at `times_s`."""
        amplitude = np.array([a.gain for a in self.arrivals]) / preamble_amplitude(self.preamble)
        turns = np.exp(1j * np.array([a.phase for a in self.arrivals], np.float64))
        return np.asarray(amplitude * turns, np.complex128)

    @property
    def gain_vars(self) -> RealArray:
        """Variances of `gains` from noise, E|error|^2, float64 [n]."""
        looks = self.preamble.repeats * self.preamble.numerology.used_carriers
        noise = np.array([a.noise_var for a in self.arrivals])
        return noise / looks / preamble_amplitude(self.preamble) ** 2
