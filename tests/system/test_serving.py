"""Radios served by `airmeta air` and `airmeta radio serve`, opened by this process."""

import json
import signal
import socket
import struct
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from radio.api import RadioError, RadioSettings
from radio.keys import allow, new_pairs
from radio.registry import open_radio
from sim_fallback.airs import publish
from testbed.config import ExperimentConfig
from testbed.on_air.uplink import IQUplink
from testbed.on_air.virtual_bench import RECEIVER, VirtualBench, name_of

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "name": "served",
    "uplink": "iq",
    "model": {"name": "mlp", "width": 8},
    "task": {"family": "sinusoid"},
    "devices": {"num_devices": 3, "num_active": 3, "num_new": 2},
}


@pytest.fixture
def airmeta_process(tmp_path):
    """Start `airmeta ...` as a process that prints JSON and then serves; ended with the test."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "testbed", *map(str, arguments), "--json"]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        lines = []
        while not lines or lines[-1] != "}\n":
            line = process.stdout.readline()
            assert line, process.stderr.read()
            lines.append(line)
        return json.loads("".join(lines))["radios"], process

    yield start
    for process in started:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert process.returncode == 0


def one_round(bench, uri_of):
    """A round over radios opened by URI."""
    with ExitStack() as stack:

        def opened(name):
            radio = stack.enter_context(open_radio(uri_of(name)))
            radio.configure(
                RadioSettings(bench.link.carrier_hz, rx_gain_db=bench.levels.rx_gain_db)
            )
            return radio

        radios = {i: opened(name_of(i)) for i in range(3)}
        uplink = IQUplink(opened(RECEIVER), radios.__getitem__, bench.link, bench.timeline())
        devices = np.arange(3)
        gains = uplink.sound(0, devices)
        symbols = np.random.default_rng(0).standard_normal((3, 400), np.float32)
        return gains, uplink.transmit(0, devices, symbols.astype(np.complex64))


def test_a_round_over_a_served_air_is_the_round_in_one_process(airmeta_process, tmp_path):
    config = ExperimentConfig.model_validate(SETTINGS)
    bench = VirtualBench(config, 400, np.ones(3))
    with publish(bench.air()) as air:
        wanted_gains, wanted = one_round(bench, lambda name: f"sim://{air}?name={name}")
    experiment = tmp_path / "served.yaml"
    experiment.write_text(json.dumps(SETTINGS))
    at = f"zmq+ipc://{tmp_path}/air"
    radios, _ = airmeta_process("air", experiment, "compression.num_symbols=60", "--at", at)
    assert radios == [f"{at}?name={name}" for name in ("rx", "d0", "d1", "d2", "clock")]
    gains, got = one_round(bench, lambda name: f"{at}?name={name}")
    np.testing.assert_array_equal(gains, wanted_gains)
    np.testing.assert_array_equal(got.symbols, wanted.symbols)
    assert got.noise_var == wanted.noise_var


def test_one_radio_is_served_to_those_with_a_key(airmeta_process, tmp_path):
    keys, stranger = tmp_path / "keys", tmp_path / "stranger"
    new_pairs(keys, ["lab", "d0"])
    new_pairs(stranger, ["d0"])
    allow(stranger, keys / "lab.public")
    own = ("--keys", keys / "lab.secret")
    (uri,), _ = airmeta_process("radio", "serve", "loopback://?delay=3", *own)
    ends = "server=lab&timeout_s=2"
    with open_radio(f"{uri}&keys={keys}/d0.secret&{ends}") as radio:
        radio.transmit(np.ones(5, np.complex64), at=10)
        np.testing.assert_array_equal(np.flatnonzero(radio.receive(30, at=0).iq), np.arange(13, 18))
    with pytest.raises(RadioError):
        open_radio(f"{uri}&keys={stranger}/d0.secret&{ends}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("air", "demo", "--at", "zmq+tcp://0.0.0.0:*"), "key"),
        (("air", "demo", "--at", "tcp://127.0.0.1:5555"), "zmq+tcp"),
        (("air", "demo", "scheme=ideal"), "scheme"),
        (("air", "--plutos", "14"), "--plutos = 14: there are a receiver and 10 devices"),
        (("air", "--plutos", "2", "--pace", "0"), "--pace = 0 should be above 0"),
        (("air", "--plutos", "2", "--pace", "nan"), "--pace = nan should be above 0"),
        (("air", "--plutos", "2", "--host", "127.0.0.x"), "--host = 127.0.0.x: should be an add"),
        (("air", "--plutos", "2", "--host", "10.0.0.1"), "for this machine only; take 127.0.0.2"),
        (("air", "--plutos", "2", "--host", "127.255.255.255"), "for this machine only"),
        (("air", "--bench", "five-machines"), "five-machines.yaml: has no air"),
        (("air", "--plutos", "8", "--usrps", "4"), "--usrps = 4, --plutos = 8: there are a rec"),
        (("air", "--usrps", "2", "--pace", "inf"), "USRPs count time by themselves"),
        (("air", "--bench", "virtual", "--plutos", "2"), "leave --at, --usrps, --plutos out"),
        (
            ("radio", "serve", "loopback://", "--keys", "/no/lab.secret"),
            "/no/lab.secret: is missing",
        ),
    ],
)
def test_what_cannot_be_served_is_refused(airmeta, arguments, message):
    code, _, err = airmeta(*arguments)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_plutos_at_an_address_that_is_taken_are_refused(airmeta):
    with socket.create_server(("127.0.77.2", 0)) as taken:
        host, port = taken.getsockname()
        code, _, err = airmeta("air", "--plutos", "1", "--host", host, "--port", str(port))
    assert code == 2
    assert f"virtual PlutoSDRs cannot listen at {host}:{port}: " in " ".join(err.split())


def test_usrps_at_an_address_that_is_taken_are_refused(airmeta):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.77.9", 49152))
        code, _, err = airmeta("air", "--usrps", "1", "--host", "127.0.77.9")
    assert code == 2
    assert "virtual USRPs cannot listen at 127.0.77.9: " in " ".join(err.split())


def test_usrps_and_plutos_are_served_beside_the_clock_of_their_air(airmeta_process):
    settings = ("lab", "devices.num_devices=2", "devices.num_active=2")
    counts = ("--plutos", "2", "--usrps", "1")
    served, _ = airmeta_process(
        "air", *settings, *counts, "--host", "127.0.77.2", "--port", "31411"
    )
    plutos = ["pluto://ip:127.0.77.3:31411", "pluto://ip:127.0.77.4:31411"]
    assert served[:3] == ["usrp://addr=127.0.77.2", *plutos]
    hello = struct.pack(">III24x", 12, ord("a"), 7)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(20)
        asking.sendto(hello, ("127.0.77.2", 49152))
        assert struct.unpack_from(">III", asking.recv(100)) == (12, ord("A"), 7)
    for uri in plutos:
        host, port = uri.removeprefix("pluto://ip:").split(":")
        with socket.create_connection((host, int(port))) as line:
            line.sendall(b"VERSION\r\n")
            assert line.recv(100).startswith(b"0.24")
    with open_radio(served[3]) as clock:
        assert clock.receive(10, at=clock.now() + 500_000).iq.size == 10
