"""A virtual USRP without a client: its time, its clock, its chips and what its ports answer."""

import math
import struct
from dataclasses import replace

import numpy as np
import pytest

from sim_fallback.air import Air, Scene
from sim_fallback.bands import Bands
from sim_fallback.clock import VirtualClock
from sim_fallback.oscillator import Oscillator
from sim_fallback.path import Path
from sim_fallback.presets import PRESETS
from sim_fallback.tapped_delay import TappedDelayLine
from sim_fallback.virtual_usrp.board import EXTERNAL, Board
from sim_fallback.virtual_usrp.control import Control
from sim_fallback.virtual_usrp.eeprom import short_serial
from sim_fallback.virtual_usrp.fifo import Fifo
from sim_fallback.virtual_usrp.loss import Loss
from sim_fallback.virtual_usrp.reference import Reference
from sim_fallback.virtual_usrp.synthesizer import Synthesizer

RATE, CARRIER = 1e6, 915e6
INTERNAL = 0x12
SECOND = 100_000_000
NAMES = ("a", "b")


class Notes:
    """A stream that only notes what it is told."""

    def __init__(self):
        self.pokes, self.times = [], []

    def poke(self, offset, value):
        self.pokes.append((offset, value))

    def retuned(self, ticks):
        self.times.append(ticks)


@pytest.fixture
def bands():
    equipment = {name: PRESETS["usrp-octoclock"].equip(3, name) for name in NAMES}
    path = Path(TappedDelayLine(kind="awgn"))
    return Bands(Air(Scene(CARRIER, RATE, equipment, {NAMES: path}), VirtualClock()))


@pytest.fixture
def reference(bands):
    return Reference(bands.clock, bands.equipment("a").oscillator)


@pytest.fixture
def boards(bands, reference):
    return [Board(bands, name, reference, own_ppm=2.5) for name in NAMES]


def use(board, source):
    board.poke(0, source)


def set_time(board, ticks, at_once=False):
    board.poke(11, ticks & 0xFFFFFFFF)
    board.poke(13, int(at_once))
    board.poke(10, ticks >> 32)


def at_last_pulse(board):
    return board.readback(14) << 32 | board.readback(15)


def test_boards_that_share_reference_and_pulse_agree_to_the_tick_and_to_the_sample(bands, boards):
    bands.clock.wait_until(3.21)
    one, other = boards
    assert one.timebase.now() != other.timebase.now()
    for board in boards:
        use(board, EXTERNAL)
        set_time(board, 100 * SECOND)
    bands.clock.wait_until(5.5)
    assert one.timebase.now() == other.timebase.now()
    assert [at_last_pulse(board) for board in boards] == [101 * SECOND] * 2
    for rate in (1e6, 100e6 / 12, 4e6):
        ticks = 105 * SECOND + 1234 * round(SECOND / rate)
        times = []
        for board in boards:
            sample = board.timebase.sample_at(ticks, rate)
            assert board.timebase.ticks_of(sample, rate) == ticks
            times.append(bands.true_time_s(board.name, sample, rate))
        assert times[0] == pytest.approx(times[1], abs=1e-12)
        # Pulses come with whole seconds of the reference, and 100 was set with the fourth.
        off = one.bands.equipment("a").oscillator.offset_ppm / 1e6
        assert times[0] * (1 + off) == pytest.approx(9 + 1234 / rate, abs=2e-8)


def test_until_the_pulse_comes_time_is_as_it_was(bands, boards):
    bands.clock.wait_until(3.2)
    board = boards[0]
    use(board, EXTERNAL)
    before = board.timebase.now()
    set_time(board, 7)
    bands.clock.wait_until(3.9)
    assert board.timebase.now() == pytest.approx(before + 0.7 * SECOND, abs=10)
    bands.clock.wait_until(4.1)
    assert board.timebase.now() == pytest.approx(7 + 0.1 * SECOND, abs=10)
    # The pulse that sets the time has latched the one before; only the next one shows it.
    assert at_last_pulse(board) == pytest.approx(before + 0.8 * SECOND, abs=10)
    bands.clock.wait_until(5.1)
    assert at_last_pulse(board) == 7 + SECOND


