from itertools import count

import numpy as np
import pytest

from fl_core.errors import InputError
from radio.api import Capture, RadioSettings
from radio.drivers.loopback import LoopbackRadio
from radio.recording import RecordingRadio
from radio.sigmf import read_sigmf
from testbed.lab.limits import stated_limits
from testbed.lab.listening import PIECE, fresh, record, recording_place
from testbed.lab.tone import Tone, send


def never():
    return False


def heard(folder, n, stop, hz=123_456.7):
    """What comes out of a radio that sends a tone, and what it says of it."""
    radio = RecordingRadio(LoopbackRadio())
    radio.configure(RadioSettings(tx_gain_db=-6.0))
    with radio.into(folder / "tone"):
        sent = send(radio, Tone(hz, -6.0), n, stop)
    samples = np.fromfile(read_sigmf(folder / "tone.sigmf-meta").data, "<c8")
    return sent, samples


def test_a_tone_of_many_bursts_has_no_seam(tmp_path):
    n = 900_000  # four bursts
    sent, samples = heard(tmp_path, n, never)
    assert (sent.samples, sent.clipped, sent.applied_gain_db) == (n, 0, -6.0)
    exact = 10 ** (-12 / 20) * np.exp(2j * np.pi * 0.1234567 * np.arange(n))
    np.testing.assert_allclose(samples, exact, atol=1e-6)


def test_a_tone_that_is_stopped_is_shorter(tmp_path):
    looks = count()
    sent, samples = heard(tmp_path, 10_000_000, lambda: next(looks) > 12)
    assert 0 < samples.size <= sent.samples < 1_500_000


class StreamingRadio(LoopbackRadio):
    """Gives what it heard since it was opened, a sample a second, and knows no hurry."""

    def __init__(self, since):
        super().__init__()
        self.present, self.asked = since, []

    def now(self):
        return max(self.present, super().now())

    def receive(self, n, at=None):
        self.asked.append(n)
        return Capture(np.ones(n, np.complex64), super().receive(n, at).first_sample, 0)


@pytest.mark.parametrize("since", [0, 1, 500, 1000, 1001, 250_000])
def test_what_is_fresh_is_not_older_than_the_question(since):
    radio = StreamingRadio(since)
    capture = fresh(radio, 1000)
    assert capture.iq.size == 1000
    assert since <= capture.first_sample < since + 1000
    assert len(radio.asked) <= 3


def test_a_recording_begins_fresh_and_goes_on_without_a_gap(tmp_path):
    radio = StreamingRadio(70_000)
    levels = record(radio, tmp_path / "x", PIECE + 1000, never)
    recording = read_sigmf(tmp_path / "x.sigmf-meta")
    assert levels.samples == PIECE + 1000
    first, second = recording.segments
    assert first.first_sample >= 70_000
    assert second.first_sample == first.end
    assert second.length == 1000


def test_a_recording_that_is_stopped_keeps_what_it_has(tmp_path):
    levels = record(LoopbackRadio(), tmp_path / "x", 10 * PIECE, lambda: True)
    assert levels.samples == PIECE
    assert read_sigmf(tmp_path / "x.sigmf-meta").segments[-1].length == PIECE


@pytest.mark.parametrize("name", ["x", "x.sigmf-meta", "x.sigmf-data"])
def test_a_recording_has_a_place_of_its_own(tmp_path, name):
    assert recording_place(tmp_path / name) == tmp_path / "x"
    (tmp_path / "x.sigmf-data").write_bytes(b"")
    with pytest.raises(InputError, match=r"x\.sigmf-data: exists"):
        recording_place(tmp_path / name)
    with pytest.raises(InputError, match="no such folder"):
        recording_place(tmp_path / "none" / name)


def test_limits_are_stated_one_way():
    limits = stated_limits("902e6:928e6", None, -20.0, 3.0)
    assert (limits.bands[0].low, limits.bands[0].high) == (902e6, 928e6)
    assert (limits.max_tx_gain_db, limits.max_burst_s) == (-19.5, 3.0)  # the step beside it
    assert stated_limits(None, "five-machines", 0.0, 3.0).max_tx_gain_db == -10.0
    for band, bench, says in (
        (None, None, "nothing is sent without limits"),
        ("902e6:928e6", "virtual", "nothing is sent without limits"),
        (None, "virtual", "virtual.yaml: has no limits"),
        (None, "nowhere", "bench 'nowhere'"),
        ("902e6", None, "--band 902e6: should be LOW:HIGH"),
        ("a:b", None, "--band a:b: could not convert"),
        ("928e6:902e6", None, "a band goes up"),
        ("nan:1e9", None, "a band goes up"),
    ):
        with pytest.raises(InputError, match=says):
            stated_limits(band, bench, -20.0, 3.0)
