"""The stream of a virtual USRP's receiver: what its packets hold, and when it sends none."""

from dataclasses import replace

import numpy as np
import pytest
import usrp_on_air
from usrp_on_air import CARRIER, PLACE, RATE, STEP, noise

from sim_fallback.bands import Place
from sim_fallback.virtual_usrp.reception import LAG_S, Reception

NOW, CHAIN, RELOAD, STOP = 1 << 31, 1 << 30, 1 << 29, 1 << 28
SIZE = 363
LATE, BROKEN_CHAIN, OVERFLOW = 2, 4, 8
SCALE = 32767
LOOKS = 10_000  # far more than a test takes


class Host:
    """Takes what is sent, as long as it has room."""

    def __init__(self):
        self.packets, self.space = [], 1 << 20

    def room(self, size):
        assert size == 4 * (SIZE + 5)
        return self.space

    def send(self, packets):
        self.packets += list(usrp_on_air.heard(packets))

    def taken(self):
        packets, self.packets = self.packets, []
        return packets


class Bench:
    """A receiver, its host, and the other radio."""

    def __init__(self):
        self.bands = usrp_on_air.bands()
        self.board = usrp_on_air.Board(self.bands, "a")
        self.host = Host()
        self.reception = Reception(self.board, 0, self.host)
        self.reception.poke(7, SIZE)

    def now(self):
        return self.board.timebase.now()

    def command(self, word, ticks=0):
        for offset, value in enumerate((word, ticks >> 32, ticks & 0xFFFF_FFFF)):
            self.reception.poke(offset, value)

    def until(self, t_s):
        """Let time go on as the thread of a server does; returns what was sent."""
        for _ in range(LOOKS):
            due_s = self.reception.work()
            if due_s is None or due_s > t_s:
                self.bands.clock.wait_until(t_s)
                return self.host.taken()
            self.bands.clock.wait_until(due_s)
        raise AssertionError("it has something to do for ever")

    def sent(self, ticks, n, seed=1, place=PLACE):
        """Let the other radio send noise."""
        iq = noise(n, seed)
        self.bands.send("b", place, iq, self.board.timebase.sample_at(ticks, RATE), 0.0)
        return iq


@pytest.fixture
def bench():
    return Bench()


def joined(packets):
    return np.concatenate([packet.samples for packet in packets])


def test_a_timed_capture_has_the_samples_of_its_time(bench):
    begin = bench.now() + 50_000 * STEP
    iq = bench.sent(begin + 100 * STEP, 5000)
    bench.command(20_000, begin)
    packets = bench.until(0.2)
    sizes = [len(packet.samples) for packet in packets]
    assert sizes == [SIZE] * 55 + [20_000 - 55 * SIZE]
    assert [packet.ticks for packet in packets] == [begin + k * SIZE * STEP for k in range(56)]
    assert [packet.counter for packet in packets] == [k % 16 for k in range(56)]
    assert [packet.ends for packet in packets] == [False] * 55 + [True]
    assert {packet.stream for packet in packets} == {3}
    expected = np.zeros(20_000, np.complex64)
    expected[100:5100] = iq
    np.testing.assert_allclose(joined(packets), SCALE * expected, atol=2)


def test_a_capture_is_sent_while_it_lasts(bench):
    bench.command(100_000, bench.now())
    seen = []
    for k in range(1, 6):
        seen += bench.until(0.01 * k)
        assert 0.01 * k * RATE - (LAG_S + 2e-3) * RATE <= len(joined(seen)) <= 0.01 * k * RATE


def test_time_that_lies_between_two_samples_is_told_as_it_was_asked_for(bench):
    begin = bench.now() + 5_000 * STEP + 37
    bench.command(10, begin)
    (packet,) = bench.until(0.1)
    assert packet.ticks == begin


def test_a_command_of_the_past_is_late_and_the_next_one_is_not(bench):
    bench.bands.clock.wait_until(0.1)
    bench.command(1000, bench.now() - 1)
    (report,) = bench.until(0.2)
    assert (report.kind, report.ticks) == (LATE, bench.board.timebase.ticks_at(0.1))
    bench.command(1000, bench.now() + 1)
    assert len(joined(bench.until(0.3))) == 1000


def test_a_command_whose_time_passes_while_it_waits_is_late(bench):
    begin = bench.now() + 1000 * STEP
    bench.command(5000, begin)
    bench.command(10, begin + 4000 * STEP)
    bench.command(20, begin + 6000 * STEP)
    kinds = [(packet.kind, packet.samples is not None) for packet in bench.until(0.1)]
    assert kinds == [(0, True)] * 14 + [(LATE, False), (0, True)]


def test_a_stream_goes_on_until_it_is_stopped(bench):
    bench.bands.clock.wait_until(0.05)
    bench.command(NOW | CHAIN | RELOAD | 1)
    first = bench.until(0.15)
    assert not any(packet.ends for packet in first)
    bench.command(STOP)
    packets = first + bench.until(0.25)
    assert len(joined(packets)) == 100_000
    assert packets[0].ticks == bench.board.timebase.ticks_at(0.05)
    times = [packet.ticks for packet in packets]
    assert times == [times[0] + k * SIZE * STEP for k in range(len(times))]
    assert [packet.ends for packet in packets] == [False] * (len(packets) - 1) + [True]
    assert bench.until(0.35) == []


