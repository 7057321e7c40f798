"""A USRP that goes on receiving behind each capture: the next one may be asked for late."""

import time

import numpy as np
import pytest
from uhd_process import address

from radio.api import RadioError, RadioSettings
from radio.registry import open_radio
from sim_fallback.air import Air, Scene
from sim_fallback.bands import Bands, Place
from sim_fallback.clock import WallClock
from sim_fallback.path import Path
from sim_fallback.presets import PRESETS
from sim_fallback.tapped_delay import TappedDelayLine
from sim_fallback.virtual_usrp.server import serve_usrps

PACE = 0.5
RATE, CARRIER = 1e6, 915e6
TICKS = 100  # of a sample
MEMORY = 200_000
PERIOD = 65_537


@pytest.fixture(scope="module")
def sent():
    drawn = 0.1 * np.random.default_rng(3).standard_normal((PERIOD, 2))
    return drawn.astype(np.float32).view(np.complex64)[:, 0]


@pytest.fixture(scope="module")
def listening(uhd, sent):
    """How to open the USRP that hears `sent` again and again, and what it should hear."""
    names = ("rx", "d0")
    equipment = {name: PRESETS["ideal"].equip(7, name) for name in names}
    path = Path(TappedDelayLine(kind="awgn"), 0.0)
    clock = WallClock.paced(PACE, time.monotonic, time.sleep)
    bands = Bands(Air(Scene(CARRIER, RATE, equipment, {names: path}), clock))
    bands.send("d0", Place(CARRIER, RATE), sent, 0, 0.0, cyclic=True)
    with serve_usrps(bands, ["rx"], [address(20)]) as (server,):

        def expected(first, n):
            begin = server.board.timebase.sample_at(TICKS * first, RATE)
            return sent[np.arange(begin, begin + n) % PERIOD]

        yield f"usrp://addr={server.host}?lead_s=0.05", expected


def wait_until(radio, sample):
    while radio.now() < sample:
        time.sleep(0.01)


def test_what_came_behind_a_capture_can_be_asked_for_later(listening):
    uri, expected = listening
    with open_radio(f"{uri}&memory_s={MEMORY / RATE}") as radio:
        radio.configure(RadioSettings(CARRIER, RATE))

        def hear(first, n):
            capture = radio.receive(n, at=first)
            assert (capture.first_sample, capture.overflows) == (first, 0)
            np.testing.assert_allclose(capture.iq, expected(first, n), atol=1e-4)

        at = radio.now() + 400_000
        hear(at, 1000)
        hear(at + 1000, 500)  # what is received goes on from there
        wait_until(radio, at + 100_000)
        for first, n in ((20_000, 3000), (40_000, 7000)):
            hear(at + first, n)
        following = radio.receive(3000)  # without a time from where the last one ended
        assert following.first_sample == at + 47_000
        np.testing.assert_allclose(following.iq, expected(at + 47_000, 3000), atol=1e-4)
        hear(at + 190_000, 30_000)
        with pytest.raises(RadioError, match="has passed"):
            radio.receive(10, at=at + 219_990)
        hear(radio.now() + 400_000, 3000)


def test_without_a_memory_what_has_passed_is_gone(listening):
    uri, expected = listening
    with open_radio(uri) as radio:
        radio.configure(RadioSettings(CARRIER, RATE))
        at = radio.now() + 400_000
        np.testing.assert_allclose(radio.receive(1000, at).iq, expected(at, 1000), atol=1e-4)
        with pytest.raises(RadioError, match="has passed"):
            radio.receive(1000, at=at + 1000)
