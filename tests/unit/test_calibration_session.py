"""Calibrations that are interrupted go on where they stopped, or say why they begin anew."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from calibration.estimate import Estimate, MeasurementError
from calibration.measured import Measured
from calibration.procedures.airtime import Airtime
from calibration.procedures.delay import DelayProcedure
from calibration.procedures.findings import Findings
from calibration.procedures.frequency import FrequencyProcedure
from calibration.procedures.journal import FILE
from calibration.procedures.path_gain import PathGainProcedure
from calibration.procedures.reciprocity import ReciprocityProcedure
from calibration.procedures.session import Session
from calibration.procedures.setup import Setup
from calibration.procedures.tx_gain import TxGainProcedure
from radio.api import RadioError, RadioSettings, Range
from radio.limits import Limits
from radio.recording import RecordingRadio
from radio.registry import open_radio
from radio.sigmf import read_sigmf

NOW = datetime(2026, 1, 31, 12, 0, 0, 250_000, UTC)
SETTINGS = RadioSettings(tx_gain_db=-10.0, rx_gain_db=10.0)
FOUND = RadioSettings(tx_gain_db=-33.0, rx_gain_db=1.0)
PROCEDURES = (
    TxGainProcedure(span_db=40.0, step_db=10.0, samples=1 << 12),
    DelayProcedure(bursts=6),
    PathGainProcedure(beacons=6),
)
NAMES = ("tx_gain", "delay", "path_gain")


class Doomed(RecordingRadio):
    """A radio to which something happens before a burst."""

    def __init__(self, radio, bursts, happens):
        super().__init__(radio)
        self.radio, self.left, self.happens = radio, bursts, happens

    def transmit(self, iq, at=None):
        self.left -= 1
        if self.left == 0:
            self.happens(self.radio)
        return super().transmit(iq, at)


def unplug(radio):
    radio.close()


def interrupt(radio):
    raise KeyboardInterrupt


@pytest.fixture
def session(tmp_path):
    """Begin a session in a folder; gives it, with the setup's radios as they were found."""
    opened = []

    def begin(
        procedures=PROCEDURES, bursts=0, happens=None, software="airmeta 1", now=NOW, **changes
    ):
        uri = f"sim://{tmp_path.name}?preset=pluto-tcxo&snr_db=40&name="
        sender = open_radio(uri + "d0")
        receiver = open_radio(uri + "rx")
        opened.extend([sender, receiver])
        for radio in (sender, receiver):
            radio.configure(FOUND)
        if bursts:
            sender = Doomed(sender, bursts, happens)
        setup = Setup(sender, receiver, SETTINGS, SETTINGS, search_s=1e-3)
        setup = replace(setup, **changes)
        return Session(setup, procedures, tmp_path / "session", software, lambda: now), setup

    yield begin
    for radio in opened:
        radio.close()


def ignore(status):
    """Nobody looks at the progress."""


def test_a_session_tells_how_far_it_is_and_ends_in_what_profiles_are_made_of(session, tmp_path):
    begun, setup = session((*PROCEDURES, ReciprocityProcedure(pairs=8)), loss_db=10.0)
    seen = []
    material = begun.run(seen.append)
    assert [setup.sender.settings, setup.receiver.settings] == [FOUND, FOUND]
    shares, left_s = [status.share for status in seen], [status.left_s for status in seen]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, pytest.approx(1.0))
    assert left_s[0] == pytest.approx(session(())[0].left_s() + left_s[0])
    assert [*dict.fromkeys(status.name for status in seen)] == [*NAMES, "reciprocity"]
    assert material.findings.sender.curves.keys() == {"tx_power"}
    # By the curve that was measured just before, for which that loss was stated.
    assert abs(material.findings.sender.scalars["path_gain"].value + 10.0) < 0.3
    assert (material.sender.serial, material.receiver.serial) == ("airmeta-0-d0", "airmeta-0-rx")
    assert material.sender.reference == "airmeta-0-rx, level assumed"
    assert material.sender.temperature_c is not None
    assert material.measured_at == NOW.replace(microsecond=0)
    recorded = [path.name.removesuffix(".sigmf-meta") for path in material.captures]
    assert recorded == [*NAMES, "reciprocity", "reciprocity-back"]
    for path in material.captures:
        recording = read_sigmf(path)
        assert {one.overflows for one in recording.segments} == {0}
        assert recording.fields["procedure"].startswith(("TxG", "Del", "Path", "Rec"))
    # A recording holds what the findings were made of.
    iq = np.fromfile(tmp_path / "session" / "delay.sigmf-data", "<c8")
    assert 0.2 < np.abs(iq).max() < 1.0


