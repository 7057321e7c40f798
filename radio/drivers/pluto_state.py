"""What a PlutoSDR is set to: as it has to be while it is open, and as it was found."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import adi
import numpy as np

from radio.api import RadioError, Range

PHY, ADC, DAC = "ad9361-phy", "cf-ad9361-lpc", "cf-ad9361-dds-core-lpc"
MUTED_DB = -89.75
KERNEL_BUFFERS = 4  # of both directions, unless somebody sets another number
MOST_KERNEL_BUFFERS = 64
RESERVE = 4  # kernel buffers to receive for each one to send
TRACKED = ("quadrature", "rf_dc_offset", "bb_dc_offset")
FOUND = ("rx_lo", "tx_lo", "rx_rf_bandwidth", "tx_rf_bandwidth", "rx_hardwaregain_chan0")
DECIMATION = ("rx_dec8_filter_en", "tx_int8_filter_en")


def mute(sdr: adi.Pluto) -> None:
    """Maximum attenuation, and no tone: without a buffer the DDS plays what it was last told to."""
    sdr.tx_hardwaregain_chan0 = MUTED_DB
    sdr.dds_scales = np.zeros(4)
    sdr.disable_dds()


def set_kernel_buffers(sdr: adi.Pluto, to_send: int) -> None:
    """Those of a stream; OSError EBUSY where somebody streams already.

    Those that receive delay nothing: they only fill while the host is late.
    """
    sdr.ctx.find_device(DAC).set_kernel_buffers_count(to_send)
    sdr.ctx.find_device(ADC).set_kernel_buffers_count(_to_receive(to_send))


def receives(sdr: adi.Pluto, to_send: int) -> bool:
    """Whether a stream from the radio is open: its kernel buffers cannot be set then."""
    try:
        sdr.ctx.find_device(ADC).set_kernel_buffers_count(_to_receive(to_send))
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return True
    return False


def _to_receive(to_send: int) -> int:
    return min(RESERVE * to_send, MOST_KERNEL_BUFFERS)


def span(attribute: Any) -> Range:
    """What an attribute that reads ``[low step high]`` permits."""
    low, _, high = attribute.value.strip(" []").split()
    return Range(float(low), float(high))


class PlutoState:
    """How a radio was found, which it is left as.

    A filter's coefficients cannot be read back: where one was loaded and in use, pyadi-iio's own
    for the same rate is left.
    """

    def __init__(self, sdr: adi.Pluto) -> None:
        """Look at it; nothing is changed."""
        self._found = {name: int(getattr(sdr, name)) for name in FOUND}
        self._rate = int(sdr.sample_rate)
        self._decimates = {name: bool(getattr(sdr, name)) for name in DECIMATION}
        self._texts = {key: attribute.value for key, attribute, _ in _fixed(sdr)}
        self._filters = _filter(sdr).value
        self._xo_hz = _crystal(sdr).value

    def prepare(self, sdr: adi.Pluto, xo_hz: int | None) -> None:
        """Set what stays as it is while the radio is open.

        Args:
            sdr: the radio, muted.
            xo_hz: frequency of its crystal; None leaves it as it was found.

        Raises:
            RadioError: the radio does not permit this crystal.
        """
        sdr.loopback = 0
        if xo_hz is not None:
            allowed = span(sdr.ctx.find_device(PHY).attrs["xo_correction_available"])
            if xo_hz not in allowed:
                raise RadioError(
                    f"xo_hz = {xo_hz} is outside {allowed.low:.0f} to {allowed.high:.0f} of this "
                    "radio"
                )
            _crystal(sdr).value = str(xo_hz)
            if int(_crystal(sdr).value) != xo_hz:
                raise RadioError(f"xo_hz = {xo_hz} was set, and reads {_crystal(sdr).value}")
        for _, attribute, text in _fixed(sdr):
            _set(attribute, text)
        for name in DECIMATION:
            if getattr(sdr, name):
                setattr(sdr, name, False)

    def restore(self, sdr: adi.Pluto) -> None:
        """Set everything to what was found; the radio stays muted, and off the loopback."""
        sdr.loopback = 0
        _set(_crystal(sdr), self._xo_hz)  # before all that is counted by it
        if int(sdr.sample_rate) != self._rate or _filter(sdr).value != self._filters:
            sdr.sample_rate = self._rate
            _set(_filter(sdr), self._filters)
        for name, value in self._found.items():
            setattr(sdr, name, value)
        for name, decimates in self._decimates.items():
            if decimates:
                setattr(sdr, name, True)
        mute(sdr)  # once more: another sample rate turns the transmitter up
        for key, attribute, _ in reversed([*_fixed(sdr)]):
            _set(attribute, self._texts[key])
        for name in (DAC, ADC):
            sdr.ctx.find_device(name).set_kernel_buffers_count(KERNEL_BUFFERS)


class Watched:
    """Settings that nobody else may change while a radio streams."""

    def __init__(self, sdr: adi.Pluto) -> None:
        """Watch them as they are now."""
        phy = sdr.ctx.find_device(PHY)
        receiver = phy.find_channel("voltage0", False)
        transmitter = phy.find_channel("voltage0", True)
        self._attributes = {
            "the sample rate": sdr.ctx.find_device(ADC)
            .find_channel("voltage0", False)
            .attrs["sampling_frequency"],
            "the transmit gain": transmitter.attrs["hardwaregain"],
            "the receive gain": receiver.attrs["hardwaregain"],
            "the receive carrier": phy.find_channel("altvoltage0", True).attrs["frequency"],
            "the transmit carrier": phy.find_channel("altvoltage1", True).attrs["frequency"],
            "the gain mode": receiver.attrs["gain_control_mode"],
            "the crystal's correction": phy.attrs["xo_correction"],
            "the loopback": phy.debug_attrs["loopback"],
        }
        self._values = {name: attribute.value for name, attribute in self._attributes.items()}
        self._next = cycle(self._attributes)

    def changes(self) -> str:
        """What somebody changed, if that shows in one of them; in the next one with the next call.

        One look takes as long as a transfer of few samples: it should not be at all of them.
        """
        name = next(self._next)
        if self._attributes[name].value == self._values[name]:
            return ""
        now = {name: attribute.value for name, attribute in self._attributes.items()}
        return ", ".join(
            f"{name} from {before} to {now[name]}"
            for name, before in self._values.items()
            if now[name] != before
        )


def _fixed(sdr: adi.Pluto) -> Iterator[tuple[str, Any, str]]:
    """Name, attribute, and what it has to be while the radio is open; those there are."""
    phy = sdr.ctx.find_device(PHY)
    receiver = phy.find_channel("voltage0", False)
    yield "ensm_mode", phy.attrs["ensm_mode"], "fdd"
    # A transmitter whose carrier moves far would calibrate itself by a tone at full drive.
    yield "calib_mode", phy.attrs["calib_mode"], "manual"
    for name in ("altvoltage0", "altvoltage1"):
        yield name, phy.find_channel(name, True).attrs["powerdown"], "0"
    # An automatic gain, and corrections that move during a round, turn the phase of what is heard.
    yield "gain_control_mode", receiver.attrs["gain_control_mode"], "manual"
    for each in TRACKED:
        name = f"{each}_tracking_en"
        if name in receiver.attrs:
            yield name, receiver.attrs[name], "0"


def _filter(sdr: adi.Pluto) -> Any:
    """Whether the FIR filters."""
    phy = sdr.ctx.find_device(PHY)
    return phy.find_channel("out", False).attrs["voltage_filter_fir_en"]


def _crystal(sdr: adi.Pluto) -> Any:
    """What the crystal is taken to be, Hz."""
    return sdr.ctx.find_device(PHY).attrs["xo_correction"]


def _set(attribute: Any, text: str) -> None:
    """Write what is not so yet: some attributes act whenever they are written."""
    if attribute.value != text:
        attribute.value = text
