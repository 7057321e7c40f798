"""Samples a second from virtual Plutos through real libiio and pyadi-iio, beside their limits."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from subprocess import PIPE, Popen

import numpy as np

from benchmarks.bench_pluto_duplex import duplex
from benchmarks.pluto_process import ROOT, line, plutos, tell
from benchmarks.table import Table, best_of

SIZE = 1 << 18
PACED_SIZE = 1 << 16
CLIENTS, RATE = 8, 2_500_000
WAVE = 2**13 * np.exp(2j * np.pi * np.arange(4096) / 16)

# Reads for some seconds; then says how many samples it got, whether any were lost, and how long
# it computed.
READER = """
import sys, time
import adi

uri, rate, size, seconds = sys.argv[1], *map(int, sys.argv[2:])
sdr = adi.Pluto(uri)
sdr.sample_rate = rate
sdr.rx_lo = 915_000_000
sdr.gain_control_mode_chan0 = "manual"
sdr.rx_hardwaregain_chan0 = 60
sdr.rx_buffer_size = size
sdr._rxadc.set_kernel_buffers_count(8)
sdr.rx()
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20):
    sdr.rx()
sdr._rxadc.reg_write(0x80000088, 0x6)
started, computed = time.monotonic(), time.process_time()
got = 0
while time.monotonic() - started < seconds:
    got += len(sdr.rx())
took = time.monotonic() - started
computed = time.process_time() - computed
print(got / took, sdr._rxadc.reg_read(0x80000088) >> 2 & 1, computed / took, flush=True)
sdr.rx_destroy_buffer()
"""


def measure(quick: bool = False) -> list[Table]:
    """Three tables: Plutos that run free, several that keep pace, and several that send, too."""
    return [_free(quick), _paced(quick), duplex(quick)]


def _free(quick: bool) -> Table:
    """What one client gets, by what there is to receive."""
    import adi  # noqa: PLC0415 - which loads the library

    repeats, size = (2, 1 << 14) if quick else (15, SIZE)
    rows = []
    for preset in ("pluto-tcxo", "ideal"):
        with plutos(2, preset=preset, loss_db=40.0) as served, _echo(4 * size) as bare:
            one, other = (adi.Pluto(uri) for uri in served.uris)
            for sdr in (one, other):
                sdr.sample_rate = RATE
                sdr.rx_lo = sdr.tx_lo = 915_000_000
                sdr.gain_control_mode_chan0 = "manual"
                sdr.rx_hardwaregain_chan0 = 30
                sdr.rx_buffer_size = size
                sdr.tx_cyclic_buffer = True

            def digital(sdr: adi.Pluto = one) -> None:
                sdr.loopback = 1
                sdr.tx(WAVE)

            def tone(sdr: adi.Pluto = one, sender: adi.Pluto = other) -> None:
                sdr.tx_destroy_buffer()
                sdr.loopback = 0
                sender.tx(WAVE)

            before: dict[str, Callable[[], object]] = {
                "nothing but noise": lambda: None,
                "digital loopback": digital,
                "another one's tone": tone,
            }
            for name, prepare in before.items():
                prepare()
                for _ in range(5):
                    one.rx()
                seconds = best_of({"rx": one.rx, "bare": bare}, repeats)
                computed = time.process_time()
                for _ in range(repeats):
                    one.rx()
                computed = (time.process_time() - computed) / repeats
                each = (seconds["rx"], computed, seconds["bare"])
                rows.append((preset, name, *(_mega(size / s) for s in each)))
            one.rx_destroy_buffer()
            other.tx_destroy_buffer()
    return Table(
        name="pluto",
        title="A virtual PlutoSDR that runs free",
        header=("preset", "receives", "rx()", "client alone", "bare socket"),
        rows=tuple(rows),
        note=f"MS/s, best of {repeats} calls of pyadi-iio's rx() with {size:,} samples, from a "
        "server in another process. Limits: the time that the client itself computes, most of it "
        "in libiio and in making complex128 of int16, and as many bytes over a bare socket.",
    )


def _paced(quick: bool) -> Table:
    """Whether several clients, each a process, keep pace with as many Plutos of one server."""
    clients, rate, seconds = (2, 1_000_000, 1) if quick else (CLIENTS, RATE, 5)
    rows = []
    for pace in (1.0,) if quick else (1.0, 0.5):
        with ExitStack() as stack:
            served = stack.enter_context(plutos(clients, pace=pace, rate_hz=rate))
            words = (str(rate), str(PACED_SIZE), str(seconds))
            readers = [
                Popen(
                    [sys.executable, "-c", READER, uri, *words],
                    cwd=ROOT,
                    text=True,
                    stdin=PIPE,
                    stdout=PIPE,
                )
                for uri in served.uris
            ]
            for reader in readers:
                line(reader)
            for reader in readers:
                tell(reader, "go")
            results = [tuple(map(float, line(reader).split())) for reader in readers]
            for reader in readers:
                reader.communicate()
        rates, lost, busy = zip(*results, strict=True)
        rows.append(
            (
                f"{pace:g}",
                f"{clients} at {_mega(rate)}",
                f"{_mega(min(rates) / pace)} to {_mega(max(rates) / pace)}",
                f"{sum(lost):.0f}",
                f"{sum(busy):.2f}",
            )
        )
    return Table(
        name="pluto_paced",
        title="Virtual PlutoSDRs that keep pace",
        header=("pace", "clients at MS/s", "MS/s of air time", "with overruns", "cores of clients"),
        rows=tuple(rows),
        note=f"Each client is a process with pyadi-iio that reads {PACED_SIZE:,} samples at a time "
        f"through 8 kernel buffers for {seconds} s. All Plutos are served by one process and hear "
        "each other, who are silent. At a pace of 0.5 the air is half as fast as the world.",
    )


@contextmanager
def _echo(size: int) -> Iterator[Callable[[], object]]:
    """How to get `size` bytes from a bare socket of another process."""
    program = (
        "import socket, sys\n"
        "data = bytes(int(sys.argv[2]))\n"
        "link = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
        "while link.recv(1):\n"
        "    link.sendall(data)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        other = Popen([sys.executable, "-c", program, str(port), str(size)])
        link, _ = listener.accept()
        buffer = memoryview(bytearray(size))

        def get() -> None:
            link.sendall(b"?")
            rest = buffer
            while rest:
                rest = rest[link.recv_into(rest) :]

        try:
            yield get
        finally:
            link.close()
            other.wait()


def _mega(value: float) -> str:
    return f"{value / 1e6:.1f}"


if __name__ == "__main__":
    for table in measure():
        print(table.markdown())
