"""Profiles on disk: found, kept, and refused where they do not hold; each refusal says why."""

import hashlib
import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from calibration.curve import Curve
from calibration.estimate import Estimate
from calibration.profiles.profile import Identity, Profile, ProfileError
from calibration.profiles.profile_folder import ProfileFolder, read_profile
from calibration.profiles.profile_json import to_json
from calibration.profiles.told import serial_of, temperature_of
from radio.api import RadioSettings, Range
from radio.drivers.loopback import LoopbackRadio
from radio.recording import RecordingRadio

WHEN = datetime(2026, 1, 31, 12, tzinfo=UTC)
BAND = Range(902e6, 928e6)
PROFILE = Profile(
    serial="1044734c9605",
    model="ADALM-PLUTO",
    band=BAND,
    settings=RadioSettings(915e6, 1e6, -10.0, 20.0),
    measured_at=WHEN,
    valid_days=30,
    temperature_c=41.5,
    software="airmeta 0.5",
    reference="1044734c9999, level assumed",
    scalars={"cfo": Estimate(1234.5, 0.4, "Hz"), "tx_iq_gain": Estimate(0.3, 0.01, "dB")},
    curves={
        "tx_power": Curve(
            (-30.0, -20.0, 0.0), (-25.1, -15.0, 4.0), (0.1,) * 3, "dBm", Range(-30, 0)
        )
    },
)


@pytest.fixture
def folder(tmp_path):
    return ProfileFolder(tmp_path / "calibration")


def rewritten(path, **changes):
    """A profile's file by someone who knows how to make its checksum right."""
    document = json.loads(path.read_bytes()) | changes
    document.pop("sha256_of_the_rest")
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    document["sha256_of_the_rest"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(document))


def test_what_was_written_is_found(folder):
    assert isinstance(folder.find(PROFILE.serial, 915e6), Identity)
    written = folder.write(PROFILE)
    found = folder.find(PROFILE.serial, 915e6)
    assert found == written == PROFILE
    assert found.source == str(folder.path(PROFILE.serial, BAND))
    assert (
        found.sha256 == hashlib.sha256(folder.path(PROFILE.serial, BAND).read_bytes()).hexdigest()
    )
    assert folder.all() == folder.history(PROFILE.serial, BAND) == [PROFILE]
    assert isinstance(folder.find("1044734c960", 915e6), Identity)


def test_the_one_before_is_kept(folder):
    later = [replace(PROFILE, measured_at=WHEN + timedelta(days=day)) for day in (1, 2)]
    for one in (PROFILE, *later):
        folder.write(one)
    assert folder.history(PROFILE.serial, BAND) == [PROFILE, *later]
    assert folder.find(PROFILE.serial, BAND.low) == later[-1]
    assert folder.all() == [later[-1]]
    with pytest.raises(ProfileError, match=r"2026-01-31T12:00:00Z cannot follow it; set the clock"):
        folder.write(PROFILE)
    assert folder.find(PROFILE.serial, BAND.low) == later[-1]


def test_of_two_bands_the_later_one_is_taken(folder):
    wide = replace(PROFILE, band=Range(800e6, 1000e6), measured_at=WHEN + timedelta(days=1))
    folder.write(PROFILE)
    folder.write(wide)
    assert folder.of(PROFILE.serial) == [wide, PROFILE]
    assert folder.find(PROFILE.serial, 915e6) == wide
    with pytest.raises(ProfileError, match="no profile for 2400000000 Hz, only for 8e"):
        folder.find(PROFILE.serial, 2.4e9)


@pytest.mark.parametrize("serial", ["sim d0", "a/b", "..", ".hidden", "a_902-928MHz", "[x]*?", "é"])
def test_any_serial_makes_a_file_of_its_own(folder, serial):
    others = [replace(PROFILE, serial=other) for other in (serial + "_1", "x" + serial)]
    mine = replace(PROFILE, serial=serial)
    for one in (mine, *others):
        folder.write(one)
    assert folder.find(serial, 915e6) == mine
    assert folder.history(serial, BAND) == [mine]
    assert len(folder.all()) == 3
    assert {one.parent for one in folder.folder.rglob("*.json")} == {folder.folder}


