from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from radio.api import RadioError, RadioSettings
from radio.registry import RadioUri, open_radio
from sim_fallback.air import Air, Scene
from sim_fallback.airs import publish
from sim_fallback.clock import VirtualClock, WallClock
from sim_fallback.front_end import FrontEnd
from sim_fallback.oscillator import Oscillator
from sim_fallback.path import Path
from sim_fallback.presets import PRESETS, Equipment
from sim_fallback.sim_radio import open_sim
from sim_fallback.tapped_delay import TappedDelayLine
from sim_fallback.temperature import Temperature

FS, CARRIER = 1e6, 915e6
FREE_NAMES = (f"air{number}" for number in count())


class World:
    """A monotonic clock that only sleeping moves."""

    def __init__(self):
        self.time_s = 1234.5
        self.slept = []

    def monotonic(self):
        return self.time_s

    def sleep(self, duration_s):
        self.slept.append(duration_s)
        self.time_s += duration_s


def tone(n, level=0.5):
    return np.full(n, level, np.complex64)


def air_of(names=("d0", "d1", "rx"), ppm=0.0, clock=None, history_s=1.0, front_end=None):
    equipment = {
        name: Equipment(
            Oscillator((k,), ppm * (-1) ** k, 0.0), front_end or FrontEnd(), 0, 0, 1_000 * k, (k,)
        )
        for k, name in enumerate(names)
    }
    path = Path(TappedDelayLine(kind="awgn"))
    return Air(
        Scene(CARRIER, FS, equipment, {(name, names[-1]): path for name in names[:-1]}),
        clock,
        history_s,
    )


def wall_air(**clock):
    world = World()
    return world, air_of(clock=WallClock(world.monotonic, world.sleep, **clock))


def test_what_one_sends_the_other_receives_at_that_time():
    air = air_of()
    device, server = air.open("d1"), air.open("rx")
    # d1 counts from 1,000, rx from 2,000.
    report = device.transmit(tone(100), at=1_500)
    assert (report.started_at, report.clipped, report.applied_gain_db) == (1_500, 0, 0.0)
    capture = server.receive(200, at=2_450)
    assert (capture.first_sample, capture.overflows) == (2_450, 0)
    expected = np.zeros(200)
    expected[50:150] = 0.5
    np.testing.assert_allclose(capture.iq, expected, atol=1e-6)


def test_virtual_time_moves_only_with_captures():
    air = air_of(ppm=20.0)
    radios = [air.open(name) for name in ("d0", "d1", "rx")]
    assert [radio.now() for radio in radios] == [0, 1_000, 2_000]
    radios[0].transmit(tone(500), at=100)
    assert [radio.now() for radio in radios] == [0, 1_000, 2_000]
    radios[1].receive(1_000_000)
    assert radios[1].now() == 1_001_000
    # d1 is 20 ppm slow, the others 20 ppm fast, give or take the sample in progress.
    assert radios[0].now() == pytest.approx(1_000_040, abs=1)
    assert radios[2].now() == pytest.approx(1_002_040, abs=1)


def test_a_capture_may_reach_back_to_the_end_of_ones_own_last():
    air = air_of()
    first, second = air.open("d0"), air.open("rx")
    second.receive(100)
    first.receive(50_000)
    assert second.now() == 52_100
    assert second.receive(10, at=2_100).first_sample == 2_100
    with pytest.raises(RadioError, match="sample 2109 has passed"):
        second.receive(10, at=2_109)
    assert second.receive(10).first_sample == 52_100


def test_a_burst_may_not_start_before_the_present():
    air = air_of()
    device, server = air.open("d0"), air.open("rx")
    server.receive(500)
    with pytest.raises(RadioError, match="sample 499 has passed"):
        device.transmit(tone(10), at=499)
    assert device.transmit(tone(10), at=500).started_at == 500
    # Without a time it follows what is still to be sent.
    assert device.transmit(tone(10)).started_at == 510
    with pytest.raises(RadioError, match="overlap"):
        device.transmit(tone(10), at=505)


def test_the_air_remembers_for_so_long():
    air = air_of(history_s=0.01)
    device, server = air.open("d0"), air.open("rx")
    device.receive(100_000)
    with pytest.raises(RadioError, match="the air remembers"):
        server.receive(10, at=2_000)
    assert server.receive(10, at=92_000).first_sample == 92_000


