"""The driver of SoapySDR over devices that honour less than UHD's: tests/emulation has those."""

import sys
import threading
import time
from dataclasses import replace
from importlib import import_module

import fake_soapy
import numpy as np
import pytest

from radio.api import RadioError, RadioSettings
from radio.registry import open_radio

MODULES = [
    f"radio.drivers.soapy{part}" for part in ("", "_clock", "_receiving", "_sending", "_state")
]
QUICK = RadioSettings(carrier_hz=915e6, sample_rate_hz=1e6, tx_gain_db=7.0, rx_gain_db=20.0)


@pytest.fixture(autouse=True)
def soapy(monkeypatch):
    """The fake module in place of SoapySDR's, for the driver alone."""
    monkeypatch.setitem(sys.modules, "SoapySDR", fake_soapy)
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    fake_soapy.opened.clear()
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def opened():
    """Open a radio that has this; gives it and its device."""
    radios = []

    def open_(has="tx", options=""):
        radios.append(open_radio(f"soapy://driver=fake,has={has}{options}"))
        tx_gain_db = QUICK.tx_gain_db if radios[-1].caps.can_transmit else 0.0
        radios[-1].configure(replace(QUICK, tx_gain_db=tx_gain_db))
        return radios[-1], fake_soapy.opened[-1]

    yield open_
    for radio in radios:
        radio.close()


def wait_until(what):
    until_s = time.monotonic() + 60
    while not what():
        assert time.monotonic() < until_s
        time.sleep(0.001)


def test_a_capture_is_cut_out_of_a_stream_by_its_times(opened):
    radio, _ = opened("tx+time")
    at = radio.now() + 777
    capture = radio.receive(1_234, at=at)
    assert (capture.first_sample, capture.overflows) == (at, 0)
    np.testing.assert_array_equal(capture.iq, fake_soapy.ramp(at, 1_234))
    following = radio.receive(10)
    assert following.first_sample >= at + 1_234
    np.testing.assert_array_equal(following.iq, fake_soapy.ramp(following.first_sample, 10))


def test_lost_samples_are_zeros_in_their_places_and_counted(opened):
    radio, device = opened("tx+time")
    at = radio.now() + 500
    device.lose = range(at + 250, at + 400)
    capture = radio.receive(1_000, at=at)
    expected = fake_soapy.ramp(at, 1_000)
    expected[250:400] = 0
    np.testing.assert_array_equal(capture.iq, expected)
    assert capture.overflows == 150


def test_without_hardware_time_it_is_not_timed_and_says_so(opened):
    radio, device = opened()
    assert not radio.caps.timed
    before = radio.now()
    captures = [radio.receive(n) for n in (1, 1_000, 300)]
    firsts = [before, *(capture.first_sample for capture in captures)]
    assert firsts == sorted(firsts)
    start = device.clock - 300
    np.testing.assert_array_equal(captures[-1].iq, fake_soapy.ramp(start, 300))
    at = radio.now() + 30_000
    assert radio.receive(10, at=at).first_sample >= at
    assert radio.now() >= at


def test_an_overflow_without_times_is_told(opened):
    radio, device = opened()
    device.lose = range(device.clock + 50, device.clock + 70)
    assert radio.receive(100).overflows > 0
    assert radio.receive(100).overflows == 0


def test_a_long_burst_is_written_in_pieces_of_which_the_first_has_the_time(opened):
    radio, device = opened("tx+time")
    iq = (0.5 * np.exp(1j * np.arange(150_000))).astype(np.complex64)
    at = radio.now() + 5_000
    assert radio.transmit(iq, at=at).started_at == at
    wait_until(lambda: sum(each[2].size for each in device.written) == iq.size)
    np.testing.assert_array_equal(np.concatenate([each[2] for each in device.written]), iq)
    flags = [each[0] for each in device.written]
    assert flags[0] == fake_soapy.SOAPY_SDR_HAS_TIME
    assert device.written[0][1] == at * 1_000
    assert set(flags[1:-1]) == {0}
    assert flags[-1] == fake_soapy.SOAPY_SDR_END_BURST


