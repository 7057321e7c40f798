"""Parts of the USRP driver, over a stand-in for the binding of libuhd: what no virtual USRP has."""

import importlib
import itertools
import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from radio.api import RadioError, RadioSettings, Range

RATE_HZ = 1e6


class TimeSpec:
    def __init__(self, ticks=0):
        self.ticks = ticks

    @staticmethod
    def from_ticks(ticks, rate):
        assert rate == RATE_HZ
        return TimeSpec(ticks)

    def to_ticks(self, rate):
        assert rate == RATE_HZ
        return self.ticks


class StreamArgs:
    def __init__(self, cpu, wire):
        self.formats = (cpu, wire)


@pytest.fixture
def part(monkeypatch):
    """Import a module of the driver over the stand-in."""
    names = (
        *("burst_ack", "time_error", "underflow", "underflow_in_packet", "seq_error"),
        *("seq_error_in_packet", "none", "late", "overflow", "timeout"),
    )
    codes = SimpleNamespace(**{name: name for name in names})
    uhd = types.ModuleType("uhd")
    uhd.types = SimpleNamespace(
        TimeSpec=TimeSpec,
        TXMetadataEventCode=codes,
        RXMetadataErrorCode=codes,
        TXMetadata=SimpleNamespace,
        TXAsyncMetadata=SimpleNamespace,
        DeviceAddr=str,
    )
    uhd.usrp = SimpleNamespace(StreamArgs=StreamArgs, MultiUSRP=object, TXStreamer=object)
    monkeypatch.setitem(sys.modules, "uhd", uhd)
    mine = [name for name in sys.modules if name.startswith("radio.drivers.usrp")]
    for name in mine:
        monkeypatch.delitem(sys.modules, name)
    yield lambda name: importlib.import_module(f"radio.drivers.{name}")
    for name in [name for name in sys.modules if name.startswith("radio.drivers.usrp")]:
        del sys.modules[name]