def test_gains_and_clipping_are_applied_and_reported():
    air = air_of(front_end=FrontEnd(clips=True))
    device, server = air.open("d0"), air.open("rx")
    device.configure(RadioSettings(CARRIER, FS, tx_gain_db=-20.0))
    server.configure(RadioSettings(CARRIER, FS, rx_gain_db=14.0))
    report = device.transmit(np.array([2, 2j, 0.5, 0.5j] * 50, np.complex64), at=100)
    assert (report.applied_gain_db, report.clipped) == (-20.0, 100)
    heard = server.receive(50, at=2_200).iq
    level = 10 ** (-6 / 20)
    np.testing.assert_allclose(heard[:4], level * np.array([1, 1j, 0.5, 0.5j]), rtol=1e-4)


@pytest.mark.parametrize("name", ["carrier_hz", "sample_rate_hz"])
def test_carrier_and_rate_are_the_scenes(name):
    radio = air_of().open("d0")
    fields = {"carrier_hz": CARRIER, "sample_rate_hz": FS} | {name: 2e6}
    with pytest.raises(RadioError, match=name):
        radio.configure(RadioSettings(**fields))
    assert radio.settings == RadioSettings(CARRIER, FS)


def test_closing_silences():
    air = air_of()
    device, server = air.open("d0"), air.open("rx")
    device.transmit(tone(1_000), at=100)
    device.transmit(tone(1_000), at=5_000)
    air.post("d1", tone(100), 1_000, 0.0, cyclic=True)
    other = air.open("d1")
    before = server.receive(500).iq
    np.testing.assert_allclose(before[200:], 1.0, atol=1e-5)
    device.close()
    other.close()
    after = server.receive(8_000).iq
    # What is cut off rings for some samples.
    np.testing.assert_allclose(after[40:], 0, atol=1e-5)
    air.open("d0").transmit(tone(10))


def test_a_closed_radio_refuses():
    radio = air_of().open("d0")
    with radio:
        pass
    for call in (radio.now, lambda: radio.receive(1), lambda: radio.transmit(tone(1))):
        with pytest.raises(RadioError, match="d0 is closed"):
            call()


def test_caps_are_of_the_front_end():
    caps = air_of(front_end=FrontEnd(dac_bits=14, adc_bits=12, turnaround_s=5e-3)).open("d0").caps
    assert (caps.bits, caps.turnaround_s, caps.timed) == (12, 5e-3, True)
    assert (caps.carrier_hz.low, caps.sample_rate_hz.high) == (CARRIER, FS)
    assert air_of().open("d0").caps.bits == 24


def test_in_wall_time_a_capture_takes_its_time():
    world, air = wall_air()
    server = air.open("rx")
    assert server.receive(10_000).first_sample == 2_000
    assert sum(world.slept) == pytest.approx(0.01)
    world.time_s += 0.2
    capture = server.receive(1_000)
    assert (capture.first_sample, capture.overflows) == (12_000, 0)
    assert sum(world.slept) == pytest.approx(0.01)


def test_in_wall_time_what_nobody_reads_is_lost():
    world, air = wall_air(buffer_s=0.25)
    server = air.open("rx")
    server.receive(1_000)
    world.time_s += 0.3
    capture = server.receive(1_000)
    assert capture.first_sample == server.now() - 1_000
    assert capture.overflows == capture.first_sample - 3_000 == pytest.approx(300_000, abs=1)
    assert server.receive(1_000).overflows == 0


def test_in_wall_time_the_past_is_past():
    world, air = wall_air(latency_s=0.02)
    device, server = air.open("d0"), air.open("rx")
    server.receive(100)
    world.time_s += 0.01
    with pytest.raises(RadioError, match="has passed"):
        server.receive(10, at=2_100)
    with pytest.raises(RadioError, match="has passed"):
        device.transmit(tone(10), at=device.now() + 19_900)
    at = device.now() + 20_100
    assert device.transmit(tone(10), at=at).started_at == at
    assert device.transmit(tone(10)).started_at == at + 10
    assert device.caps.turnaround_s == 0.02


def test_in_wall_time_a_burst_posted_while_waiting_is_heard():
    world, air = wall_air()
    device, server = air.open("d0"), air.open("rx")

    def sleep_and_send(duration_s):
        if not world.slept:
            device.transmit(tone(100), at=500)
        World.sleep(world, duration_s / 2)

    air.clock._sleep = sleep_and_send
    heard = server.receive(1_000).iq
    np.testing.assert_allclose(heard[500:600], 0.5, atol=1e-5)


