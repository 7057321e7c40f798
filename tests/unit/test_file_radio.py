import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radio.api import RadioError, RadioSettings
from radio.drivers.loopback import LoopbackRadio
from radio.recording import RecordingRadio
from radio.registry import open_radio

SETTINGS = RadioSettings(868e6, 2e6, -3.0, 7.0)


def uri(folder, name="r"):
    return f"file://{folder / name}.sigmf-meta"


@pytest.fixture(scope="module")
def noise():
    rng = np.random.default_rng(5)
    return (0.1 * (rng.standard_normal(4_000) + 1j * rng.standard_normal(4_000))).astype("c8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, noise):
    """Samples 1000 to 1499 and 2000 to 2399 of noise that begins at sample 0."""
    folder = tmp_path_factory.mktemp("recording")
    with RecordingRadio(LoopbackRadio()) as radio:
        radio.transmit(noise)
        radio.configure(RadioSettings(868e6, 2e6, -3.0, 0.0))
        radio.receive(1_000)
        with radio.into(folder / "r"):
            radio.receive(300)
            radio.receive(200)
            radio.receive(400, at=2_000)
    return folder


@pytest.fixture
def broken(folder, tmp_path):
    """A copy of the recording whose metadata a test changes: `broken(meta)` opens it then."""
    meta = json.loads((folder / "r.sigmf-meta").read_text())
    (tmp_path / "r.sigmf-data").write_bytes((folder / "r.sigmf-data").read_bytes())

    def reopen(meta):
        (tmp_path / "r.sigmf-meta").write_text(json.dumps(meta))
        return open_radio(uri(tmp_path))

    return meta, reopen


def test_a_window_is_as_it_was_recorded(folder, noise):
    radio = open_radio(uri(folder))
    capture = radio.receive(150, at=1_250)  # across two captures that follow each other
    assert (capture.first_sample, capture.overflows) == (1_250, 0)
    np.testing.assert_array_equal(capture.iq, noise[1_250:1_400])
    np.testing.assert_array_equal(radio.receive(400, at=2_000).iq, noise[2_000:2_400])


def test_without_a_time_it_goes_on(folder, noise):
    radio = open_radio(uri(folder))
    assert radio.now() == 1_000
    captures = [radio.receive(n) for n in (100, 400, 250, 150)]
    assert [capture.first_sample for capture in captures] == [1_000, 1_100, 2_000, 2_250]
    heard = np.concatenate([capture.iq for capture in captures])
    np.testing.assert_array_equal(heard, np.concatenate([noise[1_000:1_500], noise[2_000:2_400]]))
    assert radio.now() == 2_400
    with pytest.raises(RadioError, match="samples 2400 to 2400 were not all recorded"):
        radio.receive(1)


@given(cuts=st.lists(st.integers(1, 120), min_size=1, max_size=12))
def test_any_way_of_reading_gives_the_recording(folder, noise, cuts):
    radio = open_radio(uri(folder))
    for n in cuts:
        at = radio.now()
        if at + n > 1_500:
            break
        np.testing.assert_array_equal(radio.receive(n).iq, noise[at : at + n])


@pytest.mark.parametrize(
    ("at", "n"), [(1_400, 101), (1_400, 700), (1_600, 10), (1_999, 1), (2_300, 200), (5_000, 1)]
)
def test_a_window_that_was_not_recorded_is_refused(folder, at, n):
    radio = open_radio(uri(folder))
    with pytest.raises(RadioError, match="there are 1000 to 1499, 2000 to 2399"):
        radio.receive(n, at=at)
    assert radio.now() == 1_000
    assert radio.receive(1).first_sample == 1_000


def test_before_the_recording_is_the_past(folder):
    with pytest.raises(RadioError, match="sample 999 has passed"):
        open_radio(uri(folder)).receive(10, at=999)


def test_settings_come_from_the_file(folder):
    radio = open_radio(uri(folder))
    assert radio.settings == RadioSettings(868e6, 2e6, -3.0, 0.0)
    assert radio.configure(radio.settings) == radio.settings
    assert radio.caps.carrier_hz.low == radio.caps.carrier_hz.high == 868e6
    with pytest.raises(RadioError, match=r"was not made under .*915"):
        radio.configure(RadioSettings(915e6, 2e6, -3.0, 0.0))


def test_settings_are_those_of_the_capture(tmp_path):
    with RecordingRadio(LoopbackRadio()) as radio, radio.into(tmp_path / "r"):
        radio.receive(10)
        radio.configure(RadioSettings(868e6))
        radio.receive(10)
    radio = open_radio(uri(tmp_path))
    assert radio.settings.carrier_hz == 915e6
    radio.receive(10)
    assert radio.settings.carrier_hz == 915e6
    radio.receive(10)
    assert radio.settings.carrier_hz == 868e6
    assert radio.configure(RadioSettings()).carrier_hz == 915e6


def test_lost_samples_stay_reported(broken):
    meta, reopen = broken
    meta["captures"][1]["airmeta:overflows"] = 4
    radio = reopen(meta)
    assert radio.receive(300).overflows == 0
    assert radio.receive(100).overflows == 4
    radio.close()
    assert reopen(meta).receive(500).overflows == 4


def test_a_recording_from_elsewhere_needs_only_the_standard(broken, noise):
    meta, reopen = broken
    meta["global"] = {
        key: value
        for key, value in meta["global"].items()
        if key in ("core:datatype", "core:sample_rate", "core:version")
    }
    for capture in meta["captures"]:
        for key in [key for key in capture if key.startswith("airmeta:")]:
            del capture[key]
    radio = reopen(meta)
    assert radio.settings == RadioSettings(868e6, 2e6, 0.0, 0.0)
    np.testing.assert_array_equal(radio.receive(500).iq, noise[1_000:1_500])


def test_the_file_is_opened_by_its_metadata(folder):
    with pytest.raises(RadioError, match=r"r.sigmf-data: a recording is opened by its .sigmf-meta"):
        open_radio(f"file://{folder}/r.sigmf-data")
    with pytest.raises(RadioError, match="has no option 'delay'"):
        open_radio(f"{uri(folder)}?delay=3")


def test_missing_files_are_named(folder, tmp_path):
    with pytest.raises(RadioError, match=r"r.sigmf-meta cannot be read: No such file"):
        open_radio(uri(tmp_path))
    (tmp_path / "r.sigmf-meta").write_bytes((folder / "r.sigmf-meta").read_bytes())
    with pytest.raises(RadioError, match=r"r.sigmf-data is missing"):
        open_radio(uri(tmp_path))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "broken JSON"),
        ('{"global": {', "broken JSON"),
        ("\udcff", "broken JSON"),
        ("[" * 100_000, "broken JSON"),
        ("[]", "the file should be a JSON object"),
        ("{}", "global is missing"),
        ('{"global": 3}', "global should not be 3"),
    ],
)
def test_broken_metadata_are_refused(tmp_path, text, why):
    (tmp_path / "r.sigmf-meta").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(RadioError, match=f"r.sigmf-meta.*{why}"):
        open_radio(uri(tmp_path))