def test_chained_commands_leave_no_gap(bench):
    iq = bench.sent(bench.now() + 1000 * STEP, 3000)
    for word in (CHAIN | 1000, CHAIN | 500, 1500):
        bench.command(word, bench.now() + 1000 * STEP)
    packets = bench.until(0.1)
    np.testing.assert_allclose(joined(packets), SCALE * iq, atol=2)
    assert [packet.ends for packet in packets] == [False] * (len(packets) - 1) + [True]
    assert [packet.counter for packet in packets] == list(range(len(packets)))


def test_a_chain_that_nobody_continues_is_broken(bench):
    begin = bench.now() + 1000 * STEP
    bench.command(CHAIN | 1000, begin)
    *packets, report = bench.until(0.1)
    assert len(joined(packets)) == 1000
    assert (report.kind, report.ticks) == (BROKEN_CHAIN, begin)


def test_a_host_without_room_is_waited_for_and_then_left(bench):
    bench.command(NOW | CHAIN | RELOAD | 1)
    assert len(joined(bench.until(0.1))) > 90_000
    bench.host.space = 0
    assert bench.until(0.25) == []  # nothing is lost yet
    bench.host.space = 1 << 20
    waited = bench.until(0.26)
    assert len(joined(waited)) > 150_000
    bench.host.space = 0
    (report,) = bench.until(0.7)
    assert report.kind == OVERFLOW
    assert report.ticks == waited[-1].ticks + SIZE * STEP
    bench.host.space = 1 << 20
    assert bench.until(0.8) == []  # as the device, which waits for a command then
    bench.command(NOW | 2000)
    assert len(joined(bench.until(0.9))) == 2000


def test_another_carrier_is_received_from_its_time_on(bench):
    begin, change = bench.now() + 1000 * STEP, bench.now() + 3000 * STEP
    far = Place(CARRIER + 50e6, RATE)
    here, there = (bench.sent(begin, 4000, seed, place) for seed, place in ((1, PLACE), (2, far)))
    bench.command(4000, begin)
    before = bench.until(0.003 + LAG_S / 2)
    bench.board.inlet = replace(bench.board.inlet, place=far)
    bench.reception.retuned(change)  # told late, as by a thread that had to wait
    got = joined(before + bench.until(0.1))
    np.testing.assert_allclose(got[:2000], SCALE * here[:2000], atol=2)
    np.testing.assert_allclose(got[2000:], SCALE * there[2000:], atol=2)


def test_another_rate_in_the_middle_counts_at_that_rate(bench):
    begin = bench.now() + 1000 * STEP
    bench.command(2000, begin)
    packets = bench.until(0.002)
    bench.board.inlet = replace(bench.board.inlet, place=Place(CARRIER, RATE / 2))
    bench.reception.retuned(begin + 1000 * STEP)
    packets += bench.until(0.1)
    assert len(joined(packets)) == 2000
    assert packets[3].ticks == begin + 1000 * STEP
    assert packets[4].ticks == packets[3].ticks + SIZE * 2 * STEP


def test_a_receiver_that_is_off_gives_zeros_and_its_scale_is_that_of_its_codes(bench):
    begin = bench.now() + 1000 * STEP
    iq = bench.sent(begin, 2000)
    bench.board.inlet = replace(bench.board.inlet, scale=0.5)
    bench.reception.retuned(bench.now())
    bench.command(1000, begin)
    np.testing.assert_allclose(joined(bench.until(0.01)), SCALE / 2 * iq[:1000], atol=2)
    begin = bench.now() + 1000 * STEP
    bench.sent(begin, 2000)
    bench.board.inlet = replace(bench.board.inlet, on=False)
    bench.reception.retuned(bench.now())
    bench.command(1000, begin)
    assert not joined(bench.until(0.1)).any()


def test_a_reset_forgets_commands_and_counts_anew(bench):
    bench.command(NOW | CHAIN | RELOAD | 1)
    bench.command(1000, bench.now() + 1_000_000 * STEP)
    bench.until(0.01)
    bench.reception.poke(8, 1)
    assert bench.until(0.02) == []
    bench.reception.poke(5, 77)
    bench.command(NOW | 10)
    (packet,) = bench.until(0.1)
    assert (packet.counter, packet.stream) == (0, 77)


def test_a_command_of_another_age_is_waited_for_until_a_reset(bench):
    bench.command(1000, 1 << 63)
    assert bench.until(100) == []
    bench.reception.poke(8, 1)
    bench.command(NOW | 10)
    assert len(joined(bench.until(101))) == 10


def test_too_many_commands_are_dropped(bench, caplog):
    for k in range(70):
        bench.command(10, bench.now() + (1000 + 100 * k) * STEP)
    assert len(bench.until(0.1)) == 64
    assert "drops a command" in caplog.text


def test_a_receiver_that_is_not_asked_does_not_remember_how_it_was_set(bench):
    for step in range(100):
        bench.board.inlet = replace(bench.board.inlet, gain_db=0.1 * step)
        bench.reception.retuned(bench.now())
        bench.bands.clock.wait_until(1e-3 * (step + 1))
    assert len(bench.reception._inlets) < 6
    bench.sent(bench.now() + 100 * STEP, 1000)
    bench.command(500, bench.now() + 300 * STEP)
    codes = joined(bench.until(0.2))
    loudness = np.sqrt(np.mean(np.abs(codes / SCALE) ** 2) / np.mean(np.abs(noise(1000)) ** 2))
    assert 20 * np.log10(loudness) == pytest.approx(0.1 * 99, abs=0.3)
