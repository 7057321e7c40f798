"""What a virtual USRP receives: codes of its band, at its gain."""

from __future__ import annotations

import numpy as np

from radio.api import IQ
from sim_fallback.bands import Bands
from sim_fallback.codes import Codes, Samples
from sim_fallback.render import TILE, noise_drift_db
from sim_fallback.tiles import Tiles
from sim_fallback.virtual_usrp.board import Inlet

FULL_SCALE = (1 << 15) - 1
"""Code that the host takes for 1."""

FLOOR_DIGITS = 2  # after the point, of a drift of the gain in dB: tables of codes are kept


class Receiver:
    """One receive DSP of a radio, before its stream. Its caller keeps threads apart."""

    def __init__(self, bands: Bands, name: str) -> None:
        """The receiver of a radio of these bands; RadioError where there is none of that name."""
        self._bands, self._name = bands, name
        self._tiles = Tiles(bands, name, self._rendered)

    def samples(self, inlet: Inlet, first: int, count: int) -> Samples:
        """Samples from `first` on of the clock at the inlet's rate, int16 [count, 2]."""
        if not inlet.on:
            return np.zeros((count, 2), np.int16)
        received = np.empty((count, 2), np.int16)
        for index in range(first // TILE, -(-(first + count) // TILE)):
            low, high = max(first, index * TILE), min(first + count, (index + 1) * TILE)
            tile = self._tiles.tile(inlet, inlet.place, index)
            received[low - first : high - first] = tile[low - index * TILE : high - index * TILE]
        return received

    def _rendered(self, inlet: Inlet, index: int) -> Samples:
        equipment, rate_hz = self._bands.equipment(self._name), inlet.place.rate_hz
        front_end = equipment.front_end
        codes = Codes(FULL_SCALE * inlet.scale, 1 << 15)
        gain_db = front_end.rx_gain.gain_db(inlet.gain_db)
        drift_db = noise_drift_db(equipment, index, rate_hz)
        incident: IQ | None = self._bands.incident(self._name, inlet.place, index)
        if incident is None:
            noise_db = gain_db + round(drift_db, FLOOR_DIGITS)
            return codes.of_silence(front_end, equipment.key, index, rate_hz, noise_db)
        incident = incident * np.float32(10 ** (gain_db / 20))
        heard = front_end.received(
            incident, equipment.key, index * TILE, rate_hz, gain_db + drift_db
        )
        return codes.of(heard.view(np.float32).reshape(-1, 2))
