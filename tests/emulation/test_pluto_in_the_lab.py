"""`airmeta radio` over virtual PlutoSDRs, through the real pyadi-iio and libiio."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.pluto_process import plutos
from sim_fallback.presets import PRESETS
from testbed.cli import main

ROOT = Path(__file__).parents[2]
PACE = 0.25  # of real time: other tests run beside this one
LOSS_DB = 30.0
CARRIER_HZ, TONE_HZ = 915e6, 100e3
PATIENT = "?kernel_buffers=16"  # so that a busy machine loses no samples


@pytest.fixture(scope="module")
def two(adi):
    """URIs of two radios that hear each other."""
    with plutos(2, pace=PACE, loss_db=LOSS_DB) as served:
        yield [f"pluto://{uri}" for uri in served.uris]


@pytest.fixture
def told(monkeypatch, capsys):
    """What `airmeta radio ... --json` says, in this process."""

    def call(*arguments, code=0):
        monkeypatch.setattr(sys, "argv", ["airmeta", "radio", *map(str, arguments), "--json"])
        with pytest.raises(SystemExit) as end:
            main()
        output = capsys.readouterr()
        assert end.value.code == code, output.err
        return json.loads(output.out)

    return call


@pytest.fixture
def sending(two):
    """Another process that sends a tone by the first radio; its lines on stderr."""
    # A gain between two steps: the nearest one may be the higher one.
    words = f"radio tone {two[0]}{PATIENT} --hz {TONE_HZ} --gain-db -40.1 --band 902e6:928e6"
    process = subprocess.Popen(
        [sys.executable, "-m", "testbed", *words.split(), "--seconds", "600"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stderr.readline()
        assert "Ctrl-C ends it" in line, line + process.stderr.read()
        yield process
    finally:
        process.kill()
        process.communicate()


def level_of(seen):
    """Of the strongest line beside DC; without noise there may be none."""
    return seen["peak"]["dbfs"] if seen["peak"] else -np.inf


def test_a_tone_from_one_to_the_other_until_it_is_told_to_end(adi, two, told, sending):
    look = ("spectrum", two[1] + PATIENT, "--gain-db", 30)
    for _ in range(10):  # the tone may still be on its way
        seen = told(*look)
        if level_of(seen) > -60:
            break
    # 7 dBm less 12 and 40, through 30 dB, to a full scale of 6 dBm less a gain of 30.
    assert level_of(seen) == pytest.approx(7 - 12 - 40 - LOSS_DB + 30 - 6, abs=1)
    offsets_ppm = [
        PRESETS["pluto-tcxo"].equip(7, name).oscillator.offset_ppm for name in ("p0", "p1")
    ]
    apart_hz = (offsets_ppm[0] - offsets_ppm[1]) * 1e-6 * CARRIER_HZ
    assert abs(apart_hz) > 1e3
    assert seen["peak"]["offset_hz"] == pytest.approx(TONE_HZ + apart_hz, abs=60)
    sending.terminate()
    out, _ = sending.communicate(timeout=60)
    assert sending.returncode == 130
    assert "dBFS and gain -40 dB, together -52 dB; 0 samples clipped" in out
    left = adi.Pluto(two[0].removeprefix("pluto://"))
    assert left.tx_hardwaregain_chan0 == -89.75
    assert {float(scale) for scale in left.dds_scales} == {0.0}
    assert level_of(told(*look)) < -80


def test_radios_are_found_by_their_address_and_tell_of_themselves(two, told):
    search = told("list", *two)
    assert [found["uri"] for found in search["found"]] == two
    serials = [found["about"]["serial"] for found in search["found"]]
    assert serials == ["airmeta-7-p0", "airmeta-7-p1"]
    assert search["gaps"] == []
    about = told("info", two[1])["about"]
    assert about.keys() == search["found"][1]["about"].keys()
    assert about["firmware"] == "virtual"
    assert about["temperature"].endswith(" °C")
    one = told("list", two[0], "pluto://ip:127.0.0.1:9", code=1)
    assert [gap["place"] for gap in one["gaps"]] == ["pluto://ip:127.0.0.1:9"]


def test_a_capture_holds_nothing_of_the_time_before_it(two, told, tmp_path):
    # As it opens, the radio hears its own probe at half of full scale.
    told("capture", two[1] + PATIENT, "-n", 100_000, "--to", tmp_path / "noise")
    assert np.abs(np.fromfile(tmp_path / "noise.sigmf-data", "<c8")).max() < 0.1