def test_without_hardware_time_a_burst_waits_for_this_machines_clock(opened):
    radio, device = opened()
    at = radio.now() + 40_000
    radio.transmit(fake_soapy.ramp(0, 100), at=at)
    wait_until(lambda: device.written)
    assert radio.now() >= at
    assert device.written[0][:2] == (fake_soapy.SOAPY_SDR_END_BURST, 0)


def test_what_became_of_a_burst_is_told_once_and_the_next_one_sent(opened, caplog):
    radio, device = opened("tx+time")
    device.statuses.append(fake_soapy.Result(fake_soapy.SOAPY_SDR_TIME_ERROR, 0, 12_345))
    device.statuses.append(fake_soapy.Result(0, fake_soapy.SOAPY_SDR_END_BURST))
    device.statuses.append(fake_soapy.Result(fake_soapy.SOAPY_SDR_UNDERFLOW, 0, 23_456))
    with pytest.raises(RadioError, match=r"too late.*was cut"):
        radio.transmit(fake_soapy.ramp(0, 10))
    late, cut = caplog.messages
    radio.transmit(fake_soapy.ramp(0, 10))
    assert "too late" in late and "12345 ns" in late
    assert "was cut" in cut
    wait_until(lambda: device.written)


@pytest.mark.parametrize(
    "act",
    [
        lambda radio: radio.receive(10),
        lambda radio: radio.transmit(fake_soapy.ramp(0, 10)),
        lambda radio: radio.configure(QUICK),
    ],
    ids=["receive", "transmit", "configure"],
)
def test_what_went_wrong_is_told_by_whatever_comes_next(opened, caplog, monkeypatch, act):
    radio, device = opened("tx+time")
    device.statuses.append(fake_soapy.Result(fake_soapy.SOAPY_SDR_TIME_ERROR, 0, 12_345))
    with pytest.raises(RadioError, match="too late"):
        act(radio)
    monkeypatch.setattr(
        device, "writeStream", lambda *_: fake_soapy.Result(fake_soapy.SOAPY_SDR_STREAM_ERROR)
    )
    radio.transmit(fake_soapy.ramp(0, 10))
    wait_until(lambda: "no longer sends" in caplog.text)
    for _ in range(2):
        with pytest.raises(RadioError, match="no longer sends: STREAM_ERROR; open the radio again"):
            act(radio)


def test_bursts_go_out_in_the_order_of_their_times(opened):
    radio, device = opened("tx+time")
    now = radio.now()
    for start in (900_000, 600_000, 300_000):  # of which none is due
        radio.transmit(fake_soapy.ramp(start, 10), at=now + start)
    radio.receive(10, at=now + 550_000)
    wait_until(lambda: len(device.written) == 2)
    assert [each[1] for each in device.written] == [1000 * (now + k) for k in (300_000, 600_000)]
    with pytest.raises(RadioError, match="later burst already"):
        radio.transmit(fake_soapy.ramp(0, 10), at=now + 590_000)


def test_a_reference_that_is_not_there_or_goes_is_missed(opened, monkeypatch):
    monkeypatch.setattr(import_module("radio.drivers.soapy_state"), "LOCKING_S", 0.05)
    missing = "not locked to its reference, clock=external; is 10 MHz connected"
    with pytest.raises(RadioError, match=missing):
        opened("tx+unlocked", "?clock=external")
    assert fake_soapy.opened[-1].is_closed
    opened("tx+unlocked")  # which needs none
    radio, device = opened("tx", "?clock=external")
    radio.receive(10)
    device.locked = False
    burst = fake_soapy.ramp(0, 10)
    for act in (
        lambda: radio.receive(10),
        lambda: radio.transmit(burst),
        lambda: radio.configure(QUICK),
    ):
        with pytest.raises(RadioError, match=missing):
            act()
    device.locked = True
    radio.receive(10)


