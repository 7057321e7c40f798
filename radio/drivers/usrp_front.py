"""What a USRP is set to: rates, carriers, gains, antennas; as asked, and as it was found."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

import uhd

from radio.api import RadioCaps, RadioError, RadioSettings, Range
from radio.drivers.usrp_clock import asking

LOCKING_S = 0.5  # of a synthesizer
LOOK_EVERY_S = 0.01
SAME_RATE = 1e-9  # by which fraction a rate may miss what was asked
# Converters, by how the names of motherboards begin; wires carry 16 bits.
BITS = {"B2": 12, "E3": 12, "N2": 14, "USRP2": 14, "X3": 14, "X4": 14, "N3": 14}
MAX_BURST = 1 << 24
SAME_CARRIER_HZ = 1e3  # by which a carrier may miss what was asked; more is where it cannot go


@dataclass(frozen=True)
class Wiring:
    """Which of a board's inputs and outputs are used, and how; None leaves what is usual.

    Attributes:
        subdev: front end, as `A:0`, of both directions.
        rx_antenna, tx_antenna: connectors.
        lo_offset_hz: from the carrier to the synthesizers; keeps their leakage off the carrier.
        by_power: whether gains count in dBm of full scale, by the calibration that the device has:
            `tx_gain_db` is the power of samples of magnitude 1, `rx_gain_db` the power that gives
            them, negative.
    """

    subdev: str | None = None
    rx_antenna: str | None = None
    tx_antenna: str | None = None
    lo_offset_hz: float = 0.0
    by_power: bool = False


class UsrpFront:
    """Settings of the first channel of a board, and what they were."""

    def __init__(self, usrp: uhd.usrp.MultiUSRP, name: str, wiring: Wiring) -> None:
        """Look at it, wire it, and mute it.

        Raises:
            RadioError: there is no such front end or antenna, or no calibration of powers.
        """
        self._usrp, self._name, self._wiring = usrp, name, wiring
        self._choose()
        self._found = self._present()  # of the front end that is used
        self._wire()
        self.mute()

    def caps(self, turnaround_s: float, continuous: bool) -> RadioCaps:
        """Of the board, with its daughterboards."""
        usrp = self._usrp
        board = usrp.get_mboard_name(0)
        tx_gains, rx_gains = self._gains()
        return RadioCaps(
            name=f"USRP {board} at {self._name}",
            can_transmit=True,
            timed=True,
            full_duplex=True,
            bits=next((bits for kind, bits in BITS.items() if board.upper().startswith(kind)), 12),
            carrier_hz=_both(usrp.get_rx_freq_range(), usrp.get_tx_freq_range()),
            sample_rate_hz=_both(usrp.get_rx_rates(), usrp.get_tx_rates()),
            tx_gain_db=tx_gains,
            rx_gain_db=rx_gains,
            max_burst=MAX_BURST,
            turnaround_s=turnaround_s,
            trigger=True,
            continuous=continuous,
        )

    def set_rate(self, rate_hz: float) -> None:
        """The rate of both directions; RadioError where the board has another in its place."""
        usrp = self._usrp
        with asking(self._name, "refuses the sample rate"):
            usrp.set_rx_rate(rate_hz)
            usrp.set_tx_rate(rate_hz)
            found = (usrp.get_rx_rate(), usrp.get_tx_rate())
        for each in found:
            if abs(each - rate_hz) > SAME_RATE * rate_hz:
                raise RadioError(
                    f"{self._name} has no sample rate of {rate_hz:.9g} Hz; the nearest is "
                    f"{each:.9g}: its clock of {usrp.get_master_clock_rate():.9g} Hz is divided"
                )

    def tune(self, carrier_hz: float) -> None:
        """Tune both directions; where a command time is set, at that time.

        Raises:
            RadioError: another carrier came of it, so that the one before is back.
        """
        before_hz = self._usrp.get_rx_freq()
        for found_hz in self._tuned(carrier_hz):
            if abs(found_hz - carrier_hz) > SAME_CARRIER_HZ:
                self._tuned(before_hz)
                raise RadioError(
                    f"{self._name} reaches {found_hz:.9g} Hz in place of {carrier_hz:.9g} with "
                    f"lo_offset_hz={self._wiring.lo_offset_hz:g}; a smaller one would do"
                )

    def _tuned(self, carrier_hz: float) -> tuple[float, float]:
        """Carriers of both directions that come of it."""
        request = uhd.types.TuneRequest(carrier_hz, self._wiring.lo_offset_hz)
        with asking(self._name, "refuses the carrier"):
            self._usrp.set_rx_freq(request)
            self._usrp.set_tx_freq(request)
            return self._usrp.get_rx_freq(), self._usrp.get_tx_freq()

    def require_locked(self) -> None:
        """RadioError unless both synthesizers stand."""
        usrp, until_s = self._usrp, time.monotonic() + LOCKING_S
        for way, names, sensor in (
            ("receiver", usrp.get_rx_sensor_names(0), usrp.get_rx_sensor),
            ("transmitter", usrp.get_tx_sensor_names(0), usrp.get_tx_sensor),
        ):
            while "lo_locked" in names:
                with asking(self._name, f"does not tell of the synthesizer of its {way}"):
                    if sensor("lo_locked", 0).to_bool():
                        break
                if time.monotonic() > until_s:
                    raise RadioError(f"{self._name}: the synthesizer of the {way} does not lock")
                time.sleep(LOOK_EVERY_S)

    def set_gains(self, tx_gain_db: float, rx_gain_db: float) -> None:
        """Gains, or powers at full scale."""
        usrp = self._usrp
        with asking(self._name, "refuses the gain"):
            if self._wiring.by_power:
                usrp.set_tx_power_reference(tx_gain_db)
                usrp.set_rx_power_reference(-rx_gain_db)
            else:
                usrp.set_tx_gain(tx_gain_db)
                usrp.set_rx_gain(rx_gain_db)

    def settings(self) -> RadioSettings:
        """As the board has them."""
        usrp = self._usrp
        with asking(self._name, "does not tell its settings"):
            if self._wiring.by_power:
                gains = usrp.get_tx_power_reference(), -usrp.get_rx_power_reference()
            else:
                gains = usrp.get_tx_gain(), usrp.get_rx_gain()
            return RadioSettings(usrp.get_rx_freq(), usrp.get_rx_rate(), *gains)

    def mute(self) -> None:
        """The least that the transmitter can."""
        with asking(self._name, "cannot be muted"):
            self._usrp.set_tx_gain(self._usrp.get_tx_gain_range().start())

    def restore(self) -> None:
        """Rates, receive gain, antennas and sources as they were found, and muted.

        Raises:
            RadioError: it does not answer.
        """
        now = self._present()
        with asking(self._name, "cannot be restored"):
            for what, value in self._found.items():
                if now[what] != value:
                    getattr(self._usrp, f"set_{what}")(value)
        self.mute()

    def _present(self) -> dict[str, Any]:
        usrp = self._usrp
        with asking(self._name, "does not tell its settings"):
            plain = {
                what: getattr(usrp, f"get_{what}")()
                for what in ("rx_antenna", "tx_antenna", "rx_rate", "tx_rate", "rx_gain")
            }
            sources = {
                what: getattr(usrp, f"get_{what}")(0) for what in ("clock_source", "time_source")
            }
        return {**plain, **sources}

    def _choose(self) -> None:
        usrp, subdev = self._usrp, self._wiring.subdev
        if subdev is None:
            return
        try:
            spec = uhd.usrp.SubdevSpec(subdev)
            usrp.set_rx_subdev_spec(spec)
            usrp.set_tx_subdev_spec(spec)
            usrp.get_rx_freq_range(), usrp.get_tx_freq_range()  # only now it looks
        except (RuntimeError, LookupError, ValueError) as error:
            there = re.search(r"possible values are: \[(.*?)\]", str(error))
            raise RadioError(
                f"{self._name} has no front end subdev={subdev}; "
                + (f"there are {there[1]}" if there else "one looks like A:0")
            ) from error

    def _wire(self) -> None:
        usrp, wiring = self._usrp, self._wiring
        for way, want in (("rx", wiring.rx_antenna), ("tx", wiring.tx_antenna)):
            if want is None:
                continue
            with asking(self._name, "does not tell its antennas"):
                there = getattr(usrp, f"get_{way}_antennas")(0)
            if want not in there:
                raise RadioError(
                    f"{self._name} has no {way}_antenna={want}; there are {', '.join(there)}"
                )
            getattr(usrp, f"set_{way}_antenna")(want)
        if wiring.by_power and not (
            usrp.has_tx_power_reference() and usrp.has_rx_power_reference()
        ):
            raise RadioError(
                f"{self._name} has no calibration of its powers; leave gain=power out, or make one "
                "with uhd_power_cal.py where the device keeps it"
            )

    def _gains(self) -> tuple[Range, Range]:
        usrp = self._usrp
        if not self._wiring.by_power:
            return _range(usrp.get_tx_gain_range()), _range(usrp.get_rx_gain_range())
        heard = _range(usrp.get_rx_power_range())
        return _range(usrp.get_tx_power_range()), Range(-heard.high, -heard.low)


def _range(given: Any) -> Range:
    return Range(float(given.start()), float(given.stop()))


def _both(one: Any, other: Any) -> Range:
    return Range(max(one.start(), other.start()), min(one.stop(), other.stop()))
