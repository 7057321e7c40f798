"""What this machine has and lacks, with the line that gets what is missing."""

from __future__ import annotations

import ctypes.util
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fl_core.errors import InputError
from flowgraphs import interpreter as gnu_radio
from radio import elsewhere, interpreter

PACKAGE = "airmeta"
INSTALL = f"{sys.executable} -m pip install -e ."
GIB = 2**30
LEAST_MEMORY, LEAST_DISK = 2 * GIB, 1 * GIB
SYSTEM_IMPORTS = "import numpy, zmq; print(f'numpy {numpy.__version__}, pyzmq {zmq.__version__}')"
RECEIVE_BUFFERS = Path("/proc/sys/net/core/rmem_max")  # Linux only
USRP_BUFFER = 50_000_000  # bytes that UHD asks for, for each USRP


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        ok: whether it is as it should be.
        detail: what was found.
        remedy: the line that helps; empty when nothing needs to be done.
        required: whether AirMeta cannot work without it.
    """

    name: str
    ok: bool
    detail: str
    remedy: str
    required: bool


@dataclass(frozen=True)
class Sdk:
    """A vendor's software, which this interpreter or another may have.

    Attributes:
        name: of it, and what it drives.
        module: its Python binding.
        version: a program that prints it; that loads the binding, and what that needs.
        remedy: the line that gets it.
    """

    name: str
    module: str
    version: str
    remedy: str


UHD = Sdk(
    "UHD (USRP)",
    "uhd",
    "import ctypes, uhd; text = ctypes.create_string_buffer(64); "
    "ctypes.CDLL(uhd.libpyuhd.__file__).uhd_get_version_string(text, 64); "
    "print(text.value.decode())",
    "apt install uhd-host python3-uhd, or conda install -c conda-forge uhd",
)
SOAPY = Sdk(
    "SoapySDR (others)",
    "SoapySDR",
    "import SoapySDR; SoapySDR.loadModules(); import pathlib; "
    "names = [pathlib.Path(m).stem.removeprefix('lib').removesuffix('Support') "
    "for m in SoapySDR.listModules()]; "
    "print(SoapySDR.getLibVersion(), 'with modules for', ', '.join(names) or 'no radio')",
    "apt install python3-soapysdr and the radio's soapysdr-module-*, or conda install -c "
    "conda-forge soapysdr",
)


def checks(folder: Path = Path()) -> Iterator[Check]:
    """Look at the interpreter, the dependencies, the machine, the data and the run folder.

    Args:
        folder: where `runs` is or would be; the working directory unless told otherwise.
    """
    yield from _distribution()
    yield _torch()
    yield _cores()
    yield _memory()
    yield _disk(folder)
    yield _writable(folder / "runs")
    yield _omniglot()
    yield _libiio()
    yield _sdk(UHD)
    yield from _usrp_buffers()
    yield _sdk(SOAPY)
    yield _gnu_radio()
    yield _system_python()
    yield from _found_radios()


def render(found: list[Check]) -> Table:
    """The findings as a table: mark, name, what was found, what to do."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("", "check", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for check in found:
        mark, style = (
            ("✓", "green") if check.ok else ("✗", "red") if check.required else ("–", "yellow")
        )
        table.add_row(
            Text(mark, style), escape(check.name), escape(check.detail), escape(check.remedy)
        )
    return table


def _distribution() -> Iterator[Check]:
    """Python and every pinned dependency, as the installed distribution asks for them."""
    running = platform.python_version()
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        yield Check("Python", sys.version_info >= (3, 11), running, "", required=True)
        yield Check(PACKAGE, False, "not installed", INSTALL, required=True)
        return
    asked = distribution.metadata["Requires-Python"].removeprefix(">=")
    new_enough = sys.version_info >= tuple(map(int, asked.split(".")))
    yield Check(
        "Python",
        new_enough,
        f"{running} (needs {asked} or newer)",
        "" if new_enough else f"create an environment with Python {asked}: see environment.yml",
        required=True,
    )
    for requirement in distribution.requires or ():
        pinned, _, marker = requirement.partition(";")
        if "extra" not in marker:
            yield _dependency(*pinned.replace(" ", "").split("=="))


def _dependency(name: str, wanted: str) -> Check:
    """Another version is worth a word, and may work; a package that is not there cannot."""
    remedy = f"python -m pip install {name}=={wanted}"
    try:
        installed = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, False, f"not installed (needs {wanted})", remedy, required=True)
    # A local label such as +cpu names a build of the same version.
    if installed.partition("+")[0] == wanted:
        return Check(name, True, installed, "", required=True)
    return Check(name, False, f"{installed} (tested with {wanted})", remedy, required=False)


def _torch() -> Check:
    try:
        import torch  # noqa: PLC0415 - doctor must also speak where torch does not load
    except (ImportError, OSError) as error:
        return Check("torch computes", False, f"does not load: {error}", INSTALL, required=True)
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    detail = f"CPU {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    return Check(
        "torch computes",
        True,
        f"{detail}, GPU {', '.join(gpus) or 'none (not needed)'}",
        "",
        required=True,
    )


