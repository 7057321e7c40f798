"""Flowgraphs compiled by GNU Radio's own compiler, grcc, into a cache and nowhere else.

What belongs to the same text, choices and version of GNU Radio is compiled once. Generated code and
grcc itself may import `radio` and `flowgraphs`, and nothing else of what this interpreter has:
Debian's GNU Radio would break over another numpy.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flowgraphs import interpreter
from flowgraphs.grc_file import SUFFIX, GrcFile, Value
from radio.api import RadioError
from radio.interpreter import ROOT, Interpreter
from radio.interpreter import environment as environment_of

INSTALL = (
    "apt install --no-install-recommends gnuradio, or conda install -c conda-forge gnuradio; "
    f"{interpreter.VARIABLE} names an interpreter that has it"
)
PACKAGES = ("radio", "flowgraphs")
BLOCKS = Path(__file__).with_name("blocks")
"""Blocks of the testbed's own, and hierarchical ones as flowgraphs, for every flowgraph."""

BLOCKS_PATH = "GRC_BLOCKS_PATH"
PATIENCE_S = 120.0
# Made by the compiler without a file that describes them.
BUILT_IN = ("epy_block", "epy_module")


@dataclass(frozen=True)
class Program:
    """A flowgraph that was compiled.

    Attributes:
        grc: what it was compiled from.
        gnuradio: the interpreter that runs it.
        path: of the generated module.
        chosen: choices that were made.
    """

    grc: GrcFile
    gnuradio: Interpreter
    path: Path
    chosen: Mapping[str, str]


def gnu_radio(environ: Mapping[str, str]) -> Interpreter:
    """The interpreter that has GNU Radio; RadioError with the line that installs it."""
    found = _found(environ.get(interpreter.VARIABLE, ""))
    if found.missing:
        raise RadioError(f"GNU Radio is not there ({found.python}: {found.missing}): {INSTALL}")
    return found


@cache
def _found(named: str) -> Interpreter:
    """Asked once: it starts a process."""
    return interpreter.find({interpreter.VARIABLE: named})


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """For GNU Radio's interpreter, which finds the packages it may import, and no others."""
    place = cache_directory(environ) / f"path-{hashlib.sha256(bytes(ROOT)).hexdigest()[:12]}"
    blocks = ":".join([str(BLOCKS), *filter(None, [environ.get(BLOCKS_PATH)])])
    return {**environment_of(environ, place, PACKAGES), BLOCKS_PATH: blocks}


def cache_directory(environ: Mapping[str, str]) -> Path:
    """Home of what is compiled: $XDG_CACHE_HOME/airmeta/flowgraphs, or in ~/.cache."""
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "airmeta" / "flowgraphs"


def compiled(grc: GrcFile, values: Mapping[str, Value], environ: Mapping[str, str]) -> Program:
    """The flowgraph as a program, with the choices among these values made.

    Raises:
        RadioError: GNU Radio is absent, or does not compile it, or nothing can be written, and why.
    """
    gnuradio, chosen = gnu_radio(environ), grc.chosen(values)
    text = grc.text_with(chosen)
    own = sorted(BLOCKS.glob("*.*")) if _has_own(grc) else []
    inside = [path for path in own if path.suffix == SUFFIX]
    described = [path.read_text() for path in own if path.suffix in (SUFFIX, ".yml")]
    texts = "\n".join([gnuradio.version, text, *described])
    mark = hashlib.sha256(texts.encode()).hexdigest()[:16]
    folder = cache_directory(environ) / f"{grc.name}-{mark}"
    program = Program(grc, gnuradio, folder / f"{grc.name}.py", chosen)
    if not program.path.exists():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix="new-") as new:
                made = Path(new) / "made"
                made.mkdir()
                source = made / grc.path.name
                source.write_text(text)
                _compile(grc, [*inside, source], gnuradio, environ)
                # Where another process was faster, its folder holds the same.
                with suppress(OSError):
                    made.rename(folder)
        except OSError as error:
            raise RadioError(f"{grc.path}: its cache cannot be written: {error}") from error
    return program


def _has_own(grc: GrcFile) -> bool:
    """Whether a flowgraph has one of our blocks, inside of which may be flowgraphs of ours."""
    return any((BLOCKS / f"{kind}.block.yml").exists() for kind in grc.blocks.values())


def _compile(
    grc: GrcFile, sources: Sequence[Path], gnuradio: Interpreter, environ: Mapping[str, str]
) -> None:
    """Compile a flowgraph, the last of the sources, and before it what is inside, beside it."""
    made = sources[-1].parent
    try:
        done = subprocess.run(
            [gnuradio.python, _grcc(gnuradio), "-o", str(made), *map(str, sources)],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
            env=environment(environ),
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise RadioError(f"{grc.path}: grcc did not end within {PATIENCE_S:.0f} s") from error
    said = done.stdout + done.stderr
    if done.returncode or not (made / f"{grc.name}.py").exists():
        for each in (*map(GrcFile, sources[:-1]), grc):
            if missing := _missing(each, said):
                raise RadioError(f"{each.path} does not compile: {missing}")
        raise RadioError(f"{grc.path} does not compile: {_errors(said)}")


def _grcc(gnuradio: Interpreter) -> str:
    """GNU Radio's compiler, beside its interpreter."""
    beside = Path(gnuradio.python).with_name("grcc")
    found = str(beside) if beside.exists() else shutil.which("grcc")
    if found is None:
        raise RadioError(f"{gnuradio.python} has GNU Radio, but no grcc: {INSTALL}")
    return found


def _missing(grc: GrcFile, said: str) -> str:
    """Blocks that GNU Radio does not know: its compiler calls only their neighbours unconnected."""
    places = re.findall(r"^\t(/.*)$", said.partition("Loading:")[0], re.MULTILINE)
    known = {path.name for place in places for path in Path(place).glob("*.block.yml")}
    unknown = [
        f"{name} is of the kind {kind}"
        for name, kind in grc.blocks.items()
        if kind not in BUILT_IN and f"{kind}.block.yml" not in known
    ]
    return f"{', '.join(unknown)}, which this GNU Radio does not have" if known and unknown else ""


def _errors(said: str) -> str:
    """What the compiler says is wrong, in a line."""
    errors = said.partition("from flowgraph:")[2].partition("***")[0] or said
    return " ".join(errors.split()) or "grcc says nothing"
