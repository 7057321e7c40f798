"""Which radios a calibration is of, and under which settings and limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from calibration.procedures.findings import Findings
from calibration.procedures.setup import Setup
from fl_core.errors import InputError
from radio.api import Radio, RadioCaps, RadioSettings, Range
from radio.limits import Limits
from radio.registry import open_radio

AROUND = 0.015  # of the carrier: across it, gains of front ends change by tenths of a dB


@dataclass(frozen=True)
class Lineup:
    """Devices that are measured one after the other, against a receiver or by themselves.

    Attributes:
        devices: URIs by name.
        receiver: URI; None where each device hears itself, through a cable with an attenuator.
        settings: to measure under; gains within what a radio has.
        limits: of all that is sent.
        max_cfo_hz: between any two of them.
        loss_db: between the antenna connectors, of cables and attenuators; None where not known.
        full_scale_dbm: power at the receiver's connector that makes full scale at a gain of 0.
        search_s: by how much the clocks of two radios may be apart from look to look.
    """

    devices: Mapping[str, str]
    receiver: str | None
    settings: RadioSettings
    limits: Limits | None = None
    max_cfo_hz: float = 50e3
    loss_db: float | None = None
    full_scale_dbm: float | None = None
    search_s: float = 0.05

    @property
    def band(self) -> Range:
        """Where a profile holds: the band of the limits around the carrier, or a little around."""
        carrier_hz = self.settings.carrier_hz
        for band in () if self.limits is None else self.limits.bands:
            if carrier_hz in band:
                return band
        return Range(round(carrier_hz * (1 - AROUND)), round(carrier_hz * (1 + AROUND)))

    def chosen(self, names: Sequence[str], source: str) -> Lineup:
        """Some of the devices, all where no names are given; InputError for a name of none."""
        for name in names:
            if name not in self.devices:
                raise InputError(
                    f"--device {name}: {source} has no such device; there are "
                    f"{', '.join(self.devices)}"
                )
        kept = {name: uri for name, uri in self.devices.items() if not names or name in names}
        return replace(self, devices=kept)

    @contextmanager
    def opened(self, name: str) -> Iterator[tuple[Radio, Radio]]:
        """A device and what hears it, which is the same radio where there is no receiver.

        Both are set up within the limits, to which procedures may then go back.

        Raises:
            RadioError: one of them cannot be opened, or does not permit the settings.
        """
        uris = [self.devices[name], *([] if self.receiver is None else [self.receiver])]
        with ExitStack() as stack:
            radios = [stack.enter_context(open_radio(uri, self.limits)) for uri in uris]
            for radio in radios:
                radio.configure(_within(self.settings, radio.caps))
            yield radios[0], radios[-1]

    def setup(self, sender: Radio, receiver: Radio, known: Findings) -> Setup:
        """Of two open radios; RadioError where they or the limits do not permit the settings."""
        return Setup(
            sender,
            receiver,
            _within(self.settings, sender.caps),
            _within(self.settings, receiver.caps),
            loss_db=self.loss_db,
            full_scale_dbm=self.full_scale_dbm,
            max_cfo_hz=self.max_cfo_hz,
            search_s=self.search_s,
            limits=self.limits,
            known=known,
        )


def _within(settings: RadioSettings, caps: RadioCaps) -> RadioSettings:
    """With the gains nearest to these that a radio has."""
    gains = {
        name: min(max(getattr(settings, name), getattr(caps, name).low), getattr(caps, name).high)
        for name in ("tx_gain_db", "rx_gain_db")
    }
    return replace(settings, **gains)
