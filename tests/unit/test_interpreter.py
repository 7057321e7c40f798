import sys

import pytest

from flowgraphs import interpreter
from radio import interpreter as interpreters
from radio.interpreter import Interpreter


@pytest.fixture
def script(tmp_path):
    """Make something that can be asked as an interpreter is."""

    def make(name, line):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
        return str(path)

    return make


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Put a package of GNU Radio's name where this interpreter finds it, with that version."""

    def put(version):
        package = tmp_path / "site" / "gnuradio"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("import os\nos.environ['GNU_RADIO_WAS_HERE'] = '1'\n")
        (package / "gr.py").write_text(version)
        (package / "iio.py").write_text("")
        monkeypatch.setenv("PYTHONPATH", str(package.parent))
        monkeypatch.syspath_prepend(str(package.parent))

    return put


def test_the_one_that_is_named_is_asked_and_no_other(script, here):
    here("def version(): return '1'")
    named = script("named", "echo noise; echo 3.10.12.0")
    assert interpreter.find({"GR_PYTHON": named}) == Interpreter(named, "3.10.12.0", "")
    without = script("without", "echo 'Traceback' >&2; echo 'ImportError: no' >&2; exit 1")
    found = interpreter.find({"GR_PYTHON": without})
    assert found == Interpreter(without, "", "ImportError: no")


def test_this_interpreter_comes_before_the_systems(here, monkeypatch, script):
    monkeypatch.setattr(interpreters, "SYSTEM", script("system", "echo 3.10.5.1"))
    assert interpreter.find({}).version == "3.10.5.1"
    here("def version(): return '3.10.12.0'")
    assert interpreter.find({}) == Interpreter(sys.executable, "3.10.12.0", "")


def test_bindings_that_do_not_load_here_are_no_gnu_radio(here, monkeypatch, script):
    monkeypatch.setattr(interpreters, "SYSTEM", script("system", "echo 3.10.5.1"))
    here("raise ImportError('numpy.core.multiarray failed to import')")
    assert interpreter.find({}).python == interpreters.SYSTEM


def test_nothing_of_it_is_imported_here(here, monkeypatch):
    monkeypatch.delenv("GNU_RADIO_WAS_HERE", raising=False)
    here("def version(): return '1'")
    assert interpreter.find({}).version == "1"
    assert "gnuradio" not in sys.modules


@pytest.mark.parametrize(
    ("line", "missing"),
    [("exit 3", "ended with 3"), ("exec sleep 30", "no answer within 0 s")],
)
def test_what_does_not_answer_says_so(script, monkeypatch, line, missing):
    monkeypatch.setattr(interpreters, "PATIENCE_S", 0.3)
    mute = script("mute", line)
    assert interpreters.ask(mute, "") == Interpreter(mute, "", missing)


def test_an_interpreter_that_is_not_there():
    assert interpreters.ask("/nowhere/python", "").missing == "No such file or directory"
