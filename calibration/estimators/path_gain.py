"""Path gain of each device at the receiver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from calibration.estimate import Estimate, in_db, mean_of, root_of
from calibration.track import Track

LEAST = 4  # beacons


@dataclass(frozen=True)
class PathGain:
    """Large-scale gain from one radio's samples to another's, and how much it fades.

    Attributes:
        gain: mean power, dB: level at the receiver over the level that was sent, both over full
            scale, at the gains that were set. It holds path, antennas and both front ends; with
            the powers that the two full scales stand for it becomes the gain of the path alone.
        fading: standard deviation of the power in dB from beacon to beacon, without noise.
        heard: share of the beacons.
    """

    gain: Estimate
    fading: Estimate
    heard: float


def path_gain(track: Track, sent: int) -> PathGain:
    """Of one device, over the carriers and over all beacons of a track.

    The uncertainty is that of the mean over beacons as they scatter: with fading it says how well
    the mean power is known if each beacon sees the channel afresh. Beacons in one fade tell of it
    only, however many there are.

    Args:
        track: of at least 4 beacons.
        sent: how many had been sent.

    Raises:
        ValueError: fewer beacons, or more than were sent.
    """
    if not LEAST <= len(track) <= sent:
        raise ValueError(f"{LEAST} to {sent} beacons should have been heard, not {len(track)}")
    powers = np.abs(track.gains) ** 2
    mean = mean_of(powers, "")
    relative = powers / powers.mean()
    noise = 2 * float(np.mean(track.gain_vars / powers))  # E|e|^2 is half along the gain
    left = float(relative.var(ddof=1)) - noise
    error = float(relative.var(ddof=1)) * float(np.sqrt(2 / (powers.size - 1)))
    fading = root_of(left, error, "dB")
    to_db = 10 / np.log(10)
    return PathGain(
        gain=in_db(mean.value, mean.uncertainty, "dB"),
        fading=Estimate(to_db * fading.value, to_db * fading.uncertainty, "dB"),
        heard=len(track) / sent,
    )


def path_gains(tracks: Mapping[str, Track | None], sent: int) -> dict[str, PathGain | None]:
    """Of every device by name; None for those who were not heard often enough.

    Args:
        tracks: of each device; None where nothing was heard.
        sent: beacons of each.
    """
    return {
        name: None if track is None or len(track) < LEAST else path_gain(track, sent)
        for name, track in tracks.items()
    }
