"""What a virtual USRP sends: bursts in their time, and what is reported of them."""

from dataclasses import replace

import numpy as np
import pytest
import usrp_on_air
from usrp_on_air import CARRIER, PLACE, RATE, STEP, noise, packet

from sim_fallback.bands import Place
from sim_fallback.render import TILE
from sim_fallback.virtual_usrp.transmission import LAG_S, MEMORY, Transmission

FLOW, ACK, UNDERFLOW, SEQUENCE, LATE, SEQUENCE_IN_BURST = 0, 1, 2, 4, 8, 32
NEXT_PACKET, NEXT_BURST = 2, 4
SIZE = 360
LOOKS = 10_000  # far more than a test takes


class Bench:
    """A transmitter, what it reports, and the air."""

    def __init__(self):
        self.bands = usrp_on_air.bands()
        self.board = usrp_on_air.Board(self.bands, "a")
        self.reports = []
        self.stream = Transmission(self.board, self.report)
        self.sequence = 0

    def report(self, packets):
        self.reports += list(usrp_on_air.told(packets))

    def codes(self):
        return [report.code for report in self.reports]

    def now(self):
        return self.board.timebase.now()

    def burst(self, iq, ticks=None, ends=True, begins=True):
        """Packets as libuhd makes them, each with its time."""
        for first in range(0, len(iq), SIZE):
            last = first + SIZE >= len(iq)
            when = None if ticks is None else ticks + first * STEP
            words = packet(
                self.sequence, iq[first : first + SIZE], when, begins and not first, ends and last
            )
            self.stream.take([words])
            self.sequence += 1

    def until(self, t_s):
        """Let time go on as the thread of a server does."""
        for _ in range(LOOKS):
            due_s = self.stream.work()
            if due_s is None or due_s > t_s:
                self.bands.clock.wait_until(t_s)
                return
            self.bands.clock.wait_until(max(due_s, self.bands.clock.present_s() + 1e-7))
        raise AssertionError("it has something to do for ever")

    def heard(self, ticks, n, place=PLACE):
        """What arrives at the other radio from a device time on."""
        first = self.board.timebase.sample_at(ticks, place.rate_hz)
        tiles = [
            self.bands.incident("b", place, index)
            for index in range(first // TILE, (first + n) // TILE + 1)
        ]
        silent = np.zeros(TILE, np.complex64)
        iq = np.concatenate([silent if tile is None else tile for tile in tiles])
        return iq[first % TILE :][:n]


@pytest.fixture
def bench():
    return Bench()


def test_a_timed_burst_is_on_the_air_in_its_time_and_acknowledged_at_its_end(bench):
    iq, begin = noise(5000), bench.now() + 50_000 * STEP
    bench.burst(iq, begin)
    bench.until(0.054)
    assert bench.codes() == []
    bench.until(0.06)
    assert bench.codes() == [ACK]
    assert bench.reports[0].ticks == begin + 5000 * STEP
    assert bench.reports[0].consumed == bench.sequence - 1
    heard = bench.heard(begin - 100 * STEP, 5200)
    np.testing.assert_allclose(heard[100:5100], iq, atol=1e-5)
    assert np.abs(heard[:100]).max() < 1e-5 > np.abs(heard[5100:]).max()


def test_a_long_burst_is_on_the_air_before_all_of_it_has_come(bench):
    iq, begin = noise(40_000), bench.now() + 20_000 * STEP
    bench.burst(iq[:2000], begin, ends=False)
    assert not bench.heard(begin, 2000).any()
    bench.until(0.011)
    np.testing.assert_allclose(bench.heard(begin, 2000), iq[:2000], atol=1e-5)
    bench.burst(iq[2000:], begin + 2000 * STEP, begins=False)
    bench.until(0.1)
    assert bench.codes() == [ACK]
    np.testing.assert_allclose(bench.heard(begin, 40_000), iq, atol=1e-5)


def test_a_burst_without_a_time_is_sent_at_once(bench):
    bench.bands.clock.wait_until(0.1)
    iq, begin = noise(1000), bench.now()
    bench.burst(iq)
    bench.until(0.2)
    np.testing.assert_allclose(bench.heard(begin, 1000), iq, atol=1e-5)
    assert bench.codes() == [ACK]


def test_bursts_wait_for_those_before_them(bench):
    begin = bench.now() + 1000 * STEP
    one, other, third = (noise(500, seed) for seed in (1, 2, 3))
    bench.burst(one, begin)
    bench.burst(other)
    bench.burst(third, begin + 2000 * STEP)
    bench.until(0.1)
    assert bench.codes() == [ACK] * 3
    np.testing.assert_allclose(bench.heard(begin, 1000), [*one, *other], atol=1e-5)
    np.testing.assert_allclose(bench.heard(begin + 2000 * STEP, 500), third, atol=1e-5)


def test_what_comes_a_little_late_is_in_time_and_what_comes_later_is_late(bench):
    bench.bands.clock.wait_until(0.1)
    begin = bench.now() - round(LAG_S * RATE - 10) * STEP
    bench.burst(noise(360), begin)
    bench.until(0.2)
    assert bench.codes() == [ACK]
    bench.burst(noise(360), bench.now() - round(LAG_S * RATE + 10) * STEP)
    assert bench.codes() == [ACK, LATE]
    assert bench.reports[1].ticks == bench.now()
    bench.until(0.3)
    assert bench.codes() == [ACK, LATE]


def test_a_burst_that_begins_within_another_is_late(bench):
    begin = bench.now() + 10_000 * STEP
    bench.burst(noise(5000), begin)
    bench.burst(noise(300), begin + 4999 * STEP)
    bench.until(0.1)
    assert sorted(bench.codes()) == [ACK, LATE]


def test_of_a_late_burst_the_device_sends_what_its_policy_says(bench):
    bench.bands.clock.wait_until(0.1)
    begin, iq = bench.now() - 10_000 * STEP, noise(3 * SIZE)
    bench.stream.poke(3, NEXT_BURST)
    bench.burst(iq, begin)
    assert bench.codes() == [LATE]
    bench.stream.poke(3, NEXT_PACKET)
    bench.burst(iq, begin)
    assert bench.codes() == [LATE] * 4
    bench.until(0.2)
    assert not bench.heard(bench.board.timebase.ticks_at(0.1) - 20_000 * STEP, 60_000).any()
    bench.burst(iq, bench.now() + 1000 * STEP)
    bench.until(0.3)
    assert bench.codes() == [LATE] * 4 + [ACK]


@pytest.mark.parametrize("policy", [NEXT_PACKET, NEXT_BURST])
def test_a_burst_that_is_not_continued_in_time_underflows(bench, policy):
    bench.stream.poke(3, policy)
    iq, begin = noise(1000), bench.now() + 1000 * STEP
    bench.burst(iq, begin, ends=False)
    bench.until(0.1)
    assert bench.codes() == [UNDERFLOW]
    again = bench.now()
    bench.burst(iq, begins=False)
    bench.until(0.2)
    sent = policy == NEXT_PACKET
    assert bench.codes() == [UNDERFLOW, *[ACK] * sent]
    np.testing.assert_allclose(bench.heard(again, 1000), iq * sent, atol=1e-5)
    bench.burst(iq)
    bench.until(0.3)
    assert bench.codes()[-1] == ACK


def test_lost_packets_are_reported_where_they_are_missing(bench):
    begin = bench.now() + 1000 * STEP
    iq = noise(4 * SIZE)
    bench.burst(iq[:SIZE], begin, ends=False)
    bench.sequence += 1
    bench.burst(iq[2 * SIZE :], begin + 2 * SIZE * STEP, begins=False)
    bench.until(0.1)
    assert bench.codes() == [SEQUENCE_IN_BURST, ACK]
    # The packet after the gap is dropped, and all others are sent in their time.
    expected = iq.copy()
    expected[SIZE : 3 * SIZE] = 0
    np.testing.assert_allclose(bench.heard(begin, 4 * SIZE), expected, atol=1e-5)
    bench.sequence += 1
    bench.burst(noise(10))
    assert bench.codes() == [SEQUENCE_IN_BURST, ACK, SEQUENCE]


def test_the_host_is_told_how_far_its_packets_are_used_up(bench):
    bench.stream.poke(5, 1 << 31 | 10)
    bench.burst(noise(100 * SIZE), bench.now() + 1000 * STEP)
    bench.until(0.001 + 35.5 * SIZE / RATE)
    assert bench.codes() == [FLOW] * 3
    assert [report.consumed for report in bench.reports] == [9, 19, 29]
    bench.until(1)
    assert bench.codes() == [FLOW] * 9 + [ACK, FLOW]
    assert [report.number for report in bench.reports] == list(range(11))


def test_the_host_is_told_again_and_again_in_case_it_got_lost(bench):
    bench.stream.poke(4, 1 << 31 | 5_000_000)
    bench.until(1)
    assert bench.codes() == []
    bench.burst(noise(SIZE), bench.now() + 1000 * STEP)
    bench.until(1.1)
    assert bench.codes() == [ACK, FLOW, FLOW]
    assert [report.consumed for report in bench.reports] == [0, 0, 0]
    bench.until(1.3)
    assert 3 + 3 <= len(bench.codes()) <= 3 + 4


def test_more_than_the_memory_of_the_device_is_not_taken(bench):
    begin = bench.now() + 100_000 * STEP
    bench.burst(noise(2 * MEMORY // 4), begin)
    bench.until(10)
    assert bench.codes() == [UNDERFLOW]
    sent = bench.heard(begin, MEMORY // 2)
    assert MEMORY / 4 * 0.95 < np.count_nonzero(np.abs(sent) > 1e-5) < MEMORY / 4
    bench.burst(noise(SIZE))
    assert bench.codes() == [UNDERFLOW, SEQUENCE]


def test_clearing_silences_it_and_numbers_begin_anew(bench):
    begin = bench.now() + 10_000 * STEP
    bench.burst(noise(20_000), begin)
    bench.until(0.02)
    bench.stream.poke(0, 1)
    bench.sequence = 0
    assert np.abs(bench.heard(begin + 10_001 * STEP, 9_000)).max() < 1e-5
    bench.burst(noise(100))
    bench.until(0.1)
    assert bench.codes() == [ACK]


def test_another_carrier_and_gain_take_effect_in_their_time(bench):
    begin, iq = bench.now() + 1000 * STEP, noise(4000)
    far = Place(CARRIER + 50e6, RATE)
    bench.burst(iq, begin)
    bench.until(0.0025 + LAG_S / 2)  # the change is told late, as by a thread that had to wait
    bench.board.outlet = replace(bench.board.outlet, place=far, gain_db=-20.0)
    bench.stream.retuned(begin + 1500 * STEP)
    bench.until(0.1)
    expected = iq.copy()
    expected[1500:] = 0
    np.testing.assert_allclose(bench.heard(begin, 4000), expected, atol=1e-5)
    np.testing.assert_allclose(bench.heard(begin, 4000, far), (iq - expected) / 10, atol=1e-5)
    assert bench.codes() == [ACK]


def test_a_burst_that_waits_is_sent_as_the_radio_is_set_by_then(bench):
    begin, iq = bench.now() + 200_000 * STEP, noise(1000)
    far = Place(CARRIER + 50e6, RATE)
    bench.burst(iq, begin)
    bench.until(0.1)
    bench.board.outlet = replace(bench.board.outlet, place=far)
    bench.stream.retuned(5)  # of the past, which a device does at once
    bench.until(0.3)
    assert not bench.heard(begin, 1000).any()
    np.testing.assert_allclose(bench.heard(begin, 1000, far), iq, atol=1e-5)


def test_a_burst_of_another_age_is_waited_for_until_it_is_cleared(bench):
    bench.burst(noise(1000), 1 << 63)
    bench.burst(noise(10))
    bench.until(1)
    assert bench.codes() == []
    bench.stream.poke(0, 1)
    bench.sequence = 0
    bench.burst(noise(1000))
    bench.until(2)
    assert bench.codes() == [ACK]


def test_packets_with_a_stream_and_without_samples_are_understood(bench):
    iq, begin = noise(100), bench.now() + 1000 * STEP
    bench.stream.take([packet(0, iq, begin, begins=True, stream=99)])
    bench.stream.take([packet(1, iq[:0], ends=True)])
    bench.until(0.1)
    assert bench.codes() == [ACK]
    np.testing.assert_allclose(bench.heard(begin, 100), iq, atol=1e-5)


def test_what_is_no_packet_is_dropped(bench):
    good = packet(0, noise(10), bench.now(), True, True)
    bad = [b"", good[:7], good[:-1], good[:15], b"\0\0\0\0\x14\x10\x00\x03" + bytes(99)]
    kinds = [good[:4] + bytes([kind << 4]) + good[5:] for kind in range(2, 16)]
    bench.stream.take([*bad, *kinds])
    bench.until(0.1)
    assert bench.codes() == []
    assert bench.stream.work() is None
