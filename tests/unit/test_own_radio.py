"""A node's radio that goes away and comes back."""

import pytest

from radio.api import RadioError, RadioSettings
from radio.drivers.loopback import LoopbackRadio
from testbed.nodes import own_radio
from testbed.nodes.own_radio import OwnRadio, RadioGoneError

SETTINGS = RadioSettings(rx_gain_db=3.0)


def as_it_is(radio, settings):
    return radio


class Shelf:
    """Radios to open; how often one was, and whether there is one now."""

    def __init__(self):
        self.opened, self.is_there, self.now_s = [], True, 0.0

    def open(self):
        if not self.is_there:
            raise RadioError("nobody there")
        self.opened.append(LoopbackRadio())
        return self.opened[-1]


@pytest.fixture
def shelf(monkeypatch):
    shelf = Shelf()

    def sleep(seconds):
        shelf.now_s += seconds

    monkeypatch.setattr(own_radio.time, "monotonic", lambda: shelf.now_s)
    monkeypatch.setattr(own_radio.time, "sleep", sleep)
    return shelf


def test_it_is_opened_once_and_configured_once(shelf):
    own = OwnRadio(shelf.open, as_it_is, 10.0, 30.0)
    first = own.ready(SETTINGS)
    assert first.settings.rx_gain_db == 3.0
    first.configure(RadioSettings(rx_gain_db=2.0))  # as a radio may make of what was asked
    assert own.ready(SETTINGS) is first
    assert first.settings.rx_gain_db == 2.0
    assert own.ready(RadioSettings()).settings == RadioSettings()
    assert len(shelf.opened) == 1


def test_after_a_fault_it_is_opened_anew(shelf):
    own = OwnRadio(shelf.open, as_it_is, 10.0, 30.0)
    first = own.ready(SETTINGS)
    own.close()
    with pytest.raises(RadioError, match="closed"):
        first.now()
    again = own.ready(SETTINGS)
    assert again is not first
    assert again.settings == SETTINGS


def test_one_that_is_gone_is_waited_for_and_lost_at_last(shelf):
    own = OwnRadio(shelf.open, as_it_is, 10.0, 30.0)
    shelf.is_there = False
    own.ready(SETTINGS)  # it is open still
    own.close()
    for passed_s in (5.0, 10.0, 15.0):
        with pytest.raises(RadioError, match="nobody there") as error:
            own.ready(SETTINGS)
        assert not isinstance(error.value, RadioGoneError)
        assert shelf.now_s == passed_s
    with pytest.raises(RadioError):
        own.ready(SETTINGS, patience_s=0)
    assert shelf.now_s == 15.0
    shelf.is_there, shelf.now_s = True, 29.0
    own.ready(SETTINGS)
    own.close()
    shelf.is_there, shelf.now_s = False, 100.0  # from here on it counts anew
    for _ in range(6):
        with pytest.raises(RadioError) as error:
            own.ready(SETTINGS)
        assert not isinstance(error.value, RadioGoneError)
    with pytest.raises(RadioGoneError, match="nobody there"):
        own.ready(SETTINGS)
    assert shelf.now_s == 130.25


def test_one_that_breaks_while_it_is_set_up_is_opened_again(shelf, monkeypatch):
    own = OwnRadio(shelf.open, as_it_is, 10.0, 30.0)
    own.close()
    configure, breaks = LoopbackRadio.configure, iter([True, True, False])

    def breaking(radio, wanted):
        if next(breaks):
            raise RadioError("the line broke again")
        return configure(radio, wanted)

    monkeypatch.setattr(LoopbackRadio, "configure", breaking)
    assert own.ready(SETTINGS) is shelf.opened[3]
    assert shelf.opened[3].settings == SETTINGS
    for radio in shelf.opened[:3]:
        with pytest.raises(RadioError, match="closed"):
            radio.now()


def test_settings_that_it_always_refuses_are_the_end(shelf):
    own = OwnRadio(shelf.open, as_it_is, 10.0, 30.0)
    never = RadioSettings(carrier_hz=1e12)
    with pytest.raises(RadioError) as error:
        own.ready(never)
    assert not isinstance(error.value, RadioGoneError)
    own.close()
    with pytest.raises(RadioError):  # as between calls, which shall not make it seem to be there
        own.ready(never, patience_s=0)
    for _ in range(6):
        with pytest.raises(RadioError) as error:
            own.ready(never)
        assert not isinstance(error.value, RadioGoneError)
    with pytest.raises(RadioGoneError, match="carrier"):
        own.ready(never)


def test_a_radio_that_fails_while_it_is_closed_is_closed(shelf):
    own = OwnRadio(shelf.open, as_it_is, 10.0, 30.0)

    def refuse():
        raise RadioError("the line is dead")

    own.ready(SETTINGS).close = refuse
    own.close()
    assert own.ready(SETTINGS) is shelf.opened[1]
