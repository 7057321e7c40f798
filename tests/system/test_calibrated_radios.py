"""What rounds make of a radio and a folder of profiles: its own, as long as it holds, or none."""

from dataclasses import replace
from datetime import timedelta

import pytest
from profiles_made import MEASURED, kept_profile, made_profile

from calibration.estimate import Estimate
from calibration.profiles.profile import ProfileError
from calibration.profiles.profile_folder import ProfileFolder
from calibration.profiles.quantity import SCALARS
from calibration.profiles.told import serial_of
from radio.api import RadioSettings
from radio.drivers.loopback import LoopbackRadio
from testbed.on_air.calibrated import calibrated

SETTINGS = RadioSettings(915e6, 1e6, -20.0, 40.0)
SOON = MEASURED + timedelta(days=1)


@pytest.fixture
def radio():
    with LoopbackRadio() as one:
        yield one


def test_a_radio_without_a_profile_is_left_as_it_is(radio, tmp_path):
    kept_profile(tmp_path, serial="another")
    assert calibrated(radio, tmp_path, SETTINGS, SOON) is radio


def test_rounds_mend_mixers_only(radio, tmp_path):
    delay = Estimate(250.0, 0.01, SCALARS["delay"].unit)
    known = {**made_profile().scalars, "delay": delay}
    kept_profile(tmp_path, serial=serial_of(radio), scalars=known)
    dressed = calibrated(radio, tmp_path, SETTINGS, SOON)
    assert serial_of(radio) in dressed.describe()["profile"]
    assert dressed.caps.turnaround_s == radio.caps.turnaround_s


@pytest.mark.parametrize(
    ("settings", "later", "said"),
    [
        (replace(SETTINGS, sample_rate_hz=2e6), timedelta(0), "sample_rate_hz = 2000000 is not"),
        (replace(SETTINGS, carrier_hz=950e6), timedelta(0), "no profile for 950000000 Hz"),
        (SETTINGS, timedelta(days=30), "is stale"),
        (SETTINGS, timedelta(days=-2), "is still to come"),
    ],
)
def test_a_profile_that_does_not_hold_is_refused(radio, tmp_path, settings, later, said):
    kept_profile(tmp_path, serial=serial_of(radio))
    with pytest.raises(ProfileError, match=said):
        calibrated(radio, tmp_path, settings, SOON + later)


def test_an_edited_profile_and_that_of_another_radio_are_refused(radio, tmp_path):
    path = kept_profile(tmp_path, serial=serial_of(radio))
    path.write_text(path.read_text().replace("0.017", "0.018", 1))
    with pytest.raises(ProfileError, match="edited or damaged"):
        calibrated(radio, tmp_path, SETTINGS, SOON)
    other = ProfileFolder(tmp_path / "other").write(made_profile("another"))
    path.write_bytes((tmp_path / "other" / other.source.rpartition("/")[2]).read_bytes())
    with pytest.raises(ProfileError, match="is of radio another"):
        calibrated(radio, tmp_path, SETTINGS, SOON)