def test_swapped_files_are_noticed(folder):
    other = replace(PROFILE, serial="1044734c0000")
    folder.write(PROFILE)
    folder.write(other)
    here, there = folder.path(PROFILE.serial, BAND), folder.path(other.serial, BAND)
    here.replace(folder.folder / "x")
    there.replace(here)
    (folder.folder / "x").replace(there)
    with pytest.raises(ProfileError, match=r"is of radio 1044734c0000, not of 1044734c9605.*swap"):
        folder.find(PROFILE.serial, 915e6)
    with pytest.raises(ProfileError, match="swapped"):
        folder.write(replace(PROFILE, measured_at=WHEN + timedelta(days=1)))
    assert read_profile(here) == other


@pytest.mark.parametrize("fails", [1, 2])
def test_a_failed_write_leaves_the_one_before(folder, monkeypatch, fails):
    writes = iter(range(1, 3))

    def full(handle):
        if next(writes) == fails:
            raise OSError(28, "No space left on device")

    folder.write(PROFILE)
    later = replace(PROFILE, measured_at=WHEN + timedelta(days=1))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            folder.write(later)
    assert folder.find(PROFILE.serial, 915e6) == PROFILE
    assert folder.history(PROFILE.serial, BAND) == [PROFILE]
    assert len([one for one in folder.folder.rglob("*") if one.is_file()]) == fails
    folder.write(later)
    assert folder.history(PROFILE.serial, BAND) == [PROFILE, later]


def test_a_broken_profile_is_refused_but_can_be_replaced(folder):
    folder.write(PROFILE)
    path = folder.path(PROFILE.serial, BAND)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ProfileError, match="broken JSON"):
        folder.find(PROFILE.serial, 915e6)
    later = replace(PROFILE, measured_at=WHEN + timedelta(days=1))
    folder.write(later)
    assert folder.history(PROFILE.serial, BAND) == [later]
    assert len([*folder.folder.glob("history/*.unreadable")]) == 1


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"version": 2}, r"version is 2; only 1 can be read"),
        ({"version": True}, r"version should not be True"),
        ({"format": "sigmf"}, r"format is 'sigmf'; only 'airmeta-calibration'"),
        ({"valid_day": 3}, r"valid_day: unknown key; did you mean valid_days\?"),
        ({"valid_days": "30"}, r"valid_days should not be '30'"),
        ({"valid_days": 0}, r"valid_days should be above 0"),
        ({"scalars": {"cfo": {"value": 1, "uncertainty": 0.1, "unit": "kHz"}}}, "'Hz', not 'kHz'"),
        ({"scalars": {"cfos": {}}}, r"scalars.cfos: unknown key; did you mean cfo\?"),
        (
            {"scalars": {"cfo": {"value": 1, "uncertainty": -0.1, "unit": "Hz"}}},
            r"scalars.cfo: uncertainty should be finite and >= 0",
        ),
        ({"curves": {"tx_power": {}}}, r"curves.tx_power.settings is missing"),
        ({"band_hz": [915e6]}, r"band_hz should be two numbers, not 1"),
        ({"band_hz": [1e9, 2e9]}, r"band = 1e\+09 to 2e\+09 Hz should hold 9.15e\+08 Hz"),
        ({"measured_at": "yesterday"}, r"Invalid isoformat"),
        ({"measured_at": "2026-01-31"}, r"measured_at should have a time zone"),
        ({"measured_at": "9999-12-31T00:00:00Z"}, r"a year from 2000"),
        ({"temperature_c": "warm"}, r"temperature_c should not be 'warm'"),
        ({"captures": {"../x.sigmf-meta": "00"}}, r"captures.../x.sigmf-meta should be a path"),
        ({"radio": {"serial": "", "model": ""}}, r"serial should name the radio"),
        ({"radio": {"model": ""}}, r"radio.serial is missing"),
    ],
)
def test_what_is_wrong_is_named(folder, changes, why):
    folder.write(PROFILE)
    path = folder.path(PROFILE.serial, BAND)
    rewritten(path, **changes)
    with pytest.raises(ProfileError, match=why) as refused:
        read_profile(path)
    assert str(refused.value).startswith(str(path))


