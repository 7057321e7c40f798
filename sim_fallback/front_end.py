"""The front end of a radio: what happens between its samples and its antenna connector."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sim_fallback.gain_error import EXACT, GainError
from sim_fallback.phase_noise import PhaseNoise
from sim_fallback.power_amplifier import PowerAmplifier, rotate
from sim_fallback.streams import Key, white_noise

ComplexArray = npt.NDArray[np.complex64]
FloatArray = npt.NDArray[np.float32]
Cause = Literal["quantisation", "clipping", "amplifier", "mixers", "noise", "phase_noise"]

THERMAL_DBM_PER_HZ = 10 * math.log10(1.380649e-23 * 290 / 1e-3)
PIECE = 16_384  # samples worked on at once, so that they stay in the cache
NO_PHASE_NOISE = PhaseNoise(0.0)


@dataclass(frozen=True)
class IQImbalance:
    """A quadrature branch of other gain, and not at right angles to the in-phase one.

    I stays and Q becomes g (Q cos phi - I sin phi), which is mu x + nu x* with
    mu = (1 + g e^{-j phi})/2 and nu = (1 - g e^{j phi})/2 (Windisch and Fettweis, "Adaptive I/Q
    imbalance compensation in low-IF transmitters", 2004).

    Attributes:
        gain_db: 20 log10 g.
        phase_deg: phi.
    """

    gain_db: float
    phase_deg: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.gain_db) or not abs(self.phase_deg) < 90:
            raise ValueError(
                "an imbalance has a finite gain_db and a phase_deg within 90, "
                f"not {self.gain_db} and {self.phase_deg}"
            )

    @property
    def image_rejection_db(self) -> float:
        """20 log10 |mu / nu|: how far the image of a tone lies below it; inf where balanced."""
        gain, phase = 10 ** (self.gain_db / 20), math.radians(self.phase_deg)
        wanted = 1 + gain**2 + 2 * gain * math.cos(phase)
        image = (1 - gain) ** 2 + 4 * gain * math.sin(phase / 2) ** 2
        return 10 * math.log10(wanted / image) if image else math.inf

    def distort(self, iq: ComplexArray) -> None:
        """Distort complex64 [n] in place."""
        for start in range(0, len(iq), PIECE):
            parts = iq[start : start + PIECE].view(np.float32)
            stay, cross = (weights[: len(parts)] for weights in _weights(self))
            crossed = cross * parts
            parts *= stay
            parts[1:] -= crossed[:-1]


@lru_cache(maxsize=64)
def _weights(imbalance: IQImbalance) -> tuple[FloatArray, FloatArray]:
    """Of I, Q, I, Q, ... in what they are themselves and in what comes next, [2 PIECE] each.

    Whole arrays of weights take a third of the time of every other number in place.
    """
    gain, phase = 10 ** (imbalance.gain_db / 20), math.radians(imbalance.phase_deg)
    stay = np.array([1, gain * math.cos(phase)], np.float32)
    cross = np.array([gain * math.sin(phase), 0], np.float32)
    return np.tile(stay, PIECE), np.tile(cross, PIECE)


@dataclass(frozen=True)
class FrontEnd:
    """Both directions of a radio between its samples and its antenna connector.

    To send: clip, quantise, IQ imbalance, LO leakage, amplifier, phase noise (which commutes with
    the amplifier, because that turns with its input). To receive: thermal noise, phase noise, IQ
    imbalance, DC offset, clip, quantise. Without arguments it is ideal: what goes in comes out.

    A converter of b bits has the levels k 2^(1-b), k = -2^(b-1) .. 2^(b-1) - 1, for I and for Q
    (two's complement, mid-tread: silence stays silent) and rounds to the nearest. Where nothing
    clips, the levels go on without end.

    Attributes:
        tx_full_scale_dbm: power at the antenna connector of samples of magnitude 1, at tx gain 0.
        rx_full_scale_dbm: power at the antenna connector that makes samples of magnitude 1, at rx
            gain 0.
        noise_figure_db: of the receiver; -inf for no noise.
        dac_bits, adc_bits: of the converters; None for no rounding.
        pa: the power amplifier; None for a linear one.
        tx_iq, rx_iq: imbalance of the mixers; None for balanced ones.
        tx_dc, rx_dc: LO leakage and DC offset, in units of full scale.
        tx_phase_noise, rx_phase_noise: of the two synthesizers.
        tx_gain, rx_gain: from settings of the gains to gains.
        tx_delay, rx_delay: group delays of both directions in samples of the radio, >= 0. They
            are applied where the path is rendered.
        tx_gain_db_per_k, rx_gain_db_per_k: what the gains add for each K of warmth; see
            `presets.Equipment`. Applied there, too, as are the gains.
        turnaround_s: from the last sample of a capture until an answer can be on the air.
        clips: whether I and Q end at full scale.
    """

    tx_full_scale_dbm: float = 0.0
    rx_full_scale_dbm: float = 0.0
    noise_figure_db: float = -math.inf
    dac_bits: int | None = None
    adc_bits: int | None = None
    pa: PowerAmplifier | None = None
    tx_iq: IQImbalance | None = None
    rx_iq: IQImbalance | None = None
    tx_dc: complex = 0.0
    rx_dc: complex = 0.0
    tx_phase_noise: PhaseNoise = NO_PHASE_NOISE
    rx_phase_noise: PhaseNoise = NO_PHASE_NOISE
    tx_gain: GainError = EXACT
    rx_gain: GainError = EXACT
    tx_delay: float = 0.0
    rx_delay: float = 0.0
    tx_gain_db_per_k: float = 0.0
    rx_gain_db_per_k: float = 0.0
    turnaround_s: float = 0.0
    clips: bool = False

    def __post_init__(self) -> None:
        for name in (
            "tx_full_scale_dbm",
            "rx_full_scale_dbm",
            "tx_gain_db_per_k",
            "rx_gain_db_per_k",
        ):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be finite, not {getattr(self, name)}")
        if not self.noise_figure_db < math.inf:
            raise ValueError(f"noise_figure_db must be a number or -inf: {self.noise_figure_db}")
        for name in ("dac_bits", "adc_bits"):
            bits = getattr(self, name)
            if bits is not None and not 1 <= bits <= 24:
                raise ValueError(f"{name} must be 1 to 24, or None for no rounding, not {bits}")
        for name in ("tx_dc", "rx_dc"):
            if not abs(getattr(self, name)) < 1:
                raise ValueError(f"{name} must be below full scale, not {getattr(self, name)}")
        for name in ("tx_delay", "rx_delay", "turnaround_s"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be finite and >= 0, not {getattr(self, name)}")

    def without(self, *causes: Cause) -> FrontEnd:
        """The same front end with some of its faults mended.

        Raises:
            ValueError: a cause it does not know.
        """
        mended: dict[str, dict[str, Any]] = {
            "quantisation": {"dac_bits": None, "adc_bits": None},
            "clipping": {"clips": False},
            "amplifier": {"pa": None},
            "mixers": {"tx_iq": None, "rx_iq": None, "tx_dc": 0.0, "rx_dc": 0.0},
            "noise": {"noise_figure_db": -math.inf},
            "phase_noise": {"tx_phase_noise": NO_PHASE_NOISE, "rx_phase_noise": NO_PHASE_NOISE},
        }
        changes: dict[str, Any] = {}
        for cause in causes:
            if cause not in mended:
                raise ValueError(f"no cause {cause!r}; there are {', '.join(mended)}")
            changes |= mended[cause]
        return replace(self, **changes)

    def noise_var(self, sample_rate_hz: float, rx_gain_db: float) -> float:
        """E|z|^2 of the thermal noise per complex sample, in units of full scale squared.

        k T B at 290 K, raised by the noise figure and by the gain.
        """
        at_antenna_dbm = THERMAL_DBM_PER_HZ + 10 * math.log10(sample_rate_hz) + self.noise_figure_db
        return 10 ** ((at_antenna_dbm + rx_gain_db - self.rx_full_scale_dbm) / 10)

    def sent(
        self, iq: ComplexArray, key: Key, first_sample: int, sample_rate_hz: float
    ) -> tuple[ComplexArray, int]:
        """What samples to transmit become at the antenna connector.

        Args:
            iq: complex64 [n], left as it is.
            key: of the radio: a seed >= 0 and numbers >= 0 that divide it further.
            first_sample: index of iq[0] on the radio's clock.
            sample_rate_hz: of the radio.

        Returns:
            complex64 [n] in units of the transmitter's full scale, the same for a sample however
            the burst is cut into calls; and how many samples were clipped in I or Q.
        """
        iq, clipped = iq.copy(), 0
        for start in range(0, len(iq), PIECE):
            piece = iq[start : start + PIECE]
            clipped += self._convert(piece, self.dac_bits)
            if self.tx_iq is not None:
                self.tx_iq.distort(piece)
            if self.tx_dc:
                piece += np.complex64(self.tx_dc)
            if self.pa is not None:
                self.pa.amplify(piece)
            if self.tx_phase_noise.rms_deg:
                at = first_sample + start
                rotate(piece, self.tx_phase_noise.theta((*key, 0), at, len(piece), sample_rate_hz))
        return iq, clipped

    def received(
        self,
        iq: ComplexArray,
        key: Key,
        first_sample: int,
        sample_rate_hz: float,
        rx_gain_db: float = 0.0,
    ) -> ComplexArray:
        """What a signal at the antenna connector becomes as samples.

        Args:
            iq: the signal without noise, complex64 [n], in units of what makes full scale at this
                gain; left as it is.
            key: of the radio: a seed >= 0 and numbers >= 0 that divide it further.
            first_sample: index of iq[0] on the radio's clock.
            sample_rate_hz: of the radio.
            rx_gain_db: raises the noise; the signal comes with the gain applied.

        Returns:
            complex64 [n], the same for a sample however the window is cut into calls.
        """
        iq = iq.copy()
        deviation = math.sqrt(self.noise_var(sample_rate_hz, rx_gain_db) / 2)
        for start in range(0, len(iq), PIECE):
            piece, at = iq[start : start + PIECE], first_sample + start
            if deviation:
                noise = white_noise(key, "thermal noise", 2 * at, 2 * len(piece))
                noise *= np.float32(deviation)
                piece += noise.view(np.complex64)
            if self.rx_phase_noise.rms_deg:
                theta = self.rx_phase_noise.theta((*key, 1), at, len(piece), sample_rate_hz)
                rotate(piece, -theta)
            if self.rx_iq is not None:
                self.rx_iq.distort(piece)
            if self.rx_dc:
                piece += np.complex64(self.rx_dc)
            self._convert(piece, self.adc_bits)
        return iq

    def _convert(self, iq: ComplexArray, bits: int | None) -> int:
        """Clip and round in place; returns how many samples were clipped."""
        parts, clipped = iq.view(np.float32), 0
        highest = float(parts.max(initial=0)) if self.clips else 0.0
        if self.clips and max(highest, -float(parts.min(initial=0))) > 1:
            beyond = np.abs(parts) > 1
            clipped = int(np.count_nonzero(beyond[::2] | beyond[1::2]))
            np.clip(parts, -1, 1, out=parts)
        if bits is not None:
            levels = 2.0 ** (bits - 1)
            parts *= np.float32(levels)
            np.rint(parts, out=parts)
            if (
                highest > 1 - 1 / levels
            ):  # it may have been rounded to full scale, which is no level
                np.minimum(parts, np.float32(levels - 1), out=parts)
            parts *= np.float32(1 / levels)
        return clipped
