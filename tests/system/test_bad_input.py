"""Every mistake: exit code 2, one clear message, nothing written."""

import shutil

import pytest

from testbed.run_folder import RunFolder


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("channel.snr_bd=3", "command line: channel.snr_bd: unknown key; did you mean"),
        ("rounds=many", "command line: rounds: input should be a valid integer, got 'many'"),
        ("channel.snr_db=loud", "channel.snr_db: input should be a valid number, got 'loud'"),
        ("sparsifier.k=100000", "sparsifier.k = 100000 exceeds the model's 321 parameters"),
        ("compression.num_symbols=0", "compression.num_symbols: input should be greater than or"),
        ("compression.num_symbols=99999", "compression.num_symbols = 99999 exceeds the model's"),
        ("devices.num_active=99", "devices: num_active = 99 exceeds num_devices = 12"),
        ("task.family=omnigloth", "did you mean omniglot?"),
    ],
)  # fmt: skip
def test_wrong_settings(refused, override, message):
    assert message in refused("run", "small.yaml", override)


def test_too_few_drawings(refused):
    message = refused("run", "demo", "task.shots=10", "task.queries=11")
    assert "shots + queries = 10 + 11 exceeds the 20 drawings" in message


def test_missing_data_folder(refused):
    message = refused("run", "omniglot-5w1s", "task.data=nowhere")
    assert "nowhere" in message
    assert "airmeta data omniglot" in message


def test_truncated_archive(refused, workdir):
    data = workdir / "data"
    data.mkdir()
    for name in ("images_background.zip", "images_evaluation.zip"):
        (data / name).write_bytes(b"PK\x03\x04 not a whole archive")
    message = refused("run", "omniglot-5w1s", f"task.data={data}")
    assert "images_background.zip" in message


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_corrupt_checkpoint(airmeta, refused, workdir, damage):
    airmeta("run", "small.yaml", "--out", "a")
    (workdir / "a" / "summary.json").unlink()
    checkpoint = workdir / "a" / "checkpoint.npz"
    whole = checkpoint.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :]
    checkpoint.write_bytes(
        {"truncated": whole[:-100], "flipped": flipped, "empty": b"", "text": b"hello"}[damage]
    )
    message = refused("run", "small.yaml", "--out", "a", "--resume")
    assert "checkpoint.npz: the checkpoint is damaged" in message
    assert "checkpoint.npz" in refused("evaluate", "a")


@pytest.mark.parametrize("complete", [True, False])
def test_run_folder_of_another_configuration(airmeta, refused, workdir, complete):
    airmeta("run", "small.yaml", "--out", "a")
    if not complete:
        (workdir / "a" / "summary.json").unlink()
    message = refused("run", "small.yaml", "seed=5", "--out", "a", "--resume")
    assert "a: holds a run of another configuration" in message


def test_folder_in_use_needs_resume(airmeta, refused):
    airmeta("run", "small.yaml", "--out", "a")
    assert "add --resume to go on" in refused("run", "small.yaml", "--out", "a")


def test_unwritable_output_folder(refused, workdir):
    (workdir / "file").write_text("")
    assert "file" in refused("run", "small.yaml", "--out", "file/under")
    assert "file: is a file" in refused("run", "small.yaml", "--out", "file")
    assert "cannot be written" in refused("run", "small.yaml", "--out", "/proc/airmeta")


def test_unknown_experiment(refused):
    assert "did you mean demo?" in refused("run", "dmo")


def test_folders_that_are_no_runs(refused, workdir):
    (workdir / "empty").mkdir()
    for command in ("report", "evaluate"):
        assert "empty" in refused(command, "empty")
        assert "nowhere" in refused(command, "nowhere")


def test_resume_without_a_run(refused):
    assert "there is no run to resume" in refused("run", "small.yaml", "--resume")


def test_divergence_is_named(airmeta, workdir):
    code, _, err = airmeta("run", "small.yaml", "scheme=ideal", "learner.meta_lr=1e30")
    assert code == 2
    assert "learner.meta_lr" in err


def test_sweeps(refused, airmeta, workdir):
    assert "nothing to sweep" in refused("sweep", "small.yaml")
    assert "valid number" in refused("sweep", "small.yaml", "channel.snr_db=10,loud")
    assert "exceeds the model" in refused("sweep", "small.yaml", "sparsifier.k=5,100000")
    (workdir / "s").mkdir()
    (workdir / "s" / "notes.txt").write_text("mine")
    assert "is not empty" in refused("sweep", "small.yaml", "seed=0,1", "--out", "s")
    shutil.rmtree(workdir / "s")


def test_wrong_command_line(airmeta, workdir):
    assert airmeta("run")[0] == 2
    assert airmeta("fly")[0] == 2
    assert airmeta("evaluate", ".", "--tasks", "many")[0] == 2


def test_a_second_writer_is_refused(airmeta, workdir):
    airmeta("run", "small.yaml", "--out", "a")
    with RunFolder(workdir / "a", None).held():
        code, _, err = airmeta("run", "small.yaml", "--out", "a", "--resume", "rounds=8")
        # A complete run is only read; an incomplete one would be written.
        assert code == 0, err
        (workdir / "a" / "summary.json").unlink()
        code, _, err = airmeta("run", "small.yaml", "--out", "a", "--resume")
    assert code == 2
    assert "another process is writing this run" in err


def test_resuming_in_a_folder_that_is_no_run(refused, workdir):
    (workdir / "mine").mkdir()
    (workdir / "mine" / "config.yaml").write_text("precious: true\n")
    assert "is not empty and no run" in refused("run", "small.yaml", "--out", "mine", "--resume")


