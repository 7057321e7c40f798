"""Levels along a link: how much loss and gain give a device at |h| = 1 the wanted SNR."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fl_core.errors import InputError
from radio.api import Range
from radio.waveform.numerology import Numerology
from sim_fallback.front_end import FrontEnd

LEAST_HEADROOM_DB = 12.0  # of the same; peaks of the sum reach that high
HEADROOM_DB = 20.0  # of the mean power of all devices together, below full scale of the ADC


@dataclass(frozen=True)
class Levels:
    """A link budget.

    Attributes:
        loss_db: mean loss of the path.
        rx_gain_db: of the receiver.
        reference_db: received full scale over sent full scale, at |h| = 1.
    """

    loss_db: float
    rx_gain_db: float
    reference_db: float

    @classmethod
    def of(
        cls,
        front_end: FrontEnd,
        rx_gain_range_db: Range,
        snr_db: float,
        backoff_db: float,
        num_devices: int,
        numerology: Numerology,
    ) -> Levels:
        """The loss is as large as the noise of the front end permits.

        Args:
            front_end: of both ends.
            rx_gain_range_db: what the receiver can be set to.
            snr_db: of one device per carrier, at |h| = 1; inf for a front end without noise.
            backoff_db: of the transmitters.
            num_devices: that send at once and have to fit below full scale.
            numerology: of the waveform.

        Raises:
            InputError: no setting of the gain keeps so strong a signal below full scale.
        """
        rate = numerology.sample_rate_hz
        carriers_db = 10 * math.log10(numerology.fft_size / numerology.used_carriers)
        received_db = -HEADROOM_DB - 10 * math.log10(num_devices)
        rx_gain_db = 0.0
        if snr_db < math.inf:
            noise_db = received_db + carriers_db - snr_db
            rx_gain_db = noise_db - 10 * math.log10(front_end.noise_var(rate, 0.0))
            rx_gain_db = min(max(rx_gain_db, rx_gain_range_db.low), rx_gain_range_db.high)
            noise_db = 10 * math.log10(front_end.noise_var(rate, rx_gain_db))
            received_db = noise_db + snr_db - carriers_db
            loudest_db = -LEAST_HEADROOM_DB - 10 * math.log10(num_devices)
            if received_db > loudest_db:
                raise InputError(
                    f"channel.snr_db = {snr_db:g} would overdrive the receiver; it has "
                    f"{snr_db - received_db + loudest_db:.0f} dB at most with this many devices"
                )
        reference_db = received_db + backoff_db
        scales_db = front_end.tx_full_scale_dbm - front_end.rx_full_scale_dbm
        return cls(scales_db + rx_gain_db - reference_db, rx_gain_db, reference_db)
