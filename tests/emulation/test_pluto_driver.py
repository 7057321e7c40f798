"""The driver on virtual PlutoSDRs, through the real pyadi-iio and libiio."""

import time

import numpy as np
import pytest

from benchmarks.pluto_process import plutos
from radio.api import RadioError, RadioSettings
from radio.registry import open_radio
from tests.emulation.pluto_seen import Seen

PACE = 0.25  # of real time: other tests run beside this one
LEAD = 100_000  # samples; more than a turnaround


@pytest.fixture(scope="module")
def two(adi):
    """URIs of two radios that hear each other at 60 dB."""
    with plutos(2, pace=PACE) as served:
        yield [f"pluto://{uri}" for uri in served.uris]


def test_a_burst_arrives_when_it_was_said_to(two):
    rng = np.random.default_rng(0)
    burst = (0.4 * np.exp(2j * np.pi * rng.random(4000))).astype(np.complex64)
    with open_radio(two[0]) as sender, open_radio(two[1]) as receiver:
        sender.configure(RadioSettings(tx_gain_db=0.0))
        receiver.configure(RadioSettings(rx_gain_db=40.0))
        places = []
        for _ in range(3):
            here, there = sender.now(), receiver.now()
            report = sender.transmit(burst, at=here + LEAD)
            assert report.started_at == here + LEAD
            capture = receiver.receive(2 * LEAD, at=there)
            power = np.convolve(np.abs(capture.iq) ** 2, np.ones(32) / 32, "valid")
            assert power.max() > 100 * np.median(power)
            loud = np.flatnonzero(power > power.max() / 2)  # no phase: the carriers differ
            assert abs(loud[-1] - loud[0] - burst.size) < 100
            places.append(int(loud[0]) + there - report.started_at)
        # The two clocks stand in one relation, but for the drift of 40 ppm in a second.
        assert max(places) - min(places) < 100


def wait_for(radio, sample):
    while radio.now() < sample:
        time.sleep(0.01)


def test_a_capture_without_a_time_holds_nothing_old(two):
    with open_radio(two[0]) as sender, open_radio(two[1]) as receiver:
        sender.configure(RadioSettings(tx_gain_db=0.0))
        receiver.configure(RadioSettings(rx_gain_db=40.0))
        opened_at = receiver.now()
        first = receiver.receive(20_000)
        assert first.first_sample >= opened_at - 20_000
        assert np.abs(first.iq).max() < 0.02  # as it opened it heard its own probe
        at_once = receiver.receive(1000)
        assert at_once.first_sample == first.first_sample + 20_000
        assert at_once.overflows == 0

        started_at = sender.transmit(np.full(50_000, 0.5, np.complex64)).started_at
        wait_for(sender, started_at + 350_000)  # while nobody receives
        now = receiver.now()
        late = receiver.receive(100_000)
        assert np.abs(late.iq).max() < 0.02
        assert late.first_sample >= now
        assert late.overflows == late.first_sample - at_once.first_sample - 1000

        # It was there to be heard.
        started_at = sender.transmit(np.full(50_000, 0.5, np.complex64)).started_at
        heard = receiver.receive(started_at + 100_000 - sender.now())
        assert np.abs(heard.iq).max() > 0.05


def test_settings_are_read_back_and_restored(adi, two):
    address = two[0].removeprefix("pluto://")
    before = adi.Pluto(address)
    before.rx_lo = 2_400_000_000
    found = (before.rx_lo, before.sample_rate, before.gain_control_mode_chan0)
    with open_radio(two[0]) as radio:
        applied = radio.configure(RadioSettings(915e6 + 0.4, 1e6, -20.1, 30.4))
        assert abs(applied.carrier_hz - 915e6) <= 3
        assert applied.tx_gain_db in (-20.0, -20.25)
        assert applied.rx_gain_db == 30
        assert radio.settings == applied
    after = adi.Pluto(address)
    assert (after.rx_lo, after.sample_rate, after.gain_control_mode_chan0) == found
    assert after.tx_hardwaregain_chan0 == -89.75
    assert {float(scale) for scale in after.dds_scales} == {0.0}


def test_a_radio_that_is_not_there_is_named():
    with pytest.raises(RadioError, match=r"ip:127\.0\.0\.1:9 cannot be opened"):
        open_radio("pluto://ip:127.0.0.1:9")
    with pytest.raises(RadioError, match="buffer should be 1024"):
        open_radio("pluto://ip:127.0.0.1?buffer=3")
    with pytest.raises(RadioError, match="does not say which"):
        open_radio("pluto://")


def test_a_crystal_beyond_what_the_radio_permits_is_refused(two):
    seen = Seen(two[0].removeprefix("pluto://"))
    before = seen.settings
    with pytest.raises(RadioError, match="xo_hz = 40008001 is outside 39992000 to 40008000"):
        open_radio(f"{two[0]}?xo_hz=40008001")
    with pytest.raises(RadioError, match="option xo_hz: invalid literal for int"):
        open_radio(f"{two[0]}?xo_hz=40e6")
    assert seen.settings == before
    assert seen.is_free


def tone_of(sender, receiver, n):
    """Carrier of a tone that is sent, and how far its two ends, n samples apart, are received."""
    sender.configure(RadioSettings(tx_gain_db=0.0))
    receiver.configure(RadioSettings(rx_gain_db=40.0))
    tone = np.full(n, 0.5, np.complex64)
    here, there = sender.now(), receiver.now()
    sender.transmit(tone, at=here + LEAD)
    iq = receiver.receive(n + 2 * LEAD, at=there).iq
    power = np.convolve(np.abs(iq) ** 2, np.ones(16) / 16, "same")
    loud = np.flatnonzero(power > power.max() / 4)
    middle = (loud[0] + loud[-1]) // 2
    part = iq[middle - 2**15 : middle + 2**15]
    peak = int(np.argmax(np.abs(np.fft.fft(part))))
    return np.fft.fftfreq(part.size, 1e-6)[peak], loud[-1] - loud[0]


def test_the_crystal_moves_carrier_and_clock_together_and_is_put_back(two):
    seen = Seen(two[0].removeprefix("pluto://"))
    seen.phy.attrs["xo_correction"].value = "40000300"
    found = []
    for xo_hz in (40_000_000, 40_007_000):
        with open_radio(f"{two[0]}?xo_hz={xo_hz}") as sender, open_radio(two[1]) as receiver:
            assert seen.phy.attrs["xo_correction"].value == str(xo_hz)
            found.append(tone_of(sender, receiver, 200_000))
        assert seen.phy.attrs["xo_correction"].value == "40000300"
    seen.phy.attrs["xo_correction"].value = "40000000"
    (carrier, length), (moved, stretched) = found
    # The crystal is taken to be faster than it is by 175 ppm: all that it counts is too slow.
    assert (moved - carrier) / 915e6 == pytest.approx(-175e-6, rel=0.01)
    assert (stretched - length) / 200_000 == pytest.approx(175e-6, abs=30e-6)
