"""Chooses the power with which all devices of a bench arrive, and the gain of the receiver.

Large differences of path loss are taken out here, once, by the transmitters' gains. What a channel
does from round to round is left to the protocol, and slow drift to `calibration.power.loop`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from scipy.optimize import brentq

from calibration.estimate import COVERAGE
from calibration.power.plan import GainPlan, PlanError, Planned, Verdict
from calibration.power.sender import Sender
from radio.api import Range

_SAME_DB = 1e-9  # rounding
_DIGITS = 12  # of an error; equal ones differ by rounding


@dataclass(frozen=True)
class ReceiverPoint:
    """A receiver at one setting of its gain.

    Attributes:
        rx_gain_db: the setting.
        full_scale_dbm: power at the connector that makes samples of magnitude 1.
        noise_dbm: over the carriers in use, at the connector.
    """

    rx_gain_db: float
    full_scale_dbm: float
    noise_dbm: float

    def __post_init__(self) -> None:
        for name in ("rx_gain_db", "full_scale_dbm", "noise_dbm"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} should be finite, not {getattr(self, name)}")


@dataclass(frozen=True)
class Aim:
    """What a plan shall reach.

    Attributes:
        backoff_db: mean of a burst below full scale of the transmitter.
        headroom_db: mean of all that send at once below full scale of the receiver, but for the
            rounding of gains. Their preambles add in amplitude, and bursts have peaks: 20 keep both
            below full scale for ten devices.
        num_active: devices that send at once; None for all.
        snr_db: of a device, per carrier, above which no more is wanted; None for no such bound.
        reserve_db: that each device keeps to either side, for drift.
    """

    backoff_db: float = 10.0
    headroom_db: float = 20.0
    num_active: int | None = None
    snr_db: float | None = None
    reserve_db: float = 1.0

    def __post_init__(self) -> None:
        for name in ("backoff_db", "headroom_db", "reserve_db"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} should be 0 or more, not {getattr(self, name)}")
        if self.num_active is not None and self.num_active < 1:
            raise ValueError(f"num_active should be at least 1, not {self.num_active}")
        if self.snr_db is not None and not math.isfinite(self.snr_db):
            raise ValueError(f"snr_db should be finite, not {self.snr_db}")


def mean_error(able: int, num_devices: int, num_active: int, snr_db: float) -> float:
    """Squared error of the mean update over its energy that a target leads to.

    For r of n devices that send at once, updates without correlation and of equal energy, a of the
    n with the weight they should have and the others missing, the share p = a/n of devices able
    gives

        J = 1/p - 1 + 1/(p^2 r SNR),

    the missing share and noise of `fl_core.aggregation`. A device that is weaker than the target,
    but heard, is better than a missing one, so that J errs on the side of caution.

    Args:
        able: a, devices that meet the target for sure, or as surely as they can.
        num_devices: n.
        num_active: r.
        snr_db: of a device on the target.
    """
    if not able:
        return math.inf
    share = able / num_devices
    return 1 / share - 1 + 10 ** (-snr_db / 10) / (share**2 * num_active)


def plan_gains(
    senders: Mapping[str, Sender], serial: str, receiver: Sequence[ReceiverPoint], aim: Aim
) -> GainPlan:
    """The target, and the gain of the receiver, of the least `mean_error` under the limits.

    The limits are what the devices' gains can make, the headroom of the receiver, kept by the
    strongest that may send at once, and the SNR above which no more is wanted. Of equals the lower
    target is taken, to a tenth of a dB: where less is sent, the receiver hears best. Then the
    higher gain of the receiver is, where its converter adds least.

    J falls with the target as long as no device drops out, so that the best one lies where a device
    is about to, or at the limit of the receiver: all of those are tried.

    Args:
        senders: the devices by name.
        serial: of the receiver's radio.
        receiver: settings of its gain to choose from, at least one.
        aim: what is wanted.

    Raises:
        PlanError: nobody sends or receives, or even with all devices turned down the receiver is
            overdriven at every setting.
    """
    if not senders or not receiver:
        raise PlanError("a plan takes at least one device and one setting of the receiver")
    bench = _Bench(senders, aim, min((point.rx_gain_db for point in receiver), default=0.0))
    borne = [point for point in receiver if bench.excess_db(point) <= 0]
    if not borne:
        loudest = max(senders, key=lambda name: bench.reaches[name].low)
        least = min(map(bench.excess_db, receiver))
        raise PlanError(
            f"the receiver is overdriven by {least:.1f} dB with all gains at their lowest, most by "
            f"{loudest}; put attenuators into the paths, or allow less than "
            f"{aim.headroom_db:g} dB of headroom"
        )
    choices = [(point, target) for point in borne for target in bench.targets(point)]
    return bench.plan(serial, *min(choices, key=lambda choice: bench.rank(*choice)))


class _Bench:
    """What can arrive of all devices.

    Attributes:
        reaches: mean of a burst that can arrive of each, dBm.
    """

    def __init__(self, senders: Mapping[str, Sender], aim: Aim, lowest_rx_db: float) -> None:
        self._senders, self._aim, self._lowest_rx_db = senders, aim, lowest_rx_db
        self._farthest_db = min((s.path_gain.value for s in senders.values()), default=0.0)
        self.reaches = {
            name: Range(s.reach_dbm.low - aim.backoff_db, s.reach_dbm.high - aim.backoff_db)
            for name, s in senders.items()
        }
        self._at_once = min(aim.num_active or len(senders), len(senders))
        self._sure = {name: self._sure_reach(name) for name in senders}

    def _kept_db(self, name: str) -> float:
        """What a device should have to spare to either side."""
        return self._aim.reserve_db + COVERAGE * self._senders[name].doubt_db

    def _sure_reach(self, name: str) -> Range:
        """What is sure to arrive; the middle where a device has too little to spare in any case."""
        reach = self.reaches[name]
        kept = min(self._kept_db(name), (reach.high - reach.low) / 2)
        # Both ends of a vanishing interval are computed alike, whatever rounding does to halves.
        high = reach.high - kept
        return Range(min(reach.low + kept, high), high)

    def together_dbm(self, target_dbm: float) -> float:
        """The strongest that may send at once, each as near to a target as it can."""
        return self._sum_dbm(min(max(target_dbm, r.low), r.high) for r in self.reaches.values())

    def excess_db(self, point: ReceiverPoint) -> float:
        """By how much all are too strong for the headroom with gains at their lowest."""
        return self.together_dbm(-math.inf) - self._budget_dbm(point)

    def targets(self, point: ReceiverPoint) -> set[float]:
        """Those that may be best at a setting of the receiver."""
        most = min(self._ceiling_dbm(point), self._wished_dbm(point))
        return {min(sure.high, most) for sure in self._sure.values()}

    def rank(self, point: ReceiverPoint, target_dbm: float) -> tuple[float, float, float]:
        """The less the better."""
        able = sum(target_dbm in sure for sure in self._sure.values())
        snr_db = target_dbm - point.noise_dbm
        error = mean_error(able, len(self._senders), self._at_once, snr_db)
        return round(error, _DIGITS), round(target_dbm, 1), -point.rx_gain_db

    def plan(self, serial: str, point: ReceiverPoint, target_dbm: float) -> GainPlan:
        """The gains for a target."""
        devices = tuple(self._planned(name, target_dbm, point) for name in self._senders)
        together = self._sum_dbm(device.received_dbm for device in devices)
        return GainPlan(
            receiver_serial=serial,
            rx_gain_db=point.rx_gain_db,
            backoff_db=self._aim.backoff_db,
            target_dbm=target_dbm,
            target_dbfs=target_dbm - point.full_scale_dbm,
            snr_db=target_dbm - point.noise_dbm,
            headroom_db=point.full_scale_dbm - together,
            devices=devices,
            reasons=(self._reason(point, target_dbm), *self._complaints(devices)),
        )

    def _planned(self, name: str, target_dbm: float, point: ReceiverPoint) -> Planned:
        sender, reach = self._senders[name], self.reaches[name]
        gain_db = sender.gain_for(target_dbm + self._aim.backoff_db)
        arrives = sender.arrives(gain_db)
        spare = min(reach.high - target_dbm, target_dbm - reach.low)
        missing = self._kept_db(name) - spare
        verdict: Verdict = "unsure"
        if spare < -_SAME_DB:
            verdict, missing = "too weak" if target_dbm > reach.high else "too strong", -spare
        elif missing < _SAME_DB:
            verdict, missing = "meets", 0.0
        return Planned(
            name=name,
            serial=sender.serial,
            tx_gain_db=gain_db,
            rx_gain_db=self._rx_gain_db(sender, point),
            gains_db=sender.gains_db,
            step_db=sender.step_db,
            received_dbm=arrives.value - self._aim.backoff_db,
            doubt_db=arrives.uncertainty,
            verdict=verdict,
            missing_db=missing,
        )

    def _rx_gain_db(self, sender: Sender, point: ReceiverPoint) -> float:
        """With which a device hears the receiver as loud as the farthest one does."""
        nearer_db = sender.path_gain.value - self._farthest_db
        return max(point.rx_gain_db - nearer_db, self._lowest_rx_db)

    def _budget_dbm(self, point: ReceiverPoint) -> float:
        return point.full_scale_dbm - self._aim.headroom_db

    def _ceiling_dbm(self, point: ReceiverPoint) -> float:
        """The highest target that leaves the headroom; inf where the devices cannot exceed it."""
        low = min(reach.low for reach in self.reaches.values())
        high = max(reach.high for reach in self.reaches.values())
        budget = self._budget_dbm(point)
        if self.together_dbm(high) <= budget:
            return math.inf
        return float(brentq(lambda t: self.together_dbm(t) - budget, low, high, xtol=_SAME_DB))

    def _wished_dbm(self, point: ReceiverPoint) -> float:
        snr_db = self._aim.snr_db
        return math.inf if snr_db is None else point.noise_dbm + snr_db

    def _sum_dbm(self, powers_dbm: Iterable[float]) -> float:
        """Of the strongest that may send at once."""
        strongest = sorted(powers_dbm, reverse=True)[: self._at_once]
        return 10 * math.log10(sum(10 ** (power / 10) for power in strongest))

    def _reason(self, point: ReceiverPoint, target_dbm: float) -> str:
        if target_dbm == self._wished_dbm(point):
            why = f"no more than {self._aim.snr_db:g} dB of SNR are wanted"
        elif target_dbm == self._ceiling_dbm(point):
            why = (
                f"full scale of the receiver, {point.full_scale_dbm:.1f} dBm, less "
                f"{self._aim.headroom_db:g} dB for {self._at_once} at once"
            )
        else:
            name = next(n for n, sure in self._sure.items() if sure.high == target_dbm)
            kept = self.reaches[name].high - target_dbm
            why = f"{name} is sure to reach no more, with {kept:.1f} dB kept"
        snr_db = target_dbm - point.noise_dbm
        return f"target {target_dbm:.2f} dBm, {snr_db:.1f} dB over noise: {why}"

    def _complaints(self, devices: Sequence[Planned]) -> list[str]:
        found = []
        for device in devices:
            if device.verdict == "unsure":
                found.append(
                    f"{device.name} is not sure to meet it: it should have "
                    f"{device.missing_db:.1f} dB more to spare"
                )
            elif device.verdict != "meets":
                found.append(f"{device.name} is {device.verdict} by {device.missing_db:.1f} dB")
            best = self._senders[device.name].best_backoff_db
            if best is not None and best > self._aim.backoff_db:
                found.append(
                    f"{device.name} distorts: {best:.1f} dB would be its best back-off, not "
                    f"{self._aim.backoff_db:g}"
                )
        return found
