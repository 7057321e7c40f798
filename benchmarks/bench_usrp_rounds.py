"""Rounds of ten devices over virtual USRPs, and over a mixed bench, beside simulated radios."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.bench_pluto_rounds import COLUMNS, LEGEND, compare, moved, simulated
from benchmarks.table import Table
from testbed import bench_file


def measure(quick: bool = False) -> list[Table]:
    """A run over each, with true errors; over virtual radios at the pace that the bench states."""
    usrps, mixed = bench_file.read("virtual-usrps"), bench_file.read("mixed")
    assert usrps.config.air is not None
    assert mixed.config.air is not None
    with tempfile.TemporaryDirectory() as folder:
        benches = {
            "`sim://`, virtual time": simulated(Path(folder), usrps),
            f"`usrp://`, pace {usrps.config.air.pace:g}": moved(Path(folder), usrps),
            f"five `pluto://`, five `usrp://`, pace {mixed.config.air.pace:g}": moved(
                Path(folder), mixed
            ),
        }
        rows = compare(Path(folder), benches, quick)
    return [
        Table(
            "usrp_rounds",
            "Rounds over virtual USRPs",
            COLUMNS,
            rows,
            f"`airmeta up` of the experiment `lab`, {LEGEND.format(preset='usrp-octoclock')} "
            "In the mixed bench the PlutoSDRs have the preset `pluto-tcxo`, and nobody counts on a "
            "common clock.",
        )
    ]
