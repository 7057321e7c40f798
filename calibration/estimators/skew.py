"""Sample-clock skew: how much faster one radio's samples pass than another's."""

from __future__ import annotations

import numpy as np

from calibration.estimate import Estimate, MeasurementError, widening
from calibration.track import Track

LEAST = 6  # beacons


def skew(track: Track) -> Estimate:
    """By how many ppm the sender's sample clock is fast, as the receiver's clock counts.

    A least-squares line through arrivals over what was sent. The sign is that of the carrier
    offset: where one oscillator makes carrier and samples, the skew is the offset over the
    carrier, and a difference between the two tells a fault. Only the ratio of the two clocks can be
    seen, no clock alone. The uncertainty is that of noise; over minutes clocks drift as well.

    Args:
        track: of at least 6 beacons; three times as long makes it 5 times as certain.

    Raises:
        MeasurementError: fewer beacons.
    """
    if len(track) < LEAST:
        raise MeasurementError(f"{len(track)} beacons are too few for a skew; {LEAST} are needed")
    sent = track.sent - track.sent.mean()
    # Near zero, so that the difference keeps its digits.
    late = (track.starts - track.starts[0]) - (track.sent - track.sent[0])
    moment = float(sent @ sent)
    slope = float(sent @ late) / moment
    rest = late - late.mean() - slope * sent
    freedom = len(track) - 2
    error = float(np.sqrt(rest @ rest / freedom / moment)) * widening(freedom)
    return Estimate(1e6 * (1 / (1 + slope) - 1), 1e6 * error, "ppm")
