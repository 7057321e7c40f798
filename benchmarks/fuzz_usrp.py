"""`python -m benchmarks.fuzz_usrp 100000`: malformed datagrams at every port of a virtual USRP.

Two USRPs are served by another process. To the first go mutated datagrams, a number of them to each
of its five ports. The server has to live on with the memory it has, the first has to work again as
soon as it is told sensible things, and the second one not to notice.
"""

from __future__ import annotations

import argparse
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count

import numpy as np

from benchmarks.fuzz_iiod import memory_kib
from benchmarks.pluto_process import Served
from benchmarks.usrp_process import addresses, usrps

CONTROL, FIFO = 49152, 49159
RX, TX = (49156, 49158), 49157
PORTS = (CONTROL, FIFO, *RX, TX)

SETTINGS, READBACKS = 0x7000, 0x5C00
POKE, PEEK = 4, 2
TIME_HIGH, TIME_LOW, TIME_AT_ONCE = 10, 11, 13
RX_CONTROLS, RX_DSPS, TX_CONTROL, TX_DSP = (32, 80), (48, 96), 144, 160
RESET, STREAM, SIZE = 8, 5, 7
FACTOR, ONE_MEGA = 2, 3 << 8 | 25
STEP, SAMPLES = 100, 2000
COMPATIBLE = 0x000B_0001
SEVERAL = 50  # datagrams between two looks whether the server is there
MOST_KIB = 1 << 20
TIMEOUT_S, RETRY_S, ATTEMPTS = 20.0, 0.2, 100
LEAD_TICKS = 10_000_000

WORSE = (
    *(0, 1, 2, 3, 7, 0x7F, 0x80, 0xFF, 0x100, 0x1FF, 0x3FF, 0xFFFF, 0x7FFF_FFFF, 1 << 31),
    *(0xFFFF_FFFF, 0x8000_0001, 0x9000_0000, 0xE000_0001, 0x2000_0000, 0x4000_0003),
    *(SETTINGS - 4, SETTINGS + 1, SETTINGS + 4 * 255, READBACKS + 40, READBACKS - 4),
    *(0x1410_0008, 0x0310_0005, 0x0110_0004, 0x0300_0001, 0x0000_0001),
)
"""In place of a word."""


def _control(kind: bytes, *words: int, size: int = 36) -> bytes:
    body = struct.pack(f">III{len(words)}I", 12, kind[0], 5, *words)
    return body.ljust(size, b"\0")


def _poke(setting: int, value: int) -> bytes:
    return _control(b"r", SETTINGS + 4 * setting, value, POKE << 24)


def _peek(number: int) -> bytes:
    return _control(b"r", READBACKS + 4 * number, 0, PEEK << 24)


def _burst(sequence: int, bits: int, ticks: int | None, samples: int = 8) -> bytes:
    times = b"" if ticks is None else struct.pack(">Q", ticks)
    header = bits << 24 | (ticks is not None) << 20 | 1 + len(times) // 4 + samples
    return struct.pack(">II", sequence, header) + times + bytes(range(4)) * samples


HELLO = bytes(8)
POKED = (
    *(0, TIME_HIGH, TIME_LOW, TIME_AT_ONCE, 21, 22, 184, 185, 186),
    *(first + k for first in (*RX_CONTROLS, *RX_DSPS, TX_CONTROL, TX_DSP) for k in range(9)),
)
GOOD = {
    CONTROL: (
        _control(b"a"),
        _control(b"l", 1000, size=1000),
        *(_peek(number) for number in range(16)),
        *(_poke(setting, value) for setting in POKED for value in (0, 1, 0x319, 1 << 31 | 1000)),
        *(_control(b"r", number, 1, action << 24) for number in (3, 7) for action in (5, 6)),
        _control(b"h", 0x5002_0000, 0),
        _control(b"i", 0x5014_0000),
        *(_control(b"s", slave, 0x1234_5678, 0x0020_0000) for slave in (16, 128)),
    ),
    FIFO: (
        *(struct.pack(">IIII", 1, 3, setting | 0x100, 5) for setting in POKED),
        *(struct.pack(">IIQII", 1, 1 << 20 | 5, 77, 0x100 | setting, 5) for setting in POKED),
        struct.pack(">IIII", 1, 3, 10, 0),
    ),
    RX[0]: (HELLO, bytes(16)),
    RX[1]: (HELLO, bytes(16)),
    TX: (
        HELLO,
        *(_burst(k, bits, ticks) for k in range(3) for bits in range(4) for ticks in (None, 9)),
        _burst(0, 3, 1 << 40, 300),
        _burst(0, 0x13, None),
    ),
}
"""Sensible datagrams for each port."""


