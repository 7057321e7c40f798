"""What another client sees of a virtual Pluto."""

import iio

PHY, ADC, DAC = "ad9361-phy", "cf-ad9361-lpc", "cf-ad9361-dds-core-lpc"
TRACKED = ("quadrature", "rf_dc_offset", "bb_dc_offset")


class Seen:
    """A client that looks, and turns what a test wants turned."""

    def __init__(self, uri):
        self._context = iio.Context(uri)
        self.phy, self.adc, self.dac = map(self._context.find_device, (PHY, ADC, DAC))
        self.tdd = self._context.find_device("iio-axi-tdd-0")
        self.rx, self.tx = (self.phy.find_channel("voltage0", way) for way in (False, True))
        self.los = [self.phy.find_channel(f"altvoltage{k}", True) for k in range(2)]
        self._tones = [self.dac.find_channel(f"altvoltage{k}", True) for k in range(4)]

    @property
    def settings(self):
        """All that a driver sets and should restore."""
        values = {
            name: lo.attrs["frequency"].value for name, lo in zip("RT", self.los, strict=True)
        }
        values |= {
            f"{name} off": lo.attrs["powerdown"].value
            for name, lo in zip("RT", self.los, strict=True)
        }
        for name in ("sampling_frequency", "rf_bandwidth", "gain_control_mode"):
            values[name] = self.rx.attrs[name].value
        for name in TRACKED:
            values[name] = self.rx.attrs[f"{name}_tracking_en"].value
        for name in ("calib_mode", "ensm_mode", "xo_correction"):
            values[name] = self.phy.attrs[name].value
        fir = self.phy.find_channel("out", False).attrs["voltage_filter_fir_en"]
        divided = self.adc.find_channel("voltage0", False).attrs["sampling_frequency"]
        return values | {"fir": fir.value, "divided": divided.value, "loopback": self.loopback}

    @property
    def loopback(self):
        return self.phy.debug_attrs["loopback"].value

    @property
    def tx_gain_db(self):
        return float(self.tx.attrs["hardwaregain"].value.removesuffix(" dB"))

    @property
    def tones(self):
        """Amplitudes of those that play where there is no buffer."""
        return [
            float(tone.attrs["scale"].value) * int(tone.attrs["raw"].value) for tone in self._tones
        ]

    @property
    def is_free(self):
        """Whether nobody streams."""
        try:
            for device in (self.adc, self.dac):
                device.set_kernel_buffers_count(4)
        except OSError:
            return False
        return True

    @property
    def is_waiting(self):
        """Whether its TDD engine listens to pulses from outside."""
        return self.tdd.attrs["sync_external"].value == "1"

    def disturb(self):
        """Set it as a driver would not find it usable."""
        for lo, frequency_hz in zip(self.los, (2_400_000_000, 2_350_000_000), strict=True):
            lo.attrs["frequency"].value = str(frequency_hz)
            lo.attrs["powerdown"].value = "1"
        self.rx.attrs["sampling_frequency"].value = "4000000"
        self.rx.attrs["rf_bandwidth"].value = "3000000"
        self.rx.attrs["gain_control_mode"].value = "fast_attack"
        for name in TRACKED:
            self.rx.attrs[f"{name}_tracking_en"].value = "1"
        self.phy.attrs["calib_mode"].value = "auto"
        self.adc.find_channel("voltage0", False).attrs["sampling_frequency"].value = "500000"
        self.phy.attrs["ensm_mode"].value = "alert"
        self.phy.attrs["xo_correction"].value = "40000100"
        for tone in self._tones:
            tone.attrs["scale"].value = "0.5"
            tone.attrs["raw"].value = "1"
