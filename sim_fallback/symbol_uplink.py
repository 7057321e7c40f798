"""The air at symbol level: y = sum h_i x_i + z, one complex number per channel use.

Everything follows from the seed: the path of a device from (seed, device), its fading and the
error of its estimate from (seed, round, device), the noise from (seed, round). A resumed run sees
the same air, and the channel of a device does not depend on who else is active.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sim_fallback.fading import Fading, FadingKind
from sim_fallback.streams import stream

ComplexArray = npt.NDArray[np.complex64]
DeviceArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Reception:
    """What the receiver has after all devices sent at once.

    Attributes:
        symbols: received superposition, complex64 [M].
        noise_var: noise variance E|z|^2 per complex symbol.
        acknowledged: bool [r], all True: at symbol level every burst takes part.
        true_gains: complex64 [r], the channel the symbols went through.
        errors: not told apart.
        figures: none.
    """

    symbols: ComplexArray
    noise_var: float
    acknowledged: npt.NDArray[np.bool_]
    true_gains: ComplexArray
    errors: None = None
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SymbolUplink:
    """A block-fading multiple-access channel.

    Attributes:
        seed: of the air, >= 0.
        num_devices: how many devices the air holds.
        snr_db: P / noise_var, for one device at E|h|^2 = 1; inf for no noise.
        power: P, the power limit of a device per symbol.
        fading: distribution of the gain from round to round.
        rician_k_db: K of ``rician`` fading in dB.
        path_loss_spread_db: standard deviation of the devices' mean power gains in dB (log-normal),
            scaled so that the gains average to 1 over all devices.
        csi_phase_error_deg: standard deviation of the phase error of a sounded gain.
        csi_gain_error_db: standard deviation of its amplitude error in dB.
    """

    seed: int
    num_devices: int
    snr_db: float
    power: float = 1.0
    fading: FadingKind = "rayleigh"
    rician_k_db: float = 6.0
    path_loss_spread_db: float = 0.0
    csi_phase_error_deg: float = 0.0
    csi_gain_error_db: float = 0.0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must be >= 0, not {self.seed}")
        if self.num_devices < 1:
            raise ValueError(f"num_devices must be at least 1, not {self.num_devices}")
        if math.isnan(self.snr_db) or self.snr_db == -math.inf:
            raise ValueError(f"snr_db must be a number or inf, not {self.snr_db}")
        if not 0 < self.power < math.inf:
            raise ValueError(f"power must be positive and finite, not {self.power}")
        for name in ("path_loss_spread_db", "csi_phase_error_deg", "csi_gain_error_db"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be finite and >= 0, not {getattr(self, name)}")
        Fading(self.fading, self.rician_k_db)  # raises for what is no fading

    @property
    def noise_var(self) -> float:
        """sigma^2 per complex symbol."""
        return self.power * 10 ** (-self.snr_db / 10)

    @property
    def mean_gain(self) -> float:
        """E|h| over fading and devices."""
        return self._fading.mean_amplitude * float(np.mean(self.path_amplitudes))

    @cached_property
    def path_amplitudes(self) -> npt.NDArray[np.float64]:
        """Amplitude of each device's path, [num_devices], with mean square 1."""
        deviates = [stream(self.seed, "path", i).standard_normal() for i in range(self.num_devices)]
        power_gains = 10 ** (self.path_loss_spread_db * np.array(deviates) / 10)
        amplitudes: npt.NDArray[np.float64] = np.sqrt(power_gains / np.mean(power_gains))
        return amplitudes

    def sound(self, round_index: int, devices: DeviceArray) -> ComplexArray:
        """Estimated gains of these devices, complex64 [r], as far off as the errors say."""
        gains = self.gains(round_index, devices)
        deviates = [
            stream(self.seed, "sounding", round_index, int(i)).standard_normal(2) for i in devices
        ]
        phase, amplitude = np.array(deviates).reshape(-1, 2).T
        rotation = np.exp(1j * np.deg2rad(self.csi_phase_error_deg) * phase)
        stretch = 10 ** (self.csi_gain_error_db * amplitude / 20)
        estimates: ComplexArray = (gains * stretch * rotation).astype(np.complex64)
        return estimates

    def transmit(self, round_index: int, devices: DeviceArray, symbols: ComplexArray) -> Reception:
        """Send the rows of `symbols` (complex64 [r, M], after power control) simultaneously."""
        if symbols.ndim != 2 or len(symbols) != len(devices):
            raise ValueError(f"expected one row a device, got {symbols.shape} for {len(devices)}")
        gains = self.gains(round_index, devices)
        received = gains @ symbols
        if self.noise_var > 0:
            rng = stream(self.seed, "noise", round_index)
            noise = rng.standard_normal(2 * symbols.shape[1], dtype=np.float32).view(np.complex64)
            received += np.float32(math.sqrt(self.noise_var / 2)) * noise
        return Reception(received, self.noise_var, np.ones(len(devices), np.bool_), gains)

    def gains(self, round_index: int, devices: DeviceArray) -> ComplexArray:
        """True gains of these devices in this round, complex64 [r].

        Raises:
            ValueError: a device the air does not hold.
        """
        if len(devices) and not 0 <= min(devices) <= max(devices) < self.num_devices:
            raise ValueError(f"devices must lie in 0..{self.num_devices - 1}, got {devices}")
        return np.array(
            [
                self.path_amplitudes[i]
                * self._fading.draw(stream(self.seed, "fading", round_index, int(i)))
                for i in devices
            ],
            np.complex64,
        )

    @cached_property
    def _fading(self) -> Fading:
        return Fading(self.fading, self.rician_k_db)