def malformed(port: int, seed: int) -> Iterator[bytes]:
    """Mutated datagrams for a port, without end; every fourth is a good one."""
    rng = np.random.default_rng((seed, port))
    while True:
        good = GOOD[port][rng.integers(len(GOOD[port]))]
        if rng.random() < 0.25:
            yield good
        else:
            yield MUTATIONS[rng.integers(len(MUTATIONS))](rng, good)


def _flip(rng: np.random.Generator, good: bytes) -> bytes:
    data = bytearray(good)
    for place in rng.integers(len(data), size=rng.integers(1, 4)):
        data[place] ^= 1 << int(rng.integers(8))
    return bytes(data)


def _cut(rng: np.random.Generator, good: bytes) -> bytes:
    return good[: int(rng.integers(len(good)))]


def _splice(rng: np.random.Generator, good: bytes) -> bytes:
    others = GOOD[PORTS[rng.integers(len(PORTS))]]
    other = others[rng.integers(len(others))]
    return good[: int(rng.integers(len(good)))] + other[int(rng.integers(len(other))) :]


def _insert(rng: np.random.Generator, good: bytes) -> bytes:
    place = int(rng.integers(len(good)))
    return good[:place] + rng.bytes(int(rng.integers(1, 40))) + good[place:]


def _noise(rng: np.random.Generator, _: bytes) -> bytes:
    return rng.bytes(int(rng.integers(200)))


def _long(rng: np.random.Generator, good: bytes) -> bytes:
    return good + bytes(int(rng.integers(60_000 if rng.random() < 0.05 else 3000)))


