import dataclasses
import math
import tracemalloc

import msgpack
import numpy as np
import pytest

from testbed.nodes.coordinator_messages import TO_DEVICE, TO_RECEIVER, Grant, Params, Recover, Stop
from testbed.nodes.device_messages import FROM_DEVICE, Ask, Hello, Ready, Report
from testbed.nodes.messages import VERSION, Message, decode, encode, largest, rules
from testbed.nodes.receiver_messages import FROM_RECEIVER, Estimate, Soundings
from testbed.nodes.rules import Array, Choice, Flag, MessageError, Real, Whole, Word

# All that a device can say. Whoever changes this asks: could a field carry an update?
SAID_BY_DEVICES = {
    "Hello": {"code": "hash", "config": "hash", "committed": "int", "turnaround_s": "float"},
    "Ready": {"energy": "float", "loss": "float"},
    "Marked": {"call": "int", "tx_gain_db": "float"},
    "Heard": {"call": "int", "what": "word", "index": "int", "heard": "bool"},
    "Armed": {"call": "int", "what": "word", "index": "int"},
    "Trouble": {"call": "int"},
    "Report": {
        "call": "int",
        "clipped": "int",
        "cfo_hz": "float",
        "phase_deg": "float",
        "missed": "int",
    },
    "Ask": {},
    "Bye": {"reason": "word"},
}
READY = {"energy": 1.5, "loss": 0.5}
SCALARS = {Whole: "int", Real: "float", Flag: "bool", Choice: "word", Word: "hash"}


def wire(body=None, **changes):
    """The bytes of a message whose map has these keys changed, and its body's if given."""
    packed = {"version": VERSION, "kind": "Ready", "run": "r1", "round": 4, "sender": "d0"}
    packed |= {"number": 7, "body": READY if body is None else body}
    packed |= changes
    return msgpack.packb({k: v for k, v in packed.items() if v is not ...})


def refusal(data, kinds=FROM_DEVICE):
    with pytest.raises(MessageError) as error:
        decode(data, kinds)
    return str(error.value)


def test_devices_say_scalars_only():
    said = {
        kind.__name__: {name: SCALARS[type(rule)] for name, rule in rules(kind).items()}
        for kind in FROM_DEVICE
    }
    assert said == SAID_BY_DEVICES
    assert largest(FROM_DEVICE) < 512


def test_only_sums_and_channels_leave_the_receiver():
    arrays = {
        (kind.__name__, name): "".join(rule.dims)
        for kind in FROM_RECEIVER
        for name, rule in rules(kind).items()
        if isinstance(rule, Array)
    }
    assert {key for key, dims in arrays.items() if "d" in dims} == {("Estimate", "estimate")}
    assert {key for key, dims in arrays.items() if "K" in dims} == {("Soundings", "equalisers")}


@pytest.mark.parametrize("kinds", [FROM_DEVICE, FROM_RECEIVER, TO_DEVICE, TO_RECEIVER])
def test_every_field_is_documented_and_ruled(kinds):
    for kind in kinds:
        assert dataclasses.fields(kind) == () or "Attributes:" in kind.__doc__
        for field in dataclasses.fields(kind):
            assert f"{field.name}: " in kind.__doc__, (kind, field.name)
            assert field.name in rules(kind)


def test_the_envelope_comes_back():
    message = decode(wire(), FROM_DEVICE)
    assert message == Message("r1", 4, "d0", 7, Ready(1.5, 0.5))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is no msgpack"),
        (wire() + b"\0", "is no msgpack"),
        (wire()[:-1], "is no msgpack"),
        (msgpack.packb([1, 2]), "should be a map"),
        (wire(version=2), "version 2; this end speaks version 1"),
        (wire(version=True), "version True"),
        (wire(version=...), "version None"),
        (wire(kind="Nothing"), "kind 'Nothing' is not said to this end"),
        (wire(kind=["Ready"]), "kind list of length 1"),
        (wire(kind="Stop", body={"reason": "x"}), "kind 'Stop' is not said to this end"),
        (wire(sender=...), "no sender"),
        (wire(extra=1), "'extra'"),
        (wire(sender="../d0"), "Message.sender: should match"),
        (wire(sender="d" * 65), "Message.sender: should match"),
        (wire(sender="d0\n"), "Message.sender: should match"),
        (wire(sender=3), "Message.sender: should match"),
        (wire(round=-1), "Message.round: should be an integer 0 to"),
        (wire(round=True), "Message.round: should be an integer"),
        (wire(round=1.0), "Message.round: should be an integer"),
        (wire(number=2**63), "Message.number"),
        (wire(body=[]), "Ready: should be a map"),
        (wire(body={}), "no energy, no loss"),
        (wire(body=READY | {"update": b"\0"}), "'update'"),
        (wire(body=READY | {"energy": 1}), "Ready.energy: should be a finite float, is 1"),
        (wire(body=READY | {"energy": True}), "Ready.energy"),
        (wire(body=READY | {"energy": None}), "Ready.energy"),
        (wire(body=READY | {"energy": math.nan}), "Ready.energy: should be a finite float, is nan"),
        (wire(body=READY | {"energy": math.inf}), "Ready.energy"),
        (wire(body=READY | {"energy": -1.0}), "Ready.energy: should be 0 to inf, is -1"),
        (wire(body={b"energy": 1.0, "loss": 0.5}), "no energy"),
        (wire(body=READY | {"loss": math.nan}), "Ready.loss: should be a finite float, is nan"),
        (wire(body=READY | {"energy": msgpack.ExtType(1, b"")}), "Ready.energy"),
        (wire(body=READY | {"energy": "x" * 600}), "bytes; there is no message of more than"),
        (b"\x82\xa7version\x01\xa7version\x01", "has a key twice"),
        (b"\xdd\xff\xff\xff\xff", "is no msgpack"),
        (b"\x91" * 400, "is no msgpack"),
        (b"\x9f" + b"\x90" * 15 + b"\x9f" * 0, "should be a map"),
    ],
)
def test_refusals(data, says):
    message = refusal(data)
    assert says in message
    assert "\n" not in message


