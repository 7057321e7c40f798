"""A radio that is served: who has it, and the thread in which it works."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace

from radio.api import Radio, RadioError
from radio.wire import (
    MAX_SAMPLES,
    Answer,
    Ask,
    Clock,
    Close,
    Closed,
    Configure,
    Configured,
    Describe,
    Described,
    Frames,
    Now,
    Open,
    Opened,
    Receive,
    Refused,
    Reply,
    Transmit,
    encode,
)


@dataclass(frozen=True)
class Peer:
    """A client: its routing id, and the connection it came by."""

    identity: bytes
    connection: int


class Worker:
    """A thread that does one job after the other; a job that hangs does not keep the process."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._jobs: queue.SimpleQueue[tuple[Future[Frames], Callable[[], Frames]] | None]
        self._jobs = queue.SimpleQueue()
        self._ring = ring
        threading.Thread(target=self._run, daemon=True).start()

    def submit(self, job: Callable[[], Frames]) -> Future[Frames]:
        """Do this after the jobs there are."""
        future: Future[Frames] = Future()
        self._jobs.put((future, job))
        return future

    def stop(self) -> None:
        """End after the jobs there are."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            future, job = item
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001 (told where the result is asked for)
                future.set_exception(error)
            self._ring()


@dataclass
class Lease:
    """A radio in a client's hands. `radio` is touched by the worker, all else by the server."""

    peer: Peer
    radio: Radio | None = None
    busy: bool = False


@dataclass
class Station:
    """One radio served."""

    name: str
    open: Callable[[], Radio]
    worker: Worker
    lease: Lease | None = None

    def is_held_by(self, peer: Peer) -> bool:
        """Whether this client has the radio, by this connection."""
        return self.lease is not None and self.lease.peer == peer


@dataclass(frozen=True)
class Job:
    """Work under way; `number` is of the request to be answered, None where nobody waits."""

    station: Station
    lease: Lease
    body: Ask
    number: int | None = None

    def perform(self, max_wait_s: float) -> Frames:
        """In the worker: do what is asked, and put the answer into frames."""
        try:
            if isinstance(self.body, Open):
                self.lease.radio = self.station.open()
            radio = self.lease.radio
            answer = Closed() if radio is None else _answer(radio, self.body, max_wait_s)
        except RadioError as error:
            answer = Refused.of(error)
        settings = None if self.lease.radio is None else self.lease.radio.settings
        return encode(Reply(self.number, settings, answer))


def _answer(radio: Radio, body: Ask, max_wait_s: float) -> Answer:
    """What a radio does when it is asked."""
    match body:
        case Open():
            caps = radio.caps
            return Opened(replace(caps, max_burst=min(caps.max_burst, MAX_SAMPLES)))
        case Configure(want):
            return Configured(radio.configure(want))
        case Now():
            return Clock(radio.now())
        case Transmit(iq, at):
            return radio.transmit(iq, at)
        case Receive(n, at):
            ahead = n if at is None else at - radio.now() + n
            if ahead > max_wait_s * radio.settings.sample_rate_hz:
                raise RadioError(
                    f"a capture that ends {ahead} samples from now keeps the radio for longer "
                    f"than the {max_wait_s:g} s its server allows; ask for it in pieces, or later"
                )
            return radio.receive(n, at)
        case Describe():
            about = radio.describe()
            return Described(tuple(about), tuple(about.values()))
        case Close():
            radio.close()
            return Closed()
