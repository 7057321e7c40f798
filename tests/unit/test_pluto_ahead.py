"""What a virtual Pluto renders before it is asked for."""

from dataclasses import replace

import numpy as np
import pytest

from sim_fallback.air import Air, Scene
from sim_fallback.bands import Bands, Place
from sim_fallback.clock import VirtualClock
from sim_fallback.path import Path
from sim_fallback.presets import PRESETS
from sim_fallback.tapped_delay import TappedDelayLine
from sim_fallback.virtual_pluto.pluto import Pluto

RATE, SIZE = 2.5e6, 40_000
TONE = np.tile(np.array([[8000, 0], [0, 8000], [-8000, 0], [0, -8000]], np.int16), (25_000, 1))


def pair():
    """Two Plutos that hear each other; the first one is read."""
    equipment = {name: PRESETS["pluto-tcxo"].equip(3, name) for name in ("a", "b")}
    path = Path(TappedDelayLine(kind="awgn"), 40.0)
    bands = Bands(Air(Scene(915e6, RATE, equipment, {("a", "b"): path}), VirtualClock()))
    plutos = [Pluto(bands, name) for name in ("a", "b")]
    for pluto in plutos:
        pluto.apply(
            replace(
                pluto.settings,
                rate_hz=RATE,
                rx_lo_hz=915e6,
                tx_lo_hz=915e6,
                gain_mode="manual",
                rx_gain_db=30.0,
            )
        )
    return plutos


def next_block(pluto, ring):
    pluto.release(ring)
    pluto.bands.clock.wait_until(pluto.ready_s(ring))
    return pluto.read(ring)


def recording(ahead):
    """Blocks read while the other one begins to send; with looks ahead, or without."""
    one, other = pair()
    ring = one.open_rx(SIZE)
    blocks = []
    for k in range(6):
        if k in (2, 3):
            other.push(other.open_tx(len(TONE), cyclic=False), TONE)
        blocks.append(next_block(one, ring))
        if ahead:
            one.look_ahead(ring, lambda: False)
    return np.concatenate(blocks)


def test_looking_ahead_changes_nothing():
    plain = recording(ahead=False)
    assert np.abs(plain[3 * SIZE :]).mean() > 3 * np.abs(plain[SIZE : 2 * SIZE]).mean()
    np.testing.assert_array_equal(recording(ahead=True), plain)


@pytest.fixture
def rendered(monkeypatch):
    """Tiles that were rendered."""
    tiles, incident = [], Bands.incident

    def noted(self, name, where, index):
        tiles.append(index)
        return incident(self, name, where, index)

    monkeypatch.setattr(Bands, "incident", noted)
    return tiles


def test_what_was_rendered_ahead_is_not_rendered_again(rendered):
    one, _ = pair()
    ring = one.open_rx(SIZE)
    next_block(one, ring)
    one.look_ahead(ring, lambda: False)
    before = len(rendered)
    next_block(one, ring)
    assert len(rendered) == before == len(set(rendered))


def test_a_client_that_waits_ends_the_look(rendered):
    one, _ = pair()
    ring = one.open_rx(SIZE)
    next_block(one, ring)
    before = len(rendered)
    answers = iter([False, False, True])  # of the first tile the block before had a part
    one.look_ahead(ring, lambda: next(answers))
    assert len(rendered) == before + 1


def test_nobody_looks_ahead_while_somebody_sends(rendered):
    one, other = pair()
    ring = one.open_rx(SIZE)
    next_block(one, ring)
    other.push(other.open_tx(len(TONE), cyclic=False), TONE)
    before = len(rendered)
    one.look_ahead(ring, lambda: False)
    assert len(rendered) == before


@pytest.mark.parametrize("away_s", [0.001, 1.0])
def test_only_what_is_sent_in_a_tile_renders_it_again(rendered, away_s):
    one, _other = pair()
    ring = one.open_rx(SIZE)
    next_block(one, ring)
    end_s = one.bands.clock.present_s()
    place = Place(915e6, one.bands.rate_hz(one.settings.rx_rate_hz))
    at = one.bands.sample_at("b", end_s + away_s, place.rate_hz)
    one.bands.send("b", place, np.ones(9, np.complex64), at, 0.0)
    next_block(one, ring)
    assert (len(rendered) > len(set(rendered))) == (away_s == 0.001)


def test_silence_that_is_sent_leaves_no_trace():
    one, other = pair()
    buffer = other.open_tx(SIZE, cyclic=False)
    version = one.bands.version
    for _ in range(5):
        other.push(buffer, np.zeros((SIZE, 2), np.int16))
    assert one.bands.version == version
    other.push(buffer, TONE[:SIZE])
    assert one.bands.version == version + 1
