"""A radio behind ZMQ beside the same radio in this process, and beside bare sockets."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import zmq

from benchmarks.table import Table, best_of
from radio.registry import open_radio

SERVE = """
import sys
from radio.drivers.loopback import LoopbackRadio
from radio.remote import RadioServer

with RadioServer({"a": LoopbackRadio}, sys.argv[1], max_wait_s=1e3) as server:
    server.serve()
"""
# Answers a number with that many bytes, and nothing with nothing: what any server has to do.
ECHO = """
import sys
import zmq

with zmq.Context() as context, context.socket(zmq.PAIR) as pair:
    pair.bind(sys.argv[1])
    while True:
        pair.send(bytes(int(pair.recv())), copy=False)
"""
CALLS = 200


def measure(quick: bool = False) -> list[Table]:
    """Million samples a second by length of the capture, and the round trip of `now`."""
    sizes = (1_000, 25_000) if quick else (1_000, 25_000, 1_000_000)
    repeats = 2 if quick else 10
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder)
        stack.enter_context(_process(SERVE, f"zmq+ipc://{path / 'radio'}"))
        stack.enter_context(_process(ECHO, f"ipc://{path / 'echo'}"))
        direct = stack.enter_context(open_radio("loopback://"))
        remote = stack.enter_context(open_radio(f"zmq+ipc://{path / 'radio'}"))
        context = stack.enter_context(zmq.Context())
        pair = stack.enter_context(context.socket(zmq.PAIR))
        pair.linger = 0
        pair.connect(f"ipc://{path / 'echo'}")

        def echo(size: int) -> object:
            pair.send(b"%d" % size)
            return pair.recv(copy=False)

        rows = []
        for n in sizes:
            calls = max(1, 100_000 // n)
            kernels: dict[str, Callable[[], object]] = {
                "direct": lambda n=n, calls=calls: [direct.receive(n) for _ in range(calls)],
                "remote": lambda n=n, calls=calls: [remote.receive(n) for _ in range(calls)],
                "limit": lambda n=n, calls=calls: [echo(8 * n) for _ in range(calls)],
            }
            seconds = best_of(kernels, repeats).values()
            rows.append((f"receive {n:,}, MS/s", *(f"{calls * n / s / 1e6:.1f}" for s in seconds)))
        times = best_of(
            {
                "direct": lambda: [direct.now() for _ in range(CALLS)],
                "remote": lambda: [remote.now() for _ in range(CALLS)],
                "limit": lambda: [echo(0) for _ in range(CALLS)],
            },
            repeats,
        ).values()
        rows.append(("now, µs", *(f"{1e6 * seconds / CALLS:.1f}" for seconds in times)))
    return [
        Table(
            name="remote",
            title="A radio of another process",
            header=("", "direct", "zmq+ipc", "bare sockets"),
            rows=tuple(rows),
            note="The loopback radio in this process, behind `radio.remote` in another one, and "
            "the limit: a pair of sockets over which another process sends as many zero bytes "
            f"for a number. Best of {repeats} in turns, one thread a process and those of ZMQ.",
        )
    ]


@contextmanager
def _process(program: str, *arguments: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", program, *arguments])
    try:
        yield
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    for table in measure():
        print(table.markdown())
