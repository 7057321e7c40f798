"""`airmeta radio list|info|tone|capture|spectrum` over radios of this process."""

import json
from itertools import count
from signal import SIGINT, raise_signal

import numpy as np
import pytest

from radio.registry import open_radio
from radio.sigmf import read_sigmf
from testbed import radio_command

BAND = ("--band", "902e6:928e6")
AIRS = count()


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    """80 columns, wherever the tests run."""
    monkeypatch.setattr(radio_command.console, "_width", 80)


@pytest.fixture
def air():
    """URIs of two radios that hear each other, with noise 30 dB below full scale."""
    name = f"lab{next(AIRS)}"
    return [f"sim://{name}?name={radio}&devices=1&seed=3" for radio in ("d0", "rx")]


def told(airmeta, *arguments):
    """What the command prints for programs."""
    code, out, err = airmeta("radio", *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_info_of_any_radio(airmeta, air):
    about = told(airmeta, "info", "loopback://")
    assert about["settings"]["carrier_hz"] == 915e6
    assert about["caps"]["tx_gain_db"] == {"low": -90.0, "high": 0.0}
    assert about["about"] == {}
    code, out, _ = airmeta("radio", "info", air[0])
    assert code == 0
    for text in ("sim d0", "24 bits", "915,000,000", "-90 to 30"):
        assert text in out
    assert max(map(len, out.splitlines())) <= 80


def test_a_tone_is_heard_as_it_was_sent_and_ends(airmeta, air):
    sender, listener = air
    with open_radio(listener) as radio:
        sent = told(
            *(airmeta, "tone", sender, "--hz", "-2e5", "--level-db", "-6", "--gain-db", "0"),
            *("--seconds", "0.4", *BAND),
        )
        heard = radio.receive(500_000, at=0).iq
    assert (sent["samples"], sent["clipped"], sent["applied_gain_db"]) == (400_000, 0, 0.0)
    phases = np.exp(2j * np.pi * 0.2 * np.arange(400_000))
    amplitude = np.vdot(phases.conj(), heard[:400_000]) / phases.size  # of −200 kHz, all coherent
    assert 20 * np.log10(abs(amplitude)) == pytest.approx(-6, abs=0.05)
    assert 10 * np.log10(np.mean(np.abs(heard[400_010:]) ** 2)) == pytest.approx(-30, abs=0.2)


def test_a_capture_is_a_recording_of_what_is_heard(airmeta, refused, air, workdir):
    said = told(airmeta, "capture", air[1], "-n", 40_000, "--gain-db", "10", "--to", "noise")
    assert said["recording"] == "noise.sigmf-meta"
    assert (said["samples"], said["clipped"], said["lost"]) == (40_000, 0, 0)
    recording = read_sigmf(workdir / "noise.sigmf-meta")
    samples = np.fromfile(recording.data, "<c8")
    assert samples.size == 40_000
    assert recording.segments[0].settings.rx_gain_db == 10.0
    power = np.mean(np.abs(samples.astype(np.complex128)) ** 2)
    assert said["rms_dbfs"] == pytest.approx(10 * np.log10(power))
    assert said["rms_dbfs"] == pytest.approx(-20, abs=0.2)
    assert "noise.sigmf-meta: exists" in refused("radio", "capture", air[1], "--to", "noise")
    # What was recorded is a radio again, from its first sample on.
    again = told(
        airmeta, "capture", "file://noise.sigmf-meta", "-n", 40_000, "--to", "again.sigmf-data"
    )
    assert again["rms_dbfs"] == said["rms_dbfs"]
    assert (workdir / "again.sigmf-data").read_bytes() == recording.data.read_bytes()


def test_a_spectrum_once(airmeta, air, workdir):
    seen = told(airmeta, "spectrum", air[1], "--png", "s.png", "--bins", 512)
    # The noise of 1 MHz lies 30 dB below full scale.
    density = seen["floor_dbfs"] - 10 * np.log10(seen["resolution_hz"])
    assert density == pytest.approx(-90, abs=0.2)
    assert seen["resolution_hz"] == pytest.approx(1.5e6 / 512)
    assert (workdir / "s.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = airmeta("radio", "spectrum", air[1])  # no terminal: once
    assert code == 0
    assert "915.000000 MHz, 1 MS/s, gain 0 dB" in out
    assert max(map(len, out.splitlines())) <= 80


def test_silence_is_shown_too(airmeta):
    seen = told(airmeta, "spectrum", "loopback://", "--gain-db", "3")
    assert seen["peak"] is seen["rms_dbfs"] is seen["floor_dbfs"] is None
    assert seen["settings"]["rx_gain_db"] == 3.0


def test_a_live_spectrum_ends_with_ctrl_c(airmeta, monkeypatch):
    monkeypatch.setattr(radio_command.console, "_force_terminal", True)
    looks = []

    def wait(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            raise_signal(SIGINT)

    monkeypatch.setattr(radio_command.time, "sleep", wait)
    code, out, _ = airmeta("radio", "spectrum", "loopback://")
    assert (code, len(looks)) == (0, 3)
    assert "peak beside DC" in out


TONE = ("radio", "tone", "loopback://")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (TONE, "nothing is sent without limits"),
        ((*TONE, *BAND, "--carrier-hz", "901e6"), "900500000 to 901500000 Hz would be occupied"),
        ((*TONE, *BAND, "--gain-db", "1"), "tx_gain_db = 1 is outside -90 to 0"),
        ((*TONE, *BAND, "--hz", "500e3"), "--hz 500000: should be within half"),
        ((*TONE, *BAND, "--hz", "nan"), "--hz nan: should be within half"),
        ((*TONE, *BAND, "--level-db", "1"), "--level-db 1: should be -120 to 0"),
        ((*TONE, *BAND, "--seconds", "inf"), "--seconds inf: should be above 0"),
        ((*TONE, "--bench", "five-machines"), "10000000 samples without a pause exceed"),
        (
            (*TONE, "--bench", "five-machines", "--seconds", "1", "--gain-db", "-5"),
            "tx_gain_db = -5 exceeds the bench's -10",
        ),
        (("radio", "capture", "loopback://", "--to", "no/x"), "no: there is no such folder"),
        (
            ("radio", "capture", "loopback://", "--to", "x", "-n", "5", "--seconds", "1"),
            "--seconds and -n say the same",
        ),
        (("radio", "capture", "loopback://", "--to", "x", "-n", "0"), "-n 0: should be 1 or more"),
        (("radio", "spectrum", "loopback://", "--bins", "9"), "--bins 9 of -n 65536 samples"),
        (("radio", "spectrum", "loopback://", "-n", "64"), "--bins 1024 of -n 64 samples"),
        (("radio", "spectrum", "loopback://", "--png", "no/x.png"), "no: there is no such folder"),
        (("radio", "spectrum", "loopback://", "--png", "."), ".: cannot be written"),
        (("radio", "info", "lopback://"), "the nearest is 'loopback'"),
        (("radio", "list", "loopback://"), "loopback:// is none of pluto://"),
    ],
)
def test_mistakes(refused, arguments, says):
    assert says in refused(*arguments)


def test_a_recording_does_not_send(airmeta, refused):
    airmeta("radio", "capture", "loopback://", "-n", "50", "--to", "x")
    assert "only receives" in refused("radio", "tone", "file://x.sigmf-meta", *BAND)