@pytest.mark.parametrize("phase", [0.0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("period_s", [1.0, 4.0])
def test_all_processes_agree_on_the_second_of_a_pulse(part, tmp_path, phase, period_s):
    count = part("usrp_pulses").PulseCount
    rng = np.random.default_rng(0)
    first_s, labels = (1.8e9 + phase) * period_s, []
    pulses = np.sort(rng.integers(0, 500, 200))
    for pulse in pulses:  # another process each time, which sees it a little late
        seen_s = first_s + (pulse + rng.uniform(0, 0.2)) * period_s
        labels.append(count("bench", period_s, tmp_path).second(seen_s) - pulse)
    assert len(set(labels)) == 1
    assert abs(labels[0] - 1.8e9) <= 1


def test_a_note_of_another_bench_or_of_long_ago_does_not_count(part, tmp_path):
    count = part("usrp_pulses").PulseCount
    assert count("a", 1.0, tmp_path).second(1000.4) == 1000
    assert count("a", 1.0, tmp_path).second(1001.6) == 1001
    assert count("b", 1.0, tmp_path).second(1001.6) == 1002
    assert count("a", 1.0, tmp_path).second(9001.6) == 9002
    (note,) = tmp_path.glob("*-a.json")
    note.write_text("nonsense")
    assert count("a", 1.0, tmp_path).second(9002.6) == 9003
    note.unlink()
    note.symlink_to(tmp_path / "of somebody else")
    with pytest.raises(RadioError, match=r"cannot be opened .*; remove it"):
        count("a", 1.0, tmp_path).second(9003.6)


def test_many_processes_at_once_agree(part, tmp_path):
    count = part("usrp_pulses").PulseCount
    with ThreadPoolExecutor(8) as pool:
        seen = [1000.5 + 0.01 * k for k in range(40)]
        found = set(pool.map(lambda at_s: count("a", 1.0, tmp_path).second(at_s), seen))
    assert len(found) == 1


class Calibrated:
    """A board that knows its powers, as B200s and X410s do."""

    def __init__(self):
        self.levels = {"tx": -20.0, "rx": -30.0}
        self.said = []

    def get_mboard_name(self, board):
        return "B210"

    def __getattr__(self, name):
        span = SimpleNamespace(start=lambda: -60.0, stop=lambda: 10.0)
        rates = SimpleNamespace(start=lambda: 1e5, stop=lambda: 6e7)
        if name.startswith("set_"):
            return lambda *values: self.said.append((name, *values))
        if name.endswith("_rates"):
            return lambda: rates
        if name.endswith("_range"):
            return lambda: span
        if name.startswith("has_"):
            return lambda: True
        if name.endswith("_power_reference"):
            return lambda: self.levels[name[4:6]]
        return lambda *_: 1.0


class Wired:
    """A board that keeps what is set, and tells it."""

    def __init__(self):
        self.kept = {"rx_antenna": "RX2", "tx_antenna": "TX/RX", "rx_rate": 1e6, "tx_rate": 2e6}
        self.kept |= {"rx_gain": 5.0, "tx_gain": 9.0, "rx_freq": 1e9, "tx_freq": 1e9}
        self.kept |= {"clock_source": "internal", "time_source": "internal"}
        self.loudest_db = 0.0

    def __getattr__(self, name):
        action, _, what = name.partition("_")
        if what.endswith("_antennas"):
            return lambda channel: ["RX2", "TX/RX"]
        if what == "tx_gain_range":
            return lambda: SimpleNamespace(start=lambda: 0.0)
        return (lambda *_: self.kept[what]) if action == "get" else partial(self._keep, what)

    def _keep(self, what, value):
        self.kept[what] = value
        self.loudest_db = max(self.loudest_db, self.kept["tx_gain"])


def test_all_that_was_set_is_put_back_and_the_transmitter_stays_down(part):
    front_of = part("usrp_front")
    board = Wired()
    found = dict(board.kept)
    front = front_of.UsrpFront(board, "it", front_of.Wiring(rx_antenna="TX/RX", tx_antenna="RX2"))
    for what, value in (("rx_rate", 4e6), ("tx_rate", 4e6), ("clock_source", "external")):
        getattr(board, f"set_{what}")(value)
    front.set_gains(3.0, 25.0)
    assert (board.kept["rx_antenna"], board.kept["tx_antenna"]) == ("TX/RX", "RX2")
    front.mute()
    board.loudest_db = 0.0
    front.restore()
    assert board.kept == found | {"tx_gain": 0.0}
    assert board.loudest_db == 0.0


def test_gains_by_calibrated_power_count_in_dbm(part):
    front_of = part("usrp_front")
    board = Calibrated()
    front = front_of.UsrpFront(board, "it", front_of.Wiring(by_power=True))
    assert board.said == [("set_tx_gain", -60.0)]
    caps = front.caps(0.1, continuous=True)
    assert (caps.tx_gain_db, caps.rx_gain_db) == (Range(-60.0, 10.0), Range(-10.0, 60.0))
    assert caps.bits == 12
    front.set_gains(3.0, 25.0)
    assert board.said[1:] == [("set_tx_power_reference", 3.0), ("set_rx_power_reference", -25.0)]
    assert front.settings() == RadioSettings(1.0, 1.0, -20.0, 30.0)


class Board:
    """Takes samples of bursts, and says of them what it is told to."""

    def __init__(self):
        self.now = 0
        self.sent = []
        self.takes = True
        self.events = []
        self.changed = threading.Condition()

    def get_time_now(self):
        return TimeSpec(self.now)

    def get_tx_stream(self, wanted):
        assert wanted.args == "underflow_policy=next_burst"
        return self

    def send(self, iq, told, timeout):
        if not self.takes:
            time.sleep(0.001)
            return 0
        with self.changed:
            time_of = told.time_spec.ticks if told.has_time_spec else None
            self.sent.append((time_of, iq.size, told.end_of_burst))
            self.changed.notify_all()
        return iq.size

    def recv_async_msg(self, told, timeout):
        with self.changed:
            if not self.events:
                self.changed.wait(0.005)
                return False
            told.event_code, when = self.events.pop(0)
        told.time_spec = TimeSpec(when)
        return True

    def say(self, event, when):
        with self.changed:
            self.events.append((event, when))
            self.changed.notify_all()

    def await_sent(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.sent) >= count, 30)


@pytest.fixture
def board():
    return Board()


@pytest.fixture
def bursts(part, board, monkeypatch):
    module, clock = part("usrp_bursts"), part("usrp_clock")
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.01)
    made = module.UsrpBursts(
        board, clock.UsrpClock(board, "it", RATE_HZ), "it", 0.01, 0.2, lambda: None
    )
    yield made
    made.close()


