import importlib
import inspect
import os
import subprocess
import sys
import types

import pytest

from radio import elsewhere, interpreter, registry
from radio.api import RadioError, Range
from radio.drivers.loopback import LoopbackRadio
from radio.limits import LimitedRadio, Limits
from radio.registry import DRIVERS, Driver, Needs, RadioUri, open_radio

PARAMETERS = """
import importlib, inspect, sys
factory = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])
print(*inspect.signature(factory).parameters)
"""


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("sim://air?name=d3", ("sim", "air", {"name": "d3"})),
        ("file:///abs/x.sigmf-meta", ("file", "/abs/x.sigmf-meta", {})),
        ("file://relative/x.sigmf-meta", ("file", "relative/x.sigmf-meta", {})),
        ("file://a%20b/x%3F.sigmf-meta", ("file", "a b/x?.sigmf-meta", {})),
        ("loopback://?delay=100", ("loopback", "", {"delay": "100"})),
        ("loopback://", ("loopback", "", {})),
        ("loopback://?", ("loopback", "", {})),
        ("loopback://?gain_db=1e+1&delay=", ("loopback", "", {"gain_db": "1e+1", "delay": ""})),
        ("usrp://addr=192.168.10.2,type=usrp2", ("usrp", "addr=192.168.10.2,type=usrp2", {})),
        ("pluto://ip:192.168.2.1?x=a%26b", ("pluto", "ip:192.168.2.1", {"x": "a&b"})),
        ("zmq+ipc:///tmp/radio?name=a=b", ("zmq+ipc", "/tmp/radio", {"name": "a=b"})),
    ],
)
def test_a_uri_has_parts(text, parts):
    uri = RadioUri.parse(text)
    assert (uri.scheme, uri.address, uri.options) == parts
    assert uri == RadioUri(*parts)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no radio URI"),
        ("sim", "no radio URI"),
        ("sim:air", "no radio URI"),
        ("://air", "no radio URI"),
        ("sim://air?name", "'name' should read name=value"),
        ("sim://air?=d3", "'=d3' should read name=value"),
        ("sim://air?name=d3&name=d4", "'name' is given twice"),
    ],
)
def test_what_is_no_uri_is_refused(text, why):
    with pytest.raises(RadioError, match=why):
        RadioUri.parse(text)


def test_the_options_of_a_uri_do_not_change():
    given = {"name": "d3"}
    uri = RadioUri("sim", "air", given)
    given["name"] = "d4"
    assert uri.options["name"] == "d3"
    with pytest.raises(TypeError):
        uri.options["name"] = "d5"


def test_options_have_kinds_and_defaults():
    uri = RadioUri.parse("loopback://?delay=-7&gain_db=-1.5&name=d3")
    assert uri.option("delay", int, 0) == -7
    assert uri.option("gain_db", float, 0.0) == -1.5
    assert uri.option("name", str, None) == "d3"
    assert uri.option("seed", int, None) is None
    with pytest.raises(RadioError, match=r"option gain_db: .*'-1.5'"):
        uri.option("gain_db", int, 0)


def test_unknown_options_are_refused_with_the_nearest():
    uri = RadioUri.parse("loopback://?dely=3")
    with pytest.raises(RadioError, match=r"no option 'dely'; the nearest is 'delay'"):
        uri.require_options("gain_db", "delay")
    with pytest.raises(RadioError, match="there are none"):
        uri.require_options()
    uri.require_options("dely")
    with pytest.raises(RadioError, match="the nearest is 'gain_db'"):
        open_radio("loopback://?gain=3")


def test_unknown_schemes_are_refused_with_the_nearest():
    with pytest.raises(RadioError, match=r"'lopback'; the nearest is 'loopback'") as refusal:
        open_radio("lopback://")
    for scheme in DRIVERS:
        assert scheme in str(refusal.value)


