"""`make fuzz`: mutated messages at every end of the control plane; nothing may get in or break.

Each one is decoded as said to every end, and sent to a hub and to a spoke over ipc. What is taken
has to be a valid message that survives another round trip; everything else is a MessageError.
"""

from __future__ import annotations

import argparse
import logging
import math
import resource
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import zmq

from testbed.nodes.coordinator_messages import TO_DEVICE, TO_RECEIVER
from testbed.nodes.device_messages import FROM_DEVICE, Ask
from testbed.nodes.hub import Hub
from testbed.nodes.messages import Body, Message, decode, encode, rules
from testbed.nodes.receiver_messages import FROM_RECEIVER
from testbed.nodes.rules import (
    Array,
    Choice,
    Flag,
    Maybe,
    MessageError,
    Real,
    Rule,
    Text,
    Whole,
    Word,
)
from testbed.nodes.spoke import Spoke

DIRECTIONS = (FROM_DEVICE, TO_DEVICE, FROM_RECEIVER, TO_RECEIVER)
LENGTHS = {"d": 50, "r": 4, "K": 8}
WORDS = {"[0-9a-f]{64}": "0123456789abcdef" * 4}
# Headers of msgpack that promise much, and things that nest.
HEADERS = (
    *(b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdc\xff\xff"),
    *(b"\xdb\x7f\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x01", b"\xde\xff\xff", b"\x91" * 2000),
    *(
        b"\x81\xa1a" * 800,
        b"\xc1",
        b"\xd6\xff\0\0\0\0",
        b"\xcb\x7f\xf8" + bytes(6),
        b"\xca\x7f\x80",
    ),
)
ODD = (
    *(None, True, False, -1, 0, 2**64 - 1, -(2**63), 1.5, math.nan, math.inf, -math.inf, 1e308),
    *("", "x" * 70_000, "\x1b[31m", "none", b"", bytes(40), [], {}, [[]] * 20, {"a": 1}),
    *(["a", "b"], [3, bytes(12)], [2**40, b""], [-1, b""], [True, bytes(4)], [1, "abcd"]),
)


def sample(kind: type[Body], rng: np.random.Generator) -> Message:
    """A valid message of a kind."""
    body = kind(**{name: _value(rule, rng) for name, rule in rules(kind).items()})
    return Message("fuzz", int(rng.integers(99)), "peer", int(rng.integers(2**40)), body)


def mutated(count: int, rng: np.random.Generator) -> Iterator[bytes]:
    """Valid messages, changed."""
    kinds = sorted(frozenset().union(*DIRECTIONS), key=lambda kind: kind.__name__)
    ways: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
        _flip, _cut, _insert, _splice, _promise, _retype, _rekey, _repeat_key
    )  # fmt: skip
    for i in range(count):
        data = encode(sample(kinds[i % len(kinds)], rng))
        for _ in range(1 + int(rng.integers(3))):
            data = ways[int(rng.integers(len(ways)))](data, rng)
        yield data


def judge(data: bytes, found: Counter[str]) -> None:
    """Decode as said to every end; raises what is no MessageError, or when a taken one changes."""
    for kinds in DIRECTIONS:
        try:
            message = decode(data, kinds)
        except MessageError as error:
            if "\n" in str(error) or len(str(error)) > 500:
                raise AssertionError(f"no line: {error!r}") from error
            found["refused"] += 1
        else:
            if decode(encode(message), kinds) != message:
                raise AssertionError(f"changes on the way: {message}")
            found["taken"] += 1


