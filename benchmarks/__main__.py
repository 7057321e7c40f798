"""`make bench`: run every benchmark, print its tables, write them under benchmarks/results.

benchmarks/README.md is put together from these results and benchmarks/intro.md.
"""

from __future__ import annotations

import argparse
import importlib
import platform
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.table import Table

NAMES = (
    "maml", "oamp", "nmse", "topk", "engine", "air", "sync", "on_air", "remote", "nodes", "pluto",
    "pluto_rounds", "calibration", "power", "gnuradio", "mac_channel", "usrp", "usrp_rounds",
)  # fmt: skip
HERE = Path(__file__).parent
RESULTS = HERE / "results"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES, help=f"of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="smaller samples, nothing written")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(NAMES)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: unknown; there are {', '.join(NAMES)}")
    for name in arguments.names:
        module = importlib.import_module(f"benchmarks.bench_{name}")
        for table in module.measure(quick=arguments.quick):
            print(table.markdown(), flush=True)
            if not arguments.quick:
                write(table)


def write(table: Table) -> None:
    """Keep the table, and put the page together again."""
    RESULTS.mkdir(exist_ok=True)
    stamp = f"{datetime.now(UTC):%Y-%m-%d}, {machine()}"
    (RESULTS / f"{table.name}.md").write_text(f"{table.markdown()}\n*{stamp}*\n")
    parts = [HERE / "intro.md", *sorted(RESULTS.glob("*.md"))]
    (HERE / "README.md").write_text("\n".join(part.read_text() for part in parts))


def machine() -> str:
    return (
        f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}, one thread"
    )


if __name__ == "__main__":
    main()
