"""The context of a virtual PlutoSDR: its devices, channels and attributes, and their XML.

Attribute values are kept under the name of their file in sysfs, which several channels may share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from xml.etree import ElementTree

DOCTYPE = """<!DOCTYPE context [
<!ELEMENT context (context-attribute*, device*)>
<!ELEMENT context-attribute EMPTY>
<!ELEMENT device (channel*, attribute*, debug-attribute*, buffer-attribute*)>
<!ELEMENT channel (scan-element?, attribute*)>
<!ELEMENT scan-element EMPTY>
<!ELEMENT attribute EMPTY>
<!ELEMENT debug-attribute EMPTY>
<!ELEMENT buffer-attribute EMPTY>
<!ATTLIST context name CDATA #REQUIRED description CDATA #IMPLIED>
<!ATTLIST context-attribute name CDATA #REQUIRED value CDATA #REQUIRED>
<!ATTLIST device id CDATA #REQUIRED name CDATA #IMPLIED label CDATA #IMPLIED>
<!ATTLIST channel id CDATA #REQUIRED type (input|output) #REQUIRED name CDATA #IMPLIED>
<!ATTLIST scan-element index CDATA #REQUIRED format CDATA #REQUIRED>
<!ATTLIST attribute name CDATA #REQUIRED filename CDATA #IMPLIED>
<!ATTLIST debug-attribute name CDATA #REQUIRED>
<!ATTLIST buffer-attribute name CDATA #REQUIRED>
]>"""
"""libiio has what it reads validated, and complains where there is nothing to validate it by."""

PHY, DAC, ADC, TDD = "iio:device0", "iio:device1", "iio:device2", "iio:device3"


@dataclass(frozen=True)
class Channel:
    """A channel of a device.

    Attributes:
        id: as ``voltage0``.
        output: whether it leads out of the device.
        files: of its attributes by their names.
        name: for people; empty for none.
        index: in a scan; None for a channel that has no samples.
        format: of its samples.
    """

    id: str
    output: bool
    files: Mapping[str, str]
    name: str = ""
    index: int | None = None
    format: str = ""


@dataclass(frozen=True)
class Device:
    """A device of a context.

    Attributes:
        id, name: either addresses it.
        channels: those of a scan first, by index.
        attributes, debug, buffer: names, which are files as well.
        label: for people; empty for none.
    """

    id: str
    name: str
    channels: tuple[Channel, ...]
    attributes: tuple[str, ...] = ()
    debug: tuple[str, ...] = ()
    buffer: tuple[str, ...] = ()
    label: str = ""

    @cached_property
    def scan(self) -> tuple[Channel, ...]:
        """The channels that have samples; bit k of a mask is the k-th."""
        return tuple(channel for channel in self.channels if channel.index is not None)

    def channel(self, name: str, output: bool) -> Channel | None:
        """The channel of this id or name."""
        for channel in self.channels:
            if channel.output == output and name in (channel.id, channel.name):
                return channel
        return None


def _channel(id_: str, output: bool, shared: str, own: str, name: str = "") -> Channel:
    """A channel of the transceiver, with attributes of its kind and of its own."""
    way = "out" if output else "in"
    kind = id_.rstrip("0123456789")
    files = {each: f"{way}_{kind}_{each}" for each in shared.split()}
    label = f"{id_}_{name}" if name else id_
    files |= {each: f"{way}_{label}_{each}" for each in own.split()}
    return Channel(id_, output, MappingProxyType(dict(sorted(files.items()))), name)


_LO = "frequency frequency_available powerdown"
_PATH = (
    "filter_fir_en rf_bandwidth rf_bandwidth_available sampling_frequency "
    "sampling_frequency_available"
)
_TRACKING = " bb_dc_offset_tracking_en quadrature_tracking_en rf_dc_offset_tracking_en"
_PORT = "hardwaregain hardwaregain_available rf_port_select rf_port_select_available rssi"

_TRANSCEIVER = Device(
    PHY,
    "ad9361-phy",
    (
        _channel("altvoltage0", True, "", _LO, "RX_LO"),
        _channel("altvoltage1", True, "", _LO, "TX_LO"),
        _channel(
            "voltage0",
            False,
            f"{_PATH} gain_control_mode_available{_TRACKING}",
            f"{_PORT} gain_control_mode",
        ),
        _channel("voltage0", True, _PATH, _PORT),
        _channel("temp0", False, "", "input"),
        Channel("out", False, {"voltage_filter_fir_en": "in_out_voltage_filter_fir_en"}),
    ),
    attributes=(
        "calib_mode",
        "calib_mode_available",
        "ensm_mode",
        "ensm_mode_available",
        "filter_fir_config",
        "rx_path_rates",
        "trx_rate_governor",
        "trx_rate_governor_available",
        "tx_path_rates",
        "xo_correction",
        "xo_correction_available",
    ),
    debug=("direct_reg_access", "loopback"),
)


def _samples(id_: str, output: bool, index: int, format_: str) -> Channel:
    """A channel of samples, with the rates that it shares with the other."""
    way = "out" if output else "in"
    names = ("sampling_frequency", "sampling_frequency_available")
    files = {name: f"{way}_voltage_{name}" for name in names}
    name = f"TX1_{'IQ'[index]}" if output else ""
    return Channel(id_, output, MappingProxyType(files), name, index, format_)


_TONE = "frequency phase raw scale"
_BUFFER = ("data_available", "length_align_bytes", "watermark")

_TO_SEND = Device(
    DAC,
    "cf-ad9361-dds-core-lpc",
    (
        _samples("voltage0", True, 0, "le:S16/16>>0"),
        _samples("voltage1", True, 1, "le:S16/16>>0"),
        _channel("altvoltage0", True, "", _TONE, "TX1_I_F1"),
        _channel("altvoltage1", True, "", _TONE, "TX1_I_F2"),
        _channel("altvoltage2", True, "", _TONE, "TX1_Q_F1"),
        _channel("altvoltage3", True, "", _TONE, "TX1_Q_F2"),
    ),
    debug=("direct_reg_access",),
    buffer=_BUFFER,
)

_RECEIVED = Device(
    ADC,
    "cf-ad9361-lpc",
    (
        _samples("voltage0", False, 0, "le:S12/16>>0"),
        _samples("voltage1", False, 1, "le:S12/16>>0"),
    ),
    debug=("direct_reg_access",),
    buffer=_BUFFER,
)

_GATE = "enable off_ms off_raw on_ms on_raw polarity"

_TDD_ENGINE = Device(
    TDD,
    "adi-iio-fakedev",
    tuple(_channel(f"channel{k}", True, "", _GATE) for k in range(3)),
    attributes=(
        "burst_count",
        "enable",
        "frame_length_ms",
        "frame_length_raw",
        "startup_delay_ms",
        "startup_delay_raw",
        "state",
        "sync_external",
        "sync_internal",
        "sync_reset",
        "sync_soft",
    ),
    label="iio-axi-tdd-0",
)

DEVICES = (_TRANSCEIVER, _TO_SEND, _RECEIVED)
NEWER_DEVICES = (*DEVICES, _TDD_ENGINE)  # of newer firmware
_NAMED = {name: device for device in NEWER_DEVICES for name in (device.id, device.name)}


def find(name: str) -> Device | None:
    """The device of this id or name."""
    return _NAMED.get(name)


def xml(attributes: Mapping[str, str], devices: Sequence[Device] = DEVICES) -> bytes:
    """The context of some devices, as a client asks for it; attributes are of the context."""
    context = ElementTree.Element(
        "context",
        {"name": "network", "description": "AirMeta virtual PlutoSDR"},
    )
    for name, value in attributes.items():
        ElementTree.SubElement(context, "context-attribute", {"name": name, "value": value})
    for device in devices:
        known = {"id": device.id, "name": device.name}
        if device.label:
            known["label"] = device.label
        node = ElementTree.SubElement(context, "device", known)
        for channel in device.channels:
            _add_channel(node, channel)
        for kind, names in (
            ("attribute", device.attributes),
            ("debug-attribute", device.debug),
            ("buffer-attribute", device.buffer),
        ):
            for name in names:
                ElementTree.SubElement(node, kind, {"name": name})
    text = ElementTree.tostring(context, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>{DOCTYPE}{text}'.encode()


def _add_channel(device: ElementTree.Element, channel: Channel) -> None:
    known = {"id": channel.id, "type": "output" if channel.output else "input"}
    if channel.name:
        known["name"] = channel.name
    node = ElementTree.SubElement(device, "channel", known)
    if channel.index is not None:
        scan = {"index": str(channel.index), "format": channel.format}
        ElementTree.SubElement(node, "scan-element", scan)
    for name, file in channel.files.items():
        ElementTree.SubElement(node, "attribute", {"name": name, "filename": file})