def test_what_was_counted_at_a_pulse_stays_whatever_is_set_afterwards(bands, boards):
    board = boards[0]
    use(board, EXTERNAL)
    bands.clock.wait_until(3.3)
    before = at_last_pulse(board)
    set_time(board, 0, at_once=True)
    assert at_last_pulse(board) == before
    use(board, INTERNAL)
    assert at_last_pulse(board) == before
    bands.clock.wait_until(4.1)
    assert at_last_pulse(board) == pytest.approx(0.7 * SECOND, abs=1000)


def test_time_can_be_set_at_once(bands, boards):
    bands.clock.wait_until(2.0)
    set_time(boards[0], 5 << 32, at_once=True)
    assert boards[0].timebase.now() == 5 << 32
    assert boards[0].readback(10) == 5
    t_s = boards[0].timebase.true_time_s((5 << 32) + SECOND)
    assert t_s == pytest.approx(3.0, abs=1e-5)
    assert boards[0].timebase.ticks_at(t_s) == (5 << 32) + SECOND


def test_without_a_reference_a_clock_drifts_as_far_as_it_is_off(bands, boards):
    bands.clock.wait_until(2.0)
    use(boards[0], EXTERNAL)
    use(boards[1], INTERNAL)
    for board in boards:
        set_time(board, 0, at_once=True)
    bands.clock.wait_until(12.0)
    ahead = boards[1].timebase.now() - boards[0].timebase.now()
    own, shared = (bands.equipment(name).oscillator.fractional_frequency(12.0) for name in "ba")
    assert 0 < abs(own - shared) < 2.5e-6
    assert ahead == pytest.approx((own - shared) * 10 * SECOND, abs=3)
    before = boards[1].timebase.now()
    use(boards[1], EXTERNAL)
    assert boards[1].timebase.now() == before
    bands.clock.wait_until(22.0)
    assert boards[1].timebase.now() - boards[0].timebase.now() == pytest.approx(ahead, abs=2)


def test_radios_with_oscillators_of_their_own_follow_the_reference_that_is_wired():
    own = Oscillator((9,), offset_ppm=-8.0, allan_deviation=0.0)
    a, b = (PRESETS["usrp-octoclock"].equip(3, name) for name in NAMES)
    scene = Scene(CARRIER, RATE, {"a": a, "b": replace(b, oscillator=own)}, {})
    bands = Bands(Air(scene, VirtualClock()))
    reference = Reference(bands.clock, bands.equipment("a").oscillator)
    board = Board(bands, "b", reference, own_ppm=2.5)
    use(board, INTERNAL)
    assert bands.equipment("b").oscillator is own
    use(board, EXTERNAL)
    assert bands.equipment("b").oscillator is reference.oscillator


@pytest.mark.parametrize(
    ("source", "wired", "locked", "shown"),
    [
        (EXTERNAL, True, True, True),
        (EXTERNAL, True, False, False),
        (EXTERNAL, False, True, False),
        (INTERNAL, True, False, True),
        (0x15, True, True, False),
    ],
)
def test_what_is_locked_to_what(bands, reference, source, wired, locked, shown):
    board = Board(bands, "a", reference if wired else None)
    reference.locked = locked
    use(board, source)
    assert bool(board.readback(13) >> 11 & 1) == shown


def test_pulses_that_are_missing_set_nothing_until_they_are_back(bands, boards, reference):
    board = boards[0]
    use(board, EXTERNAL)
    bands.clock.wait_until(3.5)
    seen = at_last_pulse(board)
    reference.pps = False
    assert not reference.pps
    assert reference.next_pulse_s(3.5) == math.inf
    set_time(board, 0)
    bands.clock.wait_until(8.5)
    assert at_last_pulse(board) == seen
    assert board.timebase.now() > 5 * SECOND
    reference.pps = True
    bands.clock.wait_until(8.9)
    assert at_last_pulse(board) == seen
    bands.clock.wait_until(10.1)
    assert at_last_pulse(board) == SECOND


