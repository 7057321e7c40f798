"""`make bench`: run every benchmark, print its tables, write them under benchmarks/results."""

from __future__ import annotations

import argparse
import importlib
import platform
from datetime import UTC, datetime
from pathlib import Path

import torch

NAMES = ("maml", "oamp", "nmse", "topk", "engine")
RESULTS = Path(__file__).parent / "results"


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
                write(table.name, table.markdown())


def write(name: str, markdown: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    stamp = f"{datetime.now(UTC):%Y-%m-%d}, {machine()}"
    (RESULTS / f"{name}.md").write_text(f"{markdown}\n*{stamp}*\n")


def machine() -> str:
    return (
        f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}, one thread"
    )


if __name__ == "__main__":
    main()