DELETE = object()


@pytest.mark.parametrize(
    ("where", "value", "why"),
    [
        (("global", "core:datatype"), DELETE, "global.core:datatype is missing"),
        (("global", "core:datatype"), "ci16_le", "global.core:datatype is 'ci16_le'; only 'cf32"),
        (("global", "core:datatype"), 3, "global.core:datatype should not be 3"),
        (("global", "core:num_channels"), 2, "global.core:num_channels is 2; only 1"),
        (("global", "core:offset"), 5, "global.core:offset is 5; only 0"),
        (("global", "core:sample_rate"), DELETE, "global.core:sample_rate is missing"),
        (("global", "core:sample_rate"), "2e6", "global.core:sample_rate should not be '2e6'"),
        (("global", "core:sample_rate"), 0, "global.core:sample_rate should be above 0"),
        (("global", "core:sample_rate"), float("nan"), "global.core:sample_rate should be finite"),
        (("global", "core:sample_rate"), 10**400, "global.core:sample_rate should be finite"),
        (("global", "core:sha512"), "0" * 128, "core:sha512 is not that of r.sigmf-data"),
        (("captures",), DELETE, "captures is missing"),
        (("captures",), [], "captures is empty"),
        (("captures", 1), 7, r"captures\[1\] should be a JSON object"),
        (("captures", 1, "core:sample_start"), DELETE, r"captures\[1\].core:sample_start is miss"),
        (("captures", 1, "core:sample_start"), 1.5, r"core:sample_start should not be 1.5"),
        (("captures", 1, "core:sample_start"), -1, r"core:sample_start should be 0 or more"),
        (("captures", 1, "core:sample_start"), 301, r"leaves 301 samples for the capture, not 300"),
        (("captures", 2, "core:sample_start"), 900, r"leaves 600 samples|leaves 0 samples"),
        (("captures", 2, "core:global_index"), DELETE, r"captures\[2\].core:global_index is miss"),
        (("captures", 2, "core:global_index"), True, "core:global_index should not be True"),
        (("captures", 2, "core:global_index"), 1_499, "= 1499 goes back behind 1500"),
        (("captures", 0, "core:frequency"), DELETE, r"captures\[0\].core:frequency is missing"),
        (("captures", 0, "airmeta:rx_gain_db"), "high", "airmeta:rx_gain_db should not be 'high'"),
        (("captures", 0, "airmeta:overflows"), -2, "airmeta:overflows should be 0 or more"),
    ],
)
def test_a_wrong_key_is_named(broken, where, value, why):
    meta, reopen = broken
    *path, last = where
    place = meta
    for step in path:
        place = place[step]
    if value is DELETE:
        del place[last]
    else:
        place[last] = value
    with pytest.raises(RadioError, match=f"r.sigmf-meta: .*{why}"):
        reopen(meta)


@pytest.mark.parametrize("kept", [0, 8, 7_199, 7_192, 7_208])
def test_data_of_the_wrong_length_are_refused(broken, tmp_path, kept):
    meta, reopen = broken
    data = (tmp_path / "r.sigmf-data").read_bytes() + bytes(8)
    (tmp_path / "r.sigmf-data").write_bytes(data[:kept])
    with pytest.raises(RadioError, match=r"r.sigmf-data ends within a sample|leaves .* samples"):
        reopen(meta)


def test_one_changed_bit_is_noticed(broken, tmp_path):
    meta, reopen = broken
    data = bytearray((tmp_path / "r.sigmf-data").read_bytes())
    data[1_234] ^= 1
    (tmp_path / "r.sigmf-data").write_bytes(data)
    with pytest.raises(RadioError, match=r"core:sha512 is not that of r.sigmf-data"):
        reopen(meta)
    meta["global"]["core:sha512"] = hashlib.sha512(data).hexdigest()
    reopen(meta)
