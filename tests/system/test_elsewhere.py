"""Radios that another interpreter opens for this one: as any other, and gone when they should."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from radio import elsewhere, interpreter
from radio.api import RadioError
from radio.drivers.loopback import LoopbackRadio
from radio.drivers.remote import RemoteRadio
from radio.elsewhere import OtherProcess, find_elsewhere, open_elsewhere
from radio.registry import Needs, RadioUri
from radio.relayed_log import relay

ROOT = Path(__file__).parents[2]
NUMPY = Needs("numpy", "apt install python3-numpy", elsewhere=True)
LOOPBACK = RadioUri.parse("loopback://?delay=100")

# Opens a radio elsewhere, says by which process, and waits to be killed.
HOLDER = """
import sys, time
from radio.elsewhere import open_elsewhere
from radio.registry import Needs, RadioUri
radio = open_elsewhere(RadioUri.parse("loopback://"), Needs("numpy", "", True))
process = radio._process._process
print(process.pid, process.args[-2], flush=True)
time.sleep(600)
"""

# As libuhd does where it closes a device that is gone.
CRASHES = """
import os, sys, time
from radio import elsewhere_process
from radio.drivers.loopback import LoopbackRadio

def crash(_):
    time.sleep(1)  # of which it waits for answers
    os.abort()

LoopbackRadio.close = crash
elsewhere_process.main(sys.argv[1:])
"""


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path, debian_python):
    """Where the processes of a test have their folders."""
    monkeypatch.setattr(elsewhere.tempfile, "tempdir", str(tmp_path))
    return tmp_path


def is_there(pid):
    """Whether a process lives; one that waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def process_of(radio):
    return radio._process._process


def require_gone(pid, home):
    until = time.monotonic() + 60
    while is_there(pid) or list(home.iterdir()):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_it_is_a_radio_like_any_other(home):
    burst = np.exp(2j * np.pi * np.random.default_rng(0).random(300)).astype(np.complex64)
    with open_elsewhere(LOOPBACK, NUMPY) as radio:
        assert radio.caps == LoopbackRadio().caps
        with pytest.raises(RadioError, match="no sample to transmit"):
            radio.transmit(burst[:0])
        assert radio.transmit(burst).started_at == 0
        np.testing.assert_array_equal(radio.receive(500).iq[100:400], burst)
        with pytest.raises(RadioError, match="sample 1 has passed"):
            radio.receive(10, at=1)
        pid = process_of(radio).pid
        assert Path(f"/proc/{pid}/exe").resolve() == Path(interpreter.SYSTEM).resolve()
        assert os.getpgid(pid) != os.getpgrp()  # an interrupt from the keyboard passes it by
    require_gone(pid, home)
    radio.close()
    with pytest.raises(RadioError, match=r"loopback://\?delay=100 is closed; open it again"):
        radio.receive(1)


def test_a_radio_that_cannot_be_opened_says_why_as_ever(home):
    with pytest.raises(RadioError, match=r"loopback://\?dely=1 has no option 'dely'"):
        open_elsewhere(RadioUri.parse("loopback://?dely=1"), NUMPY)
    assert not list(home.iterdir())


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (None, "No such file or directory"),
        ("exec >&-; sleep 0.2; echo 'ImportError: no zmq' >&2; exit 1", "ImportError: no zmq"),
        ("exit 3", "ends at once"),
        ("""echo '{"missing": "is not installed"}'""", "there it is not installed"),
        ("exec sleep 600", "does not answer within 0 s"),
    ],
)
def test_an_interpreter_that_cannot_stand_in_is_named(home, tmp_path, monkeypatch, line, why):
    python = tmp_path / "bin" / "python"
    if line is not None:
        python.parent.mkdir()
        python.write_text(f"#!/bin/sh\n{line}\n")
        python.chmod(0o755)
    monkeypatch.setenv(elsewhere.VARIABLE, str(python))
    if "sleep" in str(line):
        monkeypatch.setattr(interpreter, "PATIENCE_S", 0.3)
    with pytest.raises(RadioError) as refused:
        open_elsewhere(LOOPBACK, NUMPY)
    assert f"does not load here, and {python} ({why}) cannot stand in" in str(refused.value)
    assert NUMPY.install in str(refused.value)
    assert elsewhere.VARIABLE in str(refused.value)
    assert {path.name for path in home.iterdir()} <= {"bin"}


