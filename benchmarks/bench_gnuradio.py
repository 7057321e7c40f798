"""A flowgraph as a radio beside bare ZMQ sockets: how long bursts take, and how many pass."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import zmq

from benchmarks.table import Table, best_of
from radio.api import IQ, Radio
from radio.registry import open_radio

# Takes what comes in and sends it on, as the flowgraph does.
ECHO = """
import sys
import zmq

with zmq.Context() as context, context.socket(zmq.PULL) as source, context.socket(zmq.PUSH) as sink:
    sink.bind(sys.argv[2])
    source.connect(sys.argv[1])
    while True:
        sink.send(source.recv(copy=False), copy=False)
"""
MESSAGE = 1 << 16  # samples
BATCH = 4  # messages on their way through bare sockets at once


def measure(quick: bool = False) -> list[Table]:
    """Milliseconds of a burst by its length, and million samples a second."""
    sizes = (1, 10_007, 65_536) if quick else (1, 100, 10_007, 65_536, 1_000_003, 4_000_000)
    repeats = 2 if quick else 10
    with ExitStack() as stack:
        radio = stack.enter_context(open_radio("gnuradio://loop"))
        bare = stack.enter_context(_echo())
        rows = []
        for n in sizes:
            iq = _noise(n)
            _require_exact(radio, iq)
            seconds = best_of(
                {
                    "flowgraph": lambda iq=iq: _through(radio, iq),
                    "bare": lambda iq=iq: bare.pass_(iq),
                },
                repeats,
            ).values()
            told = (f"{1e3 * s:.2f}" for s in seconds)
            rates = (f"{n / s / 1e6:.1f}" for s in seconds)
            rows.append((f"{n:,}", *told, *rates))
    return [
        Table(
            name="gnuradio",
            title="A flowgraph as a radio",
            header=("samples", "flowgraph, ms", "bare ZMQ, ms", "flowgraph, MS/s", "bare, MS/s"),
            rows=tuple(rows),
            note="From `transmit` until `receive` has the whole burst, through `gnuradio://loop`: "
            "a ZMQ source, a multiplication and a ZMQ sink in a process of GNU Radio's; beside it "
            "a process that sends on what it gets, over the same kinds of sockets. Every burst "
            f"came back exactly before it was timed. Best of {repeats} in turns.",
        )
    ]


class _Bare:
    """Two sockets to another process that passes messages on."""

    def __init__(self, sink: zmq.Socket[bytes], source: zmq.Socket[bytes]) -> None:
        self._sink, self._source = sink, source

    def pass_(self, iq: IQ) -> None:
        parts = [iq[i : i + MESSAGE] for i in range(0, iq.size, MESSAGE)]
        for i, part in enumerate(parts):
            self._sink.send(part, copy=False)
            if i >= BATCH:
                self._source.recv(copy=False)
        for _ in range(min(BATCH, len(parts))):
            self._source.recv(copy=False)


@contextmanager
def _echo() -> Iterator[_Bare]:
    with (
        tempfile.TemporaryDirectory() as folder,
        zmq.Context() as context,
        context.socket(zmq.PUSH) as sink,
        context.socket(zmq.PULL) as source,
    ):
        into, out = f"ipc://{Path(folder) / 'in'}", f"ipc://{Path(folder) / 'out'}"
        sink.linger = source.linger = 0
        sink.bind(into)
        process = subprocess.Popen([sys.executable, "-c", ECHO, into, out])
        try:
            source.connect(out)
            yield _Bare(sink, source)
        finally:
            process.kill()
            process.wait()


def _noise(n: int) -> IQ:
    rng = np.random.default_rng(n)
    return (0.1 * (rng.standard_normal(n) + 1j * rng.standard_normal(n))).astype(np.complex64)


def _through(radio: Radio, iq: IQ) -> IQ:
    radio.transmit(iq)
    return radio.receive(iq.size).iq


def _require_exact(radio: Radio, iq: IQ) -> None:
    if not np.array_equal(_through(radio, iq), iq):
        raise SystemExit(f"a burst of {iq.size} samples did not come back as it was sent")


if __name__ == "__main__":
    for table in measure():
        print(table.markdown())
