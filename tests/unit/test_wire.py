import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radio.api import Capture, RadioCaps, RadioError, RadioSettings, Range, TxReport
from radio.wire import (
    MAX_SAMPLES,
    Clock,
    Close,
    Configure,
    Configured,
    Describe,
    Described,
    Now,
    Open,
    Opened,
    Receive,
    Refused,
    Reply,
    Request,
    Transmit,
    WireError,
    decode_reply,
    decode_request,
    encode,
)

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
WHOLE = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(max_size=40)
TEXTS = st.lists(TEXT, max_size=2).map(tuple)
RANGES = st.builds(Range, FLOATS, FLOATS)
SETTINGS = st.builds(RadioSettings, FLOATS, FLOATS, FLOATS, FLOATS)
CAPS = st.builds(
    RadioCaps,
    name=TEXT,
    can_transmit=st.booleans(),
    timed=st.booleans(),
    full_duplex=st.booleans(),
    bits=WHOLE,
    carrier_hz=RANGES,
    sample_rate_hz=RANGES,
    tx_gain_db=RANGES,
    rx_gain_db=RANGES,
    max_burst=WHOLE,
    turnaround_s=FLOATS,
)
AT = st.none() | WHOLE
ASKS = st.one_of(
    st.sampled_from([Open(), Now(), Describe(), Close()]),
    st.builds(Configure, SETTINGS),
    st.builds(Receive, WHOLE, AT),
)
ANSWERS = st.one_of(
    st.builds(Opened, CAPS),
    st.builds(Configured, SETTINGS),
    st.builds(Clock, WHOLE),
    st.builds(TxReport, FLOATS, WHOLE, WHOLE),
    st.builds(Refused, TEXT, TEXTS),
    st.builds(Described, TEXTS, TEXTS),
)
IQ = np.array([1, -1j, 0.1 + 1e-40j, -0.0], np.complex64)


def header(**changes):
    """The header of a good request, changed; ... leaves a key away."""
    (text,) = encode(Request(5, "d3", Receive(10, None)))
    changed = {**json.loads(text), **changes}
    return json.dumps({key: value for key, value in changed.items() if value is not ...}).encode()


@given(request=st.builds(Request, WHOLE, st.none() | TEXT, ASKS))
def test_requests_arrive_as_they_were(request):
    # repr tells -0.0 from 0.0, and an int from a float.
    assert repr(decode_request(encode(request))) == repr(request)


@given(reply=st.builds(Reply, st.none() | WHOLE, st.none() | SETTINGS, ANSWERS))
def test_replies_arrive_as_they_were(reply):
    assert repr(decode_reply(encode(reply))) == repr(reply)


def test_samples_arrive_bit_for_bit():
    sent = decode_request(encode(Request(1, None, Transmit(IQ, 3)))).body
    heard = decode_reply(encode(Reply(1, None, Capture(IQ, -4, 2)))).body
    assert (sent.at, heard.first_sample, heard.overflows) == (3, -4, 2)
    for iq in (sent.iq, heard.iq):
        assert iq.tobytes() == IQ.tobytes()
        assert iq.dtype == np.complex64
        assert iq.flags.writeable


def test_numbers_of_numpy_travel_as_numbers():
    body = Receive(np.int64(7), np.int64(2**40))
    assert decode_request(encode(Request(1, None, body))).body == Receive(7, 2**40)
    third = np.float32(1 / 3)
    reply = Reply(1, None, TxReport(third, np.int32(0), 1))
    assert decode_reply(encode(reply)).body.applied_gain_db == third


@pytest.mark.parametrize(
    "body", [Configure(RadioSettings(math.nan)), Receive(1, math.inf), Receive(1, object())]
)
def test_what_cannot_travel_is_not_sent(body):
    with pytest.raises(WireError, match="cannot be sent"):
        encode(Request(1, None, body))


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        ([], "begins with a header"),
        ([b" " * 70_000], "begins with a header"),
        ([b""], "not JSON"),
        ([b"\xff{}"], "not JSON"),
        ([b"[" * 60_000], "not JSON"),
        ([b'{"number":1,"number":1}'], "given twice"),
        ([b"[]"], "not a JSON object"),
        ([header(version=2)], "version 2 is not spoken here, but 1"),
        ([header(version=True)], "version True"),
        ([header(version=1.0)], "version 1.0"),
        ([header(version=...)], "version None"),
        ([header(kind="fire")], "'fire' is none of open, configure"),
        ([header(kind="opened")], "'opened' is none of"),
        ([header(kind=["now"])], "is none of"),
        ([header(extra=1)], "message should hold body, number, radio, and no more"),
        ([header(radio=...)], "message should hold"),
        ([header(radio=3)], r"message.radio should be str, not 3"),
        ([header(number="5")], r"message.number should be int, not '5'"),
        ([header(body=[])], r"message.body should hold at, n"),
        ([header(body={"n": 1})], r"message.body should hold at, n"),
        ([header(body={"n": True, "at": None})], r"body.n should be int, not True"),
        ([header(body={"n": 1.0, "at": None})], r"body.n should be int, not 1.0"),
        ([header(body={"n": 1, "at": 2**63})], r"body.at should be int"),
        ([header(), b"12345678"], "1 frames follow the header of receive, not 0"),
        ([header(kind="transmit", body={"at": None})], "0 frames follow"),
    ],
)
def test_what_is_no_request_is_refused(frames, why):
    with pytest.raises(WireError, match=why):
        decode_request(frames)


@pytest.mark.parametrize("value", ["1e999", "NaN", "-Infinity", "1" * 400, "true", "null", '"1"'])
def test_settings_are_finite_numbers(value):
    (text,) = encode(Request(5, None, Configure(RadioSettings(carrier_hz=123.0))))
    with pytest.raises(WireError, match=r"want.carrier_hz should be float"):
        decode_request([text.replace(b"123.0", value.encode())])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "0 bytes"),
        (IQ.tobytes()[:-1], "31 bytes"),
        (np.array([1, np.nan], np.complex64).tobytes(), "not all finite"),
        (memoryview(bytes(8 * MAX_SAMPLES + 8)), f"{8 * MAX_SAMPLES + 8} bytes"),
    ],
)
def test_wrong_samples_are_refused_on_both_sides(data, why):
    request, _ = encode(Request(5, None, Transmit(IQ, None)))
    reply, _ = encode(Reply(5, None, Capture(IQ, 0, 0)))
    for decode, text in ((decode_request, request), (decode_reply, reply)):
        with pytest.raises(WireError, match=why) as refusal:
            decode([text, data])
        assert refusal.value.number == 5


def test_a_refusal_is_raised_again_with_its_notes():
    error = RadioError("no: ß")
    error.add_note("it was closed")
    again = decode_reply(encode(Reply(1, None, Refused.of(error)))).body.error()
    assert (str(again), again.__notes__) == ("no: ß", ["it was closed"])


def test_a_refusal_always_fits():
    error = RadioError("\U0001f4fb" * 100_000)
    for _ in range(5):
        error.add_note("\udcff" * 100_000)
    encode(Reply(1, None, Refused.of(error)))
