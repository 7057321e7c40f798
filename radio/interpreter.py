"""Which Python interpreter has a vendor's module: often another one than runs this.

Debian's bindings need Debian's interpreter and its numpy 1.x. So what needs them runs in a process
of that interpreter, and here is said how one is asked what it has, and what it may find.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SYSTEM = "/usr/bin/python3"
PATIENCE_S = 60.0
"""For a first start from a cold disk."""

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Interpreter:
    """An interpreter that was asked for a module.

    Attributes:
        python: its path.
        version: of the module; empty where it has none.
        missing: why it has none, in the interpreter's words; empty where it has one.
    """

    python: str
    version: str
    missing: str


def find(module: str, question: str, named: str | None) -> Interpreter:
    """The interpreter that has a module: the one that is named, this one, or the system's.

    Args:
        module: top-level name.
        question: a line of Python that imports all that is needed, and prints the version.
        named: the only interpreter to look at, where there is one.

    Returns:
        The first of them that has it, or else the last that was asked.
    """
    if named:
        return ask(named, question)
    if importlib.util.find_spec(module) is not None:
        here = ask(sys.executable, question)
        if here.version:
            return here
    return ask(SYSTEM, question)


def ask(python: str, question: str) -> Interpreter:
    """See what an interpreter has, in a process of it."""
    try:
        done = subprocess.run(
            [python, "-c", question],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    except OSError as error:
        return Interpreter(python, "", error.strerror or type(error).__name__)
    except subprocess.TimeoutExpired:
        return Interpreter(python, "", f"no answer within {PATIENCE_S:.0f} s")
    if done.returncode == 0:
        return Interpreter(python, done.stdout.strip().rpartition("\n")[2], "")
    why = done.stderr.strip().rpartition("\n")[2] or f"ended with {done.returncode}"
    return Interpreter(python, "", why)


def environment(environ: Mapping[str, str], place: Path, packages: Iterable[str]) -> dict[str, str]:
    """For another interpreter, which finds these packages of this tree, and no others.

    What is installed for this interpreter stays out: Debian's bindings break over another numpy.

    Args:
        environ: as `os.environ`.
        place: folder for links to the packages; may be there already.
        packages: top-level names.
    """
    for name in packages:
        _link(place / name, ROOT / name)
    kept = {name: value for name, value in environ.items() if name != "PYTHONHOME"}
    return {**kept, "PYTHONPATH": str(place), "PYTHONNOUSERSITE": "1"}


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        link.symlink_to(target)
