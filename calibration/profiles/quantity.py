"""What a profile can hold: names, units, and how far each may be off."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """One number of a radio.

    Attributes:
        title: for people.
        unit: as in `Estimate`.
        tolerance: in `unit`, by which it may be off before rounds suffer; None where it is only
            to be known. What a round loses by it at worst is about a tenth of its noise at 30 dB.
    """

    title: str
    unit: str
    tolerance: float | None = None


@dataclass(frozen=True)
class Relation:
    """One number over a setting of a radio.

    Attributes:
        title: for people.
        setting: for people, what it is over.
        setting_unit, unit: of both.
        tolerance: as of a `Quantity`.
    """

    title: str
    setting: str
    setting_unit: str
    unit: str
    tolerance: float | None = None


SCALARS = {
    "tx_dc_in_phase": Quantity("LO leakage, in phase", "", 0.002),
    "tx_dc_quadrature": Quantity("LO leakage, quadrature", "", 0.002),
    "rx_dc_in_phase": Quantity("DC offset, in phase", "", 0.002),
    "rx_dc_quadrature": Quantity("DC offset, quadrature", "", 0.002),
    "tx_iq_gain": Quantity("IQ gain, transmitter", "dB", 0.1),
    "tx_iq_phase": Quantity("IQ phase, transmitter", "deg", 0.5),
    "rx_iq_gain": Quantity("IQ gain, receiver", "dB", 0.1),
    "rx_iq_phase": Quantity("IQ phase, receiver", "deg", 0.5),
    "tx_gain_error": Quantity("gain error, transmitter", "dB", 0.5),
    "rx_gain_error": Quantity("gain error, receiver", "dB", 0.5),
    "tx_compression": Quantity("1 dB compression, drive", "dBFS", 0.5),
    "best_backoff": Quantity("best back-off", "dB"),
    "noise_floor": Quantity("noise floor", "dBFS", 1.0),
    "noise_figure": Quantity("noise figure", "dB", 1.0),
    "cfo": Quantity("carrier offset", "Hz", 200.0),
    "skew": Quantity("clock skew", "ppm", 0.2),
    "allan_deviation": Quantity("Allan deviation at 0.1 s", ""),
    "delay": Quantity("delay TX to RX", "samples", 0.25),
    "delay_jitter": Quantity("jitter of the delay", "samples"),
    "start_jitter": Quantity("jitter of starts", "s"),
    "coherence_time": Quantity("coherence time", "s"),
    "amplitude_stability": Quantity("amplitude, rms change", "dB"),
    "phase_stability": Quantity("phase, rms change", "deg"),
    "reciprocity_gain": Quantity("reciprocity, gain", "dB", 0.5),
    "reciprocity_phase": Quantity("reciprocity, phase", "deg", 5.0),
    "path_gain": Quantity("path gain at the receiver", "dB", 0.5),
}
"""By name.

DC is over full scale, behind the imbalance of its mixer: what is subtracted from samples received,
or has to be made up for in samples sent. An imbalance leaves I as it is and makes
g (Q cos phi - I sin phi) of Q, g being the gain and phi the phase. A gain error is by how much
levels are higher than the curve `tx_power` or `rx_gain` says, or without one the gain setting. The
carrier offset is positive where the radio's carrier lies above the reference's, at the profile's
carrier and in Hz of the radio's own clock; a positive skew is a clock that is fast. The delay is
from a sample's index when it is sent to that when it is heard, by the radio itself or by one that
counts as it does.
"""

CURVES = {
    "tx_power": Relation("power at full scale", "transmit gain", "dB", "dBm", 0.5),
    "rx_gain": Relation("level over input power", "receive gain", "dB", "dB", 0.5),
    "tx_drive": Relation("gain over drive", "drive", "dBFS", "dB", 0.5),
    "backoff_nmse": Relation("NMSE over back-off", "back-off", "dB", "dB"),
    "allan": Relation("Allan deviation over time", "averaging time", "s", ""),
}
"""By name.

`tx_power` is what leaves the antenna connector when samples of magnitude 1 are sent, `rx_gain` the
level of samples in dBFS less the power at the connector in dBm, `tx_drive` the gain of the
transmitter over that of small signals. `backoff_nmse` is what noise and distortion make of a symbol
on the path that it was measured on, `allan` how much the frequency against the reference's wanders
from one averaging time to the next, relative to the carrier.
"""
