"""Virtual PlutoSDRs in a process of their own, for benchmarks and tests."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SERVE = """
import json, os, sys, threading, time
from itertools import combinations
from sim_fallback.air import Air, Scene
from sim_fallback.clock import VirtualClock, WallClock
from sim_fallback.path import Path
from sim_fallback.presets import PRESETS
from sim_fallback.tapped_delay import TappedDelayLine
from sim_fallback.virtual_pluto.server import serve_plutos

def fail(failed):
    sys.excepthook(*failed[:3])
    os._exit(70)

threading.excepthook = fail  # a thread that ends by an error is no small thing
count, pace, preset, rate_hz, loss_db, cable_db, port, hosts, tdd = json.loads(sys.argv[1])
names = [f"p{k}" for k in range(count)]
line = TappedDelayLine(kind="awgn")
paths = {pair: Path(line, loss_db) for pair in combinations(names, 2)}
if cable_db is not None:
    paths |= {(name, name): Path(line, cable_db) for name in names}
equipment = {name: PRESETS[preset].equip(7, name) for name in names}
clock = VirtualClock() if pace is None else WallClock.paced(pace, time.monotonic, time.sleep)
air = Air(Scene(915e6, rate_hz, equipment, paths), clock)
with serve_plutos(air, names, hosts, port, tdd=tdd) as plutos:
    print(json.dumps([pluto.uri for pluto in plutos]), flush=True)
    for _ in sys.stdin:
        print(time.process_time(), flush=True)
"""
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Served:
    """Virtual PlutoSDRs that another process serves."""

    uris: list[str]
    process: subprocess.Popen[str]

    def computed_s(self) -> float:
        """Seconds that the process has computed so far."""
        tell(self.process, "computed")
        return float(line(self.process))


def line(process: subprocess.Popen[str]) -> str:
    """The next line of what a process says."""
    if process.stdout is None:
        raise AssertionError("a process without output")
    return process.stdout.readline()


def tell(process: subprocess.Popen[str], word: str) -> None:
    """Say a line to a process."""
    if process.stdin is None:
        raise AssertionError("a process without input")
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


@contextmanager
def plutos(
    count: int = 1,
    pace: float | None = None,
    preset: str = "pluto-tcxo",
    rate_hz: float = 1e6,
    loss_db: float = 60.0,
    cable_db: float | None = None,
    port: int = 0,
    hosts: list[str] | None = None,
    tdd: bool = False,
) -> Iterator[Served]:
    """Serve Plutos that all hear each other; ended with the context.

    Args:
        count: how many.
        pace: seconds on the air in a second; None runs free.
        preset: of their equipment.
        rate_hz: at which simulated radios that are no Plutos would hear them.
        loss_db: between any two.
        cable_db: loss of a cable from each transmitter to its own receiver; None for no cable.
        port: of all; 0 for any that is free.
        hosts: 127.0.0.1 for all unless given.
        tdd: whether they have a TDD engine, whose trigger inputs are wired together.
    """
    where = hosts or ["127.0.0.1"] * count
    told = json.dumps([count, pace, preset, rate_hz, loss_db, cable_db, port, where, tdd])
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, told],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield Served(json.loads(line(process)), process)
    finally:
        process.communicate()
