"""The TDD engine of newer firmware, through pyadi-iio's `adi.tddn` and through the driver."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from benchmarks.pluto_process import plutos
from radio.api import RadioError, RadioSettings
from radio.registry import open_radio
from tests.emulation.pluto_seen import Seen

PACE = 0.125
OPTIONS = "buffer=2048&kernel_buffers=16&timeout_s=20"
SETTINGS = RadioSettings(915e6, 1e6, 0.0, 40.0)
FRAME = 4000


@pytest.fixture(scope="module")
def three(adi):
    """URIs of Plutos with a TDD engine, wired together, whose oscillators agree."""
    with plutos(3, pace=PACE, preset="cabled-shared-clock", tdd=True) as served:
        yield served.uris


@pytest.fixture
def engine(adi, three):
    """The first one's as pyadi-iio has it; at rest again afterwards."""
    tdd = adi.tddn(three[0])
    yield tdd
    tdd.enable = False
    tdd.channel[1].polarity = 1
    tdd.enable = True
    tdd.enable = False
    tdd.channel.clear()  # which all instances share


def test_it_reads_back_what_it_is_set_to(engine):
    assert (engine.enable, engine.state) == (False, 0)
    assert [channel.polarity for channel in engine.channel] == [False, True, False]
    engine.frame_length_ms = 2.5
    engine.startup_delay_raw = 30
    engine.burst_count = 7
    engine.channel[1].off_raw = 10
    engine.enable = True
    assert engine.state == 1
    engine.burst_count = 8  # ignored while it is enabled
    ticks_per_ms = engine.frame_length_raw / 2.5
    assert ticks_per_ms == pytest.approx(engine.startup_delay_raw / engine.startup_delay_ms)
    assert (engine.burst_count, engine.channel[1].off_raw) == (7, 10)
    engine.burst_count = 0


def test_buffers_begin_with_frames(opened, three, engine):
    sdr = opened(three[0])
    sdr.sample_rate = int(SETTINGS.sample_rate_hz)
    sdr.loopback = 1
    sdr.tx_cyclic_buffer = True
    sdr.rx_buffer_size = FRAME - 500
    counts = np.arange(FRAME) % 2**11
    sdr.tx((counts << 4) + 0j)
    engine.frame_length_raw, engine.startup_delay_raw, engine.burst_count = FRAME, 0, 0
    gate = engine.channel[1]
    gate.on_raw, gate.off_raw, gate.polarity, gate.enable = 0, 10, 0, 1
    engine.enable = True
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(sdr.rx)
        time.sleep(0.2)
        assert not first.done()  # until there is a pulse
        engine.sync_soft = True
        phases = [first.result().real[0], *(sdr.rx().real[0] for _ in range(5))]
    assert len(set(phases)) == 1
    sdr.rx_destroy_buffer()
    sdr.tx_destroy_buffer()


def test_a_stock_pluto_has_no_engine(adi):
    with plutos(1, pace=PACE) as served:
        with open_radio(f"pluto://{served.uris[0]}?{OPTIONS}") as radio:
            assert not radio.caps.trigger
        with pytest.raises(RadioError, match=r"has no TDD engine; firmware 0\.39"):
            open_radio(f"pluto://{served.uris[0]}?{OPTIONS}&trigger=wait")
        with pytest.raises(RadioError, match="option trigger: 'now' is neither wait nor give"):
            open_radio(f"pluto://{served.uris[0]}?{OPTIONS}&trigger=now")


def test_clocks_that_begin_with_one_pulse_agree_to_the_sample(three):
    radios = []
    try:
        for uri, part in zip(three, ("wait", "wait", "give"), strict=True):
            radios.append(open_radio(f"pluto://{uri}?{OPTIONS}&trigger={part}"))
            assert radios[-1].caps.trigger
            assert radios[-1].now() == 0
        waiting = [
            threading.Thread(target=radio.configure, args=(SETTINGS,)) for radio in radios[:2]
        ]
        for thread in waiting:
            thread.start()
        seen = [Seen(uri) for uri in three]
        while not all(one.is_waiting for one in seen[:2]):
            time.sleep(0.01)
        assert [radio.now() for radio in radios] == [0, 0, 0]
        radios[2].configure(SETTINGS)
        for thread in waiting:
            thread.join()
        assert not any(one.is_waiting for one in seen)  # the engines rest again

        at = max(radio.now() for radio in radios) + 80_000
        radios[2].transmit(np.full(2000, 0.5, np.complex64), at=at)
        arrived = []
        for radio in radios[:2]:
            power = np.abs(radio.receive(40_000, at=at - 20_000).iq)
            arrived.append(int(np.flatnonzero(power > power.max() / 2)[0]) - 20_000)
        assert abs(arrived[0] - arrived[1]) <= 1
        assert abs(arrived[0]) < 10  # samples, as the loopback takes some
    finally:
        for radio in radios:
            radio.close()


def test_a_pulse_that_does_not_come_is_said_and_leaves_nothing(three):
    seen = Seen(three[0])
    with (
        open_radio(f"pluto://{three[0]}?buffer=2048&timeout_s=1&trigger=wait") as radio,
        pytest.raises(RadioError, match=f"^{three[0]}: no pulse came to start it"),
    ):
        radio.configure(SETTINGS)
    assert not seen.is_waiting
    assert seen.is_free
    # A radio that a program left waiting is deaf, and also one that it disabled like that.
    for enabled in "10":
        seen.tdd.find_channel("channel1", True).attrs["polarity"].value = "0"
        seen.tdd.attrs["enable"].value = "1"
        seen.tdd.attrs["enable"].value = enabled
        with open_radio(f"pluto://{three[0]}?{OPTIONS}") as radio:
            assert radio.receive(5000).iq.size == 5000
