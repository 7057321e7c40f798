"""The plan of a bench from the profiles of its radios."""

from __future__ import annotations

import math
from collections.abc import Mapping

from calibration.curve import Curve
from calibration.estimate import Estimate
from calibration.estimators.noise import THERMAL_DBM_PER_HZ
from calibration.power.plan import GainPlan, PlanError
from calibration.power.planner import Aim, ReceiverPoint, plan_gains
from calibration.power.sender import Sender
from calibration.profiles.profile import AnyProfile, Profile
from radio.waveform.numerology import Numerology


def plan_of(
    devices: Mapping[str, AnyProfile],
    receiver: AnyProfile,
    aim: Aim,
    numerology: Numerology,
    bits: int,
    step_db: float = 0.0,
    max_tx_gain_db: float = math.inf,
) -> GainPlan:
    """The best gains for what was measured; `plan_gains` says what is best.

    Gains are those at which the radios were measured, and in between: those they are known to take.

    Args:
        devices: profiles by name of the device, with `tx_power` and `path_gain`.
        receiver: profile of the receiver's radio, with `rx_gain` and `noise_figure`.
        aim: what is wanted.
        numerology: of the waveform.
        bits: of the receiver's converter, whose rounding is noise at low gains.
        step_db: of the transmitters' gains, which are multiples of it; 0 for any gain.
        max_tx_gain_db: that the bench's limits permit.

    Raises:
        PlanError: a device or the receiver has no profile, a profile lacks something or was
            measured against another receiver, or there is no plan: see `plan_gains`.
    """
    at = _profile("the receiver", receiver)
    senders = {}
    for name, profile in devices.items():
        device = _profile(name, profile)
        _require_measured_at(name, device, at)
        best_backoff = device.scalars.get("best_backoff")
        try:
            senders[name] = Sender(
                serial=device.serial,
                tx_power=_curve(name, device, "tx_power"),
                path_gain=_scalar(name, device, "path_gain"),
                highest_db=max_tx_gain_db,
                step_db=step_db,
                best_backoff_db=None if best_backoff is None else best_backoff.value,
            )
        except ValueError as error:
            raise PlanError(f"{name}: {device.source}: {error}") from error
    return plan_gains(senders, at.serial, receiver_points(at, numerology, bits), aim)


def receiver_points(receiver: Profile, numerology: Numerology, bits: int) -> list[ReceiverPoint]:
    """What a receiver does at whole gains in dB within the linear range of its curve.

    Noise at the connector is that of its noise figure, the same at all gains, and that of rounding
    to b bits in I and Q, of a variance of 2^(2 - 2b)/12 each, which the gain divides.

    Args:
        receiver: its profile.
        numerology: of the waveform; noise counts over the carriers in use.
        bits: of the converter.

    Raises:
        PlanError: the profile lacks a curve or the noise figure.
    """
    curve = _curve("the receiver", receiver, "rx_gain")
    figure_db = _scalar("the receiver", receiver, "noise_figure").value
    rate_db = 10 * math.log10(numerology.sample_rate_hz)
    in_use_db = 10 * math.log10(numerology.used_carriers / numerology.fft_size)
    thermal = 10 ** ((THERMAL_DBM_PER_HZ + rate_db + figure_db) / 10)
    rounding = 2 * 4.0 ** (1 - bits) / 12
    first, last = math.ceil(curve.linear.low), math.floor(curve.linear.high)
    points = []
    for rx_gain_db in range(first, last + 1) or [curve.linear.low]:
        gain_db = curve.at(rx_gain_db).value
        noise_db = 10 * math.log10(thermal + rounding * 10 ** (-gain_db / 10)) + in_use_db
        points.append(ReceiverPoint(float(rx_gain_db), -gain_db, noise_db))
    return points


def _profile(name: str, profile: AnyProfile) -> Profile:
    if not isinstance(profile, Profile):
        raise PlanError(f"{name} has no profile; calibrate it")
    return profile


def _require_measured_at(name: str, device: Profile, receiver: Profile) -> None:
    """Powers of several devices compare where one receiver measured them by one scale."""
    against, _, level = device.reference.rpartition(", level ")
    if against != receiver.serial:
        raise PlanError(
            f"{name}: {device.source}: was measured against {device.reference!r}, not against the "
            f"receiver {receiver.serial}; calibrate it there"
        )
    if level != receiver.reference.rpartition(", level ")[2]:
        raise PlanError(
            f"{name}: {device.source}: its level was {level}, and the receiver's was not; "
            "calibrate both alike"
        )


def _curve(name: str, profile: Profile, curve: str) -> Curve:
    if curve not in profile.curves:
        raise PlanError(f"{name}: {profile.source}: has no curve {curve}; measure it")
    return profile.curves[curve]


def _scalar(name: str, profile: Profile, scalar: str) -> Estimate:
    if scalar not in profile.scalars:
        raise PlanError(f"{name}: {profile.source}: has no {scalar}; measure it")
    return profile.scalars[scalar]