@pytest.mark.parametrize("damage", ["gone", "hole", "list"])
def test_rows_missing_before_the_checkpoint(airmeta, refused, workdir, damage):
    airmeta("run", "small.yaml", "--out", "a")
    (workdir / "a" / "summary.json").unlink()
    rows = workdir / "a" / "rounds.jsonl"
    lines = rows.read_text().splitlines(keepends=True)
    rows.write_text({"gone": "", "hole": "".join(lines[:2] + lines[3:]), "list": "[]\n"}[damage])
    message = refused("run", "small.yaml", "--out", "a", "--resume")
    assert "rounds.jsonl: should hold the 8 rounds before the checkpoint" in message


@pytest.mark.parametrize(
    "override",
    [
        "model.device=nope",
        "channel.snr_db=-4000",
        "channel.rician_k_db=4000",
        "channel.path_loss_spread_db=4000",
        "receiver.fail_above_nmse_db=4000",
        "power.limit=1e300",
        "references=[ideal, ideal]",
        "model.activation=sigmoid",
    ],
)
def test_settings_out_of_reason(refused, override):
    assert override.partition("=")[0].split(".")[-1] in refused("run", "small.yaml", override)


def test_checkpoint_and_configuration_must_belong_together(airmeta, refused, workdir):
    airmeta("run", "small.yaml", "--out", "a")
    config = workdir / "a" / "config.yaml"
    config.write_text(config.read_text().replace("width: 16", "width: 17"))
    assert "is not the configuration of checkpoint.npz" in refused("evaluate", "a")


def test_a_reference_that_diverges_does_not_cost_the_report(airmeta, workdir):
    code, _, err = airmeta(
        "run", "small.yaml", "references=[local]", "local.lr=1000", "local.steps=50", "--out", "a"
    )
    assert code == 2
    assert "local.lr = 1000" in err
    assert (workdir / "a" / "report.html").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["devices.num_devices=200", "devices.num_active=101"],
            "devices.num_active = 101: uplink = iq has pilots for at most 100",
        ),
        (["power.limit=2"], "power.limit should stay 1 with uplink = iq; iq.backoff_db"),
        (["channel.csi_phase_error_deg=3"], "channel.csi_phase_error_deg and csi_gain_error_db"),
        (["channel.csi_gain_error_db=1"], "are for uplink = symbol"),
        (["iq.delays_s=[0, 1e-6]"], "iq: delays_s has 2 taps and powers_db 1"),
        (["iq.powers_db=[0, -3]"], "iq: delays_s has 1 taps and powers_db 2"),
        (["iq.delays_s=[1e-6, 0]", "iq.powers_db=[0, 0]"], "iq: delays_s should ascend"),
        (["iq.delays_s=[1e-6, 1e-6]", "iq.powers_db=[0, 0]"], "iq: delays_s should ascend"),
        (["iq.delays_s=[0, 2e-5]", "iq.powers_db=[0, 0]"], "iq.delays_s.1: input should be less"),
        (["iq.delays_s=[]", "iq.powers_db=[]"], "iq: delays_s has 0 taps and powers_db 0"),
        (["iq.delays_s=[.nan]"], "iq.delays_s.0: input should be less than or equal to"),
        (["iq.powers_db=[.nan]"], "iq.powers_db.0: input should be less than or equal to"),
        (["iq.preset=pluto"], "iq.preset: 'pluto' is not one of ideal, cabled-shared-clock"),
        (["iq.carrier_hz=.nan"], "iq.carrier_hz: input should be less than or equal to"),
        (["iq.carrier_hz=1"], "iq.carrier_hz: input should be greater than or equal to"),
        (["iq.backoff_db=.nan"], "iq.backoff_db: input should be less than or equal to 40"),
        (["iq.control_s=-1"], "iq.control_s: input should be greater than or equal to 0"),
        (["iq.turnaround_s=.inf"], "iq.turnaround_s: input should be less than or equal to 10"),
        (["iq.sync_beacons=0"], "iq.sync_beacons: input should be greater than or equal to 1"),
        (["iq.sync_beacons=1.5"], "iq.sync_beacons: input should be a valid integer"),
        (["iq.offset_ppm=30"], "iq.offset_ppm: input should be less than or equal to 25"),
        (["iq.allan_deviation=.nan"], "iq.allan_deviation: input should be less than or equal"),
        (["iq.spread.path_loss_db=-1"], "iq.spread.path_loss_db: input should be greater than or"),
        (["iq.spread.dc=1"], "iq.spread.dc: input should be less than or equal to 0.3"),
        (
            ["iq.spread.iq_gain=1"],
            "iq.spread.iq_gain: unknown key; did you mean iq.spread.iq_gain_db",
        ),
        (["iq.temperature.over_s=0"], "iq.temperature.over_s: input should be greater than 0"),
        (["iq.temperature.ppm_per_k=1"], "iq.temperature.ppm_per_k = 1: oscillators would be off"),
        (["iq.doppler_hz=-1"], "iq.doppler_hz: input should be greater than or equal to 0"),
        (["iq.turnaround=1"], "iq.turnaround: unknown key; did you mean iq.turnaround_s"),
        (["uplink=samples"], "uplink: 'samples' is not one of symbol, iq"),
    ],
)
def test_wrong_settings_of_the_air(refused, overrides, message):
    assert message in refused("run", "small.yaml", "uplink=iq", *overrides)


def test_only_samples_are_recorded(refused):
    assert "record keeps samples; it needs uplink = iq" in refused(
        "run", "small.yaml", "record=true"
    )
