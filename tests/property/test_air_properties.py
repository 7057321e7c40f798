from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_fallback.air import Air, Scene
from sim_fallback.path import Path
from sim_fallback.presets import PRESETS
from sim_fallback.tapped_delay import TappedDelayLine

FS = 1e6
LENGTH = 50_000
CUTS = st.lists(st.integers(1, LENGTH - 1), max_size=6, unique=True).map(sorted)


def busy_air(preset_name, doppler_hz):
    preset = PRESETS[preset_name]
    names = ("d0", "d1", "d2", "rx")
    line = TappedDelayLine((0.0, 0.8e-6, 2.1e-6), (0.0, -3.0, -6.0), doppler_hz=doppler_hz)
    loss_db = preset.front_end.tx_full_scale_dbm - preset.front_end.rx_full_scale_dbm
    front_end = replace(preset.front_end, noise_figure_db=70.0)
    equipment = {name: replace(preset.equip(9, name), front_end=front_end) for name in names}
    paths = {(name, "rx"): Path(line, loss_db, index=k) for k, name in enumerate(names[:3])}
    air = Air(Scene(915e6, FS, equipment, paths))
    rng = np.random.default_rng(2)
    for k, name in enumerate(names[:3]):
        for start in (300 + 7_001 * k, 31_000 + 13 * k):
            n = 9_000 + 777 * k
            iq = 0.2 * (rng.standard_normal(n) + 1j * rng.standard_normal(n))
            air.post(name, iq.astype(np.complex64), air.scene.sample_at(name, start / FS), 0.0)
    return air


AIRS = {
    (name, doppler_hz): busy_air(name, doppler_hz) for name in PRESETS for doppler_hz in (0.0, 40.0)
}


def shown(air, first, n):
    """A window with nothing kept from the window before."""
    air.window("rx", -(10**6), 1)
    return air.window("rx", first, n)


@pytest.mark.parametrize("case", AIRS)
@settings(max_examples=6, deadline=None)
@given(cuts=CUTS, order=st.randoms(use_true_random=False), origin=st.integers(-20_000, 20_000))
def test_pieces_in_any_order_are_the_same_samples(case, cuts, order, origin):
    air = AIRS[case]
    first = origin + air.scene.sample_at("rx", 0.0)
    whole = shown(air, first, LENGTH)
    edges = [0, *cuts, LENGTH]
    pieces = list(pairwise(edges))
    order.shuffle(pieces)
    for low, high in pieces:
        np.testing.assert_array_equal(shown(air, first + low, high - low), whole[low:high])


@settings(max_examples=10, deadline=None)
@given(cuts=CUTS)
def test_captures_in_pieces_are_the_samples_of_one(cuts):
    whole = AIRS["pluto-tcxo", 40.0]
    first = whole.scene.sample_at("rx", 0.0)
    expected = shown(whole, first, LENGTH)
    air = busy_air("pluto-tcxo", 40.0)
    edges = [0, *cuts, LENGTH]
    found = [air.capture("rx", first + low, high - low) for low, high in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(found), expected)


@settings(max_examples=10, deadline=None)
@given(n=st.integers(1, 40), at=st.integers(0, 5_000), delay_ns=st.integers(0, 3_000))
def test_a_short_burst_keeps_its_energy_wherever_it_falls(n, at, delay_ns):
    preset = PRESETS["ideal"]
    equipment = {name: preset.equip(0, name) for name in ("a", "rx")}
    path = Path(TappedDelayLine(kind="awgn"), delay_s=1e-9 * delay_ns)
    air = Air(Scene(915e6, FS, equipment, {("a", "rx"): path}))
    iq = np.exp(0.3j * np.arange(n)).astype(np.complex64)
    air.post("a", iq, at, 0.0)
    heard = air.window("rx", -1_000, 8_000)
    inside = heard[at + 1_000 - 40 : at + 1_000 + n + 44]
    assert np.sum(np.abs(inside) ** 2) == pytest.approx(n, rel=1e-3)
    assert np.sum(np.abs(heard) ** 2) == pytest.approx(n, rel=1e-3)
