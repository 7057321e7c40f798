"""`airmeta flowgraph list|compile|run|edit`."""

import json
import os
import signal
from pathlib import Path

import pytest

from flowgraphs.grc_file import shipped
from flowgraphs.runner import Flowgraph


def test_all_of_them_are_listed_with_what_can_be_set(airmeta):
    code, out, _ = airmeta("flowgraph", "list", "--json")
    assert code == 0
    rows = {row["name"]: row for row in json.loads(out)["flowgraphs"]}
    assert rows.keys() == shipped().keys()
    sink = rows["device_tx"]["parameters"]["sink"]
    assert sink["default"] == "null"
    assert sink["choices"] == ["null", "pluto", "usrp"]
    code, out, _ = airmeta("flowgraph", "list")
    assert code == 0
    assert all(name in out for name in rows)


@pytest.mark.usefixtures("in_gnuradio_home")
def test_one_is_compiled_and_runs(airmeta, tmp_path):
    code, out, _ = airmeta("flowgraph", "compile", "device_tx", "sink=null", "--json")
    assert code == 0
    program = Path(json.loads(out)["program"])
    assert "class device_tx" in program.read_text()
    address = f"from_host=ipc://{tmp_path}/in"
    code, out, _ = airmeta("flowgraph", "run", "device_tx", address, "--seconds", "0.1", "--json")
    ran = json.loads(out)
    assert (code, ran["flowgraph"], ran["over"], ran["stopped"]) == (0, "device_tx", False, False)
    code, _, err = airmeta("flowgraph", "run", "device_tx", address, "--seconds", "0")
    assert code == 0
    assert f"zmq_in: ipc://{tmp_path}/in" in err


class Killed(Flowgraph):
    def wait(self, seconds):
        os.kill(self.pid, signal.SIGKILL)
        return super().wait(seconds)


@pytest.mark.usefixtures("in_gnuradio_home")
def test_one_that_is_killed_has_failed(airmeta, tmp_path, monkeypatch):
    monkeypatch.setattr("testbed.flowgraph_command.Flowgraph", Killed)
    code, _, err = airmeta("flowgraph", "run", "device_tx", f"from_host=ipc://{tmp_path}/in")
    assert code == 1
    assert "flowgraph device_tx was killed by SIGKILL" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("compile", "lop"), "no flowgraph is called 'lop'; the nearest is 'loop'"),
        (("compile", "nowhere.grc"), "nowhere.grc: No such file or directory"),
        (("run", "device_tx", "snk=null"), "the nearest is 'sink'"),
        (("run", "device_tx", "sink=plto"), "the nearest is 'pluto'"),
        (("run", "device_tx", "sink"), "'sink': a parameter should read name=value"),
        (("run",), "Missing argument"),
    ],
)
def test_mistakes(airmeta, arguments, says):
    code, _, err = airmeta("flowgraph", *arguments)
    assert code == 2
    assert says in err


@pytest.mark.usefixtures("in_gnuradio_home")
def test_the_editor_needs_a_display(airmeta, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    code, _, err = airmeta("flowgraph", "edit", "loop")
    assert code == 2
    assert "needs a display" in err
