"""`python -m benchmarks.fuzz_iiod 100000`: malformed commands at the server of a virtual Pluto.

Two Plutos are served by another process. One client talks sense to both all the while; the other
sends mutated commands to the first. The server has to end every conversation, to go on answering
the sensible client with the right bytes, and to keep its memory.
"""

from __future__ import annotations

import argparse
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.pluto_process import Served, plutos

ADC, DAC, PHY = b"cf-ad9361-lpc", b"cf-ad9361-dds-core-lpc", b"ad9361-phy"
GOOD = (
    b"VERSION\r\n",
    b"PRINT\r\n",
    b"TIMEOUT 1000\r\n",
    b"READ ad9361-phy INPUT voltage0 hardwaregain\r\n",
    b"READ ad9361-phy OUTPUT altvoltage0 frequency\r\n",
    b"READ ad9361-phy calib_mode\r\n",
    b"READ iio:device0\r\n",
    b"READ ad9361-phy DEBUG loopback\r\n",
    b"READ cf-ad9361-lpc BUFFER watermark\r\n",
    b"WRITE ad9361-phy INPUT voltage0 gain_control_mode 7\r\nmanual\0",
    b"WRITE ad9361-phy OUTPUT altvoltage0 frequency 10\r\n915000000\0",
    b"WRITE ad9361-phy INPUT voltage0 sampling_frequency 8\r\n3000000\0",
    b"WRITE ad9361-phy filter_fir_config 5\r\nRX 3\0",
    b"WRITE ad9361-phy DEBUG loopback 2\r\n1\0",
    b"WRITE cf-ad9361-lpc DEBUG direct_reg_access 15\r\n0x80000088 0x6\0",
    b"WRITE cf-ad9361-dds-core-lpc OUTPUT altvoltage0 scale 4\r\n0.5\0",
    b"SET cf-ad9361-lpc BUFFERS_COUNT 4\r\n",
    b"OPEN cf-ad9361-lpc 256 00000003\r\n",
    b"READBUF cf-ad9361-lpc 1024\r\n",
    b"CLOSE cf-ad9361-lpc\r\n",
    b"OPEN cf-ad9361-dds-core-lpc 64 00000003\r\n",
    b"OPEN cf-ad9361-dds-core-lpc 64 00000003 CYCLIC\r\n",
    b"WRITEBUF cf-ad9361-dds-core-lpc 256\r\n" + bytes(range(256)),
    b"CLOSE cf-ad9361-dds-core-lpc\r\n",
    b"GETTRIG cf-ad9361-lpc\r\n",
    b"EXIT\r\n",
)
# In place of a word.
WORSE = (
    b"", b"-1", b"0", b"1", b"3", b"4294967295", b"2147483647", b"99999999999999999999", b"1e9",
    b"NaN", b"0x10", b"ffffffff", b"00000000", b"00000003", b"INPUT", b"OUTPUT", b"DEBUG",
    b"BUFFER", b"voltage0", b"altvoltage3", b"iio:device1", b"iio:device9", b"CYCLIC", b"OPEN",
    b"\xff\xfe", b"\0", b"%s%n", b"a" * 300, b"b" * 3000, "²".encode(),
)  # fmt: skip
SIZES = (
    b"0", b"1", b"2", b"3", b"4", b"7", b"8", b"64", b"255", b"256", b"1000", b"4096", b"65535",
    b"65537", b"1000000", b"4194304", b"16777216", b"2147483647", b"2147483648",
)  # fmt: skip
OPENINGS = (
    b"",
    b"OPEN cf-ad9361-lpc 256 00000003\r\n",
    b"OPEN cf-ad9361-dds-core-lpc 64 00000003\r\nOPEN cf-ad9361-lpc 256 00000001\r\n",
)
"""How conversations begin, so that what follows gets as far as it can."""

COMMANDS_EACH = 10  # of a conversation; some swallow all that follow
ENOUGH = 1 << 22  # bytes of answers that the fuzzer reads before it hangs up
MOST_KIB = 1 << 20
"""Of memory that the server may come to hold; it starts with an eighth of that."""

TIMEOUT_S = 60.0


def malformed(seed: int) -> Iterator[bytes]:
    """Mutated commands without end, made from good ones; every fourth comes with a good one."""
    rng = np.random.default_rng(seed)
    while True:
        good, other = (GOOD[k] for k in rng.integers(len(GOOD), size=2))
        mutated = MUTATIONS[rng.integers(len(MUTATIONS))](rng, good)
        yield mutated + other if rng.random() < 0.25 else mutated


def _flip(rng: np.random.Generator, command: bytes) -> bytes:
    data = bytearray(command)
    for place in rng.integers(len(data), size=rng.integers(1, 4)):
        data[place] ^= 1 << int(rng.integers(8))
    return bytes(data)


def _cut(rng: np.random.Generator, command: bytes) -> bytes:
    return command[: int(rng.integers(len(command)))]


def _splice(rng: np.random.Generator, command: bytes) -> bytes:
    other = GOOD[rng.integers(len(GOOD))]
    return command[: int(rng.integers(len(command)))] + other[int(rng.integers(len(other))) :]


def _insert(rng: np.random.Generator, command: bytes) -> bytes:
    place = int(rng.integers(len(command)))
    return command[:place] + rng.bytes(int(rng.integers(1, 40))) + command[place:]


def _noise(rng: np.random.Generator, _: bytes) -> bytes:
    return rng.bytes(int(rng.integers(200))) + b"\r\n"


