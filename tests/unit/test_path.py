import math
from dataclasses import replace

import numpy as np
import pytest

from sim_fallback.path import Path, free_space_loss_db, log_distance_loss_db
from sim_fallback.tapped_delay import TappedDelayLine


def test_free_space_loss_is_the_textbook_figure():
    # 32.44 + 20 log10(MHz) + 20 log10(km)
    assert free_space_loss_db(1000.0, 915e6) == pytest.approx(91.67, abs=0.02)
    assert free_space_loss_db(10.0, 2.45e9) == pytest.approx(60.23, abs=0.02)
    wavelength = 299_792_458 / 915e6
    assert free_space_loss_db(wavelength, 915e6) == pytest.approx(20 * math.log10(4 * math.pi))


def test_log_distance_loss_continues_free_space():
    for metres in (1.0, 7.0, 80.0):
        assert log_distance_loss_db(metres, 915e6, 2.0) == pytest.approx(
            free_space_loss_db(metres, 915e6)
        )
    near, far = (log_distance_loss_db(metres, 915e6, 3.5) for metres in (5.0, 50.0))
    assert far - near == pytest.approx(35.0)
    assert log_distance_loss_db(4.0, 915e6, 3.0, 4.0) == free_space_loss_db(4.0, 915e6)


def test_loss_and_delay_are_recovered_from_the_response():
    fading = TappedDelayLine((0.0, 2e-6), (0.0, -6.0), doppler_hz=20.0)
    path = Path(fading, loss_db=47.0, delay_s=0.3e-6, seed=2, index=5)
    t = np.linspace(0, 1, 7)
    response = path.response(t)
    assert response.gains.shape == response.rates.shape == (7, 2)
    ratio = response.gains / fading.gains(2, 5, t)
    np.testing.assert_allclose(-20 * np.log10(np.abs(ratio)), 47.0, atol=1e-9)
    np.testing.assert_allclose(response.rates / fading.rates(2, 5, t), ratio, rtol=1e-9)
    np.testing.assert_allclose(response.delays_s, [0.3e-6, 2.3e-6], rtol=1e-12)
    np.testing.assert_array_equal(path.delays_s, response.delays_s)
    assert path.doppler_hz == 20.0


def test_devices_and_seeds_fade_on_their_own():
    path = Path(TappedDelayLine(), seed=2, index=5)
    at = np.array([0.0])
    gains = [
        replace(path, seed=s, index=i).response(at).gains[0, 0] for s in (1, 2) for i in (5, 6)
    ]
    assert len(set(gains)) == 4


def test_the_ideal_path_changes_nothing():
    response = Path.ideal().response(np.array([0.0, 9.0]))
    np.testing.assert_array_equal(response.gains, np.ones((2, 1)))
    np.testing.assert_array_equal(response.delays_s, [0.0])


def test_what_makes_no_path():
    for change, message in (
        ({"loss_db": math.nan}, "loss_db"),
        ({"delay_s": -1e-9}, "delay_s"),
        ({"seed": -1}, "seed"),
        ({"index": -1}, "index"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(Path.ideal(), **change)
    for arguments in ((0.0, 915e6), (1.0, 0.0), (math.nan, 1e9)):
        with pytest.raises(ValueError, match="positive"):
            free_space_loss_db(*arguments)
    with pytest.raises(ValueError, match="nearer than the reference"):
        log_distance_loss_db(0.5, 915e6, 2.0)