@pytest.mark.parametrize("scheme", DRIVERS)
def test_the_registry_names_what_there_is(scheme, tmp_path):
    driver = DRIVERS[scheme]
    if driver.needs is not None and driver.needs.elsewhere and driver.needs.fault():
        assert _parameters_elsewhere(driver, tmp_path) == ["uri"]
        return
    factory = getattr(importlib.import_module(driver.module), driver.factory)
    assert list(inspect.signature(factory).parameters) == ["uri"]


def _parameters_elsewhere(driver, tmp_path):
    """Those of a factory whose SDK another interpreter has."""
    words = [elsewhere.other_python(), "-c", PARAMETERS, driver.module, driver.factory]
    environ = interpreter.environment(os.environ, tmp_path, ["radio"])
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environ)
    if f"No module named '{driver.needs.module}'" in done.stderr:
        reason = f"{words[0]} has no {driver.needs.module}: {driver.needs.install}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_registry_imports_no_driver_before_it_is_opened(monkeypatch):
    module = types.ModuleType("a_driver")
    monkeypatch.setitem(DRIVERS, "new", Driver("a_driver", "open_it"))
    module.open_it = lambda uri: (uri.address, uri.options["x"])
    with pytest.raises(ModuleNotFoundError, match="a_driver"):
        open_radio("new://there?x=1")
    monkeypatch.setitem(sys.modules, "a_driver", module)
    assert open_radio("new://there?x=1") == ("there", "1")


@pytest.mark.parametrize(
    "place", ["import no_such_sdk.low_level", "def open_it(uri): import no_such_sdk"]
)
def test_a_missing_sdk_is_named_with_the_line_that_installs_it(monkeypatch, tmp_path, place):
    (tmp_path / "driver_of_sdk.py").write_text(place)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "driver_of_sdk", raising=False)
    needs = Needs("no_such_sdk", "pip install no-such-sdk")
    monkeypatch.setitem(DRIVERS, "new", Driver("driver_of_sdk", "open_it", needs))
    with pytest.raises(RadioError, match=r"new:// needs no_such_sdk.*: pip install no-such-sdk"):
        open_radio("new://")


@pytest.mark.parametrize(
    ("fails", "why"),
    [
        ("raise OSError(2, 'libiio version 1.x required')", "libiio version 1.x required"),
        ("raise AttributeError('undefined symbol: iio')", "undefined symbol: iio"),
        ("import no_such_library", "No module named 'no_such_library'"),
    ],
)
def test_an_sdk_that_does_not_load_says_why(monkeypatch, tmp_path, fails, why):
    (tmp_path / "broken_sdk.py").write_text(fails)
    monkeypatch.syspath_prepend(tmp_path)
    needs = Needs("broken_sdk", "pip install 'broken-sdk<1'")
    monkeypatch.setitem(DRIVERS, "new", Driver("radio.drivers.loopback", "open_loopback", needs))
    with pytest.raises(RadioError, match="new:// needs broken_sdk, which does not load") as fault:
        open_radio("new://")
    assert why in str(fault.value)
    assert "pip install 'broken-sdk<1'" in str(fault.value)


def test_other_missing_modules_are_a_fault_of_the_installation(monkeypatch, tmp_path):
    (tmp_path / "driver_of_other.py").write_text("import no_such_sdk_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    needs = Needs("json", "it is always there")
    monkeypatch.setitem(DRIVERS, "new", Driver("driver_of_other", "open_it", needs))
    with pytest.raises(ModuleNotFoundError, match="no_such_sdk_at_all"):
        open_radio("new://")


def test_limits_stand_in_front_of_the_radio():
    limits = Limits((Range(900e6, 930e6),), 0.0, 0.1, 1.0, 0.05)
    assert isinstance(open_radio("loopback://"), LoopbackRadio)
    assert isinstance(open_radio("loopback://", limits), LimitedRadio)


def test_the_registry_itself_imports_no_driver():
    assert not [name for name in vars(registry) if "drivers" in name]
