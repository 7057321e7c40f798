import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest

from flowgraphs import interpreter
from radio import elsewhere
from radio import interpreter as interpreters

ROOT = Path(__file__).parents[1]
SERVE = """
import json, signal, sys
from functools import partial
from radio.registry import open_radio
from radio.remote import RadioServer

told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
radios = {name: partial(open_radio, uri) for name, uri in json.loads(sys.argv[2]).items()}
with RadioServer(radios, sys.argv[1], **json.loads(sys.argv[3])) as server:
    server.serve(lambda: bool(told), poll_s=0.05)
"""


# The same examples each time, however long a busy machine takes.
hypothesis.settings.load_profile("ci")

# A shell starts what runs in its background deaf to Ctrl-C, and programs inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Served:
    """Radios served by another process."""

    uri: str
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="session")
def debian_python() -> str:
    """Debian's own interpreter with its numpy 1.24 and python3-zmq; scripts/setup.sh gets them."""
    python = "/usr/bin/python3"
    find = "import numpy, zmq; print(numpy.__version__)"
    try:
        done = subprocess.run([python, "-c", find], capture_output=True, text=True, check=False)
        missing = done.stderr.strip().rpartition("\n")[2]
    except FileNotFoundError as error:
        missing = str(error)
    if missing:
        reason = f"{missing}; on Debian: apt install python3-numpy python3-zmq"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return python


@pytest.fixture(scope="session")
def uhd() -> str:
    """An interpreter that has UHD's binding, this or Debian's; scripts/setup.sh gets it."""
    return _having("uhd", "print(uhd.__file__)", "apt install python3-uhd uhd-host")


@pytest.fixture(scope="session")
def soapy_uhd() -> str:
    """An interpreter that has SoapySDR's binding, with the module for USRPs."""
    found = "SoapySDR.loadModules(); print(*[m for m in SoapySDR.listModules() if 'uhd' in m])"
    remedy = "apt install python3-soapysdr soapysdr-module-uhd"
    return _having("SoapySDR", found, remedy)


def _having(module: str, question: str, remedy: str) -> str:
    """The interpreter that has a module, by a question that it answers with something then."""
    asked = f"import numpy, zmq, {module}; {question}"
    found = interpreters.find(module, asked, os.environ.get(elsewhere.VARIABLE))
    if not found.version:
        why = found.missing or f"{module} lacks what is needed"
        reason = f"{found.python}: {why}; on Debian: {remedy}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found.python


@pytest.fixture(scope="session")
def gnuradio() -> str:
    """An interpreter that has GNU Radio; scripts/setup.sh gets it."""
    found = interpreter.find(os.environ)
    if found.missing:
        reason = f"{found.python}: {found.missing}; on Debian: apt install gnuradio"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found.python


@pytest.fixture(scope="session")
def gnuradio_home(gnuradio: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home for GNU Radio to write to, and for what is compiled; of one for all, it is once."""
    return tmp_path_factory.mktemp("gnuradio")


@pytest.fixture
def in_gnuradio_home(gnuradio_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let flowgraphs run there."""
    monkeypatch.setenv("HOME", str(gnuradio_home))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)


@pytest.fixture(scope="session")
def adi() -> ModuleType:
    """pyadi-iio, with the C library that it loads; scripts/setup.sh gets them."""
    try:
        return importlib.import_module("adi")
    except (ImportError, OSError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}; on Debian: apt install libiio0"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Served]]:
    """Start a process that serves radios, given as name=URI; ended with the tests."""
    served: list[Served] = []

    def start(
        radios: dict[str, str],
        uri: str | None = None,
        python: str = sys.executable,
        **options: object,
    ) -> Served:
        uri = uri or f"zmq+ipc://{tmp_path_factory.mktemp('served')}/radios"
        texts = (uri, json.dumps(radios), json.dumps(options))
        process = subprocess.Popen([python, "-c", SERVE, *texts], cwd=ROOT)
        served.append(Served(uri, process))
        return served[-1]

    yield start
    for each in served:
        each.process.terminate()
    for each in served:
        each.process.wait(20)
        # A server that was told to end leaves nothing; one that was killed cannot tidy up.
        path = Path(each.uri.removeprefix("zmq+ipc://"))
        assert each.process.returncode == -signal.SIGKILL or not path.exists()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--radio-uri",
        action="append",
        default=[],
        metavar="URI",
        help="run tests/conformance over this radio too; it transmits. May be repeated.",
    )