def _cores() -> Check:
    """Cores this process may use, which a container or a batch system can limit."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    usable = len(affinity(0)) if affinity else os.cpu_count() or 1
    return Check("cores", True, f"{usable} of {os.cpu_count()} usable", "", required=False)


def _memory() -> Check:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    ok = total >= LEAST_MEMORY
    remedy = "" if ok else "lower model.width and the number of workers"
    return Check("memory", ok, f"{total / GIB:.1f} GiB", remedy, required=False)


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free
    ok = free >= LEAST_DISK
    remedy = "" if ok else f"free {LEAST_DISK / GIB:.0f} GiB, or give --out on another disk"
    return Check(
        "disk", ok, f"{free / GIB:.1f} GiB free at {folder.resolve()}", remedy, required=False
    )


def _writable(runs: Path) -> Check:
    """A file is really made: permission bits do not tell about full or read-only disks."""
    place = runs if runs.exists() else runs.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            return Check("run folder", True, f"{runs} can be written", "", required=True)
    except OSError as error:
        return Check(
            "run folder",
            False,
            f"{place}: {error.strerror}",
            "work in a folder of your own, or give --out",
            required=True,
        )


def _omniglot() -> Check:
    """Both archives, or the folders unpacked from them, where a run would look for them."""
    remedy = "airmeta data omniglot"
    try:
        from fl_core.tasks import omniglot  # noqa: PLC0415 - needs numpy and PIL

        place = omniglot.locate()
    except (ImportError, InputError) as error:
        return Check("Omniglot", False, str(error).partition(";")[0], remedy, required=False)
    there = {path.name.removesuffix(".zip") for path in place.iterdir()}
    missing = ", ".join(sorted(set(omniglot.MD5) - there))
    if missing:
        return Check("Omniglot", False, f"{place} lacks {missing}", remedy, required=False)
    return Check("Omniglot", True, str(place), "", required=False)


def _libiio() -> Check:
    """The C library that pyadi-iio drives PlutoSDRs through; no wheel brings it."""
    there = ctypes.util.find_library("iio")
    detail = there or "not installed; not needed for the simulated channel"
    remedy = "" if there else "apt install libiio0 libiio-utils, or conda install libiio"
    return Check("libiio (PlutoSDR)", there is not None, detail, remedy, required=False)


def _found_radios() -> Iterator[Check]:
    """The radios that are connected, and what keeps others from being found."""
    try:
        from radio.discovery import find_radios  # noqa: PLC0415 - needs numpy
    except ImportError:
        return  # of what is missing a check of its own tells
    search = find_radios()
    uris = ", ".join(found.uri for found in search.found)
    remedy = "" if uris else "airmeta radio list tells what to look at"
    yield Check("radios", bool(uris), uris or "none was found", remedy, required=False)
    for gap in search.gaps:
        yield Check(gap.place, False, gap.why, gap.remedy, required=False)


def _sdk(sdk: Sdk) -> Check:
    """Loaded in a process of its own, for it may need another numpy than this one has."""
    here = importlib.util.find_spec(sdk.module) is not None
    for python in [sys.executable] * here + [elsewhere.other_python()]:
        found = interpreter.ask(python, sdk.version)
        if found.version:
            return Check(sdk.name, True, f"{found.version} ({python})", "", required=False)
    detail = f"{found.missing} ({python}); not needed for the simulated channel"
    remedy = f"{sdk.remedy}; {elsewhere.VARIABLE} names another interpreter"
    return Check(sdk.name, False, detail, remedy, required=False)


def _usrp_buffers() -> Iterator[Check]:
    """Of sockets, without which samples of USRPs on a network are lost at high rates."""
    if RECEIVE_BUFFERS.exists():
        most = int(RECEIVE_BUFFERS.read_text())
        ok = most >= USRP_BUFFER
        detail = f"net.core.rmem_max = {most}" + ("" if ok else f", and UHD asks for {USRP_BUFFER}")
        remedy = f"sysctl -w net.core.rmem_max={USRP_BUFFER}, as root; see docs/usrp.md"
        yield Check("USRP buffers", ok, detail, "" if ok else remedy, required=False)


def _gnu_radio() -> Check:
    """Some interpreter that has it; seldom this one."""
    found = gnu_radio.find(os.environ)
    remedy = (
        "apt install gnuradio, or conda install -c conda-forge gnuradio; "
        f"{gnu_radio.VARIABLE} names another interpreter"
    )
    return Check(
        "GNU Radio (flowgraphs)",
        not found.missing,
        f"{found.version or found.missing} ({found.python})",
        remedy if found.missing else "",
        required=False,
    )


def _system_python() -> Check:
    """Debian's interpreter, from which radios can be served whose bindings want its numpy."""
    found = interpreter.ask(interpreter.SYSTEM, SYSTEM_IMPORTS)
    remedy = "apt install python3-numpy python3-zmq" if found.missing else ""
    detail = found.version or found.missing
    return Check(f"{found.python} (radios)", not found.missing, detail, remedy, required=False)