def test_a_process_that_is_killed_is_noticed_at_once(home):
    radio = open_elsewhere(LOOPBACK, NUMPY)
    process_of(radio).kill()
    process_of(radio).wait()
    with pytest.raises(RadioError, match="has ended; is the radio still there"):
        radio.receive(10)
    assert not list(home.iterdir())
    radio.close()


def test_a_process_that_is_told_to_end_tidies_up_itself(home):
    radio = open_elsewhere(LOOPBACK, NUMPY)
    process_of(radio).terminate()
    assert process_of(radio).wait(60) == 0
    assert not list(home.iterdir())
    with pytest.raises(RadioError, match="has ended; is the radio still there"):
        radio.receive(10)


def test_a_process_that_hangs_is_given_up_and_killed(home, monkeypatch):
    monkeypatch.setattr(elsewhere, "ANSWER_S", 0.5)
    monkeypatch.setattr(elsewhere, "ENDING_S", 0.5)
    radio = open_elsewhere(LOOPBACK, NUMPY)
    pid = process_of(radio).pid
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(RadioError, match=r"does not answer within 0\.5 s"):
        radio.receive(10)
    require_gone(pid, home)


def start_holder(home, **environ):
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": str(home), **environ},
    )


def test_nothing_is_left_of_one_that_crashes_as_it_ends(home, tmp_path_factory):
    python = tmp_path_factory.mktemp("bin") / "python"
    python.write_text(f"#!/bin/sh\nshift 2\nexec {interpreter.SYSTEM} -c '{CRASHES}' \"$@\"\n")
    python.chmod(0o755)
    holder = start_holder(home, **{elsewhere.VARIABLE: str(python)})
    pid, _ = holder.stdout.readline().split()
    holder.kill()
    holder.communicate(timeout=60)
    require_gone(pid, home)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_the_one_that_opened_it(home, how):
    holder = start_holder(home)
    pid, path = holder.stdout.readline().split()
    assert is_there(pid) and Path(path).is_socket()
    holder.send_signal(how)
    holder.communicate(timeout=60)
    require_gone(pid, home)


def test_what_is_logged_there_is_logged_here(home, caplog):
    folder = home / "process"
    folder.mkdir()
    path = folder / "socket"
    process = OtherProcess(folder, ["serve", str(path), str(LOOPBACK)], "loopback", NUMPY)
    RemoteRadio(RadioUri("zmq+ipc", str(path)))._disconnect()  # as when a connection breaks
    until = time.monotonic() + 60
    while "the client of radio radio has gone" not in caplog.text:
        assert time.monotonic() < until
        time.sleep(0.05)
    process.end()
    assert ("radio.remote", logging.WARNING) in [(r.name, r.levelno) for r in caplog.records]
    assert not folder.exists()


@pytest.mark.parametrize(
    ("line", "record"),
    [
        ('{"level": 40, "name": "radio.x", "text": "50 %s"}', ("radio.x", 40, "50 %s")),
        ("[WARNING] [UHD] late {0}", ("usrp", 30, "late {0}")),
        ("[INFO] linux; GNU C++", ("usrp", 20, "linux; GNU C++")),
        ("a word", ("usrp", 30, "a word")),
        ('{"level": 40}', ("usrp", 30, '{"level": 40}')),
        ("{broken", ("usrp", 30, "{broken")),
        ("", None),
    ],
)
def test_lines_of_a_log_keep_their_level(caplog, line, record):
    caplog.set_level(logging.DEBUG)
    relay(line + "\n", "usrp")
    assert caplog.record_tuples == ([record] if record else [])


def test_a_search_there_is_one_here(home, monkeypatch, tmp_path):
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    told = (
        '{"search": {"found": [{"uri": "x://1", "about": {"serial": "7"}}], '
        '"gaps": [{"place": "p", "why": "w", "remedy": "r"}], "advice": ["a"]}}'
    )
    python.write_text(f"#!/bin/sh\necho '{told}'\n")
    python.chmod(0o755)
    monkeypatch.setenv(elsewhere.VARIABLE, str(python))
    search = find_elsewhere("x", [], NUMPY)
    assert [(found.uri, found.about) for found in search.found] == [("x://1", {"serial": "7"})]
    assert [(gap.place, gap.why, gap.remedy) for gap in search.gaps] == [("p", "w", "r")]
    assert search.advice == ("a",)
