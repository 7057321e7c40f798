"""What the manifest of a run folder says it was begun, and gone on, with."""

import json

import pytest

from testbed import experiment_file, run_folder
from testbed.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path):
    run = RunFolder(tmp_path, experiment_file.read("lab").config([]))
    run.create(7)
    return run


def manifest(folder):
    return json.loads((folder.path / "manifest.json").read_text())


def test_profiles_that_were_made_anew_in_mid_run_are_told(folder):
    assert "calibration_sha256" not in manifest(folder)
    for name in ("one", "one", "other", "other", "one"):
        folder.note_calibration({"d0.json": name})
        folder.create(7)
    said = manifest(folder)
    assert said["calibration_sha256"] == {"d0.json": "one"}
    later = [one["calibration_sha256"]["d0.json"] for one in said["resumed_with"]]
    assert later == ["other", "one"]
    assert said["dim"] == 7


def test_every_other_revision_that_a_run_went_on_with_is_told(folder, monkeypatch):
    for revision in ("b", "b", "c"):
        monkeypatch.setattr(run_folder, "git_revision", lambda now=revision: now)
        folder.create(7)
    assert [one["git_revision"] for one in manifest(folder)["resumed_with"]] == ["b", "c"]
