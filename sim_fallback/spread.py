"""How the radios of a bench differ from each other."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sim_fallback.front_end import FrontEnd, IQImbalance
from sim_fallback.gain_error import GainError
from sim_fallback.streams import Key, stream

MOST_RIPPLE_DB = 3.0
"""Below which a higher setting is always a higher gain."""


@dataclass(frozen=True)
class Spread:
    """What is drawn for every radio on top of its front end, from the seed and its name.

    Without arguments all radios are alike. What one argument draws does not depend on the others.

    Attributes:
        path_loss_db: between the farthest device and the nearest.
        gain_error_db: transmit and receive gains are off what the settings say by up to this much.
        gain_ripple_db: and by as much as this more, up and down over the settings.
        iq_gain_db, iq_phase_deg: imbalances of both mixers, up to this much.
        dc: LO leakage and DC offset, magnitudes up to this much, in units of full scale.
        delay_samples: group delays of both directions, up to this much, in samples of the radio.
    """

    path_loss_db: float = 0.0
    gain_error_db: float = 0.0
    gain_ripple_db: float = 0.0
    iq_gain_db: float = 0.0
    iq_phase_deg: float = 0.0
    dc: float = 0.0
    delay_samples: float = 0.0

    def __post_init__(self) -> None:
        for name, end in (
            ("path_loss_db", math.inf),
            ("gain_error_db", math.inf),
            ("gain_ripple_db", MOST_RIPPLE_DB),
            ("iq_gain_db", math.inf),
            ("iq_phase_deg", 90.0),
            ("dc", 1.0),
            ("delay_samples", math.inf),
        ):
            if not 0 <= getattr(self, name) < end:
                raise ValueError(f"{name} must be >= 0 and below {end:g}: {getattr(self, name)}")

    def path_gains_db(self, seed: int, count: int) -> npt.NDArray[np.float64]:
        """How much stronger each device is heard than the farthest, float64 [count].

        Even steps in dB, in an order that follows from the seed.
        """
        order = stream(seed, "distance").permutation(count)
        return self.path_loss_db * order / max(count - 1, 1)

    def front_end(self, plain: FrontEnd, key: Key) -> FrontEnd:
        """The front end of the radio with this key."""
        rng = stream(key, "spread")
        gains_db = self.gain_error_db * rng.uniform(-1, 1, 2)
        imbalances_db = self.iq_gain_db * rng.uniform(-1, 1, 2)
        phases_deg = self.iq_phase_deg * rng.uniform(-1, 1, 2)
        magnitudes = self.dc * np.sqrt(rng.random(2))  # evenly over a disc
        offsets = magnitudes * np.exp(2j * np.pi * rng.random(2))
        delays = self.delay_samples * rng.random(2)
        phases_rad = 2 * math.pi * rng.random(2)
        return replace(
            plain,
            tx_full_scale_dbm=plain.tx_full_scale_dbm + float(gains_db[0]),
            rx_full_scale_dbm=plain.rx_full_scale_dbm - float(gains_db[1]),
            tx_iq=_further(plain.tx_iq, float(imbalances_db[0]), float(phases_deg[0])),
            rx_iq=_further(plain.rx_iq, float(imbalances_db[1]), float(phases_deg[1])),
            tx_dc=plain.tx_dc + complex(offsets[0]) if self.dc else plain.tx_dc,
            rx_dc=plain.rx_dc + complex(offsets[1]) if self.dc else plain.rx_dc,
            tx_gain=self._gain(plain.tx_gain, float(phases_rad[0])),
            rx_gain=self._gain(plain.rx_gain, float(phases_rad[1])),
            tx_delay=plain.tx_delay + float(delays[0]),
            rx_delay=plain.rx_delay + float(delays[1]),
        )

    def _gain(self, plain: GainError, phase_rad: float) -> GainError:
        return GainError(self.gain_ripple_db, phase_rad) if self.gain_ripple_db else plain


ALIKE = Spread()
"""None at all."""


def _further(plain: IQImbalance | None, gain_db: float, phase_deg: float) -> IQImbalance | None:
    """An imbalance and some more; None stays None where there is no more."""
    if not gain_db and not phase_deg:
        return plain
    if plain is None:
        return IQImbalance(gain_db, phase_deg)
    return IQImbalance(plain.gain_db + gain_db, plain.phase_deg + phase_deg)