def test_a_board_that_has_never_seen_a_pulse(bands):
    reference = Reference(bands.clock, bands.equipment("a").oscillator, pps=False)
    bands.clock.wait_until(5.5)
    assert at_last_pulse(Board(bands, "a", reference)) == 0
    assert at_last_pulse(Board(bands, "a")) == 0
    reference.pps = True
    assert reference.last_pulse_s(5.9) is None
    assert reference.next_pulse_s(5.9) == pytest.approx(6.0, abs=1e-6)


ON, DIVIDED_BY_4, ONCE = 0x0080_0024, 0x00A0_0024, 1 << 14 | 2


@pytest.mark.parametrize(
    ("words", "carrier_hz"),
    [
        # 36 + 3/5 times 100 MHz, divided by 4 outside of the loop.
        ((DIVIDED_BY_4, 3, ONCE, 5 << 3 | 1, 36 << 15 | 3 << 3), 915e6),
        # Feedback from behind the divider.
        ((DIVIDED_BY_4 & ~(1 << 23), 3, ONCE, 5 << 3 | 1, 9 << 15 | 1 << 3), 920e6),
        # The reference doubled and divided by 5 and by 2: 120 + 1/4 times 20 MHz.
        ((ON, 3, 3 << 24 | 5 << 14 | 2, 4 << 3 | 1, 120 << 15 | 1 << 3), 2.405e9),
        ((ON & ~0x20, 3, ONCE, 1 << 3 | 1, 24 << 15), 0.0),  # output off
        ((ON, 3, ONCE | 1 << 5, 1 << 3 | 1, 24 << 15), 0.0),  # powered down
        ((ON, 3, 2, 1 << 3 | 1, 24 << 15), 0.0),  # divided by nothing
    ],
)
def test_the_carrier_that_words_make(words, carrier_hz):
    synthesizer = Synthesizer()
    for word in words:
        assert synthesizer.carrier_hz == 0
        synthesizer.write(word)
    assert synthesizer.carrier_hz == pytest.approx(carrier_hz, rel=1e-12)
    synthesizer.write(7)  # there is no such register


def test_streams_hear_what_is_theirs_and_from_when_on_it_is_different(bands, boards):
    board = boards[0]
    first, second, sender = Notes(), Notes(), Notes()
    board.attach([first, second], sender)
    board.poke(33, 5)
    board.poke(80 + 7, 363)
    board.poke(144 + 4, 9)
    assert (first.pokes, second.pokes, sender.pokes) == ([(1, 5)], [(7, 363)], [(4, 9)])
    board.poke(48, 1 << 30, ticks=77)
    board.poke(48, 1 << 30, ticks=78)  # nothing new
    board.poke(160 + 2, 0x105, ticks=80)
    board.poke(185, 20 << 8, ticks=90)
    assert (first.times, second.times, sender.times) == ([77, 90], [90], [80])
    assert board.rx(0).place.lo_hz == -25e6
    assert board.rx(1).gain_db == 10.0
    assert board.tx().place.rate_hz == 10e6


def reply(control, kind, number, body, version=12):
    packet = struct.pack(">III", version, ord(kind), number) + body.ljust(24, b"\0")
    answer = control.answer(packet)
    return struct.unpack_from(">III", answer), answer[12:]


def test_hosts_learn_the_version_whatever_theirs_is(boards):
    control = Control(boards[0], "127.0.0.9")
    for kind, version in (("a", 12), ("r", 11), ("a", 0)):
        head, body = reply(control, kind, 5, b"", version)
        assert head == (12, ord("A"), 5)
        assert body[:4] == bytes((127, 0, 0, 9))
    assert reply(control, "?", 6, b"")[0] == (12, ord(" "), 6)
    assert control.answer(b"\0" * 35) is None


def test_probes_are_answered_as_long_as_was_asked_for(boards):
    control = Control(boards[0], "127.0.0.9")
    probe = struct.pack(">IIII", 12, ord("l"), 1, 1472).ljust(1472, b"\0")
    assert len(control.answer(probe)) == 1472
    assert struct.unpack_from(">I", control.answer(probe), 12) == (1472,)
    assert control.answer(struct.pack(">IIII", 12, ord("l"), 1, 9000).ljust(36, b"\0")) is None


