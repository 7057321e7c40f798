"""Virtual USRPs in a process of their own, and programs with libuhd that use them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.pluto_process import ROOT, Served, line

DEBIAN_PYTHON = "/usr/bin/python3"
"""Where the binding of libuhd is."""

SERVE = """
import json, logging, os, sys, threading, time
from itertools import combinations
import numpy as np
from sim_fallback.air import Air, Scene
from sim_fallback.bands import Bands, Place
from sim_fallback.clock import WallClock
from sim_fallback.path import Path
from sim_fallback.presets import PRESETS
from sim_fallback.tapped_delay import TappedDelayLine
from sim_fallback.virtual_usrp.server import serve_usrps

def fail(failed):
    sys.excepthook(*failed[:3])
    os._exit(70)

threading.excepthook = fail  # a thread that ends by an error is no small thing
logging.disable(logging.WARNING)  # of what hosts ask for and do not get
hosts, pace, rate_hz, tone = json.loads(sys.argv[1])
names = [f"u{k}" for k in range(len(hosts))]
everybody = [*names, "tone"]
path = Path(TappedDelayLine(kind="awgn"), 40.0)
equipment = {name: PRESETS["usrp-octoclock"].equip(7, name) for name in everybody}
scene = Scene(915e6, rate_hz, equipment, dict.fromkeys(combinations(everybody, 2), path))
bands = Bands(Air(scene, WallClock.paced(pace, time.monotonic, time.sleep)))
if tone:
    wave = 0.25 * np.exp(2j * np.pi * np.arange(4096) / 16).astype(np.complex64)
    bands.send("tone", Place(915e6, rate_hz), wave, 0, 0.0, cyclic=True)
with serve_usrps(bands, names, hosts):
    print(json.dumps(hosts), flush=True)
    for _ in sys.stdin:
        print(time.process_time(), flush=True)
"""


def addresses(count: int) -> list[str]:
    """Addresses of this machine for USRPs, whose ports are fixed; other processes have others."""
    own = os.getpid() % 50_000
    return [f"127.{20 + own // 250}.{own % 250 + 1}.{100 + k}" for k in range(count)]


@contextmanager
def usrps(
    hosts: list[str], pace: float = 1.0, rate_hz: float = 1e6, tone: bool = False
) -> Iterator[Served]:
    """Serve USRPs that all hear each other; ended with the context.

    Args:
        hosts: address of each.
        pace: seconds on the air in a second.
        rate_hz: of their samples.
        tone: whether another radio sends a tone all the time.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, json.dumps([hosts, pace, rate_hz, tone])],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield Served(json.loads(line(process)), process)
    finally:
        process.communicate()
