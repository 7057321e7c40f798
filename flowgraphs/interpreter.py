"""Which Python interpreter has GNU Radio: seldom the one that runs this.

Debian's GNU Radio needs Debian's interpreter and its numpy 1.x, while conda's lives beside all the
rest. So flowgraphs are processes of their own, and here is said under what. Nothing of GNU Radio is
imported: this module is under the licence of the rest of the tree.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

VARIABLE = "GR_PYTHON"
"""Environment variable that names an interpreter, which is then the only one looked at."""

SYSTEM = "/usr/bin/python3"
ASK = "from gnuradio import gr, iio; print(gr.version())"
PATIENCE_S = 60.0
"""For a first start from a cold disk."""


@dataclass(frozen=True)
class Interpreter:
    """An interpreter that was asked for GNU Radio.

    Attributes:
        python: its path.
        version: of its GNU Radio; empty where it has none.
        missing: why it has none, in the interpreter's words; empty where it has one.
    """

    python: str
    version: str
    missing: str


def find(environ: Mapping[str, str]) -> Interpreter:
    """The interpreter for flowgraphs: the one that is named, this one, or the system's.

    Args:
        environ: as `os.environ`; of its variables only `VARIABLE` says something here.

    Returns:
        The first of them that has GNU Radio, or else the last that was asked.
    """
    if named := environ.get(VARIABLE):
        return ask(named)
    if importlib.util.find_spec("gnuradio") is not None:
        here = ask(sys.executable)
        if here.version:
            return here
    return ask(SYSTEM)


def ask(python: str) -> Interpreter:
    """See what an interpreter has, in a process of it."""
    try:
        done = subprocess.run(
            [python, "-c", ASK], capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    except OSError as error:
        return Interpreter(python, "", error.strerror or type(error).__name__)
    except subprocess.TimeoutExpired:
        return Interpreter(python, "", f"no answer within {PATIENCE_S:.0f} s")
    if done.returncode == 0:
        return Interpreter(python, done.stdout.strip().rpartition("\n")[2], "")
    why = done.stderr.strip().rpartition("\n")[2] or f"ended with {done.returncode}"
    return Interpreter(python, "", why)
