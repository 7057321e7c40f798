"""The gains of a bench, as planned: what to set, what arrives, and who cannot meet the target."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from calibration.power.sender import on_steps
from radio.api import RadioError, Range

Verdict = Literal["meets", "unsure", "too weak", "too strong"]
VERDICTS: tuple[str, ...] = get_args(Verdict)


class PlanError(RadioError):
    """A plan cannot be made or used: what is wrong, where, and what would be right."""


@dataclass(frozen=True)
class Planned:
    """What is planned for one device.

    Attributes:
        name: of the device.
        serial: of its radio.
        tx_gain_db: to be set.
        rx_gain_db: to be set, to hear the receiver.
        gains_db: within which the gain may be moved.
        step_db: of which gains are multiples; 0 for any gain.
        received_dbm: mean of a burst that should arrive.
        doubt_db: standard uncertainty of it.
        verdict: whether it meets the target; unsure where it does, but with less to spare than
            doubt and reserve ask for.
        missing_db: what it lacks for meeting the target for sure, 0 or more: of power, of
            attenuation, or of what it should have to spare.
    """

    name: str
    serial: str
    tx_gain_db: float
    rx_gain_db: float
    gains_db: Range
    step_db: float
    received_dbm: float
    doubt_db: float
    verdict: Verdict
    missing_db: float

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict should be one of {', '.join(VERDICTS)}, not {self.verdict}")
        if self.tx_gain_db not in self.gains_db:
            raise ValueError(f"tx_gain_db = {self.tx_gain_db:g} is outside {self.gains_db}")
        for name in ("step_db", "doubt_db", "missing_db"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} should be 0 or more, not {getattr(self, name)}")


@dataclass(frozen=True)
class GainPlan:
    """Gains of a bench. Powers are means of a burst, dBm at the receiver's connector.

    Attributes:
        receiver_serial: of the receiver's radio.
        rx_gain_db: of the receiver.
        backoff_db: mean of a burst below full scale of its transmitter.
        target_dbm: that every device should arrive with.
        target_dbfs: the same in samples of the receiver.
        snr_db: of a device on the target, per carrier.
        headroom_db: from the mean of the strongest that send at once up to full scale.
        devices: each by itself.
        reasons: why the target is what it is, and who cannot meet it.
    """

    receiver_serial: str
    rx_gain_db: float
    backoff_db: float
    target_dbm: float
    target_dbfs: float
    snr_db: float
    headroom_db: float
    devices: tuple[Planned, ...]
    reasons: tuple[str, ...]

    def __post_init__(self) -> None:
        names = [device.name for device in self.devices]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"devices should be one or more with a name each, not {names}")

    @property
    def reference_gain_db(self) -> float:
        """Received over sent samples of a device on the target, both over their full scale."""
        return self.target_dbfs + self.backoff_db

    @property
    def tx_gains_db(self) -> dict[str, float]:
        """What to set, by device."""
        return {device.name: device.tx_gain_db for device in self.devices}

    @property
    def unable(self) -> tuple[Planned, ...]:
        """Devices that do not meet the target, or are not sure to."""
        return tuple(device for device in self.devices if device.verdict != "meets")

    def within(self, max_tx_gain_db: float) -> GainPlan:
        """The plan where transmit gains may go no higher than this.

        Raises:
            PlanError: it has a device go higher already.
        """
        devices = []
        for device in self.devices:
            if device.tx_gain_db > max_tx_gain_db:
                raise PlanError(
                    f"{device.name}: tx_gain_db = {device.tx_gain_db:g} exceeds the bench's "
                    f"{max_tx_gain_db:g}; plan again"
                )
            gains = Range(device.gains_db.low, min(device.gains_db.high, max_tx_gain_db))
            devices.append(replace(device, gains_db=on_steps(gains, device.step_db)))
        return replace(self, devices=tuple(devices))

    def require_radios(self, receiver: str, devices: Mapping[str, str]) -> None:
        """PlanError unless the radios are those that were planned for, and in their places.

        Args:
            receiver: serial of the receiver's radio.
            devices: serials by name; those that are not here may be left out.
        """
        planned = {device.name: device.serial for device in self.devices}
        if receiver != self.receiver_serial:
            raise PlanError(
                f"the plan is for the receiver {self.receiver_serial}, not for {receiver}; "
                "calibrate against this one and plan again"
            )
        owners = {serial: name for name, serial in planned.items()}
        for name, serial in devices.items():
            if name not in planned:
                raise PlanError(f"{name} is not in the plan; it has {', '.join(planned)}")
            if serial != planned[name]:
                whose = f", which is planned for {owners[serial]}" if serial in owners else ""
                raise PlanError(
                    f"{name} has the radio {serial}{whose}; its own would be {planned[name]}: "
                    "put the radios back into their places, or plan again"
                )

    def __str__(self) -> str:
        rows = [("device", "radio", "tx gain", "arrives", "off", "room", "")]
        for d in self.devices:
            arrives = f"{d.received_dbm:.2f} ± {d.doubt_db:.2f}"
            off = f"{d.received_dbm - self.target_dbm:+.2f}"
            room = f"{d.gains_db.high - d.tx_gain_db:.2f}"
            rows.append((d.name, d.serial, f"{d.tx_gain_db:.2f}", arrives, off, room, d.verdict))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )
        return "\n".join([*self.reasons, *table])
