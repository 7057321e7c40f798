"""Stream tags beside what GNU Radio 3.10 itself wrote, as `pmt.serialize_str` prints it."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgraphs.tags import Tag, decoded, encoded
from radio.api import RadioError

WRITTEN = {
    "00": True,
    "01": False,
    "06": None,
    "020003616263": "abc",
    "0300000005": 5,
    "03fffffffb": -5,
    "0d0000010000000000": 1 << 40,
    "0b0000000000000007": 7,
    "043ff8000000000000": 1.5,
    "053ff00000000000004000000000000000": 1 + 2j,
    "0c000000020b0000000000000007043fe0000000000000": (7, 0.5),
    "070006": (True, None),
}
VALUES = st.recursive(
    st.one_of(
        st.booleans(),
        st.none(),
        st.integers(-(1 << 63), (1 << 64) - 1),
        st.floats(allow_nan=False),
        st.complex_numbers(allow_nan=False),
        st.text(max_size=9),
    ),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)


@pytest.mark.parametrize(("written", "value"), WRITTEN.items())
def test_values_are_read_as_gnu_radio_writes_them(written, value):
    head = struct.pack("=HBQQQ", 0x5FF0, 1, 1000, 1, 1003)
    message = head + bytes.fromhex("02000372786e" + written + "01") + b"samples"
    assert decoded(memoryview(message)) == (1000, [Tag(1003, "rxn", value)], len(message) - 7)


@pytest.mark.parametrize(
    ("written", "value"),
    [item for item in WRITTEN.items() if item[0][:2] not in ("0b", "0c", "07")],
)
def test_values_are_written_as_gnu_radio_writes_them(written, value):
    assert encoded(0, [Tag(0, "k", value)]).endswith(bytes.fromhex(f"0200016b{written}01"))


@given(
    first=st.integers(0, 1 << 62),
    tags=st.lists(st.builds(Tag, st.integers(0, 1 << 62), st.text(max_size=9), VALUES), max_size=4),
)
def test_what_is_written_is_read_again(first, tags):
    message = encoded(first, tags) + b"12345678"
    assert decoded(memoryview(message)) == (first, tags, len(message) - 8)


@given(cut=st.integers(0, 60))
def test_a_message_that_ends_early_is_refused(cut):
    whole = encoded(7, [Tag(9, "rx_time", (3, 0.25)), Tag(9, "tx_sob", True)])
    with pytest.raises(RadioError, match="header of tags"):
        decoded(memoryview(whole)[:cut])


def test_a_message_of_blocks_that_pass_no_tags_is_refused():
    with pytest.raises(RadioError, match="let the ZMQ block pass tags"):
        decoded(memoryview(bytes(800)))
    endless = struct.pack("=HBQQQ", 0x5FF0, 1, 0, 1, 0) + 20 * bytes.fromhex("0c00000001")
    with pytest.raises(RadioError, match="tuples in tuples"):
        decoded(memoryview(endless))
    unknown = struct.pack("=HBQQQ", 0x5FF0, 1, 0, 1, 0) + b"\x0a"
    with pytest.raises(RadioError, match="kind 10"):
        decoded(memoryview(unknown))
