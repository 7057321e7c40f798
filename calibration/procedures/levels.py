"""From levels of samples to powers at antenna connectors, as far as anybody knows them."""

from __future__ import annotations

from calibration.curve import Curve
from calibration.estimate import Estimate
from calibration.procedures.setup import Setup


def sent_power(setup: Setup) -> Estimate:
    """Power at the sender's connector of samples of magnitude 1, dBm, at the gain in force.

    By its curve `tx_power`; without one, a full scale of 0 dBm at a transmit gain of 0.
    """
    curve = setup.known.sender.curves.get("tx_power")
    gain_db = setup.tx_gain_db
    return Estimate(gain_db, 0.0, "dBm") if curve is None else beyond(curve, gain_db)


def received_gain(setup: Setup) -> Estimate:
    """Level of what arrives less its power at the receiver's connector, dB, at the gain in force.

    By its curve `rx_gain`; without one, by the power that makes full scale at a gain of 0.
    """
    curve = setup.known.receiver.curves.get("rx_gain")
    gain_db = setup.rx_gain_db
    if curve is None:
        return Estimate(gain_db - (setup.full_scale_dbm or 0.0), 0.0, "dB")
    return beyond(curve, gain_db)


def beyond(curve: Curve, gain_db: float) -> Estimate:
    """A curve over a gain, which goes on by a dB a dB beyond what was measured."""
    nearest_db = min(max(gain_db, curve.measured.low), curve.measured.high)
    there = curve.at(nearest_db)
    return Estimate(there.value + gain_db - nearest_db, there.uncertainty, there.unit)