@pytest.mark.parametrize("happens", [unplug, interrupt])
def test_what_was_done_before_is_kept_and_not_done_again(session, tmp_path, happens):
    whole = session(loss_db=10.0)[0].run(ignore).findings
    (tmp_path / "session" / FILE).unlink()
    begun, setup = session(bursts=14, happens=happens, loss_db=10.0)  # in the midst of the delays
    with pytest.raises((RadioError, KeyboardInterrupt)) as failed:
        begun.run(ignore)
    assert setup.receiver.settings == FOUND
    if happens is unplug:
        said = str(failed.value)
        assert said.startswith("delay: the radio d0 is closed")
        assert f"kept in {tmp_path / 'session'}: tx_gain; calibrate this radio again" in said
    else:
        assert setup.sender.settings == FOUND
    begun, _ = session(loss_db=10.0)
    assert (begun.resumed, begun.notice) == (("tx_gain",), "")
    names = []
    resumed = begun.run(lambda status: names.append(status.name)).findings
    assert {*names} == {"delay", "path_gain"}
    assert resumed.sender.curves["tx_power"].settings == whole.sender.curves["tx_power"].settings
    assert resumed.sender.scalars.keys() == whole.sender.scalars.keys()
    # What was measured before the interruption is known after it.
    assert abs(resumed.sender.scalars["path_gain"].value + 10.0) < 0.3
    begun, _ = session(loss_db=10.0)
    assert begun.resumed == NAMES
    assert begun.left_s() == 0
    assert begun.run(ignore).findings == resumed


def test_another_calibration_begins_anew_and_says_why(session, tmp_path):
    session()[0].run(ignore)
    file = tmp_path / "session" / FILE
    written = file.read_text()
    known = Findings(Measured({"cfo": Estimate(1.0, 0.1, "Hz")}))
    for changes, said in (
        ({"software": "airmeta 2"}, "software: 'airmeta 1', not 'airmeta 2'"),
        ({"full_scale_dbm": 3.0}, "full_scale_dbm: None, not 3.0"),
        ({"known": known}, "another knowledge"),
        ({"sender_settings": replace(SETTINGS, tx_gain_db=-12.0)}, "another sender_settings"),
    ):
        begun, _ = session(**changes)
        assert begun.resumed == ()
        assert begun.notice.startswith(f"begins anew: {file} is of another")
        assert said in begun.notice
    for damaged in (written[:200], written.replace('"unit": "dB"', '"unit": 3'), "[]"):
        file.write_text(damaged)
        begun, _ = session()
        assert begun.resumed == ()
        assert str(file) in begun.notice
    # Another way to measure one of them is measured anew; so is what has lost its recording.
    file.write_text(written)
    (tmp_path / "session" / "path_gain.sigmf-meta").unlink()
    begun, _ = session((*PROCEDURES[:1], DelayProcedure(bursts=7), PROCEDURES[2]))
    assert begun.resumed == ("tx_gain",)
    assert json.loads(file.read_text())["done"][0]["name"] == "tx_gain"


@pytest.mark.parametrize("later", [timedelta(days=1, hours=1), timedelta(hours=-2)])
def test_what_was_done_long_ago_is_of_another_bench(session, later):
    session(PROCEDURES[1:2])[0].run(ignore)
    begun, _ = session(PROCEDURES[1:2], now=NOW + timedelta(hours=20))
    assert (begun.resumed, begun.notice) == (("delay",), "")
    begun, _ = session(PROCEDURES[1:2], now=NOW + later)
    assert begun.resumed == ()
    assert "delay was done at 2026-01-31T12:00:00+00:00, and it is 2026-" in begun.notice


def test_what_takes_two_radios_is_refused_to_one(session):
    with open_radio("sim://one?name=d0") as radio:
        setup = Setup(radio, radio, SETTINGS, SETTINGS)
        with pytest.raises(MeasurementError, match="frequency takes two radios"):
            session((FrequencyProcedure(),), sender=setup.sender, receiver=setup.sender)


def test_a_clock_that_is_set_back_does_not_forget_what_was_sent():
    limits = Limits((Range(902e6, 928e6),), 0.0, 0.5, window_s=1.0, max_burst_s=1.0)
    airtime = Airtime(limits)
    airtime.add(10_000_000, 500_000)
    assert airtime.refusal(1, (0,), 10_600_000, 1e6) is not None
    airtime.resume(2_000)  # it began anew
    assert airtime.end == 2_000
    assert airtime.refusal(1, (0,), 100_000, 1e6) is not None
    assert airtime.refusal(1000, (0,), 600_000, 1e6) is None  # as much has left the window