def test_a_stream_that_does_not_end_is_given_up(opened):
    radio, device = opened("time", "?timeout_s=0.1")
    radio.receive(10)
    until_s = time.monotonic() + 10

    def failing(*_, **__):
        over = time.monotonic() > until_s
        return fake_soapy.Result(fake_soapy.SOAPY_SDR_TIMEOUT if over else -9)

    device.readStream = failing
    with pytest.raises(RadioError, match="does not stop to receive; open it again"):
        radio.receive(10)


def test_what_is_not_sent_yet_is_not_sent_once_it_is_closed(opened):
    radio, device = opened()
    radio.transmit(fake_soapy.ramp(0, 100), at=radio.now() + 3_600_000_000)
    radio.close()
    assert not device.written


def told_while_it_receives(radio, close_when, **capture):
    """The error of a capture in another thread, during which the radio is closed."""
    told = []

    def receive():
        with pytest.raises(RadioError) as caught:
            radio.receive(**capture)
        told.append(str(caught.value))

    thread = threading.Thread(target=receive)
    thread.start()
    close_when.wait(60)
    radio.close()
    thread.join(60)
    return told


@pytest.mark.parametrize("has", ["tx+time", "tx"])
def test_closing_it_mutes_it_and_waits_until_nobody_reads(opened, monkeypatch, has):
    radio, device = opened(has)
    reads, muted, did = threading.Event(), threading.Event(), []

    def read(*_, **wait):
        if wait["timeoutUs"]:  # there is nothing left of an earlier capture
            reads.set()
            assert muted.wait(60)
            time.sleep(0.05)
            did.append("read")
        return fake_soapy.Result(fake_soapy.SOAPY_SDR_TIMEOUT)

    def set_gain(way, *_):
        if way == fake_soapy.SOAPY_SDR_TX:
            muted.set()

    monkeypatch.setattr(device, "readStream", read)
    monkeypatch.setattr(device, "setGain", set_gain)
    monkeypatch.setattr(device, "closeStream", lambda stream: did.append("closed"))
    (told,) = told_while_it_receives(radio, reads, n=10)
    assert "is closed; open it again" in told
    assert did == ["read", "closed", "closed"]


def test_closing_it_ends_a_capture_whose_time_is_far(opened, monkeypatch):
    radio, device = opened()
    begun = threading.Event()
    monkeypatch.setattr(
        device,
        "readStreamStatus",
        lambda *_, **__: begun.set() or fake_soapy.Result(fake_soapy.SOAPY_SDR_TIMEOUT),
    )
    (told,) = told_while_it_receives(radio, begun, n=10, at=radio.now() + 3_600_000_000)
    assert "is closed; open it again" in told


def test_a_driver_that_does_not_return_is_muted_and_left(opened, monkeypatch, caplog):
    monkeypatch.setattr(import_module("radio.drivers.soapy"), "LEAVE_S", 0.0)
    radio, device = opened("tx+time", "?timeout_s=0.05")
    reads, go_on = threading.Event(), threading.Event()

    def read(*_, **__):
        reads.set()
        go_on.wait(60)
        return fake_soapy.Result(fake_soapy.SOAPY_SDR_TIMEOUT)

    monkeypatch.setattr(device, "readStream", read)
    closed = threading.Thread(target=lambda: (reads.wait(60), radio.close(), go_on.set()))
    closed.start()
    with pytest.raises(RadioError, match="is closed; open it again"):
        radio.receive(10)
    closed.join(60)
    assert "does not return from what it was asked" in caplog.text
    assert device.gains[fake_soapy.SOAPY_SDR_TX] == 0
    assert not device.is_closed


