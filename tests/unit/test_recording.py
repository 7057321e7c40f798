import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import sigmf

from radio.api import Capture, RadioError, RadioSettings
from radio.drivers.loopback import LoopbackRadio
from radio.recording import RecordingRadio


@pytest.fixture
def radio():
    with RecordingRadio(LoopbackRadio()) as radio:
        radio.configure(RadioSettings(915e6, 1e6, -3.0, 7.0))
        yield radio


def noise(n, seed=0):
    rng = np.random.default_rng(seed)
    return (0.1 * (rng.standard_normal(n) + 1j * rng.standard_normal(n))).astype(np.complex64)


def record(radio, path, **fields):
    """Three captures, the last after a gap, with two annotations."""
    radio.receive(1_000)
    radio.transmit(noise(5_000))
    with radio.into(path, **fields) as recording:
        captures = [radio.receive(300), radio.receive(200), radio.receive(400, at=2_000)]
        recording.annotate(2_100, 50, "data", round=3, device="d4", nonce=77)
        recording.annotate(1_250, 100, "beacon", round=np.int64(3))
    return captures


def meta_of(path):
    return json.loads(path.with_name(path.name + ".sigmf-meta").read_text())


def test_a_recording_is_sigmf(radio, tmp_path):
    captures = record(radio, tmp_path / "round.3", run="x", round=3)
    official = sigmf.fromfile(tmp_path / "round.3.sigmf-meta")
    official.validate()
    np.testing.assert_array_equal(
        official.read_samples(), np.concatenate([capture.iq for capture in captures])
    )
    assert official.get_captures()[1]["core:global_index"] == 1_300
    assert official.get_global_info()["core:sample_rate"] == 1e6


def test_the_metadata_say_how_it_was_taken(radio, tmp_path):
    captures = record(radio, tmp_path / "r", run="x", seeds=np.array([1, 2]))
    meta = meta_of(tmp_path / "r")
    data = (tmp_path / "r.sigmf-data").read_bytes()
    assert data == np.concatenate([capture.iq for capture in captures]).astype("<c8").tobytes()
    whole = meta["global"]
    assert whole["core:sha512"] == hashlib.sha512(data).hexdigest()
    assert whole["core:datatype"] == "cf32_le"
    assert [extension["name"] for extension in whole["core:extensions"]] == ["airmeta"]
    assert whole["airmeta:run"] == "x"
    assert whole["airmeta:seeds"] == [1, 2]
    places = [(c["core:sample_start"], c["core:global_index"]) for c in meta["captures"]]
    assert places == [(0, 1_000), (300, 1_300), (500, 2_000)]
    for capture in meta["captures"]:
        assert capture["core:frequency"] == 915e6
        assert capture["airmeta:sample_clock_hz"] == 1e6
        assert capture["airmeta:tx_gain_db"] == -3.0
        assert capture["airmeta:rx_gain_db"] == 7.0
        assert capture["airmeta:overflows"] == 0
    beacon, burst = meta["annotations"]
    # The beacon spans two captures that follow each other: 1250 is sample 250 of the data.
    assert beacon == {
        "core:sample_start": 250,
        "core:sample_count": 100,
        "core:label": "beacon",
        "airmeta:round": 3,
    }
    assert burst["core:sample_start"] == 600
    assert (burst["airmeta:device"], burst["airmeta:nonce"]) == ("d4", 77)


