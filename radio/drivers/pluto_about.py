"""What a PlutoSDR tells of itself."""

from __future__ import annotations

import iio

TRANSCEIVER = "ad9361-phy"
ATTRIBUTES = {
    "model": "hw_model",
    "serial": "hw_serial",
    "firmware": "fw_version",
    "transceiver": "ad9361-phy,model",
}


def about(context: iio.Context) -> dict[str, str]:
    """Model, serial number, firmware, temperature and crystal, as far as it tells them.

    Raises:
        OSError: it no longer answers.
    """
    told = {name: context.attrs[key] for name, key in ATTRIBUTES.items() if key in context.attrs}
    transceiver = context.find_device(TRANSCEIVER)
    thermometer = transceiver.find_channel("temp0", False)
    if thermometer is not None:
        told["temperature"] = f"{int(thermometer.attrs['input'].value) / 1000:.1f} °C"
    if "xo_correction" in transceiver.attrs:
        told["crystal"] = f"{int(transceiver.attrs['xo_correction'].value):,} Hz"
    return told
