"""The attributes of a virtual PlutoSDR, by device and by the name of their file in sysfs.

Written values become settings in the steps that the device has, and are read back as they became.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from sim_fallback.virtual_pluto import values
from sim_fallback.virtual_pluto.context import ADC, DAC, PHY, TDD
from sim_fallback.virtual_pluto.errors import IioError
from sim_fallback.virtual_pluto.gain import MODES, table
from sim_fallback.virtual_pluto.settings import HIGHEST_LO_HZ, LOWEST_LO_HZ, Settings
from sim_fallback.virtual_pluto.synthesizer import HIGHEST_RATE_HZ
from sim_fallback.virtual_pluto.tdd_attributes import TddAttributes, Timed

RX_PORTS = "A_BALANCED B_BALANCED C_BALANCED A_N A_P B_N B_P C_N C_P TX_MONITOR1 TX_MONITOR2"
TX_PORTS = "A B"
ENSM_MODES = "sleep wait alert fdd pinctrl pinctrl_fdd_indep"
CALIBRATIONS = "auto manual tx_quad rf_dc_offs rssi_gain_step"
GOVERNORS = "nominal highest_osr"
TONES = ("TX1_I_F1", "TX1_I_F2", "TX1_Q_F1", "TX1_Q_F2")
TRACKED = ("bb_dc_offset", "quadrature", "rf_dc_offset")
LARGEST_WORD = 1 << 32
BUFFER = {"data_available": "0", "length_align_bytes": "8", "watermark": "2048"}

Change = Callable[[Settings, str], Settings]


class Transceiver(Timed, Protocol):
    """What attributes ask of the radio."""

    settings: Settings

    def change(self, change: Callable[[Settings], Settings]) -> None:
        """Set some of it; nobody else does meanwhile."""

    def calibrate(self, kind: str) -> None:
        """Run a calibration now."""

    def rx_gain_db(self) -> float:
        """Gain in force, also where it turns by itself."""

    def rssi_db(self) -> float:
        """How far what arrives lies below full scale at 0 dB of gain."""

    def temperature_c(self) -> float:
        """Of the chip."""

    def read_register(self, device: str, address: int) -> int:
        """Value of a register."""

    def write_register(self, device: str, address: int, value: int) -> None:
        """Set a register."""


@dataclass(frozen=True)
class _Attribute:
    """How to read a value and, where that is permitted, to write it."""

    read: Callable[[], str]
    write: Callable[[str], None] | None = None


class Attributes:
    """All attributes of one radio."""

    def __init__(self, radio: Transceiver) -> None:
        self._radio = radio
        self._kept_values: dict[str, str] = {}
        self._registers = dict.fromkeys((PHY, DAC, ADC), 0)
        self._table: dict[tuple[str, str], _Attribute] = {
            **{(PHY, file): it for file, it in (self._clocks() | self._gains()).items()},
            **{(PHY, file): it for file, it in self._modes().items()},
            **{(DAC, file): it for file, it in (self._tones() | self._to_send()).items()},
            **{(ADC, file): it for file, it in self._received().items()},
            **{(TDD, file): _Attribute(*it) for file, it in self._timer().items()},
        }

    def read(self, device: str, file: str) -> str:
        """The value; IioError ENOENT where there is no such attribute."""
        return self._find(device, file).read()

    def write(self, device: str, file: str, text: str) -> None:
        """Set the value.

        Raises:
            IioError: ENOENT, no such attribute; EACCES, it can only be read; EINVAL, what the
                device refuses.
        """
        attribute = self._find(device, file)
        if attribute.write is None:
            raise IioError(errno.EACCES)
        attribute.write(text.strip(" \t\r\n\0"))

    def _find(self, device: str, file: str) -> _Attribute:
        if (device, file) not in self._table:
            raise IioError(errno.ENOENT)
        return self._table[device, file]

    def _setting(
        self, value: Callable[[Settings], object], change: Change | None = None
    ) -> _Attribute:
        """A value of the settings."""

        def read() -> str:
            return str(value(self._radio.settings))

        def write(text: str) -> None:
            if change is not None:
                self._radio.change(lambda settings: change(settings, text))

        return _Attribute(read, None if change is None else write)

    def _kept(self, file: str, value: str, checked: Callable[[str], str]) -> _Attribute:
        """A value that is checked and read back, and acts on nothing."""
        self._kept_values[file] = value

        def write(text: str) -> None:
            self._kept_values[file] = checked(text)

        return _Attribute(lambda: self._kept_values[file], write)

    def _clocks(self) -> dict[str, _Attribute]:
        setting = self._setting
        carriers = f"[{LOWEST_LO_HZ} 1 {HIGHEST_LO_HZ}]"
        crystals = f"[{values.CRYSTALS_HZ.low:.0f} 1 {values.CRYSTALS_HZ.high:.0f}]"
        fir = setting(lambda s: int(s.fir_on), lambda s, text: s.with_fir(values.flag(text)))
        clocks = {
            "out_altvoltage0_RX_LO_frequency": setting(
                lambda s: int(s.rx_lo_hz), lambda s, text: s.with_rx_lo(values.number(text))
            ),
            "out_altvoltage1_TX_LO_frequency": setting(
                lambda s: int(s.tx_lo_hz), lambda s, text: s.with_tx_lo(values.number(text))
            ),
            "out_altvoltage0_RX_LO_frequency_available": _constant(carriers),
            "out_altvoltage1_TX_LO_frequency_available": _constant(carriers),
            "out_altvoltage0_RX_LO_powerdown": setting(
                lambda s: int(s.rx_off), lambda s, text: replace(s, rx_off=values.flag(text))
            ),
            "out_altvoltage1_TX_LO_powerdown": setting(
                lambda s: int(s.tx_off), lambda s, text: replace(s, tx_off=values.flag(text))
            ),
            "xo_correction": setting(lambda s: s.xo_hz, values.with_crystal),
            "xo_correction_available": _constant(crystals),
            "rx_path_rates": setting(lambda s: s.rates.text(transmit=False)),
            "tx_path_rates": setting(lambda s: s.rates.text(transmit=True)),
            "filter_fir_config": setting(
                lambda s: s.fir or "FIR Rx: 0,0 Tx: 0,0", values.with_filter
            ),
            "in_out_voltage_filter_fir_en": fir,
        }
        for way, widest in (("in", 56_000_000), ("out", 40_000_000)):
            bandwidth, rate = f"{way}_voltage_rf_bandwidth", f"{way}_voltage_sampling_frequency"
            clocks |= {
                f"{way}_voltage_filter_fir_en": fir,
                rate: setting(
                    lambda s: round(s.rate_hz), lambda s, text: s.with_rate(values.number(text))
                ),
                f"{rate}_available": setting(
                    lambda s: f"[{int(s.lowest_rate_hz)} 1 {int(HIGHEST_RATE_HZ)}]"
                ),
                bandwidth: self._kept(bandwidth, "18000000", values.between(200_000, widest)),
                f"{bandwidth}_available": _constant(f"[200000 1 {widest}]"),
            }
        return clocks

    def _gains(self) -> dict[str, _Attribute]:
        setting, radio = self._setting, self._radio
        return {
            "in_voltage0_hardwaregain": _Attribute(
                lambda: f"{radio.rx_gain_db():.6f} dB",
                setting(lambda s: s.rx_gain_db, values.with_rx_gain).write,
            ),
            "in_voltage0_hardwaregain_available": setting(
                lambda s: "[{0.low:.0f} 1 {0.high:.0f}]".format(table(s.rx_lo_hz))
            ),
            "out_voltage0_hardwaregain": setting(
                lambda s: f"{s.tx_gain_db:.6f} dB", values.with_tx_gain
            ),
            "out_voltage0_hardwaregain_available": setting(
                lambda _: f"[{values.LOWEST_TX_GAIN_DB:.6f} 0.250000 0.000000]"
            ),
            "in_voltage0_gain_control_mode": setting(lambda s: s.gain_mode, values.with_gain_mode),
            "in_voltage_gain_control_mode_available": _constant(" ".join(MODES)),
            "in_voltage0_rssi": _Attribute(lambda: f"{round(4 * radio.rssi_db()) / 4:.2f} dB"),
            "out_voltage0_rssi": _constant("0.00 dB"),
            "in_temp0_input": _Attribute(lambda: f"{1000 * radio.temperature_c():.0f}"),
        }

    def _modes(self) -> dict[str, _Attribute]:
        setting, kept, one_of = self._setting, self._kept, values.one_of
        modes = {
            "calib_mode": _Attribute(lambda: self._radio.settings.calib_mode, self._calibrate),
            "calib_mode_available": _constant(CALIBRATIONS),
            "ensm_mode": setting(
                lambda s: s.ensm_mode,
                lambda s, text: replace(s, ensm_mode=one_of(ENSM_MODES)(text)),
            ),
            "ensm_mode_available": _constant(ENSM_MODES),
            "loopback": setting(
                lambda s: s.loopback,
                lambda s, text: replace(s, loopback=int(one_of("0 1 2")(text))),
            ),
            "trx_rate_governor": kept("trx_rate_governor", "nominal", one_of(GOVERNORS)),
            "trx_rate_governor_available": _constant(GOVERNORS),
            "direct_reg_access": self._register(PHY),
        }
        for way, ports in (("in", RX_PORTS), ("out", TX_PORTS)):
            file = f"{way}_voltage0_rf_port_select"
            modes[file] = kept(file, ports.split()[0], one_of(ports))
            modes[f"{file}_available"] = _constant(ports)
        for each in TRACKED:
            file = f"in_voltage_{each}_tracking_en"
            modes[file] = kept(file, "1", lambda text: str(int(values.flag(text))))
        return modes

    def _calibrate(self, text: str) -> None:
        kind = values.one_of(CALIBRATIONS)(text)
        if kind in ("auto", "manual"):
            self._radio.change(lambda settings: replace(settings, calib_mode=kind))
        else:
            self._radio.calibrate(kind)

    def _tones(self) -> dict[str, _Attribute]:
        tones: dict[str, _Attribute] = {}
        for k, name in enumerate(TONES):
            for quality, (value, change) in values.TONE.items():
                file = f"out_altvoltage{k}_{name}_{quality}"
                tones[file] = self._tone(k, value, change)
        return tones

    def _tone(self, k: int, value: values.Shown, change: values.Changed) -> _Attribute:
        """A value of tone k."""

        def changed(s: Settings, text: str) -> Settings:
            tone = change(s, s.tones[k], text)
            return replace(s, tones=(*s.tones[:k], tone, *s.tones[k + 1 :]))

        return self._setting(lambda s: value(s, s.tones[k]), changed)

    def _to_send(self) -> dict[str, _Attribute]:
        rate = self._setting(
            lambda s: round(s.tx_rate_hz),
            lambda s, text: replace(s, tx_by_8=values.divided(s, text)),
        )
        return self._data(DAC, "out", rate)

    def _received(self) -> dict[str, _Attribute]:
        rate = self._setting(
            lambda s: round(s.rx_rate_hz),
            lambda s, text: replace(s, rx_by_8=values.divided(s, text)),
        )
        return self._data(ADC, "in", rate)

    def _data(self, device: str, way: str, rate: _Attribute) -> dict[str, _Attribute]:
        """What both devices with samples have."""
        return {
            f"{way}_voltage_sampling_frequency": rate,
            f"{way}_voltage_sampling_frequency_available": self._setting(values.divisions),
            "direct_reg_access": self._register(device),
            **{name: _constant(value) for name, value in BUFFER.items()},
        }

    def _timer(self) -> dict[str, tuple[Callable[[], str], Callable[[str], None]]]:
        return TddAttributes(self._radio, lambda: self._radio.settings.rx_rate_hz).table

    def _register(self, device: str) -> _Attribute:
        """Writing an address selects a register, writing another number after it sets it."""

        def write(text: str) -> None:
            try:
                address, *rest = (int(word, 0) for word in text.split())
            except ValueError:
                raise IioError(errno.EINVAL) from None
            if len(rest) > 1 or not all(0 <= word < LARGEST_WORD for word in (address, *rest)):
                raise IioError(errno.EINVAL)
            self._registers[device] = address
            if rest:
                self._radio.write_register(device, address, rest[0])

        return _Attribute(
            lambda: f"0x{self._radio.read_register(device, self._registers[device]):X}", write
        )

    @property
    def files(self) -> Mapping[str, set[str]]:
        """Names of the files by device."""
        return {
            device: {file for where, file in self._table if where == device}
            for device in (PHY, DAC, ADC)
        }


def _constant(text: str) -> _Attribute:
    return _Attribute(lambda: text)