def _replace(rng: np.random.Generator, command: bytes) -> bytes:
    """Another word, or another number, somewhere in the line; the payload stays."""
    line, end, payload = command.partition(b"\r\n")
    words = line.split(b" ")
    words[rng.integers(len(words))] = WORSE[rng.integers(len(WORSE))]
    return b" ".join(words) + end + payload


def _drop(rng: np.random.Generator, command: bytes) -> bytes:
    line, end, payload = command.partition(b"\r\n")
    words = line.split(b" ")
    del words[rng.integers(len(words))]
    return b" ".join(words) + end + payload


def _number(rng: np.random.Generator, command: bytes) -> bytes:
    """Another number where there is one: sizes of all kinds, and payloads that are not so long."""
    return re.sub(rb"\b\d+\b(?=[^\n]*\r\n)", lambda _: SIZES[rng.integers(len(SIZES))], command)


def _payload(rng: np.random.Generator, command: bytes) -> bytes:
    """The line stays, and what follows it does not."""
    line, end, payload = command.partition(b"\r\n")
    return line + end + rng.bytes(len(payload))


MUTATIONS: tuple[Callable[[np.random.Generator, bytes], bytes], ...]
MUTATIONS = (
    _flip, _cut, _splice, _insert, _noise, _replace, _replace, _drop, _number, _number, _payload,
)  # fmt: skip


def conversation(commands: Iterator[bytes], number: int) -> bytes:
    """The next commands, after an opening."""
    return OPENINGS[number % len(OPENINGS)] + b"".join(islice(commands, COMMANDS_EACH))


class Client:
    """One that talks sense, and insists on sensible answers."""

    def __init__(self, uri: str) -> None:
        self._link = socket.create_connection(address(uri), timeout=TIMEOUT_S)
        self._answers = self._link.makefile("rb")

    def ask(self, command: bytes, answer: bytes) -> None:
        """Send a command; AssertionError unless it is answered by a line that matches."""
        self._link.sendall(command)
        line = self._answers.readline()
        if not re.fullmatch(answer, line):
            raise AssertionError(f"{command!r} was answered {line!r}, not {answer!r}")

    def value(self, command: bytes) -> bytes:
        """The value of an attribute."""
        self._link.sendall(command)
        size = int(self._answers.readline())
        return self._answers.read(size + 1)

    def block(self, size: int) -> bytes:
        """A block of samples of a device that is open."""
        self.ask(b"READBUF %s %d\r\n" % (ADC, size), b"%d\n" % size)
        self._answers.readline()
        return self._answers.read(size)

    def close(self) -> None:
        """Hang up."""
        self._answers.close()
        self._link.close()


def address(uri: str) -> tuple[str, int]:
    """Host and port."""
    host, port = uri.removeprefix("ip:").rsplit(":", 1)
    return host, int(port)


@contextmanager
def attacked() -> Iterator[tuple[Callable[[bytes], int], Callable[[], None]]]:
    """How to have a conversation of malformed commands, and how to see that nothing came of it."""
    with plutos(2, loss_db=200.0) as served:
        mine, theirs = served.uris
        sensible = Client(theirs)
        try:
            sensible.ask(b"OPEN %s 4096 00000003\r\n" % ADC, b"0\n")
            sensible.ask(b"WRITE %s DEBUG loopback 2\r\n1\0" % PHY, b"2\n")
            yield lambda talk: converse(mine, talk), lambda: check(served, sensible, mine)
        finally:
            sensible.close()


def converse(uri: str, talk: bytes) -> int:
    """Send it all and hang up; how many bytes came back. TimeoutError where the server hangs."""
    with socket.create_connection(address(uri), timeout=TIMEOUT_S) as link:
        came = 0
        try:
            link.sendall(talk)
            link.shutdown(socket.SHUT_WR)
            while came < ENOUGH and (answer := link.recv(1 << 16)):
                came += len(answer)
        except ConnectionError:  # the server hung up first, as it may
            return came
        return came


def check(served: Served, sensible: Client, mine: str) -> None:
    """AssertionError where the server is not what it was."""
    if served.process.poll() is not None:
        raise AssertionError(f"the server has ended with {served.process.returncode}")
    if any(sensible.block(4 * 4096)):
        raise AssertionError("the other Pluto's digital loopback is no longer silent")
    gain = sensible.value(b"READ %s OUTPUT voltage0 hardwaregain\r\n" % PHY)
    if gain != b"-10.000000 dB\0\n":
        raise AssertionError(f"the other Pluto's gain is {gain!r}")
    newcomer = Client(mine)
    newcomer.ask(b"VERSION\r\n", rb"0\.24\.v0\.24  \n")
    newcomer.close()
    if (kib := memory_kib(served)) > MOST_KIB:
        raise AssertionError(f"the server holds {kib} KiB")


def memory_kib(served: Served) -> int:
    """What the server has held at most."""
    status = Path(f"/proc/{served.process.pid}/status")
    if not status.exists():  # only Linux tells
        return 0
    peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    return int(peak[1]) if peak else 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz_iiod", description=__doc__)
    parser.add_argument("commands", nargs="?", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    commands, came = malformed(arguments.seed), 0
    with attacked() as (send, check_all):
        for done in range(0, arguments.commands, COMMANDS_EACH):
            came += send(conversation(commands, done))
            if done % 1000 == 0:
                check_all()
        check_all()
    print(
        f"{arguments.commands:,} malformed commands, {came / 1e6:.1f} MB of answers: no harm done"
    )


if __name__ == "__main__":
    main()
