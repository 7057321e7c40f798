"""Which receive gain suits what arrives: neither saturated nor deaf."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from calibration.estimate import MeasurementError
from calibration.probes import SATURATED, beacon, preamble_iq, saturated_share
from calibration.procedures.setup import Setup
from radio.api import IQ, Range
from radio.waveform.sync import detect

LOOKS, USUAL_LOOKS = 8, 2
PEAK = 0.5  # of I or Q that is aimed at: 6 dB are left for fading and for stronger probes
NEAR_DB = 3.0  # too quiet is near enough; too loud would take what is left for those
BACK_DB, MOST_DB = 25.0, 40.0  # a step where it saturates, and the longest upwards
SAME_DB = 0.5  # a radio takes the nearest of its gains


def ranging_s(setup: Setup) -> float:
    """How long it usually takes to set a gain."""
    return setup.hearing_s(beacon(setup.numerology).length, USUAL_LOOKS)


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
    iq = _ranged(
        setup, lambda: setup.rx_gain_db, setup.set_rx_gain, setup.receiver.caps.rx_gain_db, quiet_db
    )
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


def range_sender(setup: Setup) -> None:
    """Set the transmit gain by what arrives of a beacon at the receive gain in force.

    Where the gains that radio and limits permit do not suffice, it is the nearest of them.

    Raises:
        RadioError: as of `Setup.hear`.
    """
    allowed = Range(setup.sender.caps.tx_gain_db.low, setup.highest_tx_gain_db)
    _ranged(setup, lambda: setup.tx_gain_db, setup.set_tx_gain, allowed)


def _ranged(
    setup: Setup,
    gain_db: Callable[[], float],
    turn: Callable[[float], None],
    allowed: Range,
    quiet_db: float = NEAR_DB,
) -> IQ:
    """Turn a gain until a beacon arrives with the peak that is aimed at; what was heard of it."""
    probe = preamble_iq(beacon(setup.numerology))
    for _ in range(LOOKS):
        iq = setup.hear(probe).iq
        step_db, now_db = _step_db(iq), gain_db()
        want_db = min(max(now_db + step_db, allowed.low), allowed.high)
        if -SAME_DB <= step_db <= quiet_db or abs(want_db - now_db) < SAME_DB:
            break
        turn(want_db)
    return iq


def _step_db(iq: IQ) -> float:
    """By how many dB to change the receive gain after such a capture."""
    if saturated_share(iq) > SATURATED:
        return -BACK_DB
    peak = float(max(np.abs(iq.real).max(), np.abs(iq.imag).max()))
    return min(20 * math.log10(PEAK / peak), MOST_DB) if peak else MOST_DB