def test_an_edited_number_is_noticed(folder):
    folder.write(PROFILE)
    path = folder.path(PROFILE.serial, BAND)
    path.write_text(path.read_text().replace("1234.5", "1235.5"))
    with pytest.raises(ProfileError, match="edited or damaged"):
        read_profile(path)
    path.unlink()
    with pytest.raises(ProfileError, match="cannot be read: No such file"):
        read_profile(path)


def test_when_and_where_it_holds():
    PROFILE.require_fresh(WHEN + timedelta(days=30))
    PROFILE.require_fresh(WHEN - timedelta(minutes=30))
    with pytest.raises(ProfileError, match=r"held for 30 days, until 2026-03-02T12:00:00Z; cal"):
        PROFILE.require_fresh(WHEN + timedelta(days=30, seconds=1))
    with pytest.raises(ProfileError, match="still to come"):
        PROFILE.require_fresh(WHEN - timedelta(hours=2))
    PROFILE.require_covers(RadioSettings(902e6, 1e6 + 0.5))
    with pytest.raises(ProfileError, match="carrier_hz = 2450000000 is outside its band"):
        PROFILE.require_covers(RadioSettings(2.45e9))
    with pytest.raises(ProfileError, match="sample_rate_hz = 2000000 is not the 1000000 it was"):
        PROFILE.require_covers(RadioSettings(sample_rate_hz=2e6))
    for wrong in ({"measured_at": WHEN.replace(tzinfo=None)}, {"valid_days": 1e5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            replace(PROFILE, **wrong)


def test_recordings_lie_beside_it(folder):
    here = folder.captures(PROFILE.serial, BAND, WHEN)
    here.mkdir(parents=True)
    with RecordingRadio(LoopbackRadio()) as radio, radio.into(here / "tone"):
        radio.receive(1000)
    meta = here / "tone.sigmf-meta"
    profile = folder.write(replace(PROFILE, captures=folder.hashed([meta])))
    folder.require_captures(profile)
    samples = here / "tone.sigmf-data"
    whole = samples.read_bytes()
    samples.write_bytes(np.ones(1000, np.complex64).tobytes())
    with pytest.raises(ProfileError, match=r"captures\..*sha512 is not that"):
        folder.require_captures(profile)
    samples.write_bytes(whole)
    meta.write_text(meta.read_text() + "\n")
    with pytest.raises(ProfileError, match="another one now"):
        folder.require_captures(profile)
    meta.unlink()
    with pytest.raises(ProfileError, match="No such file"):
        folder.require_captures(profile)


def test_the_text_is_the_same_for_the_same_profile():
    scalars = dict(reversed(PROFILE.scalars.items()))
    assert to_json(replace(PROFILE, scalars=scalars)) == to_json(PROFILE)
    measured = {"cfo": Estimate(np.float64(1.0), np.float64(0.5), "Hz")}
    assert b'"value": 1.0' in to_json(replace(PROFILE, scalars=measured))


def test_what_a_radio_tells_of_itself():
    class Told(LoopbackRadio):
        def describe(self):
            return {"serial": "42", "temperature": "41.5 °C"}

    assert (serial_of(Told()), temperature_of(Told())) == ("42", 41.5)
    assert (serial_of(LoopbackRadio()), temperature_of(LoopbackRadio())) == ("loopback", None)
