"""`airmeta calibrate show|diff|check` over profiles on disk, and `check` over radios."""

import json
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from itertools import count

import numpy as np
import pytest
import yaml
from PIL import Image
from profiles_made import MEASURED, kept_profile, made_profile

from calibration.estimate import Estimate
from calibration.power.plan import GainPlan, Planned
from calibration.power.plan_file import write_plan
from calibration.profiles.told import serial_of, temperature_of
from radio.api import RadioSettings, Range
from radio.registry import open_radio
from testbed import calibrate_command
from testbed.calibrating.difference import changes
from testbed.on_air.calibrated import PLAN

SERIAL = "1044734c9605"
AIRS = count()


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
    names = ["path_gains", "tx_power", "rx_gain", "tx_drive", "backoff", "allan", "drift"]
    assert written == ["page.html", *(f"figures/{name}.png" for name in names)]
    page = (workdir / "page.html").read_text()
    assert page.count("data:image/png;base64,") == len(names)
    assert "http" not in page.replace("http-equiv", "")  # all of it is inside
    for text in (SERIAL, "other", "carrier offset (Hz)", "−0.000400"):
        assert text in page
    for name in names:
        ink = np.array(Image.open(workdir / f"figures/{name}.png").convert("L"))
        assert (ink < 200).mean() > 0.005
    # What was before it stands alone.
    (before,) = (workdir / "profiles/history").iterdir()
    written = told(airmeta, "show", before, "--png", "figures")["written"]
    assert "figures/drift.png" not in written


def test_drift_over_minutes(airmeta, workdir):
    # For which matplotlib, left to itself, finds no unit of its dates; warnings are errors.
    for minutes in (0, 4):
        kept_profile(workdir / "profiles", measured_at=MEASURED + timedelta(minutes=minutes))
    assert "figures/drift.png" in told(airmeta, "show", "--png", "figures")["written"]


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


def test_profiles_by_themselves(airmeta, workdir, profile):
    assert told(airmeta, "check") == {
        "checked": [{"name": profile.name, "serial": SERIAL, "faults": [], "ok": True}]
    }
    kept_profile(workdir / "profiles", serial="stale", measured_at=MEASURED - timedelta(days=60))
    edited = kept_profile(workdir / "profiles", serial="warped")
    edited.write_text(edited.read_text().replace("-98.6", "-99.6"))
    cut = kept_profile(workdir / "profiles", serial="cut")
    cut.write_text(cut.read_text()[:900])
    kept_profile(workdir / "profiles", serial="bare", captures={"captures/x.sigmf-meta": "0" * 64})
    checked = told(airmeta, "check", code=1)["checked"]
    faults = {one["name"].partition("_")[0]: " ".join(one["faults"]) for one in checked}
    assert faults.pop(SERIAL) == ""
    for serial, says in {
        "stale": "is stale: it held for 30 days",
        "warped": "the file was edited or damaged",
        "cut": "broken JSON",
        "bare": "captures.captures/x.sigmf-meta",
    }.items():
        assert says in faults[serial]
    code, out, _ = airmeta("calibrate", "check")
    assert code == 1
    assert out.count(" ok ") == 1
    (workdir / "empty").mkdir()
    assert airmeta("calibrate", "check", "empty")[0] == 1


@pytest.fixture
def bench(workdir):
    """A bench file with a receiver and two devices on an air of this process."""
    air = f"checked{next(AIRS)}"

    def write(**swapped):
        nodes = {
            name: {"name": name, "radio": f"sim://{air}?name={swapped.get(name, name)}&devices=2"}
            for name in ("rx", "d0", "d1")
        }
        content = {
            "name": "checked",
            "coordinator": {"address": "ipc:///tmp/airmeta-checked"},
            "receiver": nodes["rx"],
            "devices": [nodes["d0"], nodes["d1"]],
            "calibration": "profiles",
        }
        (workdir / "bench.yaml").write_text(yaml.safe_dump(content))
        with ExitStack() as stack:
            radios = {
                name: stack.enter_context(open_radio(node["radio"])) for name, node in nodes.items()
            }
            return {name: (serial_of(one), temperature_of(one)) for name, one in radios.items()}

    return write


def faults_of(airmeta, code=1):
    checked = told(airmeta, "check", "--bench", "bench.yaml", code=code)["checked"]
    return {one["name"]: " ".join(one["faults"]) for one in checked}


