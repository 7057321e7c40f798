import sys
import threading
import types

import pytest

from radio import discovery
from radio.api import RadioError
from radio.discovery import Found, Gap, Search, find_radios
from radio.drivers.loopback import LoopbackRadio
from radio.limits import LimitedRadio
from radio.recording import RecordingRadio
from radio.registry import DRIVERS, Driver, Needs, open_radio
from radio.remote import RadioServer


@pytest.fixture
def drivers(monkeypatch):
    """Only these drivers: one that can look for its radios, and one that cannot."""
    finder = types.ModuleType("finder_of_new")
    finder.find = lambda addresses: Search(
        tuple(Found(f"new://{address}", {}) for address in addresses or ["there"]),
        advice=("look at the cable",),
    )
    monkeypatch.setitem(sys.modules, "finder_of_new", finder)
    table = {
        "new": Driver("driver_of_new", "open_new", finder="finder_of_new"),
        "plain": Driver("driver_of_plain", "open_plain"),
    }
    monkeypatch.setattr(discovery, "DRIVERS", table)
    for scheme, driver in table.items():
        monkeypatch.setitem(DRIVERS, scheme, driver)
    return table


def test_those_who_can_look_do(drivers):
    assert find_radios() == Search((Found("new://there", {}),), (), ("look at the cable",))
    asked = find_radios(["new://a", "new://b"])
    assert [found.uri for found in asked.found] == ["new://a", "new://b"]


def test_what_nobody_can_look_for_is_refused(drivers):
    with pytest.raises(RadioError, match="plain://x is none of new://"):
        find_radios(["new://a", "plain://x"])
    with pytest.raises(RadioError, match="no radio URI"):
        find_radios(["a"])


def test_a_missing_sdk_is_a_gap_with_a_remedy(drivers):
    drivers["old"] = Driver("driver", "open", Needs("no_such_sdk", "pip install it"), "finder")
    search = find_radios()
    assert search.gaps == (Gap("old:// radios", "no_such_sdk is not installed", "pip install it"),)
    assert [found.uri for found in search.found] == ["new://there"]


class Talkative(LoopbackRadio):
    def describe(self):
        return {"serial": "7", "temperature": "34.1 °C"}


def test_wrappers_pass_on_what_a_radio_tells_of_itself():
    assert LoopbackRadio().describe() == {}
    radio = LimitedRadio(RecordingRadio(Talkative()), None)
    assert radio.describe() == {"serial": "7", "temperature": "34.1 °C"}


def test_a_radio_of_another_process_tells_it_too(tmp_path):
    stop = threading.Event()
    with RadioServer({"a": Talkative}, f"zmq+ipc://{tmp_path}/r") as server:
        thread = threading.Thread(target=server.serve, args=(stop.is_set, 0.02))
        thread.start()
        try:
            with open_radio(server.uri) as radio:
                assert radio.describe() == Talkative().describe()
            with pytest.raises(RadioError, match="is closed"):
                radio.describe()
        finally:
            stop.set()
            thread.join()


@pytest.fixture
def finder(adi, monkeypatch, tmp_path):
    """The finder of PlutoSDRs on a machine without any."""
    from radio.drivers import pluto_finder  # noqa: PLC0415 (needs the libraries of `adi`)

    monkeypatch.setattr(pluto_finder, "USB_DEVICES", tmp_path / "sys")
    monkeypatch.setattr(pluto_finder, "USB_NODES", tmp_path / "dev")
    monkeypatch.setattr(pluto_finder, "BACKENDS", {"usb": "by USB", "local": "here"})
    return pluto_finder


def plug_in(tmp_path, name, **attributes):
    device = tmp_path / "sys" / name
    device.mkdir(parents=True)
    for attribute, text in attributes.items():
        (device / attribute).write_text(f"{text}\n")
    node = tmp_path / "dev" / f"{attributes['busnum']:03}" / f"{attributes['devnum']:03}"
    node.parent.mkdir(parents=True, exist_ok=True)
    node.touch()
    return node


def test_a_pluto_on_usb_that_may_not_be_opened_is_told_of(finder, tmp_path, monkeypatch):
    plug_in(tmp_path, "1-1", idVendor="1d6b", idProduct="0002", busnum=1, devnum=1)
    plug_in(tmp_path, "1-2", idVendor="0456", idProduct="b672", busnum=1, devnum=2)  # an M2k
    shut = plug_in(tmp_path, "1-3", idVendor="0456", idProduct="b673", busnum=1, devnum=7)
    asleep = plug_in(tmp_path, "2-1", idVendor="0456", idProduct="b674", busnum=2, devnum=12)
    allowed = {str(shut): False}
    monkeypatch.setattr(finder.os, "access", lambda node, mode: allowed.get(str(node), True))
    gaps = {gap.place: gap for gap in finder.find([]).gaps}
    assert set(gaps) == {str(shut), str(asleep)}
    assert "may not open" in gaps[str(shut)].why
    assert "libiio-utils" in gaps[str(shut)].remedy
    assert "DFU" in gaps[str(asleep)].why
    allowed.clear()
    assert [gap.place for gap in finder.find([]).gaps] == [str(asleep)]


def test_one_way_that_cannot_be_searched_does_not_hide_the_others(finder, monkeypatch, tmp_path):
    def scan(backend):
        if backend == "usb":
            raise OSError(13, "Permission denied")
        return ["ip:127.0.0.9:9"]

    monkeypatch.setattr(finder, "_scan_by", scan)
    monkeypatch.setattr(finder, "AVAHI", tmp_path / "none")
    monkeypatch.setattr(finder.sys, "platform", "linux")
    monkeypatch.setattr(finder, "BACKENDS", {"usb": "by USB", "ip": "by network", "local": "here"})
    search = finder.find([])
    assert [(gap.place, gap.why) for gap in search.gaps] == [
        ("PlutoSDRs by USB", "cannot be searched: Permission denied"),
        ("PlutoSDRs by network", "are found through Avahi, which does not run here"),
        ("pluto://ip:127.0.0.9:9", "does not open: Connection refused"),
    ]
    assert search.found == ()
    assert all(gap.remedy for gap in search.gaps)


def test_what_is_no_address_is_said_to_be_none(finder):
    (gap,) = finder.find(["nonsense"]).gaps
    assert (gap.place, gap.why) == ("pluto://nonsense", "is no address of libiio")
