"""`python -m benchmarks.fuzz_remote 100000`: malformed messages at a radio server.

Two radios are served. One is held by a well-behaved client, the other by the one that sends the
malformed messages, so that those get as far as they can. Every message has to be refused by name,
and neither radio's settings, clock or samples may differ afterwards from what they were.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import zmq

from radio.address import endpoint
from radio.api import Radio, RadioSettings
from radio.drivers.loopback import LoopbackRadio
from radio.registry import RadioUri, open_radio
from radio.remote import RadioServer
from radio.wire import (
    Close,
    Configure,
    Describe,
    Now,
    Open,
    Opened,
    Receive,
    Refused,
    Request,
    Transmit,
    WireError,
    decode_reply,
    decode_request,
    encode,
)

IQ = np.full(20, 0.1, np.complex64)
GOOD = (
    Open(),
    Now(),
    Configure(RadioSettings(tx_gain_db=-3.0)),
    Transmit(IQ, None),
    Transmit(IQ, 500),
    Receive(50, None),
    Receive(50, 700),
    Describe(),
    Close(),
)
# Texts, so that what Python's json would not write is among them.
WORSE = (
    "null", "true", "-1", "0", "1.5", "2", "1e999", "NaN", "-Infinity", "9223372036854775808",
    "1" * 400, "1" * 5000, '""', '"now"', '"\\ud800"', '"' + "x" * 3000 + '"', "[]", "{}",
    '{"a":1}', "[" * 500, "[" * 60_000, "[[[[]]]]", '{"number":1,"number":2}',
)  # fmt: skip


def malformed(seed: int) -> Iterator[list[bytes]]:
    """Frames of messages that are none, without end, made from good ones."""
    rng = np.random.default_rng(seed)
    while True:
        body = GOOD[rng.integers(len(GOOD))]
        good = [bytes(frame) for frame in encode(Request(int(rng.integers(1000)), "mine", body))]
        frames = MUTATIONS[rng.integers(len(MUTATIONS))](rng, good)
        if not _is_message(frames):
            yield frames


def _is_message(frames: list[bytes]) -> bool:
    """Whether a mutation left the message whole; the tests know by themselves what is none."""
    try:
        decode_request(frames)
    except WireError:
        return False
    return True


def _flip(rng: np.random.Generator, frames: list[bytes]) -> list[bytes]:
    which = int(rng.integers(len(frames)))
    data = bytearray(frames[which])
    for place in rng.integers(len(data), size=rng.integers(1, 5)):
        data[place] ^= 1 << int(rng.integers(8))
    return [*frames[:which], bytes(data), *frames[which + 1 :]]


def _cut(rng: np.random.Generator, frames: list[bytes]) -> list[bytes]:
    which = int(rng.integers(len(frames)))
    kept = frames[which][: int(rng.integers(len(frames[which])))]
    return [*frames[:which], kept, *frames[which + 1 :]]


def _reframe(rng: np.random.Generator, frames: list[bytes]) -> list[bytes]:
    choices = ([*frames, b""], [*frames, *frames], frames[::-1], frames[:1], [b"", *frames])
    return choices[rng.integers(len(choices))]


def _noise(rng: np.random.Generator, frames: list[bytes]) -> list[bytes]:
    return [rng.bytes(int(rng.integers(300))) for _ in range(rng.integers(1, 4))]


def _replace(rng: np.random.Generator, frames: list[bytes]) -> list[bytes]:
    """Another value, or another or a missing key, anywhere in the header."""
    header = json.loads(frames[0])
    place = header
    while True:
        key = list(place)[rng.integers(len(place))]
        if not isinstance(place[key], dict) or not place[key] or rng.random() < 0.3:
            break
        place = place[key]
    match rng.integers(4):
        case 0:
            del place[key]
        case 1:
            place[f"{key}x"] = place.pop(key)
        case _:
            place[key] = "WORSE"
    text = json.dumps(header).replace('"WORSE"', WORSE[rng.integers(len(WORSE))])
    return [text.encode(), *frames[1:]]


def _poison(rng: np.random.Generator, frames: list[bytes]) -> list[bytes]:
    """Samples that are not finite, or whose last byte is missing."""
    iq = IQ.copy()
    iq[rng.integers(iq.size)] = rng.choice([np.nan, np.inf, 1j * np.inf])
    return [frames[0], iq.tobytes() if rng.random() < 0.5 else iq.tobytes()[:-1]]


MUTATIONS: tuple[Callable[[np.random.Generator, list[bytes]], list[bytes]], ...]
MUTATIONS = (_flip, _cut, _reframe, _noise, _replace, _replace, _replace, _poison)


@contextmanager
def attacked() -> Iterator[tuple[Callable[[list[bytes]], Refused], Callable[[], None]]]:
    """How to send a malformed message, and how to see that nothing has come of those sent."""
    radios = {"theirs": LoopbackRadio(), "mine": LoopbackRadio()}
    stop = threading.Event()
    with (
        tempfile.TemporaryDirectory() as folder,
        RadioServer({name: _same(radio) for name, radio in radios.items()}, _at(folder)) as server,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as attacker,
    ):
        serving = threading.Thread(target=server.serve, args=(stop.is_set, 0.05))
        serving.start()
        try:
            with open_radio(f"{server.uri}?name=theirs") as theirs:
                attacker.linger = 0
                attacker.connect(endpoint(RadioUri.parse(server.uri)))
                attacker.send_multipart(encode(Request(1, "mine", Open())))
                if not isinstance(_reply(attacker), Opened):
                    raise AssertionError("the radio was not opened")
                theirs.transmit(IQ, at=100)
                states = {name: _state(radio) for name, radio in radios.items()}

                def send(frames: list[bytes]) -> Refused:
                    attacker.send_multipart(frames)
                    answer = _reply(attacker)
                    if not isinstance(answer, Refused):
                        raise AssertionError(f"{frames!r:.500} was answered {answer}")
                    return answer

                def check() -> None:
                    theirs.now()
                    for name, radio in radios.items():
                        if _state(radio) != states[name]:
                            raise AssertionError(f"{name} is {_state(radio)}, not {states[name]}")

                yield send, check
                if not np.array_equal(theirs.receive(20, at=100).iq, IQ):
                    raise AssertionError("the burst is another")
        finally:
            stop.set()
            serving.join()


def _same(radio: Radio) -> Callable[[], Radio]:
    return lambda: radio


def _at(folder: str) -> str:
    return f"zmq+ipc://{Path(folder) / 'radios'}"


def _state(radio: LoopbackRadio) -> str:
    return repr({name: value for name, value in vars(radio).items() if name != "_delay"})


def _reply(socket: zmq.Socket[bytes]) -> object:
    if not socket.poll(10_000):
        raise AssertionError("the server no longer answers")
    return decode_reply(socket.recv_multipart()).body


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz_remote", description=__doc__)
    parser.add_argument("messages", nargs="?", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    reasons: dict[str, int] = {}
    with attacked() as (send, check):
        for i, frames in enumerate(islice(malformed(arguments.seed), arguments.messages), 1):
            reason = send(frames).text[:24]
            reasons[reason] = reasons.get(reason, 0) + 1
            if i % 1000 == 0:
                check()
        check()
    for reason, times in sorted(reasons.items(), key=lambda pair: -pair[1])[:20]:
        print(f"{times:8,} {reason}")
    print(f"{arguments.messages:,} malformed messages: all refused, nothing changed")


if __name__ == "__main__":
    main()
