"""A board without registers on an air that two radios share, and what its packets say."""

import struct
from collections import namedtuple
from itertools import combinations

import numpy as np

from sim_fallback.air import Air, Scene
from sim_fallback.bands import Bands, Place
from sim_fallback.clock import VirtualClock
from sim_fallback.path import Path
from sim_fallback.playback import Outlet
from sim_fallback.presets import PRESETS
from sim_fallback.tapped_delay import TappedDelayLine
from sim_fallback.virtual_usrp.board import Inlet
from sim_fallback.virtual_usrp.timebase import Timebase

RATE, CARRIER, STEP = 1e6, 915e6, 100
START = 7_000_000_000  # ticks at true time 0
PLACE = Place(CARRIER, RATE)

Heard = namedtuple("Heard", "kind counter stream ticks samples ends")
Told = namedtuple("Told", "code number consumed ticks")


class Board:
    """What streams need of a board."""

    def __init__(self, bands, name):
        self.name, self.bands = name, bands
        self.timebase = Timebase(bands, name, None, START)
        self.inlet = Inlet(PLACE, 0.0, 1.0, True)
        self.outlet = Outlet(PLACE, 0.0, True)

    def rx(self, _):
        return self.inlet

    def tx(self):
        return self.outlet


def bands(preset="ideal"):
    """An air of `a` and `b`, who hear each other and themselves."""
    names = ("a", "b")
    path = Path(TappedDelayLine(kind="awgn"))
    paths = dict.fromkeys([*combinations(names, 2), *((name, name) for name in names)], path)
    equipment = {name: PRESETS[preset].equip(3, name) for name in names}
    return Bands(Air(Scene(CARRIER, RATE, equipment, paths), VirtualClock()))


def noise(n, seed=1):
    """Samples whose every part is a code of 16 bits, complex64 [n]."""
    codes = np.random.default_rng(seed).integers(-9000, 9000, (n, 2)).astype(np.float32) / 32768
    return codes.view(np.complex64)[:, 0]


def heard(packets):
    """A packet from a receiver, which must have the length that it says."""
    for packet in packets:
        data = packet.tobytes()
        header, stream, ticks = struct.unpack_from(">IIQ", data)
        assert 4 * (header & 0xFFFF) == len(data)
        counter = header >> 16 & 0xF
        if header >> 28 == 5:
            (code,) = struct.unpack_from(">I", data, 16)
            yield Heard(code, counter, stream, ticks, None, False)
        else:
            assert header & 0xFFF0_0000 == 0x1410_0000
            (trailer,) = struct.unpack_from(">I", data, len(data) - 4)
            codes = np.frombuffer(data[16:-4], ">i2").astype(np.float32).view(np.complex64)
            yield Heard(0, counter, stream, ticks, codes, bool(trailer & 0x100))


def told(packets):
    """What a transmitter reports."""
    for packet in packets:
        header, stream, ticks, word, consumed = struct.unpack(">IIQII", packet.tobytes())
        assert (header, stream) == (0x5010_0006, 2)
        yield Told(word & 0xFFFF, word >> 16, consumed, ticks)


def packet(sequence, iq, ticks=None, begins=False, ends=False, stream=None):
    """A packet of samples to send."""
    words = [] if stream is None else [stream]
    words += [] if ticks is None else [ticks >> 32, ticks & 0xFFFF_FFFF]
    header = (stream is not None) << 28 | begins << 25 | ends << 24 | (ticks is not None) << 20
    header |= 1 + len(words) + len(iq)
    codes = np.rint(iq.view(np.float32) * 32768).astype(">i2").tobytes()
    return struct.pack(f">II{len(words)}I", sequence, header, *words) + codes
