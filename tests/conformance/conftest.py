import os
from collections.abc import Callable, Iterator
from ctypes.util import find_library
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.pluto_process import plutos
from calibration.correct.calibrated_radio import CalibratedRadio
from calibration.estimate import Estimate
from calibration.profiles.profile import Profile
from radio.api import Radio, RadioSettings, Range
from radio.limits import LimitedRadio, Limits
from radio.recording import RecordingRadio
from radio.registry import open_radio
from tests.emulation.usrp_process import usrps

BUILT_IN = (
    *("loopback", "file", "sim", "sim-pluto", "limited", "recording", "calibrated"),
    *("remote", "remote-sim", "remote-debian", "pluto", "usrp", "soapy", "gnuradio"),
)
AIRS = count()
ANYTHING = Limits(
    bands=(Range(1.0, 1e12),),
    max_tx_gain_db=100.0,
    max_duty_cycle=1.0,
    window_s=1.0,
    max_burst_s=1e3,
)
NOW = datetime(2026, 1, 31, tzinfo=UTC)
# Nothing that raises samples to send: those at full scale would be cut off, and counted.
FAULTS = Profile(
    serial="loopback",
    model="loopback",
    band=Range(70e6, 6e9),
    settings=RadioSettings(),
    measured_at=NOW,
    valid_days=1.0,
    temperature_c=None,
    software="tests",
    reference="loopback",
    scalars={
        "delay": Estimate(7.0, 0.01, "samples"),
        "rx_dc_in_phase": Estimate(0.01, 1e-4, ""),
        "rx_iq_gain": Estimate(0.3, 0.01, "dB"),
        "rx_iq_phase": Estimate(-1.5, 0.01, "deg"),
        "rx_gain_error": Estimate(0.5, 0.1, "dB"),
    },
)


@dataclass(frozen=True)
class Backend:
    """How to open a radio, and whether its time stands still between operations.

    Where opening takes long, tests that do not close their radio share one that stays open.
    """

    open: Callable[[], Radio]
    virtual_time: bool = True
    kept: Radio | None = None


def recorded(folder: Path) -> str:
    """The URI of 40,000 samples of noise whose clock does not begin at 0."""
    rng = np.random.default_rng(1)
    noise = 0.3 * (rng.standard_normal(40_000) + 1j * rng.standard_normal(40_000))
    with RecordingRadio(open_radio("loopback://")) as radio:
        radio.receive(5_000)
        radio.transmit(noise.astype(np.complex64))
        with radio.into(folder / "noise"):
            for _ in range(4):
                radio.receive(10_000)
    return f"file://{folder / 'noise.sigmf-meta'}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        uris = metafunc.config.getoption("radio_uri")
        metafunc.parametrize("backend", [*BUILT_IN, *uris], indirect=True)


@pytest.fixture(scope="session")
def remote(serve: Callable[..., Any]) -> str:
    """Where another process serves loopback radios that do not know each other."""
    return serve({f"r{i}": "loopback://?delay=100" for i in range(2)}).uri


@pytest.fixture(scope="session")
def remote_sim(serve: Callable[..., Any]) -> str:
    """Where another process serves the radio of one air twice."""
    return serve({f"r{i}": "sim://conformance?name=d0" for i in range(2)}, serial=True).uri


@pytest.fixture(scope="session")
def remote_debian(serve: Callable[..., Any], debian_python: str) -> str:
    """Where Debian's own interpreter serves loopback radios."""
    radios = {f"r{i}": "loopback://?delay=100" for i in range(2)}
    return serve(radios, python=debian_python).uri


@pytest.fixture(scope="session")
def pluto() -> Iterator[str]:
    """A virtual PlutoSDR, at a quarter of real time: other tests run beside."""
    if find_library("iio") is None:
        reason = "libiio is missing; on Debian: apt install libiio0"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with plutos(1, pace=0.25) as served:
        yield f"pluto://{served.uris[0]}"


@pytest.fixture(scope="session")
def usrp(uhd: str) -> Iterator[tuple[str, Radio]]:
    """A virtual USRP and another one that is open, at half of real time: other tests run beside."""
    with usrps(2, pace=0.5) as served:
        one, other = (f"{uri}?lead_s=0.1" for uri in served.uris)
        with open_radio(other) as kept:
            yield one, kept


@pytest.fixture(scope="session")
def soapy(soapy_uhd: str) -> Iterator[tuple[str, Radio]]:
    """As `usrp`, through SoapySDR."""
    with usrps(2, pace=0.5) as served:
        one, other = (f"soapy://driver=uhd,addr={host}?lead_s=0.1" for host in served.hosts)
        with open_radio(other) as kept:
            yield one, kept


@pytest.fixture
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    match request.param:
        case "loopback":
            return Backend(lambda: open_radio("loopback://?delay=100"))
        case "file":
            uri = recorded(tmp_path)
            return Backend(lambda: open_radio(uri))
        case "sim":
            uri = f"sim://conformance{next(AIRS)}?name=d0"
            return Backend(lambda: open_radio(uri))
        case "sim-pluto":
            impaired = f"sim://conformance{next(AIRS)}?name=d0&preset=pluto-tcxo"
            return Backend(lambda: open_radio(impaired))
        case "limited":
            return Backend(lambda: LimitedRadio(open_radio("loopback://"), ANYTHING))
        case "recording":
            return Backend(lambda: RecordingRadio(open_radio("loopback://")))
        case "calibrated":
            return Backend(lambda: CalibratedRadio(open_radio("loopback://?delay=7"), FAULTS, NOW))
        case "remote" | "remote-sim" | "remote-debian" as kind:
            # A radio has one client: who opens a second one gets the other.
            served, turn = request.getfixturevalue(kind.replace("-", "_")), count()
            return Backend(lambda: open_radio(f"{served}?name=r{next(turn) % 2}"))
        case "pluto":
            virtual = request.getfixturevalue("pluto")
            return Backend(lambda: open_radio(virtual), virtual_time=False)
        case "usrp" | "soapy" as kind:
            virtual, kept = request.getfixturevalue(kind)
            return Backend(lambda: open_radio(virtual), virtual_time=False, kept=kept)
        case "gnuradio":
            request.getfixturevalue("in_gnuradio_home")
            return Backend(lambda: open_radio("gnuradio://loop"))
        case uri:
            return Backend(lambda: open_radio(uri), virtual_time=False)


@pytest.fixture
def radio(backend: Backend, request: pytest.FixtureRequest) -> Iterator[Radio]:
    if backend.kept is not None and "closes" not in request.keywords:
        yield backend.kept
        return
    with backend.open() as radio:
        yield radio


@pytest.fixture
def sender(radio: Radio) -> Radio:
    """The radio; a test that sends is skipped where it only receives."""
    if not radio.caps.can_transmit:
        pytest.skip(f"{radio.caps.name} only receives; test_only_receives checks that")
    return radio