def test_memories_are_read_where_the_pointer_stands_and_keep_what_is_written(bands, boards):
    control = Control(boards[0], "127.0.0.9")
    reply(control, "h", 1, bytes((0x50, 1, 0x0C)))
    assert reply(control, "i", 2, bytes((0x50, 4)))[1][2:6] == bytes((127, 0, 0, 9))
    reply(control, "h", 3, bytes((0x50, 1, 0x18)))
    serial = reply(control, "i", 4, bytes((0x50, 8)))[1][2:10].decode()
    assert serial == short_serial(bands.equipment("a").serial("a"))
    reply(control, "h", 5, bytes((0x51, 3, 0xFF, 1, 2)))
    reply(control, "h", 5, bytes((0x51, 1, 0xFF)))
    assert reply(control, "i", 6, bytes((0x51, 3)))[1][2:5] == bytes((1, 2, 0xFF))
    assert reply(control, "i", 7, bytes((0x22, 2)))[1][2:4] == b"\xff\xff"


def request(register, word, ticks=None):
    head = struct.pack(">II", 0, 0x40000000 | (0 if ticks is None else 1 << 20))
    time = b"" if ticks is None else struct.pack(">Q", ticks)
    return head + time + struct.pack(">II", register, word)


def test_a_timed_command_holds_up_those_behind_it_and_is_as_of_its_time(bands, boards):
    board, notes = boards[0], Notes()
    board.attach([notes, Notes()], Notes())
    fifo = Fifo(board)
    set_time(board, 0, at_once=True)
    fifo.take(request(48 | 0x100 | 1 << 16, 99, SECOND), "host")
    fifo.take(request(11 | 2 << 16, 0, SECOND + 5), "host")
    fifo.take(request(12 | 3 << 16, 0), "host")
    assert fifo.answers() == []
    assert fifo.is_waiting
    bands.clock.wait_until(1.5)
    answers = [struct.unpack(">III", answer) for answer in fifo.answers()]
    assert [(head >> 28, register >> 16) for head, register, _ in answers] == [
        (4, 1),
        (4, 2),
        (4, 3),
    ]
    assert answers[1][2] == SECOND + 5
    assert answers[2][2] == 0x000B0001
    assert notes.times == [SECOND]
    assert not fifo.is_waiting


def test_what_a_host_left_behind_does_not_hold_up_the_next(boards):
    fifo = Fifo(boards[0])
    fifo.take(request(48 | 0x100, 1, 1 << 60), "one")
    assert fifo.answers() == []
    fifo.take(request(12, 0), "other")
    assert len(fifo.answers()) == 1


def test_any_datagram_is_survived(boards):
    rng = np.random.default_rng(5)
    control, fifo = Control(boards[0], "127.0.0.9"), Fifo(boards[0])
    kinds = b"arlhis p"
    for number in range(4000):
        packet = bytearray(rng.bytes(int(rng.integers(0, 64))))
        if number % 4 and len(packet) > 12:
            packet[:8] = struct.pack(">II", 12, kinds[number % len(kinds)])
        answer = control.answer(bytes(packet))
        assert answer is None or len(answer) >= 16
        fifo.take(bytes(packet), number % 3)
        fifo.answers()
    # It still tells what it is.
    assert reply(control, "r", 1, struct.pack(">IIB", 0x5C00 + 48, 0, 1))[1][4:8] == b"\0\x0b\0\1"


def test_equipment_stays_as_it_was_but_for_the_oscillator(bands, boards):
    before = bands.equipment("b")
    use(boards[1], INTERNAL)
    assert replace(bands.equipment("b"), oscillator=before.oscillator) == before


def test_a_network_loses_the_share_that_it_should_and_others_each_way():
    ways = [Loss(0.2, (3, 4), way).passes(10_000) for way in (0, 1)]
    for passes in ways:
        assert np.mean(passes) == pytest.approx(0.8, abs=0.02)
    assert np.any(ways[0] != ways[1])
    np.testing.assert_array_equal(ways[0], Loss(0.2, (3, 4), 0).passes(10_000))
    assert Loss(0.0, (3, 4), 0).passes(1000).all()
    for share in (1.0, -0.1, math.nan):
        with pytest.raises(ValueError, match="share"):
            Loss(share, (3, 4), 0)
