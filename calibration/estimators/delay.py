"""Delay from transmitter to receiver in samples, and how much it varies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.estimate import Estimate, MeasurementError, mean_of, root_of
from calibration.track import Track

LEAST = 6  # beacons or bursts


@dataclass(frozen=True)
class Delay:
    """How much later than it was sent a sample arrives.

    Attributes:
        mean: samples. The first sample on the receiver's clock less that on the sender's: between
            radios whose clocks were not set alike it holds the difference of their counters.
        jitter: standard deviation, samples, without what noise makes of each measurement.
    """

    mean: Estimate
    jitter: Estimate


def delay(track: Track) -> Delay:
    """Delay of a radio to itself, or to another at the middle of a track.

    The samples meant are those in the middles of beacons. A skew of the two clocks is a slope over
    what was sent; it is taken off around the middle, and what is left is jitter. Group delays of
    both ends and the path are in the mean.

    Args:
        track: of at least 6 beacons, each sent alone if the jitter of starts is wanted.

    Raises:
        MeasurementError: fewer beacons.
    """
    if len(track) < LEAST:
        raise MeasurementError(f"{len(track)} beacons are too few for a delay; {LEAST} are needed")
    late = track.starts - track.sent
    sent = (track.sent - track.sent.mean()) / np.ptp(track.sent)
    slope = float(sent @ late) / float(sent @ sent)
    rest = late - slope * sent
    variance = float(np.sum((rest - rest.mean()) ** 2)) / (len(track) - 2)
    left = variance - float(track.start_vars.mean())
    error = variance * float(np.sqrt(2 / (len(track) - 2)))
    return Delay(mean_of(rest, "samples"), root_of(left, error, "samples"))
