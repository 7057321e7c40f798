import math
from dataclasses import replace

import numpy as np
import pytest

from radio.api import Range
from radio.waveform.numerology import Numerology
from radio.waveform.ofdm import demodulate, modulate
from sim_fallback.front_end import FrontEnd
from sim_fallback.presets import N210_SBX, PLUTO
from testbed.on_air.levels import HEADROOM_DB, Levels
from testbed.on_air.link import Link

NUMEROLOGY = Numerology()
GAINS = Range(-20.0, 90.0)
QUIET = FrontEnd()


def levels(front_end, snr_db, backoff_db=10.0, num_devices=10):
    return Levels.of(front_end, GAINS, snr_db, backoff_db, num_devices, NUMEROLOGY)


@pytest.mark.parametrize("front_end", [PLUTO, N210_SBX, replace(QUIET, noise_figure_db=0.0)])
@pytest.mark.parametrize("snr_db", [-10.0, 5.0, 19.0, 40.0])
@pytest.mark.parametrize("backoff_db", [6.0, 10.0])
@pytest.mark.parametrize("num_devices", [1, 10, 100])
def test_a_device_at_gain_one_has_the_wanted_snr(front_end, snr_db, backoff_db, num_devices):
    budget = levels(front_end, snr_db, backoff_db, num_devices)
    # Power at the antenna of a symbol of power 1, per carrier: all of it is on 200 of 256.
    sent_dbm = front_end.tx_full_scale_dbm - backoff_db + 10 * math.log10(256 / 200)
    received_dbm = sent_dbm - budget.loss_db
    full_scale = 10 ** ((received_dbm + budget.rx_gain_db - front_end.rx_full_scale_dbm) / 10)
    noise = front_end.noise_var(1e6, budget.rx_gain_db)
    assert 10 * math.log10(full_scale / noise) == pytest.approx(snr_db, abs=1e-9)
    assert GAINS.low <= budget.rx_gain_db <= GAINS.high
    if GAINS.low < budget.rx_gain_db < GAINS.high:
        # All devices together stand the headroom below full scale.
        together_db = budget.reference_db - backoff_db + 10 * math.log10(num_devices)
        assert together_db == pytest.approx(-HEADROOM_DB)


def test_the_reference_is_what_samples_come_out_of():
    """Rendered by the front end itself: SNR and gain of a burst, from its samples."""
    budget = levels(PLUTO, 12.0, num_devices=1)
    link = Link(NUMEROLOGY, 915e6, reference_gain=10 ** (budget.reference_db / 20))
    off = "phase_noise", "amplifier", "mixers", "quantisation"
    front_end = replace(PLUTO.without(*off), clips=False)
    rng = np.random.default_rng(3)
    values = np.exp(0.5j * np.pi * rng.integers(0, 4, (200, 200))).astype(np.complex64)
    iq = modulate(values, NUMEROLOGY) * np.float32(link.amplitude)
    at_antenna, clipped = front_end.sent(iq, (1,), 0, 1e6)
    scale_db = front_end.tx_full_scale_dbm - front_end.rx_full_scale_dbm
    path = 10 ** ((scale_db - budget.loss_db + budget.rx_gain_db) / 20)
    heard = front_end.received(at_antenna * np.float32(path), (2,), 0, 1e6, budget.rx_gain_db)
    received = demodulate(heard, NUMEROLOGY) / np.float32(link.amplitude * link.reference_gain)
    gain = np.mean(received / values)
    assert clipped == 0
    assert gain == pytest.approx(1, abs=5e-3)
    noise_var = np.mean(np.abs(received - values) ** 2)
    assert -10 * np.log10(noise_var) == pytest.approx(12, abs=0.1)


def test_without_noise_the_headroom_decides():
    budget = levels(QUIET, math.inf, backoff_db=10.0, num_devices=10)
    assert budget.rx_gain_db == 0
    assert budget.reference_db == pytest.approx(-HEADROOM_DB - 10 + 10)
    assert budget.loss_db == pytest.approx(HEADROOM_DB)


def test_a_gain_beyond_the_radio_is_limited_and_the_snr_kept():
    narrow = Levels.of(PLUTO, Range(0.0, 30.0), 19.0, 10.0, 10, NUMEROLOGY)
    assert narrow.rx_gain_db == 30
    received_db = narrow.reference_db - 10.0 + 10 * math.log10(256 / 200)
    noise_db = 10 * math.log10(PLUTO.noise_var(1e6, 30.0))
    assert received_db - noise_db == pytest.approx(19)
