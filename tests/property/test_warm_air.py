"""An air whose radios differ and warm up: windows in pieces are windows as a whole."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_fallback.air import Air, Scene
from sim_fallback.path import Path
from sim_fallback.presets import PRESETS
from sim_fallback.spread import Spread
from sim_fallback.tapped_delay import TappedDelayLine
from sim_fallback.temperature import Temperature

FS, LENGTH = 1e6, 40_000
UNEQUAL = Spread(30.0, 1.0, 0.5, 0.5, 3.0, 0.02, 3.0)


def warm_air(preset_name):
    """Radios that warm by 20 K within the window."""
    preset = PRESETS[preset_name]
    front_end = replace(
        preset.front_end, noise_figure_db=70.0, tx_gain_db_per_k=-0.1, rx_gain_db_per_k=-0.2
    )
    preset = replace(
        preset,
        front_end=front_end,
        spread=UNEQUAL,
        temperature=Temperature.ramp(20.0, LENGTH / FS),
        ppm_per_k=0.05,
    )
    names = ("d0", "d1", "rx")
    loss_db = preset.front_end.tx_full_scale_dbm - preset.front_end.rx_full_scale_dbm
    gains_db = UNEQUAL.path_gains_db(5, 2)
    line = TappedDelayLine((0.0, 0.8e-6), (0.0, -3.0), doppler_hz=20.0)
    paths = {
        (name, "rx"): Path(line, loss_db + 30.0 - float(gains_db[k]), index=k)
        for k, name in enumerate(names[:2])
    }
    air = Air(Scene(915e6, FS, {name: preset.equip(5, name) for name in names}, paths))
    rng = np.random.default_rng(2)
    for k, name in enumerate(names[:2]):
        iq = 0.2 * (rng.standard_normal(30_000) + 1j * rng.standard_normal(30_000))
        at = air.scene.sample_at(name, 300e-6 + 3e-3 * k)
        air.post(name, iq.astype(np.complex64), at, -3.0 * k)
    return air


AIRS = {name: warm_air(name) for name in ("usrp-octoclock", "pluto-tcxo")}


@pytest.mark.parametrize("name", AIRS)
@settings(max_examples=5, deadline=None)
@given(
    cuts=st.lists(st.integers(1, LENGTH - 1), max_size=4, unique=True).map(sorted),
    order=st.randoms(use_true_random=False),
    origin=st.integers(-9_000, 9_000),
)
def test_pieces_in_any_order_are_the_same_samples(name, cuts, order, origin):
    air = AIRS[name]
    first = origin + air.scene.sample_at("rx", 0.0)

    def shown(low, high):
        air.window("rx", -(10**6), 1)  # nothing is kept from the window before
        return air.window("rx", first + low, high - low)

    whole = shown(0, LENGTH)
    pieces = list(pairwise([0, *cuts, LENGTH]))
    order.shuffle(pieces)
    for low, high in pieces:
        np.testing.assert_array_equal(shown(low, high), whole[low:high])
