"""What an air passes over unheard would have been silence."""

from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_fallback.air import Air, Scene
from sim_fallback.ledger import Ledger
from sim_fallback.path import Path
from sim_fallback.presets import PRESETS
from sim_fallback.render import TILE
from sim_fallback.tapped_delay import TappedDelayLine

FS = 1e6
LINE = TappedDelayLine((0.0, 40e-6), (0.0, 0.0), kind="awgn")


def heard(starts, delay_s, reach=None):
    """Tiles of a listener around short loud bursts; reach is what the link has, unless given."""
    equipment = {name: PRESETS["pluto-tcxo"].equip(5, name) for name in ("a", "b")}
    equipment["a"] = PRESETS["ideal"].equip(5, "a")
    air = Air(Scene(915e6, FS, equipment, {("a", "b"): Path(LINE, 0.0, delay_s)}))
    if reach is not None:
        air.scene.link("b", "a").reach = reach
    first = 3 * TILE
    middle = air.scene.sample_at("b", air.scene.true_time_s("a", first + TILE))
    for start in sorted(starts):
        at = max(middle + start, air.free_from("b", 0))
        air.post("b", np.full(3, 1 + 1j, np.complex64), at, 0.0)
    return air.window("a", first - TILE, 4 * TILE)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.integers(-200, 200) | st.integers(-TILE - 200, -TILE + 200), min_size=1, max_size=4
    ),
    st.sampled_from([0.0, 1e-6, 3e-3]),
)
def test_bursts_at_the_edges_of_tiles_are_heard_whole(starts, delay_s):
    wanted = heard(starts, delay_s, reach=10**9)
    np.testing.assert_array_equal(heard(starts, delay_s), wanted)
    assert np.abs(wanted).max() > 0.5


def test_who_is_silent_then_is_not_asked():
    with patch.object(Ledger, "sent", side_effect=AssertionError):
        assert not np.any(heard([4 * TILE], 0.0))