def test_equal_runs_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        with RecordingRadio(LoopbackRadio()) as radio:
            record(radio, tmp_path / name, round=3)
    for suffix in (".sigmf-data", ".sigmf-meta"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_nothing_is_kept_outside_the_context(radio, tmp_path):
    radio.transmit(noise(900))
    radio.receive(100)
    with radio.into(tmp_path / "r"):
        radio.receive(200)
    radio.receive(300)
    assert (tmp_path / "r.sigmf-data").stat().st_size == 200 * 8


def test_names_appear_at_the_end(radio, tmp_path):
    with radio.into(tmp_path / "r"):
        radio.receive(10)
        assert not list(tmp_path.glob("r.*"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.sigmf-data", "r.sigmf-meta"]


def test_samples_are_on_disk_as_they_come(radio, tmp_path):
    with radio.into(tmp_path / "r"):
        radio.receive(1 << 18)
        (unfinished,) = tmp_path.iterdir()
        assert unfinished.stat().st_size >= (1 << 18) * 8


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_exception_leaves_nothing(radio, tmp_path, error):
    with pytest.raises(error), radio.into(tmp_path / "r"):
        radio.receive(100)
        raise error
    assert not list(tmp_path.iterdir())
    record(radio, tmp_path / "r")


def test_an_exception_leaves_the_recording_before_it(radio, tmp_path):
    record(radio, tmp_path / "r", round=1)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ZeroDivisionError), radio.into(tmp_path / "r", round=2):
        radio.receive(1 // 0)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_recording_is_replaced(radio, tmp_path):
    record(radio, tmp_path / "r", round=1)
    with radio.into(tmp_path / "r", round=2):
        radio.receive(70)
    assert meta_of(tmp_path / "r")["global"]["airmeta:round"] == 2
    sigmf.fromfile(tmp_path / "r.sigmf-meta").validate()


def test_no_description_ever_lies_beside_other_samples(radio, tmp_path, monkeypatch):
    record(radio, tmp_path / "r", round=1)
    rename = Path.replace

    def fail_on_the_description(path, target):
        if target.suffix == ".sigmf-meta":
            raise OSError("disk gone")
        assert not (tmp_path / "r.sigmf-meta").exists()
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", fail_on_the_description)
    with pytest.raises(OSError, match="disk gone"), radio.into(tmp_path / "r"):
        radio.receive(70)
    assert [path.name for path in tmp_path.iterdir()] == ["r.sigmf-data"]


@pytest.mark.parametrize(
    ("first", "n"), [(999, 10), (1_495, 10), (1_600, 10), (2_395, 6), (1_400, 700)]
)
def test_what_was_not_recorded_cannot_be_annotated(radio, tmp_path, first, n):
    radio.receive(1_000)
    with radio.into(tmp_path / "r") as recording:
        with pytest.raises(RadioError, match="there are none"):
            recording.annotate(first, n, "early")
        radio.receive(500)
        radio.receive(400, at=2_000)
        with pytest.raises(RadioError, match="there are 1000 to 1499, 2000 to 2399"):
            recording.annotate(first, n, "data")
        with pytest.raises(ValueError, match="at least one sample"):
            recording.annotate(1_000, 0, "data")
    assert meta_of(tmp_path / "r")["annotations"] == []


@pytest.mark.parametrize("value", [float("nan"), object(), 1j, {1, 2}])
def test_fields_are_json(radio, tmp_path, value):
    refused = pytest.raises(ValueError, match=r"field snr = .* does not fit into JSON")
    with refused, radio.into(tmp_path / "r", snr=value):
        pass
    with radio.into(tmp_path / "r") as recording:
        radio.receive(10)
        with pytest.raises(ValueError, match="field snr"):
            recording.annotate(radio.now() - 10, 10, "data", snr=value)


def test_fields_are_kept_as_they_were(radio, tmp_path):
    gains = [1.0, 2.0]
    with radio.into(tmp_path / "r") as recording:
        radio.receive(10)
        recording.annotate(0, 10, "data", gains=gains)
        gains.append(3.0)
    assert meta_of(tmp_path / "r")["annotations"][0]["airmeta:gains"] == [1.0, 2.0]


def test_one_recording_at_a_time(radio, tmp_path):
    with radio.into(tmp_path / "r"):
        with pytest.raises(RadioError, match="already"), radio.into(tmp_path / "s"):
            pass
        radio.receive(10)
    assert (tmp_path / "r.sigmf-data").stat().st_size == 80


def test_the_rate_stays(radio, tmp_path):
    refused = pytest.raises(RadioError, match=r"went from 1e\+06 to 2e\+06")
    with refused, radio.into(tmp_path / "r"):
        radio.receive(10)
        radio.configure(RadioSettings(sample_rate_hz=2e6))
        radio.receive(10)
    assert not list(tmp_path.iterdir())


def test_overflows_and_a_new_carrier_are_noted(tmp_path):
    class LossyRadio(LoopbackRadio):
        def receive(self, n, at=None):
            capture = super().receive(n, at)
            return Capture(capture.iq, np.int64(capture.first_sample), np.int64(5))

    radio = RecordingRadio(LossyRadio())
    with radio.into(tmp_path / "r"):
        radio.receive(10)
        radio.configure(RadioSettings(carrier_hz=868e6))
        radio.receive(10)
    first, second = meta_of(tmp_path / "r")["captures"]
    assert first["airmeta:overflows"] == second["airmeta:overflows"] == 5
    assert (first["core:frequency"], second["core:frequency"]) == (915e6, 868e6)


def test_a_clock_that_goes_back_is_not_recorded(tmp_path):
    class LostRadio(LoopbackRadio):
        def receive(self, n, at=None):
            return Capture(np.zeros(n, np.complex64), 100, 0)

    radio = RecordingRadio(LostRadio())
    refused = pytest.raises(RadioError, match="begins at sample 100, before 110")
    with refused, radio.into(tmp_path / "r"):
        radio.receive(10)
        radio.receive(10)
    assert not list(tmp_path.iterdir())


def test_everything_else_goes_through(radio):
    inner = LoopbackRadio()
    wrapped = RecordingRadio(inner)
    want = RadioSettings(868e6, 2e6, -1.0, 2.0)
    assert wrapped.configure(want) == inner.settings == wrapped.settings == want
    assert wrapped.caps == inner.caps
    wrapped.receive(30)
    assert wrapped.now() == inner.now() == 30
    assert wrapped.transmit(noise(10), at=50).started_at == 50
