"""The command, keeping a copy of every memory and checkpoint that it writes.

Importing this before anything else of the testbed turns that on. The copies lie in `.journal`
beside the files, so that a test can add up what was computed, applied and remembered. They are made
first: of a process that is killed in between there may be one that never took effect.
"""

import importlib
import multiprocessing
import os
import sys
import time
from pathlib import Path

from testbed import run_folder
from testbed.nodes import code_hash, memory

KEPT = ("checkpoint.npz", "memory-")
WARM = ("journaled", "torch._dynamo", "testbed.cli")  # what every node would import anew

_write = run_folder.write_atomically
_preload = multiprocessing.set_forkserver_preload


def journal(path: Path, content: bytes, **how: bool) -> None:
    if path.name.startswith(KEPT):
        copy = path.parent / ".journal" / f"{path.name}.{time.monotonic_ns():020}"
        copy.parent.mkdir(exist_ok=True)
        try:
            copy.write_bytes(content)
        except OSError:  # the disk is full: no copy, as no file
            copy.unlink()
    _write(path, content, **how)


def preload(names: list[str]) -> None:
    _preload([*names, *WARM])


def main(arguments: list[str], folder: Path, output: Path, code: Path) -> None:
    """Be the command in a forked process, as a shell would have started it."""
    os.setsid()
    os.chdir(folder)
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for standard in (1, 2):
        os.dup2(handle, standard)
    sys.argv = ["airmeta", *arguments]
    for package in code_hash.PACKAGES:  # what a node reads to say which code it runs
        importlib.import_module(package).__path__ = [str(code / package)]
    importlib.import_module("testbed.cli").main()


run_folder.write_atomically = memory.write_atomically = journal
multiprocessing.set_forkserver_preload = preload
