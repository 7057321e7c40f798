"""Which receive gain suits what arrives: neither saturated nor deaf."""

from __future__ import annotations

import math

import numpy as np

from calibration.estimate import MeasurementError
from calibration.probes import SATURATED, beacon, preamble_iq, saturated_share
from calibration.procedures.setup import Setup
from radio.api import IQ
from radio.waveform.sync import detect

LOOKS = 8
PEAK = 0.5  # of I or Q that is aimed at: 6 dB are left for fading and for stronger probes
NEAR_DB = 3.0
BACK_DB, MOST_DB = 25.0, 40.0  # a step where it saturates, and the longest upwards
SAME_DB = 0.5  # a radio takes the nearest of its gains


def range_receiver(setup: Setup, quiet_db: float = NEAR_DB) -> None:
    """Set the receive gain by what arrives of a beacon at the transmit gain in force.

    Args:
        setup: whose radios are set up.
        quiet_db: by which it may be too low and stays as it is.

    Raises:
        MeasurementError: saturated at the lowest gain, or deaf at the highest.
        RadioError: as of `Setup.hear`.
    """
    preamble = beacon(setup.numerology)
    probe, allowed = preamble_iq(preamble), setup.receiver.caps.rx_gain_db
    for _ in range(LOOKS):
        iq = setup.hear(probe).iq
        step_db, gain_db = step_to_range(iq), setup.rx_gain_db
        want_db = min(max(gain_db + step_db, allowed.low), allowed.high)
        if -NEAR_DB <= step_db <= quiet_db or abs(want_db - gain_db) < SAME_DB:
            break
        setup.set_gains(rx_gain_db=want_db)
    if saturated_share(iq) > SATURATED:
        raise MeasurementError(
            f"the receiver is saturated at its gain of {setup.rx_gain_db:g} dB; lower tx_gain_db, "
            f"which is {setup.tx_gain_db:g} dB, or put an attenuator of {BACK_DB:.0f} dB or more "
            "between the radios"
        )
    if detect(iq, preamble, setup.max_cfo_hz) is None:
        raise MeasurementError(
            f"the receiver is deaf: it hears no probe at its gain of {setup.rx_gain_db:g} dB; "
            f"raise tx_gain_db, which is {setup.tx_gain_db:g} dB, look at cables and antennas, or "
            f"allow for more than {setup.max_cfo_hz:g} Hz of carrier offset"
        )


def step_to_range(iq: IQ) -> float:
    """By how many dB to change the receive gain after such a capture."""
    if saturated_share(iq) > SATURATED:
        return -BACK_DB
    peak = float(max(np.abs(iq.real).max(), np.abs(iq.imag).max()))
    return min(20 * math.log10(PEAK / peak), MOST_DB) if peak else MOST_DB
