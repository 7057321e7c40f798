"""Benches of real processes: started, waited for, and looked for when all should be gone."""

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import journaled
import pytest
import yaml
from conftest import SMALL

REPOSITORY = Path(__file__).parents[2]
PATIENCE_S = 120.0  # for what takes a second on an idle machine
DEADLINES = {
    "gather_s": 60.0,
    "compute_s": 10.0,
    "answer_s": 2.0,
    "recover_s": 5.0,
}
LINK = {"search": 40000, "lead": 150000, "turnaround_s": 0.1, "control_s": 0.3, "rx_gain_db": 55}
SETTINGS = {
    "devices": {"num_devices": 4, "num_active": 4, "num_new": 4},
    "rounds": 6,
    "checkpoint_every": 1,
    "workers": 1,
    "references": [],
    "uplink": "iq",
    "channel": {"fading": "awgn", "snr_db": 40},
    "iq": {"preset": "ideal", "error_budget": False},
    "evaluation": {"every": 4, "tasks": 4, "final_tasks": 4},
}


def wait_for(what, seconds=PATIENCE_S, every=0.01):
    """The first thing that is true; fails when the time is over."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(every)
    return found


def session(leader):
    """Processes of a session, by id, zombies left out."""
    found = {}
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                state, _, _, sid = (path / "stat").read_text().rpartition(")")[2].split()[:4]
            except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                continue
            if int(sid) == leader and state != "Z":
                found[int(path.name)] = state
    return found


class Command:
    """A command in a session of its own, whose leader it is."""

    def __init__(self, pid, output, exit_code):
        self.pid, self._output, self._exit_code = pid, output, exit_code

    @property
    def code(self):
        """Exit code; None while it runs."""
        return self._exit_code()

    @property
    def said(self):
        return self._output.read_text()

    def kill(self, number=signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            os.kill(self.pid, number)

    def signal_all(self, number):
        """Everybody of its session gets the signal, as from a terminal."""
        for pid in session(self.pid):
            os.kill(pid, number)

    def ended(self, seconds=PATIENCE_S):
        """Its exit code, once it has one."""
        wait_for(lambda: self.code is not None, seconds)
        return self.code


class Lab:
    """A bench in a folder: its files, its processes, and what they leave.

    Attributes:
        run: the run folder.
    """

    _bench_of_up = "bench.yaml"

    def __init__(self, folder, experiment=None, deadlines=None, proxied=False, **bench):
        self.folder, self.run = folder, folder / "run"
        self.state = folder / "nodes"
        self.sockets = Path(tempfile.mkdtemp(prefix="airmeta-"))  # short, as sockets want it
        self.commands = []
        self._shm = set(Path("/dev/shm").iterdir())
        self.hub_address = f"ipc://{self.sockets}/hub"
        self.address = f"ipc://{self.sockets}/proxy" if proxied else self.hub_address
        settings = yaml.safe_load(SMALL) | SETTINGS | (experiment or {})
        self.devices = [f"d{i}" for i in range(settings["devices"]["num_devices"])]
        air = f"zmq+ipc://{self.sockets}/air"
        written = {
            "name": "faults",
            "coordinator": {"address": self.address, "clock": f"{air}?name=clock"},
            "receiver": {"name": "rx", "radio": f"{air}?name=rx"},
            "devices": {"count": len(self.devices), "radio": air + "?name=d{n}"},
            "air": air,
            "deadlines": DEADLINES | (deadlines or {}),
            **bench,
        }
        self.write("experiment.yaml", settings)
        self.write("bench.yaml", written)
        self.write("hub.yaml", written | {"coordinator": {"address": self.hub_address}})

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        for command in self.commands:
            for pid in session(command.pid):
                os.kill(pid, signal.SIGKILL)
        if kind is not None:
            for path in [*self.folder.glob("*.txt"), *self.folder.glob("**/*.log")]:
                print(f"--- {path.name}\n{path.read_text()}")
        shutil.rmtree(self.sockets)

    def write(self, name, content):
        (self.folder / name).write_text(yaml.safe_dump(content, sort_keys=False))

    def up(self, *more):
        """`airmeta up`."""
        files = [self._bench_of_up, "experiment.yaml", "--out", "run"]
        return self.start("up", *files, *more, name="up")

    def start(self, *arguments, name="command", code=REPOSITORY):
        """Any command, forked from a process that has imported everything."""
        output = self.folder / f"{name}-{len(self.commands)}.txt"
        output.touch()
        os.environ["PYTHONPATH"] = f"{REPOSITORY}{os.pathsep}{Path(__file__).parent}"
        multiprocessing.set_forkserver_preload([])  # all of it is in `journaled.WARM`
        context = multiprocessing.get_context("forkserver")
        process = context.Process(
            target=journaled.main, args=([str(a) for a in arguments], self.folder, output, code)
        )
        process.start()
        return self._started(Command(process.pid, output, lambda: process.exitcode))

    def _started(self, command):
        self.commands.append(command)
        return command

    def air(self):
        """The virtual air, there when this returns."""
        air = f"zmq+ipc://{self.sockets}/air"
        found = self.start("air", "experiment.yaml", *self._where_air_is(air), name="air")
        wait_for((self.sockets / "air").exists)
        return found

    def _where_air_is(self, air):
        return "--at", air

    def coordinator(self, *more):
        files = ["experiment.yaml", "--bench", "hub.yaml", "--out", "run"]
        return self.start("node", "coordinator", *files, *more, name="coordinator")

    def receiver(self):
        files = ["--bench", "bench.yaml", "--state", "nodes"]
        return self.start("node", "receiver", *files, name="rx")

    def device(self, name, bench="bench.yaml", code=REPOSITORY):
        """A device as a bench file says, with the packages of a folder."""
        files = ["--bench", bench, "--state", "nodes", "--name", name]
        return self.start("node", "device", *files, name=name, code=code)

    def all_nodes(self):
        """Air, coordinator, receiver and devices, by name."""
        return {"air": self.air()} | self.all_nodes_but_air()

    def all_nodes_but_air(self):
        nodes = {"coordinator": self.coordinator(), "rx": self.receiver()}
        return nodes | {name: self.device(name) for name in self.devices}

    # Looking

    def status(self):
        path = self.run / "status.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def rounds(self):
        """Rows of the rounds so far."""
        path = self.run / "rounds.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]

    def faults(self, name):
        return self.status()["nodes"][name]["faults"]

    def assert_nothing_left(self, seconds=10.0):
        """No process, no socket, no shared memory."""
        for command in self.commands:
            wait_for(lambda pid=command.pid: not session(pid), seconds)
        wait_for(lambda: not list(self.sockets.iterdir()), seconds)
        wait_for(lambda: not set(Path("/dev/shm").iterdir()) - self._shm, seconds)


def requires_libiio():
    """In CI it has to be there."""
    if "CI" not in os.environ:
        pytest.importorskip("adi", exc_type=(ImportError, OSError), reason="needs libiio")


class PlutoLab(Lab):
    """The radios are virtual PlutoSDRs, on addresses of this test alone.

    Attributes:
        uris: of the radios as libiio has them, by node.
    """

    _bench_of_up = "air.yaml"

    def __init__(self, folder, experiment=None, pace=0.25, deadlines=None, **bench):
        """A lab with `pace` seconds on the air in a second."""
        net = f"127.{os.getpid() % 200 + 20}.{os.getpid() // 200 % 250}"
        patience = {"compute_s": 60.0, "answer_s": 10.0, "rejoin_s": 30.0} | (deadlines or {})
        super().__init__(folder, experiment, patience, **bench)
        names = ["rx", *self.devices]
        self.uris = {name: f"ip:{net}.{number}" for number, name in enumerate(names, 1)}
        written = yaml.safe_load((folder / "bench.yaml").read_text())
        written["air"] = {"at": written["air"], "pace": pace}
        written["link"] = LINK | bench.get("link", {})
        written["coordinator"] = {"address": self.address} | written["coordinator"]
        self._written = written
        self.write("air.yaml", self._with(self.uris))
        self.redirect("rx", self.uris["rx"])

    def redirect(self, name, uri):
        """Where nodes that start from now on find the radio of one."""
        written = self._with(self.uris | {name: uri})
        del written["air"]  # of which nodes know nothing
        self.write("bench.yaml", written)
        self.write("hub.yaml", written)

    def _with(self, uris):
        nodes = [{"name": name, "radio": f"pluto://{uri}"} for name, uri in uris.items()]
        return self._written | {"receiver": nodes[0], "devices": nodes[1:]}

    def _where_air_is(self, air):
        return "--bench", self.folder / "air.yaml"
