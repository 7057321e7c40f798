"""What flowgraphs say of themselves, read without GNU Radio, and GNU Radio that is not there."""

import os

import pytest
import yaml

from flowgraphs import compiler
from flowgraphs.grc_file import GrcFile, shipped
from flowgraphs.runner import Flowgraph
from radio.api import RadioError
from radio.registry import open_radio

RADIOS = ("iio_", "uhd_")


@pytest.mark.parametrize("name", shipped())
def test_every_flowgraph_says_what_it_is(name):
    file = GrcFile.named(name)
    assert file.name == name
    assert file.title
    assert file.description
    content = yaml.safe_load(file.text)
    places = [tuple(block["states"]["coordinate"]) for block in content["blocks"]]
    assert len(set(places)) == len(places)
    assert all(x >= 0 and y >= 0 for x, y in places)
    for parameter in file.parameters.values():
        assert parameter.label != parameter.name, f"{parameter.name} says nothing to people"


@pytest.mark.parametrize(
    ("name", "choice", "option", "there"),
    [
        ("device_tx", "sink", "null", {"sink_null_pace", "sink_null"}),
        ("device_tx", "sink", "pluto", {"sink_pluto", "sink_pluto_loop", "sink_pluto_loop_value"}),
        ("device_tx", "sink", "usrp", {"sink_usrp", "sink_usrp_reports"}),
        ("receiver_rx", "source", "file", {"source_file"}),
        ("receiver_rx", "source", "pluto", {"source_pluto"}),
        ("receiver_rx", "source", "usrp", {"source_usrp"}),
    ],
)
def test_a_choice_enables_its_blocks_and_no_others(name, choice, option, there):
    file = GrcFile.named(name)
    chosen = file.chosen(file.checked({choice: option}))
    enabled = file.enabled(chosen)
    assert {each for each in enabled if each.startswith(f"{choice}_")} == there
    made = yaml.safe_load(file.text_with(chosen))
    states = {block["name"]: block["states"]["state"] for block in made["blocks"]}
    assert {each for each, state in states.items() if state == "enabled"} == set(enabled)
    (parameter,) = (block for block in made["blocks"] if block["name"] == choice)
    assert parameter["parameters"]["value"] == option


def test_no_radio_is_looked_for_that_is_not_chosen():
    for name in shipped():
        file = GrcFile.named(name)
        assert not [kind for kind in file.enabled(file.chosen({})).values() if kind[:4] in RADIOS]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"snk": "null"}, "no parameter 'snk'; the nearest is 'sink'"),
        ({"sink": "plto"}, "no sink 'plto'; the nearest is 'pluto'; there are null, pluto, usrp"),
        ({"carrier_hz": "high"}, "carrier_hz should be a number, not 'high'"),
        ({"carrier_hz": "nan"}, "carrier_hz should be a number, not 'nan'"),
        ({"buffer": "1.5"}, "buffer should be a whole number, not '1.5'"),
    ],
)
def test_wrong_parameters_name_the_nearest(given, why):
    with pytest.raises(RadioError, match=why):
        GrcFile.named("device_tx").checked(given)


def test_values_have_the_kinds_of_their_parameters():
    given = {"carrier_hz": "2.4e9", "buffer": "0x1000", "uri": "ip:127.0.0.2", "tx_gain_db": -3}
    assert GrcFile.named("device_tx").checked(given) == {
        "carrier_hz": 2.4e9,
        "buffer": 4096,
        "uri": "ip:127.0.0.2",
        "tx_gain_db": -3.0,
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "No such file"),
        ("blocks: [", "is no flowgraph"),
        ("blocks: []", "is no flowgraph of GNU Radio Companion: no 'options'"),
        ("- 1", "is no flowgraph"),
        ("\xff\xfe", "is no flowgraph"),
    ],
)
def test_what_is_no_flowgraph_is_refused(tmp_path, text, why):
    path = tmp_path / "mine.grc"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(RadioError, match=why) as told:
        GrcFile.named(str(path))
    assert "\n" not in str(told.value)
    with pytest.raises(RadioError, match="no flowgraph is called 'lop'; the nearest is 'loop'"):
        GrcFile.named("lop")


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("gnuradio://", "one looks like gnuradio://device_tx"),
        ("gnuradio://lop", "the nearest is 'loop'"),
        ("gnuradio://loop?gain=3", "no parameter 'gain'; the nearest is 'gain_db'"),
        ("gnuradio://loop?to_host=ipc:///tmp/x", "no parameter 'to_host'"),
        ("gnuradio://loop?timeout_s=0", "timeout_s should be above 0"),
        ("gnuradio://loop?tx_gain_db=3", "tx_gain_db = 3 is outside -90 to 0"),
        ("gnuradio://loop+device_tx", "go into both loop and device_tx"),
        ("gnuradio://device_tx?sink=plto", "the nearest is 'pluto'"),
    ],
)
def test_wrong_uris_are_refused_before_anything_starts(uri, why):
    with pytest.raises(RadioError, match=why):
        open_radio(uri)


def test_settings_of_a_radio_have_to_be_numbers_in_its_file(tmp_path):
    name, value = "Transmit gain (dB)", "type: eng_float\n    value: '0'"
    before, _, after = GrcFile.named("loop").text.partition(name)
    assert value in after
    mine = tmp_path / "loop.grc"
    mine.write_text(before + name + after.replace(value, value.replace("0", "-3 - 2"), 1))
    with pytest.raises(RadioError, match="tx_gain_db should be a number, not '-3 - 2'"):
        open_radio(f"gnuradio://{mine}")


def test_gnu_radio_that_is_absent_is_named_with_the_line_that_installs_it(tmp_path):
    without = tmp_path / "python"
    without.write_text("#!/bin/sh\necho 'ModuleNotFoundError: no gnuradio' >&2\nexit 1\n")
    without.chmod(0o755)
    environ = {**os.environ, "GR_PYTHON": str(without)}
    with pytest.raises(RadioError, match=r"no gnuradio.*apt install .*gnuradio.*GR_PYTHON"):
        Flowgraph("loop", {}, environ)


def test_an_interpreter_without_the_compiler_or_a_cache_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    lacking = compiler.Interpreter(str(tmp_path / "python"), "3.10", "")
    monkeypatch.setattr(compiler, "_found", lambda _: lacking)
    file = GrcFile.named("loop")
    with pytest.raises(RadioError, match="but no grcc"):
        compiler.compiled(file, {}, {"XDG_CACHE_HOME": str(tmp_path)})
    assert not list((tmp_path / "airmeta" / "flowgraphs").glob("new-*"))
    (tmp_path / "file").touch()
    with pytest.raises(RadioError, match=r"cache cannot be written: .*Not a directory"):
        compiler.compiled(file, {}, {"XDG_CACHE_HOME": str(tmp_path / "file")})