def _word(rng: np.random.Generator, good: bytes) -> bytes:
    """Another word somewhere, of those that mean something or nearly do."""
    place = 4 * int(rng.integers(max(1, len(good) // 4)))
    word = WORSE[rng.integers(len(WORSE))] if rng.random() < 0.7 else int(rng.integers(1 << 32))
    return good[:place] + struct.pack(">I", word) + good[place + 4 :]


MUTATIONS: tuple[Callable[[np.random.Generator, bytes], bytes], ...]
MUTATIONS = (_flip, _flip, _cut, _splice, _insert, _noise, _long, _word, _word, _word)


class Host:
    """One that talks sense to a USRP, and insists on sensible answers."""

    def __init__(self, address: str) -> None:
        self._address, self._numbers = address, count(1)
        self._sockets = {port: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for port in PORTS}
        for port, link in self._sockets.items():
            link.connect((address, port))
            link.settimeout(TIMEOUT_S)

    def close(self) -> None:
        """Free the ports."""
        for link in self._sockets.values():
            link.close()

    def ask(self, request: bytes) -> bytes:
        """The answer to a control packet; TimeoutError where there is none."""
        number = struct.pack(">I", next(self._numbers))
        numbered = request[:8] + number + request[12:]
        link = self._sockets[CONTROL]
        link.settimeout(RETRY_S)
        for _ in range(ATTEMPTS):  # a queue full of malformed ones drops good ones, too
            link.send(numbered)
            try:
                while (answer := link.recv(1 << 16))[8:12] != number:
                    pass
                return answer
            except TimeoutError:
                continue
        raise TimeoutError(f"{self._address} does not answer {numbered.hex()}")

    def poke(self, setting: int, value: int) -> None:
        """Write a setting."""
        self.ask(_poke(setting, value))

    def peek(self, number: int) -> int:
        """A readback."""
        return int.from_bytes(self.ask(_peek(number))[16:20], "big")

    def now(self) -> int:
        """Device time."""
        return self.peek(10) << 32 | self.peek(11)

    def set_up(self) -> None:
        """Bring it into a known state, whatever it was told before, and for later."""
        self._take_fifo()
        for setting, value in ((TIME_LOW, 0), (TIME_AT_ONCE, 1), (TIME_HIGH, 0), (0, 0x12)):
            self.poke(setting, value)
        for control, dsp in zip(RX_CONTROLS, RX_DSPS, strict=True):
            for setting, value in ((RESET, 1), (STREAM, 3), (SIZE, 363)):
                self.poke(control + setting, value)
            self.poke(dsp + FACTOR, ONE_MEGA)
        self.poke(TX_DSP + FACTOR, ONE_MEGA)
        for setting in (4, 5, 0):
            self.poke(TX_CONTROL + setting, 0)

    def _take_fifo(self) -> None:
        """What another host has left there for a later time is void once this one speaks."""
        link, request = self._sockets[FIFO], struct.pack(">IIII", 0, 0, 0, 0)
        link.settimeout(RETRY_S)
        for _ in range(ATTEMPTS):
            link.send(request)
            with suppress(TimeoutError):
                link.recv(1 << 16)
                return
        raise TimeoutError(f"{self._address} does not answer at port {FIFO}")

    def check(self) -> None:
        """AssertionError unless it tells its model, receives in time and sends a burst."""
        if self.peek(12) != COMPATIBLE:
            raise AssertionError(f"{self._address} is no longer compatible")
        for control, port in zip(RX_CONTROLS, RX, strict=True):
            self._capture(control, port)
        self._burst()

    def _capture(self, control: int, port: int) -> None:
        self._drain(port)
        self._sockets[port].send(HELLO)
        begin, seen = self.now() + LEAD_TICKS, 0
        for offset, value in enumerate((SAMPLES, begin >> 32, begin & 0xFFFF_FFFF)):
            self.poke(control + offset, value)
        while seen < SAMPLES:
            packet = self._sockets[port].recv(1 << 16)
            kind, _, ticks = struct.unpack_from(">IIQ", packet)
            if kind >> 20 != 0x141 or ticks != begin + STEP * seen:
                raise AssertionError(f"{self._address} sent {packet[:20].hex()} after {seen}")
            seen += (len(packet) - 20) // 4

    def _burst(self) -> None:
        self._drain(TX)
        self._sockets[TX].send(HELLO)
        self.poke(TX_CONTROL, 1)
        self._sockets[TX].send(_burst(0, 3, self.now() + LEAD_TICKS))
        *_, word, consumed = struct.unpack(">IIQII", self._sockets[TX].recv(1 << 16))
        if (word & 0xFFFF, consumed) != (1, 0):
            raise AssertionError(f"{self._address} reports {word:x} of packet {consumed}")

    def _drain(self, port: int) -> None:
        link = self._sockets[port]
        link.setblocking(False)
        try:
            while link.recv(1 << 16):
                pass
        except BlockingIOError:
            link.settimeout(TIMEOUT_S)


@contextmanager
def attacked() -> Iterator[tuple[Callable[[int, Iterator[bytes], int], None], Callable[[], None]]]:
    """How to send so many malformed datagrams to a port, and how to see that no harm was done."""
    with usrps(addresses(2)) as served, ExitStack() as stack:
        first, second = (Host(host) for host in served.uris)
        stack.callback(first.close)
        stack.callback(second.close)
        second.set_up()
        link = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

        def send(port: int, datagrams: Iterator[bytes], number: int) -> None:
            for done in range(number):
                link.sendto(next(datagrams), (served.uris[0], port))
                if done % SEVERAL == 0:
                    first.ask(_control(b"a"))

        def check() -> None:
            if served.process.poll() is not None:
                raise AssertionError(f"the server has ended with {served.process.returncode}")
            second.check()
            first.set_up()
            first.check()
            held(served)

        yield send, check


def held(served: Served) -> None:
    """AssertionError where the server has come to hold too much."""
    if (kib := memory_kib(served)) > MOST_KIB:
        raise AssertionError(f"the server holds {kib} KiB")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz_usrp", description=__doc__)
    parser.add_argument("datagrams", nargs="?", type=int, default=100_000, help="to each port")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    streams = {port: malformed(port, arguments.seed) for port in PORTS}
    together = 1000
    with attacked() as (send, check):
        for done in range(0, arguments.datagrams, together):
            for port, datagrams in streams.items():
                send(port, datagrams, min(together, arguments.datagrams - done))
            check()
    print(f"{arguments.datagrams:,} malformed datagrams at each of 5 ports: no harm done")


if __name__ == "__main__":
    main()
