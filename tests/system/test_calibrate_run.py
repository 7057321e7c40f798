"""`airmeta calibrate run` over virtual airs of this process."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from signal import SIGINT, raise_signal

import numpy as np
import pytest
from conftest import tree
from profiles_made import kept_profile

from calibration.profiles.profile_folder import ProfileFolder
from calibration.profiles.told import serial_of
from radio.api import RadioError, RadioSettings
from radio.registry import open_radio
from sim_fallback.sim_radio import SimRadio
from testbed import calibrate_run, experiment_file
from testbed.calibrating.lineups import Wanted, of_experiment
from testbed.held_folder import held

AIRS = count()
BENCH = """
devices: {num_devices: 2, num_active: 2, num_new: 4}
channel: {fading: awgn, snr_db: 30}
iq: {spread: {path_loss_db: 20, gain_error_db: 2}}
uplink: iq
"""
FOR_PLAN = ("rx_gain", "tx_gain", "noise", "path_gain")


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    """80 columns, wherever the tests run."""
    for console in (calibrate_run.console, calibrate_run.messages):
        monkeypatch.setattr(console, "_width", 80)


@pytest.fixture
def bench(workdir):
    """A file of an experiment with two devices, 20 dB apart."""
    small = (workdir / "small.yaml").read_text()
    kept = [line for line in small.splitlines() if not line.startswith("devices:")]
    (workdir / "bench.yaml").write_text("\n".join([*kept, BENCH]))
    return ("--experiment", "bench.yaml")


@pytest.fixture
def pair():
    """Two radios of a plain air, with what states that they may send."""
    name = f"alone{next(AIRS)}"
    uris = [f"sim://{name}?name={radio}&devices=1&seed=3" for radio in ("d0", "rx")]
    return ("--sender", uris[0], "--receiver", uris[1], "--band", "902e6:928e6", "--gain-db", "0")


def only(*names):
    return [text for name in names for text in ("--only", name)]


def run(airmeta, *arguments, code=0):
    """What the command prints for programs."""
    found, out, err = airmeta("calibrate", "run", *arguments, "--json")
    assert found == code, (out, err)
    return json.loads(out)


def profiles(folder="profiles"):
    return {path.name: path.read_bytes() for path in folder.glob("*.json")}


class InAnHour(datetime):
    """A profile takes the place of one that is a second older."""

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(hours=1)


def test_a_bench_is_planned_so_that_both_arrive_alike(airmeta, workdir, bench, monkeypatch):
    said = run(airmeta, *bench, *only(*FOR_PLAN))
    assert len(said["profiles"]) == 3
    assert said["failures"] == {}
    plan = json.loads((workdir / "profiles/power/plan.json").read_text())
    gains = {one["name"]: one["tx_gain_db"] for one in plan["devices"]}
    assert abs(gains["d0"] - gains["d1"]) > 15
    # What is heard with these gains, by the samples alone.
    config = experiment_file.read("bench.yaml").config([])
    with of_experiment(config, [], Wanted()) as lineup:
        for name, gain_db in gains.items():
            with lineup.opened(name) as (sender, receiver):
                sender.configure(replace(sender.settings, tx_gain_db=gain_db))
                receiver.configure(replace(receiver.settings, rx_gain_db=plan["rx_gain_db"]))
                tone = 10 ** (-plan["backoff_db"] / 20) * np.exp(0.2j * np.pi * np.arange(20_000))
                sender.transmit(tone.astype(np.complex64), sender.now() + 60_000)
                heard = receiver.receive(200_000).iq
            power = np.mean(np.abs(heard[np.abs(heard) > np.abs(heard).max() / 2]) ** 2)
            assert 10 * np.log10(power) == pytest.approx(plan["target_dbfs"], abs=0.3)
    # Recordings lie beside the profiles, which know them.
    assert airmeta("calibrate", "check")[0] == 0
    names = {path.name for path in (workdir / "profiles/captures").glob("*/*.sigmf-meta")}
    assert names == {f"{name}.sigmf-meta" for name in FOR_PLAN}
    assert not list((workdir / "profiles/sessions").iterdir())
    # Later only the paths are measured; the rest stays, and so does how long it holds.
    before = {one.serial: one for one in ProfileFolder(workdir / "profiles").all()}
    monkeypatch.setattr(calibrate_run, "datetime", InAnHour)
    run(airmeta, *bench, *only("path_gain"), "--device", "d1", "--no-recordings")
    after = {one.serial: one for one in ProfileFolder(workdir / "profiles").all()}
    changed = {serial for serial, one in after.items() if one != before[serial]}
    assert {serial[-2:] for serial in changed} == {"d1"}
    (serial,) = changed
    assert after[serial].curves == before[serial].curves
    assert abs(after[serial].expires_at - before[serial].expires_at) < timedelta(seconds=1)
    assert len(list((workdir / "profiles/history").iterdir())) == 1


def test_what_would_be_done_and_for_how_long(airmeta, workdir, bench):
    before = tree(workdir)
    said = run(airmeta, *bench, "--plan")
    assert said["devices"] == ["d0", "d1"]
    assert {"rx_gain", "frequency", "mixers", "path_gain"} <= said["steps"].keys()
    assert all(0 < seconds < 100 for seconds in said["steps"].values())
    assert "about" in airmeta("calibrate", "run", *bench, "--dry-run")[1]
    assert tree(workdir) == before


def test_ctrl_c_keeps_what_is_done_and_the_next_goes_on(airmeta, workdir, pair, monkeypatch):
    show = calibrate_run.Bars.show

    def interrupted(bars, device, status):
        if status.name == "path_gain":
            raise_signal(SIGINT)
        show(bars, device, status)

    steps = only("delay", "path_gain")
    with monkeypatch.context() as patched:
        patched.setattr(calibrate_run.Bars, "show", interrupted)
        code, out, err = airmeta("calibrate", "run", *pair, *steps)
    assert code == 130
    assert "the same command goes on" in " ".join(err.split())
    assert not profiles(workdir / "profiles")
    _, out, _ = airmeta("calibrate", "run", *pair, *steps)
    assert "path_gain" in out.split("into profiles")[1]
    assert "radio: delay," not in out
    (profile,) = profiles(workdir / "profiles").values()
    assert {"delay_jitter", "path_gain"} <= json.loads(profile)["scalars"].keys()


@pytest.fixture
def measured(workdir, pair):
    """A profile of the sender in force, of three days ago."""
    with open_radio(pair[1]) as radio:
        kept_profile(workdir / "profiles", serial=serial_of(radio))
    return profiles(workdir / "profiles")


def test_a_radio_that_is_lost_leaves_the_profile_as_it_was(
    airmeta, workdir, pair, measured, monkeypatch
):
    require_open, asked = SimRadio._require_open, count()

    def lost(radio):
        if next(asked) > 100:
            raise RadioError(f"{radio.caps.name} is gone")
        require_open(radio)

    monkeypatch.setattr(SimRadio, "_require_open", lost)
    code, out, err = airmeta("calibrate", "run", *pair, *only("delay", "path_gain"))
    assert code == 2, (out, err)
    assert "is gone" in " ".join(err.split())
    assert "Traceback" not in err
    assert profiles(workdir / "profiles") == measured


def test_one_calibration_of_a_folder_at_a_time(airmeta, workdir, pair, measured):
    with held(workdir / "profiles", "calibration"):
        code, _, err = airmeta("calibrate", "run", *pair, *only("path_gain"))
    assert code == 2
    assert "profiles: another process is writing this calibration" in " ".join(err.split())
    assert profiles(workdir / "profiles") == measured


def test_one_deaf_path_does_not_keep_the_others(airmeta, workdir, bench):
    far = ("channel.snr_db=-40", "iq.spread.path_loss_db=60")
    said = run(airmeta, *bench, *far, *only("path_gain"), code=1)
    ((name, why),) = said["failures"].items()
    assert "path_gain: " in why
    assert "deaf" in why
    assert len(said["profiles"]) == 1
    assert said["plan"] is None
    assert not said["profiles"][0].partition("_")[0].endswith(name)


def test_a_device_that_fails_is_named_before_the_next_begins(airmeta, workdir, bench):
    deaf = ("channel.snr_db=-60", *only("path_gain"))
    code, out, err = airmeta("calibrate", "run", *bench, *deaf)
    assert code == 2
    told = [line.partition(": ") for line in (out + err).splitlines()]
    told = [(who, what) for who, _, what in told if who in ("d0", "d1")]
    assert [who for who, _ in told] == ["d0", "d0", "d1", "d1"]
    assert all("path_gain" in what for _, what in told)
    assert all("deaf" in what for _, what in told[1::2])


def test_what_lies_there_damaged_is_kept_aside_and_foreign_refused(
    airmeta, workdir, pair, measured
):
    ((name, content),) = measured.items()
    path = workdir / "profiles" / name
    path.write_bytes(content[:500])
    code, _, err = airmeta("calibrate", "run", *pair, *only("path_gain"))
    assert code == 0
    assert "nothing is taken from it, and it is kept" in " ".join(err.split())
    (kept,) = (workdir / "profiles/history").glob("*.unreadable")
    assert kept.read_bytes() == content[:500]
    other = kept_profile(workdir / "other", serial="other")
    path.write_bytes(other.read_bytes())
    code, _, err = airmeta("calibrate", "run", *pair, *only("path_gain"))
    assert code == 2
    assert "is of radio other" in " ".join(err.split())
    assert path.read_bytes() == other.read_bytes()
    assert len(list((workdir / "profiles/history").iterdir())) == 1


def test_a_radio_alone_hears_itself(airmeta, workdir):
    alone = ("--sender", "loopback://", "--band", "902e6:928e6", "--gain-db", "-10")
    run(airmeta, *alone, "--loss-db", "0", *only("compression", "delay"), "--to", "cable")
    (profile,) = ProfileFolder(workdir / "cable").all()
    assert {"delay", "delay_jitter"} <= profile.scalars.keys()
    assert "tx_drive" in profile.curves
    assert profile.band.low == 902e6


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"valid_days": 2.5}, "is stale: it held for 2.5 days"),
        ({"settings": RadioSettings(915e6, 2e6, -20.0, 40.0)}, "is not the 2000000 it was"),
    ],
)
def test_nothing_is_taken_from_a_profile_that_does_not_hold(airmeta, workdir, pair, changes, said):
    with open_radio(pair[1]) as radio:
        path = kept_profile(workdir / "profiles", serial=serial_of(radio), **changes)
    before = path.read_bytes()
    code, out, err = airmeta("calibrate", "run", *pair, *only("path_gain"))
    assert code == 0, (out, err)
    assert said in " ".join(err.split())
    # Of what the profile had, only what was measured now is there, and the old one is kept.
    (profile,) = ProfileFolder(workdir / "profiles").all()
    assert profile.curves == {}
    assert "tx_dc_in_phase" not in profile.scalars
    (kept,) = (workdir / "profiles/history").iterdir()
    assert kept.read_bytes() == before


PAIR = ("--sender", "loopback://", "--band", "902e6:928e6")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "what shall be calibrated? state one of --bench"),
        (("--bench", "virtual", "--experiment", "lab"), "state one of --bench"),
        (("rounds=3", "--bench", "virtual"), "rounds=3: settings are for --experiment"),
        (("--bench", "virtual", "--receiver", "loopback://"), "--receiver and --band are for"),
        (("--bench", "virtual", "--device", "d77"), "--device d77: "),
        (("--sender", "loopback://", "--device", "d1"), "--device is for --bench"),
        (("--sender", "loopback://"), "nothing is sent without limits"),
        (("--sender", "lopback://", "--band", "902e6:928e6"), "the nearest is 'loopback'"),
        ((*PAIR, "--only", "delays"), "--only delays: no such procedure; there are rx_gain"),
        ((*PAIR, "--only", "frequency"), "frequency takes two radios"),
        ((*PAIR, "--to", "small.yaml"), "small.yaml: is a file; --to should name a folder"),
        ((*PAIR, "--only", "delay", "--to", "small.yaml/x"), "small.yaml/x: cannot be written"),
        ((*PAIR, "--valid-days", "0"), "--valid-days 0: should be above 0"),
        ((*PAIR, "--carrier-hz", "2e9"), "would be occupied; the bench allows 9.02e+08"),
        (("--experiment", "small.yaml", "scheme=ideal"), "ideal sends no samples"),
    ],
)
def test_mistakes(refused, arguments, says):
    assert says in refused("calibrate", "run", *arguments)
