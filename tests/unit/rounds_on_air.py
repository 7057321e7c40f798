"""Rounds over samples, driven directly: an experiment, its bench, and what was received."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from radio.api import RadioSettings
from sim_fallback.air import Air
from testbed.config import ExperimentConfig
from testbed.on_air.scoring import Scorer
from testbed.on_air.uplink import IQUplink
from testbed.on_air.virtual_bench import RECEIVER, VirtualBench, name_of
from testbed.schemes import build_scheme, symbol_uplink

DIM = 4000


def config(seed=0, r=10, n=None, snr_db=20.0, fading="rayleigh", sections=None, **iq):
    return ExperimentConfig.model_validate(
        {
            "name": "t",
            "seed": seed,
            "uplink": "iq",
            "devices": {"num_devices": n or r, "num_active": r},
            "channel": {"snr_db": snr_db, "fading": fading},
            "sparsifier": {"density": min(0.04, 0.4 / r)},
            "iq": iq,
            **(sections or {}),
        }
    )


def updates_of(cfg, dim=DIM):
    shape = (cfg.devices.num_active, dim)
    return np.random.default_rng(cfg.seed + 100).standard_normal(shape).astype(np.float32)


def bench_of(cfg, dim=DIM):
    return VirtualBench(cfg, cfg.compression.symbols(dim), symbol_uplink(cfg).path_amplitudes)


class Spy:
    """An uplink that keeps what it received."""

    def __init__(self, uplink):
        self.inside = uplink
        self.received = []

    def __getattr__(self, name):
        return getattr(self.inside, name)

    def transmit(self, *arguments):
        self.received.append(self.inside.transmit(*arguments))
        return self.received[-1]


def play(cfg, uplink, rounds=(0,), devices=None, dim=DIM):
    """Rounds over an uplink; (combined, received) of the last."""
    spy = Spy(uplink)
    scheme = build_scheme(cfg, dim, spy)
    devices = np.arange(cfg.devices.num_active) if devices is None else devices
    for index in rounds:
        combined = scheme.combine(index, devices, updates_of(cfg, dim), {}, lambda stage: None)
    return combined, spy.received[-1]


def on_air(cfg, rounds=(0,), bench=None, dim=DIM):
    with (bench or bench_of(cfg, dim)).open(Path("unused")) as opened:
        combined, received = play(cfg, opened.uplink, rounds, dim=dim)
        return combined, received, opened.uplink


def by_hand(bench, change=lambda scene: scene, scored=True, tx_gains_db=None):
    """The uplink of a bench over a scene that was changed, scored or not."""
    air = Air(change(bench.scene()))
    settings = RadioSettings(bench.link.carrier_hz, 1e6, rx_gain_db=bench.levels.rx_gain_db)

    def radio(name, tx_gain_db=0.0):
        opened = air.open(name)
        opened.configure(replace(settings, tx_gain_db=tx_gain_db))
        return opened

    return IQUplink(
        radio(RECEIVER),
        cache(lambda index: radio(name_of(index), (tx_gains_db or {}).get(index, 0.0))),
        bench.link,
        bench.timeline(),
        scorer=Scorer(air, RECEIVER, name_of, bench.levels.rx_gain_db) if scored else None,
    )


def with_front_end(bench, **changes):
    """The bench with other front ends."""
    bench.preset = replace(bench.preset, front_end=replace(bench.preset.front_end, **changes))
    return bench