def test_radios_of_a_bench_have_their_profiles(airmeta, workdir, bench):
    radios = bench()
    faults = faults_of(airmeta)
    assert all("no profile of radio" in fault for fault in faults.values())
    for serial, celsius in radios.values():
        kept_profile(workdir / "profiles", serial=serial, temperature_c=celsius)
    assert set(faults_of(airmeta, code=0).values()) == {""}
    serial, celsius = radios["d1"]
    now = MEASURED + timedelta(seconds=1)
    kept_profile(workdir / "profiles", serial, temperature_c=celsius - 11, measured_at=now)
    faults = faults_of(airmeta)
    assert "the radio is +11 K away from" in faults["d1"]
    assert faults["d0"] == ""


def plan_for(devices, receiver):
    """A plan for devices with these serials."""
    planned = [
        Planned(name, serial, -10.0, 40.0, Range(-40.0, 0.0), 0.25, -80.0, 0.1, "meets", 0.0)
        for name, serial in devices.items()
    ]
    return GainPlan(receiver, 40.0, 10.0, -80.0, -40.0, 20.0, 30.0, tuple(planned), ("said so",))


def test_swapped_devices_are_named(airmeta, workdir, bench):
    radios = bench()
    for serial, celsius in radios.values():
        kept_profile(workdir / "profiles", serial=serial, temperature_c=celsius)
    serials = {name: serial for name, (serial, _) in radios.items()}
    path, receiver = workdir / "profiles" / PLAN, serials.pop("rx")
    path.parent.mkdir()
    write_plan(path, plan_for(serials, receiver))
    assert set(faults_of(airmeta, code=0).values()) == {""}
    assert "profiles" not in airmeta("calibrate", "check", "--bench", "bench.yaml")[1]
    bench(d0="d1", d1="d0")
    faults = faults_of(airmeta)
    assert faults["rx"] == ""
    assert f"has radio {serials['d1']}, which is that of d1: devices were" in faults["d0"]
    assert "which is that of d0: devices were swapped" in faults["d1"]
    # A radio of another bench is foreign, not swapped.
    bench()
    write_plan(path, plan_for(serials | {"d0": SERIAL}, receiver))
    assert f"should have {SERIAL}" in faults_of(airmeta)["d0"]
    path.write_text(path.read_text()[:99])
    assert airmeta("calibrate", "check", "--bench", "bench.yaml")[0] == 2


def test_a_radio_that_does_not_open_is_told_beside_the_others(airmeta, workdir, bench):
    bench()
    text = (workdir / "bench.yaml").read_text().replace("name=d1", "name=d7")
    (workdir / "bench.yaml").write_text(text)
    faults = faults_of(airmeta)
    assert "d7" in faults["d1"]
    assert "no profile" in faults["d0"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "none"), "none: there is no such profile or folder"),
        (("show", "empty"), "empty: holds no profile"),
        (("show", "small.yaml"), "broken JSON"),
        (("show", "--html", "none/page.html"), "none: there is no such folder"),
        (("show", "--png", "small.yaml"), "small.yaml: is a file"),
        (("diff", "own.json", "own.json"), "is the same measurement"),
        (("diff", "own.json", "foreign.json"), "is of radio foreign, not of 1044734c9605"),
        (("diff", "own.json", "edited.json"), "the file was edited or damaged"),
        (("diff", "own.json", "cut.json"), "broken JSON"),
        (("diff", "own.json", "band.json"), "is outside its band"),
        (("diff", "none.json", "own.json"), "none.json: cannot be read"),
        (("check", "none"), "none: there is no such profile or folder"),
        (("check", "--bench", "none.yaml"), "none.yaml"),
    ],
)
def test_mistakes(refused, workdir, profile, arguments, says):
    (workdir / "empty").mkdir()
    foreign = kept_profile(workdir / "other", serial="foreign")
    elsewhere = {"settings": RadioSettings(2.4e9, 1e6), "band": Range(2.4e9, 2.5e9)}
    band = kept_profile(workdir / "other", **elsewhere)
    text = profile.read_text()
    for name, content in {
        "own": text,
        "foreign": foreign.read_text(),
        "band": band.read_text(),
        "edited": text.replace("1830", "1831").replace("-98.6", "-97.6"),
        "cut": text[: len(text) // 2],
    }.items():
        (workdir / f"{name}.json").write_text(content)
    assert says in refused("calibrate", *arguments)
