"""`airmeta calibrate show|diff|check` over profiles on disk, and `check` over radios."""

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from PIL import Image
from profiles_made import MEASURED, kept_profile, made_profile

from calibration.estimate import Estimate
from testbed import calibrate_command
from testbed.calibrating.difference import changes

SERIAL = "1044734c9605"


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    """80 columns, wherever the tests run."""
    monkeypatch.setattr(calibrate_command.console, "_width", 80)


@pytest.fixture
def profile(workdir):
    """A profile in force, and one of two weeks before with 0.2 dB less power."""
    kept_profile(workdir / "profiles", measured_at=MEASURED - timedelta(days=14))
    return kept_profile(workdir / "profiles", level_db=0.2, temperature_c=33.5)


def told(airmeta, *arguments, code=0):
    """What the command prints for programs."""
    found, out, err = airmeta("calibrate", *arguments, "--json")
    assert found == code, (out, err)
    return json.loads(out)


def test_every_value_is_shown_with_its_interval_and_unit(airmeta, profile):
    code, out, _ = airmeta("calibrate", "show")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    rows = {line[:26].strip(): line[26:].split() for line in out.splitlines()}
    # Two standard uncertainties of 2e-5 and of 0.05 dB.
    assert rows["DC offset, quadrature"] == ["−0.000400", "0.000040", "–", "0.002"]
    assert rows["gain error, transmitter"] == ["0.20", "0.10", "dB", "0.5"]
    for text in (SERIAL, "3 days ago", "27 days", "33.5 °C", "assumed to be 0 dBm", "902 to 928"):
        assert text in out
    found = told(airmeta, "show", profile)["profiles"][0]
    assert found["fresh"]
    assert found["age_days"] == pytest.approx(3, abs=0.1)
    assert found["scalars"]["tx_gain_error"] == {"value": 0.2, "uncertainty": 0.05, "unit": "dB"}


def test_what_is_stale_is_shown_as_such(airmeta, workdir):
    kept_profile(workdir / "profiles", measured_at=MEASURED - timedelta(days=60))
    assert "STALE since" in airmeta("calibrate", "show")[1]
    assert not told(airmeta, "show")["profiles"][0]["fresh"]


def test_a_page_and_figures(airmeta, workdir, profile):
    kept_profile(workdir / "profiles", serial="other", seed=1)
    written = told(airmeta, "show", "--html", "page.html", "--png", "figures")["written"]
    names = ["path_gains", "tx_power", "rx_gain", "tx_drive", "drift"]
    assert written == ["page.html", *(f"figures/{name}.png" for name in names)]
    page = (workdir / "page.html").read_text()
    assert page.count("data:image/png;base64,") == len(names)
    assert "http" not in page.replace("http-equiv", "")  # all of it is inside
    for text in (SERIAL, "other", "carrier offset (Hz)", "−0.000400"):
        assert text in page
    for name in names:
        ink = np.array(Image.open(workdir / f"figures/{name}.png").convert("L"))
        assert (ink < 200).mean() > 0.005
    # One profile by its file, and what was before it by its own.
    assert len(told(airmeta, "show", profile, "--png", "figures")["written"]) == len(names)
    (before,) = (workdir / "profiles/history").iterdir()
    written = told(airmeta, "show", before, "--png", "figures")["written"]
    assert "figures/drift.png" not in written


def test_what_changed_in_units_and_in_doubts(airmeta, workdir, profile):
    (before,) = (workdir / "profiles/history").iterdir()
    found = {one["name"]: one for one in told(airmeta, "diff", before, profile)["changes"]}
    change = found["path_gain"]
    assert change["change"] == pytest.approx(0.2)
    assert change["uncertainty"] == pytest.approx(np.hypot(0.05, 0.05))
    assert change["doubts"] == pytest.approx(0.2 / np.hypot(0.05, 0.05))
    assert (change["verdict"], found["cfo"]["verdict"]) == ("changed", "same")
    assert found["tx_power"]["change"] == pytest.approx(0.2)
    code, out, _ = airmeta("calibrate", "diff", before, profile)
    assert code == 0
    assert "all within tolerance" in out
    assert max(map(len, out.splitlines())) <= 80


def test_what_exceeds_its_tolerance_ends_with_1(airmeta, workdir, profile):
    later = kept_profile(workdir / "later", level_db=0.75, measured_at=MEASURED + timedelta(days=1))
    found = told(airmeta, "diff", profile, later, code=1)["changes"]
    exceeding = {one["name"] for one in found if one["verdict"] == "exceeds"}
    assert exceeding == {"tx_gain_error", "path_gain", "tx_power"}
    code, out, _ = airmeta("calibrate", "diff", profile, later)
    assert code == 1
    assert "beyond tolerance: gain error, transmitter, path gain" in " ".join(out.split())


def test_a_curve_is_compared_where_it_moved_most():
    old = made_profile()
    curve = old.curves["tx_power"]
    moved = list(curve.values)
    moved[curve.settings.index(-20.0)] += 0.3
    values = {**old.curves, "tx_power": replace(curve, values=tuple(moved))}
    new = replace(old, curves=values, scalars={"cfo": Estimate(1.0, 1.0, "Hz")})
    found = {one.name: one for one in changes(old, new)}
    assert found["tx_power"].setting == -20.0
    assert found["tx_power"].difference.value == pytest.approx(0.3)
    assert found["skew"].verdict == "only old"
    assert not found["skew"].exceeds