def test_bad_clocks_are_refused():
    world = World()
    with pytest.raises(ValueError, match="buffer_s"):
        WallClock(world.monotonic, world.sleep, buffer_s=-1.0)
    with pytest.raises(ValueError, match="history_s"):
        air_of(clock=VirtualClock(), history_s=-1.0)


def test_a_published_air_is_reached_by_uri():
    air = air_of()
    with publish(air) as name, open_radio(f"sim://{name}?name=d1") as device:
        device.transmit(tone(10), at=1_100)
        assert air.window("rx", 2_100, 10).any()
        with pytest.raises(RadioError, match="no radio 'd7' on this air; there are d0, d1, rx"):
            open_radio(f"sim://{name}?name=d7")
        with pytest.raises(RadioError, match="no option 'seed'"):
            open_radio(f"sim://{name}?name=d1&seed=3")
        with pytest.raises(RadioError, match="there is an air"), publish(air, name):
            pass
    with publish(air, name):
        pass


def test_a_plain_air_lasts_until_its_last_radio_is_closed():
    name = next(FREE_NAMES)
    uri = f"sim://{name}?name={{}}&snr_db=inf&seed=4"
    with open_radio(uri.format("rx")) as server:
        with open_radio(uri.format("d3")) as device:
            device.transmit(tone(100), at=50)
        with open_radio(f"sim://{name}?name=d2") as device:
            device.transmit(tone(100), at=50)
            with pytest.raises(RadioError, match="in use and was made with snr_db=inf, seed=4"):
                open_radio(f"sim://{name}?name=d3&snr_db=10")
            with pytest.raises(RadioError, match="there is an air"), publish(air_of(), name):
                pass
            assert abs(server.receive(100).iq[80]) == pytest.approx(0.5, rel=1e-5)
    with open_radio(f"sim://{name}?name=rx&snr_db=10") as server:
        assert server.now() == 0


@pytest.mark.parametrize("preset", ["ideal", "pluto-tcxo"])
def test_a_plain_air_has_the_snr_it_was_asked_for(preset):
    uri = f"sim://{next(FREE_NAMES)}?name={{}}&snr_db=20&preset={preset}"
    with open_radio(uri.format("rx")) as server, open_radio(uri.format("d0")) as device:
        quiet = server.receive(50_000).iq
        device.transmit(tone(50_000, 0.5))
        loud = server.receive(20_000, at=server.now() + 10_000).iq
    noise_var = np.mean(np.abs(quiet - quiet.mean()) ** 2)
    assert 10 * np.log10(noise_var) == pytest.approx(-20, abs=0.2)
    assert np.mean(np.abs(loud) ** 2) == pytest.approx(0.5**2 + 0.01, rel=0.03)


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("", "does not say which radio"),
        ("name=d99", "no radio 'd99' on this air; there are rx, d0"),
        ("name=d0&preset=plutonium", "no preset 'plutonium'; there are ideal"),
        ("name=d0&clock=sun", "no clock 'sun'; there are virtual, wall"),
        ("name=d0&snr_db=loud", "snr_db"),
        ("name=d0&snr_db=nan", "snr_db a number"),
        ("name=d0&devices=0", "devices should be at least 1"),
        ("name=d0&prest=ideal", "no option 'prest'"),
    ],
)
def test_wrong_uris_leave_no_air_behind(query, why):
    name = next(FREE_NAMES)
    with pytest.raises(RadioError, match=why):
        open_sim(RadioUri.parse(f"sim://{name}?{query}"))
    with publish(air_of(), name):
        pass


def test_a_radio_in_wall_time_by_uri():
    with open_radio(f"sim://{next(FREE_NAMES)}?name=rx&clock=wall") as server:
        first = server.receive(10)
        second = server.receive(10)
    assert second.first_sample == first.first_sample + 10


def test_it_tells_its_serial_number_and_how_warm_it_is():
    warming = Temperature.ramp(20.0, 1.0, start_c=25.0)
    plain = PRESETS["ideal"]
    told = []
    for seed in (7, 8):
        radios = {
            name: replace(plain, temperature=warming).equip(seed, name) for name in ("d0", "d1")
        }
        air = Air(Scene(CARRIER, FS, radios, {}))
        air.clock.wait_until(0.5)
        told += [air.open(name).describe() for name in radios]
    assert told[0] == {"serial": "airmeta-7-d0", "temperature": "35.0 °C"}
    assert len({one["serial"] for one in told}) == 4
    closed = air.open("d0")
    closed.close()
    with pytest.raises(RadioError, match="closed"):
        closed.describe()