def iq(n):
    return np.zeros(n, np.complex64)


def await_fault(bursts, text):
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            bursts.require_well()
        except RadioError as error:
            assert text in str(error)
            bursts.require_well()  # once
            return
        time.sleep(0.005)
    raise AssertionError("nothing is wrong")


def test_bursts_are_handed_over_in_order_and_not_too_early(bursts, board):
    assert bursts.post(iq(100), 900_000) == 900_000
    assert bursts.post(iq(100), 50_000) == 50_000
    board.await_sent(1)
    assert board.sent == [(50_000, 100, True)]
    assert bursts.post(iq(100), 500_000) == 500_000
    with pytest.raises(RadioError, match="would overlap"):
        bursts.post(iq(1000), 499_500)
    with pytest.raises(RadioError, match="can no longer go before"):
        bursts.post(iq(100), 1_000)
    board.now = 450_000
    board.await_sent(2)
    board.now = 850_000
    board.await_sent(3)
    assert [start for start, _, _ in board.sent] == [50_000, 500_000, 900_000]
    assert bursts.post(iq(10), None) == 900_100


def test_a_long_burst_goes_out_in_pieces_with_one_time_and_one_end(bursts, board):
    bursts.post(iq(120_000), 20_000)
    board.await_sent(3)
    assert board.sent == [(20_000, 50_000, False), (None, 50_000, False), (None, 20_000, True)]


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ("time_error", "the samples of the burst at sample 20000 came too late"),
        ("underflow", "this host was too slow of the burst at sample 20000"),
        ("seq_error_in_packet", "packets of the burst at sample 20000 were lost"),
    ],
)
def test_what_the_board_says_is_raised_once(bursts, board, event, text):
    bursts.post(iq(100), 20_000)
    board.await_sent(1)
    board.say(event, 20_050)
    await_fault(bursts, text)
    bursts.post(iq(100), 20_000)  # its place is free again


def test_of_bursts_that_touch_each_is_acknowledged(bursts, board):
    for start in (20_000, 20_100, 20_200):
        bursts.post(iq(100), start)
    board.await_sent(3)
    for end in (20_100, 20_201, 20_299):  # to a sample or two
        board.say("burst_ack", end)
    board.now = 900_000
    time.sleep(0.1)
    bursts.require_well()


def test_an_acknowledgement_that_is_missing_is_missed(bursts, board):
    for start in (20_000, 40_000):
        bursts.post(iq(100), start)
    board.await_sent(2)
    board.say("burst_ack", 40_100)
    await_fault(bursts, "the burst at sample 20000 was not acknowledged")
    bursts.post(iq(100), 60_000)
    board.await_sent(3)
    board.now = 300_000
    await_fault(bursts, "the burst at sample 60000 was not acknowledged")


def test_a_board_that_takes_nothing_is_given_up(bursts, board):
    board.takes = False
    bursts.post(iq(100), 20_000)
    for board.now in itertools.chain(range(0, 40_000, 10_000), [40_000]):
        time.sleep(0.02)
    await_fault(bursts, "of the burst at sample 20000 only 0 of 100 samples were taken")


def test_a_board_that_stands_still_is_told_of(bursts, board):
    board.takes = False
    bursts.post(iq(100), 20_000)
    await_fault(bursts, "its time stands still at sample 0")


@pytest.mark.parametrize("silences", [0, 2, 3])
def test_a_device_that_misses_a_search_is_searched_again(part, monkeypatch, silences):
    finder = part("usrp_finder")
    silent = itertools.repeat(LookupError("KeyError: No devices found for ----->"), silences)

    def opened(arguments):
        for error in silent:
            raise error
        return arguments

    monkeypatch.setattr(finder.uhd.usrp, "MultiUSRP", opened)
    if silences < finder.SEARCHES:
        assert finder.opened("addr=192.168.10.2").startswith("addr=192.168.10.2")
    else:
        with pytest.raises(RadioError, match="no USRP answers there"):
            finder.opened("addr=192.168.10.2")