def test_it_is_left_as_it_was_found_and_at_its_weakest(opened):
    radio, device = opened("tx+time", "?rx_antenna=TX/RX&clock=external")
    assert (device.antennas[fake_soapy.SOAPY_SDR_RX], device.reference) == ("TX/RX", "external")
    assert device.gains == {fake_soapy.SOAPY_SDR_RX: 20, fake_soapy.SOAPY_SDR_TX: 7}
    assert set(device.bandwidths.values()) == {1e6}
    assert not device.is_automatic
    radio.close()
    found = fake_soapy.Device({})
    for name in ("antennas", "rates", "carriers", "bandwidths", "is_automatic", "reference"):
        assert getattr(device, name) == getattr(found, name)
    assert device.gains == {fake_soapy.SOAPY_SDR_RX: 5, fake_soapy.SOAPY_SDR_TX: 0}
    assert device.is_closed


def test_a_rate_that_it_lacks_is_refused_and_the_nearest_named(opened):
    radio, device = opened("tx+time")
    with pytest.raises(RadioError, match=r"has no sample_rate_hz = 1300000; the nearest.* 1000000"):
        radio.configure(RadioSettings(sample_rate_hz=1.3e6))
    assert radio.settings == QUICK
    assert set(device.rates.values()) == {1e6}


def test_another_rate_takes_back_what_was_to_be_sent_and_counts_from_the_clock(opened):
    radio, device = opened("tx+time")
    radio.transmit(fake_soapy.ramp(0, 10))
    wait_until(lambda: device.written)
    radio.transmit(fake_soapy.ramp(0, 10), at=radio.now() + 500_000)
    radio.receive(10, at=radio.now() + 20_000)
    radio.configure(replace(QUICK, sample_rate_hz=250e3))
    assert radio.now() == device.clock
    starts = [radio.transmit(fake_soapy.ramp(0, 20)).started_at]
    assert starts[0] == device.clock + 5_000  # lead_s
    device.clock += 1_000_000
    starts.append(radio.transmit(fake_soapy.ramp(0, 20)).started_at)
    wait_until(lambda: len(device.written) == 3)
    assert [each[1] for each in device.written[1:]] == [4_000 * start for start in starts]


def test_a_rate_that_is_refused_leaves_a_transmitter(opened):
    radio, device = opened("tx+time")
    with pytest.raises(RadioError, match="has no sample_rate_hz"):
        radio.configure(RadioSettings(sample_rate_hz=1.3e6))
    radio.transmit(fake_soapy.ramp(0, 10))
    wait_until(lambda: device.written)


def test_a_receiver_only_receives(opened):
    radio, _ = opened("time")
    assert not radio.caps.can_transmit
    with pytest.raises(RadioError, match="only receives"):
        radio.transmit(fake_soapy.ramp(0, 10))
    assert radio.receive(10).iq.size == 10


def test_what_the_driver_tells(opened):
    radio, _ = opened("tx+time")
    assert radio.caps.bits == 8
    assert (radio.caps.carrier_hz.low, radio.caps.carrier_hz.high) == (1e6, 6e9)
    told = radio.describe()
    assert (told["serial"], told["temperature"], told["driver"]) == ("F00", "41.3 °C", "fake")


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("soapy://driver=fake?rx_antenna=RX3", "no rx antenna 'RX3'; there are TX/RX, RX2"),
        (
            "soapy://driver=fake?clock=gpsdo",
            "no clock source 'gpsdo'; there are internal, external",
        ),
        ("soapy://driver=fake?time=external", "no time source 'external'; there are none"),
        ("soapy://driver=fake?channel=1", "has 1 channels to receive on, and no 1"),
        ("soapy://fake", "should read key=value"),
        ("soapy://addr=127.0.0.2", "which driver"),
        ("soapy://driver=fake?lead_s=-1", "lead_s should be above 0"),
        ("soapy://driver=fake?timeout_s=soon", "could not convert"),
        ("soapy://driver=fake?timeout_s=inf", "timeout_s above 0 and finite"),
    ],
)
def test_what_cannot_be_is_one_clear_error(uri, why):
    with pytest.raises(RadioError, match=why):
        open_radio(uri)
    assert all(device.is_closed for device in fake_soapy.opened)
