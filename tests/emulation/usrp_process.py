"""Virtual USRPs in a process of their own, and what can go wrong with them."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SERVE = """
import json, os, sys, threading, time
from itertools import combinations
import numpy as np
from sim_fallback.air import Air, Scene
from sim_fallback.clock import WallClock
from sim_fallback.path import Path
from sim_fallback.presets import PRESETS
from sim_fallback.tapped_delay import TappedDelayLine
from sim_fallback.virtual_usrp import data_ports
from sim_fallback.virtual_usrp.server import serve_usrps

def fail(failed):
    sys.excepthook(*failed[:3])
    os._exit(70)

threading.excepthook = fail  # a thread that ends by an error is no small thing

lose = {"received": 0, "sent": 0}  # one in so many datagrams of samples; 0 for none
counts = dict.fromkeys(lose, 0)

def kept(way, number):
    places = counts[way] + np.arange(1, number + 1)
    counts[way] += number
    return places % lose[way] != 0 if lose[way] else np.ones(number, bool)

Line = data_ports._Line
send, drain = Line.send, Line.drain
def lossy_send(line, packets):
    samples = packets.shape[1] > 8  # reports come through
    send(line, packets[kept("received", len(packets))] if samples else packets)
def lossy_drain(line, buffer):
    found = drain(line, buffer)
    return [each for each, keep in zip(found, kept("sent", len(found))) if keep]
Line.send, Line.drain = lossy_send, lossy_drain

hosts, pace, preset, rate_hz, loss_db, options = json.loads(sys.argv[1])
base = os.getpid() % 50_000
hosts = [host if isinstance(host, str)
         else f"127.{20 + base // 250}.{base % 250 + 1}.{host}" for host in hosts]
names = [f"u{k}" for k in range(len(hosts))]
paths = {pair: Path(TappedDelayLine(kind="awgn"), loss_db) for pair in combinations(names, 2)}
equipment = {name: PRESETS[preset].equip(7, name) for name in names}
clock = WallClock.paced(pace, time.monotonic, time.sleep)
air = Air(Scene(915e6, rate_hz, equipment, paths), clock)
with serve_usrps(air, names, hosts, **options) as servers:
    print(json.dumps(hosts), flush=True)
    for line in sys.stdin:
        for name, value in json.loads(line).items():
            if name in lose:
                lose[name] = value
            elif name in ("pps", "locked"):
                setattr(servers[0].board.reference, name, value)
        told = [[server.board.tx().gain_db, server.board.rx(0).gain_db] for server in servers]
        print(json.dumps(told), flush=True)
"""
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Served:
    """Virtual USRPs that another process serves.

    Attributes:
        hosts: addresses of them.
        process: it.
    """

    hosts: list
    process: subprocess.Popen

    @property
    def uris(self):
        """As `open_radio` takes them."""
        return [f"usrp://addr={host}" for host in self.hosts]

    def set(self, **values):
        """Change what is wrong: `received`, `sent`: one in so many is lost; `pps`, `locked`.

        Returns:
            Transmit and receive gains of each, as the boards have them.
        """
        self.process.stdin.write(json.dumps(values) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def freeze(self):
        """All of them are gone, as when the network is."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        """They are back; their time went on."""
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def usrps(
    count=1,
    pace=0.5,
    preset="usrp-octoclock",
    rate_hz=1e6,
    loss_db=0.0,
    hosts=None,
    **options,
):
    """Serve USRPs that all hear each other; ended with the context.

    Args:
        count: how many.
        pace: seconds on the air in a second.
        preset: of their equipment.
        rate_hz: of their samples, at which they hear each other.
        loss_db: between any two.
        hosts: addresses; those of the process unless given, which no other has.
        options: of `serve_usrps`.
    """
    where = hosts or [2 + k for k in range(count)]
    told = json.dumps([where, pace, preset, rate_hz, loss_db, options])
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, told],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        yield Served(json.loads(process.stdout.readline()), process)
    finally:
        process.send_signal(signal.SIGCONT)
        process.communicate()