class Ends:
    """A hub and a spoke over ipc, each with somebody raw at the other end."""

    def __init__(self, folder: Path) -> None:
        hub_address, raw_address = f"ipc://{folder}/hub", f"ipc://{folder}/raw"
        peers = {"peer": FROM_DEVICE | FROM_RECEIVER}
        self.hub = Hub(hub_address, "hub", peers, most_bytes=2**20)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._dealer = self._context.socket(zmq.DEALER)
        self._dealer.connect(hub_address)
        self._router = self._context.socket(zmq.ROUTER)
        self._router.router_mandatory = True
        self._router.bind(raw_address)
        self.spoke = Spoke(raw_address, "spoke", "peer", TO_DEVICE | TO_RECEIVER, most_bytes=2**20)
        self.spoke.receive(5.0)
        self.spoke.send(Ask(), "none", 0)
        self._route = self._router.recv_multipart()[0]

    def send(self, batch: list[bytes]) -> int:
        """Send to both; returns how many events came out."""
        for data in batch:
            self._dealer.send(data)
            self._router.send_multipart([self._route, data])
        events = 0
        for end in (self.hub, self.spoke):
            while end.receive(0.002) is not None:
                events += 1
        return events

    def close(self) -> None:
        self.hub.close()
        self.spoke.close()
        self._dealer.close(linger=0)
        self._router.close(linger=0)
        self._context.term()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz_messages", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.disable()
    found: Counter[str] = Counter()
    events, batch, memory = 0, [], []
    with tempfile.TemporaryDirectory() as folder:
        ends = Ends(Path(folder))
        try:
            for data in mutated(arguments.count, np.random.default_rng(arguments.seed)):
                judge(data, found)
                batch.append(data)
                if len(batch) == 100:
                    events += ends.send(batch)
                    batch = []
                    memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        finally:
            ends.close()
    print(f"{arguments.count} mutated messages, seed {arguments.seed}")
    print(f"decoded at four ends: {dict(found)}")
    print(f"hub refused {dict(ends.hub.refused)}, spoke {dict(ends.spoke.refused)}; {events} taken")
    print(
        f"peak memory {memory[0] / 1024:.1f} MiB after 100, {memory[-1] / 1024:.1f} MiB at the end"
    )


def _value(rule: Rule, rng: np.random.Generator) -> Any:
    match rule:
        case Whole(low, high):
            return int(rng.integers(low, min(high, low + 1000), endpoint=True))
        case Real(low, high):
            return float(rng.uniform(max(low, -1e3), min(high, 1e3)))
        case Flag():
            return bool(rng.integers(2))
        case Choice(words):
            return words[int(rng.integers(len(words)))]
        case Word(pattern):
            return WORDS[pattern]
        case Text():
            return "seed: 3"
        case Maybe(inner):
            return None if rng.integers(2) else _value(inner, rng)
        case Array(dtype, dims):
            drawn = rng.integers(0, 2, [LENGTHS[dim] for dim in dims])
            return drawn.astype(dtype)
    raise AssertionError(rule)


def _flip(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(1, len(data) + 1))]


def _insert(data: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(len(data) + 1))
    return data[:at] + rng.bytes(int(rng.integers(1, 9))) + data[at:]


def _splice(data: bytes, rng: np.random.Generator) -> bytes:
    one, two, to = (int(rng.integers(len(data) + 1)) for _ in range(3))
    return data[:to] + data[min(one, two) : max(one, two)] + data[to:]


def _promise(data: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(len(data) + 1))
    return data[:at] + HEADERS[int(rng.integers(len(HEADERS)))] + data[at:]


def _retype(data: bytes, rng: np.random.Generator) -> bytes:
    return _with_map(data, rng, lambda m, k: m.update({k: ODD[int(rng.integers(len(ODD)))]}))


def _rekey(data: bytes, rng: np.random.Generator) -> bytes:
    return _with_map(
        data, rng, lambda m, k: m.update({(k, b"b", "?", k)[rng.integers(4)]: m.pop(k)})
    )


def _repeat_key(data: bytes, rng: np.random.Generator) -> bytes:
    """The first key and value again; the map's header counts one more."""
    first = msgpack.packb("version") + msgpack.packb(1)
    return bytes([data[0] + 1]) + first + data[1:] if 0x80 <= data[0] < 0x8F else data


def _with_map(
    data: bytes, rng: np.random.Generator, change: Callable[[dict[Any, Any], Any], object]
) -> bytes:
    """Change one key of the message or of its body, where the bytes still are one."""
    try:
        whole = msgpack.unpackb(data, strict_map_key=False)
    except (ValueError, msgpack.UnpackException, TypeError):
        return data
    if not isinstance(whole, dict) or not whole:
        return data
    inner = whole.get("body")
    target = inner if isinstance(inner, dict) and inner and rng.integers(2) else whole
    change(target, list(target)[int(rng.integers(len(target)))])
    try:
        return bytes(msgpack.packb(whole))
    except (ValueError, OverflowError, TypeError):
        return data


if __name__ == "__main__":
    main()