def estimate(packed, **changes):
    body = {"call": 2, "estimate": packed, "nmse_predicted": None, "iterations": 3, "snr": 2.0}
    body |= {"beyond_transition": False, "noise_var": 0.1} | changes
    return wire(body, kind="Estimate")


def test_arrays_come_whole_or_not_at_all():
    good = np.arange(3, dtype=np.float32)
    assert decode(estimate([3, good.tobytes()]), FROM_RECEIVER).body.estimate.tolist() == [0, 1, 2]
    for packed in (
        [4, good.tobytes()],
        [0, b""],
        [-1, b""],
        [2**24 + 1, b""],
        [True, b"\0" * 4],
        [3, "abcd" * 3],
        [1, 3, good.tobytes()],
        good.tobytes(),
        [],
        {},
        None,
        [3, np.full(3, np.nan, np.float32).tobytes()],
    ):
        assert "Estimate.estimate" in refusal(estimate(packed), FROM_RECEIVER)


def soundings(**changes):
    r, carriers = 3, 8
    values = {
        "call": 0,
        "gains": np.ones(r),
        "powers": np.ones(r),
        "heard": np.ones(r, bool),
        "snr_db": np.zeros(r),
        "delays": np.zeros(r),
        "equalisers": np.ones((r, carriers), np.complex64),
        "noise_var": 0.1,
    }
    return Soundings(**(values | changes))


def test_arrays_of_one_message_agree():
    assert soundings().equalisers.shape == (3, 8)
    for changes, says in (
        ({"gains": np.ones(4)}, "Soundings.powers: should have r = 4, has 3"),
        ({"equalisers": np.ones((2, 8), np.complex64)}, "should have r = 3, has 2"),
        ({"equalisers": np.ones(3, np.complex64)}, "should have 2 dimensions, has 1"),
        ({"gains": np.ones(3, np.float32)}, "should be an array of float64"),
        ({"gains": -np.ones(3)}, "should be 0 to inf throughout"),
        ({"snr_db": np.full(3, -np.inf)}, "should be finite throughout"),
        ({"gains": np.ones(0)}, "should have r = 1 to 100, has 0"),
    ):
        with pytest.raises(MessageError, match=says):
            soundings(**changes)


def test_flags_are_zeros_and_ones():
    data = encode(Message("r", 0, "rx", 0, soundings()))
    assert data.count(b"\1\1\1") == 1
    assert "0 and 1" in refusal(data.replace(b"\1\1\1", b"\1\2\1"), FROM_RECEIVER)


def test_arrays_are_kept_from_later_changes():
    params = np.ones(4, np.float32)
    message = Params(params, 0.1, np.arange(2))
    params[:] = 2
    assert message.params.tolist() == [1, 1, 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        message.params[0] = 3


def test_what_cannot_be_said():
    zeros = "0" * 64
    for make, says in (
        (lambda: Params(np.full(3, np.inf, np.float32), 0.1, np.arange(2)), "Params.params"),
        (lambda: Hello("abc", zeros, -1, 0.0), "Hello.code: should match"),
        (lambda: Hello(zeros, zeros, -2, 0.0), "Hello.committed: should be an integer -1"),
        (lambda: Stop("two\nlines"), "Stop.reason: should be printable"),
        (lambda: Stop("\x1b[2J"), "Stop.reason: should be printable"),
        (lambda: Stop("é" * 251), "Stop.reason: should be text of at most 500 bytes"),
        (lambda: Recover(0, 0.0), "Recover.scale"),
        (lambda: Message("r", 0, "a b", 0, Ask()), "Message.sender"),
        (lambda: Report(0, 0, 1e9, 0.0, 0), "Report.cfo_hz"),
        (lambda: Grant(0, 1.0, -1.0, np.ones(8, np.complex64), 0.0), "Grant.precoder"),
        (lambda: Estimate(0, np.ones(3), None, 1, False, None, 0.0), "an array of float32"),
    ):
        with pytest.raises(MessageError, match=says):
            make()


def test_numpy_floats_are_floats_afterwards():
    assert type(Ready(np.float64(2.0), 0.5).energy) is float


def test_hostile_nesting_takes_no_memory():
    # A map whose body is lists of lists: 16 bytes of Python for every byte, were it unpacked.
    nested = b"\x9f" + b"\x9f".join([b"\x90" * 15] * 60_000)
    assert len(nested) < largest(FROM_RECEIVER)
    tracemalloc.start()
    refusal(nested, FROM_RECEIVER)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * len(nested)
