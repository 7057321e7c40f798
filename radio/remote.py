"""Radios served to other processes, hosts or interpreters; the client is `radio.drivers.remote`.

One ROUTER socket answers for all radios. A radio is opened when a client asks for it, is that
client's alone, and is closed when the client says so or when its connection ends: `close` is how a
radio is muted and its pending bursts are taken back, so the next client opens it afresh.
"""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import stat
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from pathlib import Path
from types import TracebackType
from typing import Self

import zmq
from zmq.utils.monitor import parse_monitor_message

from radio.address import endpoint, require_address
from radio.api import Radio, RadioError
from radio.gate import Gate
from radio.keys import Keys
from radio.registry import RadioUri
from radio.station import Job, Lease, Peer, Station, Worker
from radio.wire import (
    MAX_SAMPLES,
    SAMPLE,
    Close,
    Closed,
    Frames,
    Open,
    Receive,
    Refused,
    Reply,
    Request,
    WireError,
    decode_request,
    encode,
)

_log = logging.getLogger(__name__)

BATCH = 64  # requests taken before results, departures and clients at the gate have their turn


class RadioServer:
    """Serves radios by name until told to stop. Leaving its context closes all of them."""

    def __init__(
        self,
        radios: Mapping[str, Callable[[], Radio]],
        uri: str,
        keys: Keys | None = None,
        serial: bool = False,
        heartbeat_s: float = 2.0,
        max_wait_s: float = 30.0,
        grace_s: float = 1.0,
    ) -> None:
        """Bind; no radio is opened yet.

        Args:
            radios: how to open each, by name; called again for every client.
            uri: ``zmq+ipc://PATH``, readable for this user only, or ``zmq+tcp://HOST:PORT``, where
                port ``*`` takes any that is free.
            keys: of this server and of those who may come; needed to bind to anything but this
                machine.
            serial: one thread for all radios, for those that share one virtual air. Otherwise
                each has its own, and no radio waits for another.
            heartbeat_s: a client whose machine or network is silent for so long has gone. One
                whose process ends is noticed at once.
            max_wait_s: captures that end later are refused, because a radio is closed only after
                the capture in hand.
            grace_s: how long `close` waits for radios at work before it mutes them regardless.

        Raises:
            RadioError: the address is open to others without keys, taken, or none.
        """
        if not radios:
            raise RadioError("a server needs at least one radio to serve")
        where = RadioUri.parse(uri)
        address = endpoint(where)
        require_address(address, keys is not None)
        self._max_wait_s, self._grace_s = max_wait_s, grace_s
        self._path = _free_path(where)
        self._context = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._departures = self._router.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._gate = Gate(self._context, keys, keys.allowed, _log.warning) if keys else None
        self._bell, self._ringer = socket.socketpair()
        self._bell.setblocking(False)
        self._ringer.setblocking(False)
        self._stations: dict[str, Station] = {}
        self._jobs: dict[Future[Frames], Job] = {}
        self._is_open = True
        try:
            self._bind(address, heartbeat_s)
        except BaseException:
            self._path = None  # not ours to remove
            self.close()
            raise
        shared = Worker(self._ring) if serial else None
        for name, factory in radios.items():
            self._stations[name] = Station(name, factory, shared or Worker(self._ring))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the radios served."""
        return tuple(self._stations)

    @property
    def uri(self) -> str:
        """Where clients find it, with the port it got."""
        bound = self._router.getsockopt_string(zmq.LAST_ENDPOINT)
        # A socket of both kinds of IP writes 127.0.0.1 as [::ffff:127.0.0.1].
        return re.sub(r"\[::ffff:([\d.]+)\]", r"\1", f"zmq+{bound}")

    def serve(self, stop: Callable[[], bool] = lambda: False, poll_s: float = 0.2) -> None:
        """Answer until `stop` says so, which is asked at least every `poll_s`."""
        poller = zmq.Poller()
        for each in (self._router, self._departures, self._bell.fileno()):
            poller.register(each, zmq.POLLIN)
        if self._gate:
            poller.register(self._gate.socket, zmq.POLLIN)
        while not stop():
            poller.poll(round(1e3 * poll_s))
            if self._gate:
                self._gate.admit()
            self._finish_jobs()
            self._see_off()
            for _ in range(BATCH):
                if not _has_message(self._router):
                    break
                identity, *frames = self._router.recv_multipart(copy=False)
                # Before this: the kernel may have given the newcomer the number of one who left.
                self._see_off()
                if frames:
                    peer = Peer(identity.bytes, int(frames[0].get(zmq.SRCFD)))
                    self._handle(peer, [frame.buffer for frame in frames])

    def close(self) -> None:
        """Mute and close all radios, those that hang after `grace_s`, and unbind."""
        if not self._is_open:
            return
        self._is_open = False
        for station in self._stations.values():
            self._take_back(station)
            station.worker.stop()
        _, late = wait(self._jobs, self._grace_s)
        with contextlib.ExitStack() as stack:
            for radio in {
                id(radio): radio for radio in map(self._radio_of, late) if radio
            }.values():
                # From the wrong thread, but a transmitter that stays on is worse; twice is fine.
                stack.callback(radio.close)
        self._router.disable_monitor()
        self._context.destroy(0)
        self._bell.close()
        self._ringer.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _bind(self, address: str, heartbeat_s: float) -> None:
        options = {
            zmq.LINGER: 0,
            zmq.MAXMSGSIZE: MAX_SAMPLES * SAMPLE.itemsize,
            zmq.RCVHWM: 8,
            zmq.HEARTBEAT_IVL: int(500 * heartbeat_s),
            zmq.HEARTBEAT_TIMEOUT: int(1e3 * heartbeat_s),
            zmq.IPV6: 1,
        }
        for option, value in options.items():
            self._router.setsockopt(option, value)
        if self._gate:
            self._gate.guard(self._router)
        try:
            self._router.bind(address)
        except zmq.ZMQError as error:
            raise RadioError(f"no radio can be served at {address}: {error}") from error
        if self._path is not None:
            self._path.chmod(0o600)

    def _handle(self, peer: Peer, frames: Frames) -> None:
        """Answer a message, or hand it to the radio's worker."""
        try:
            request = decode_request(frames)
            station = self._station(request.radio)
            if isinstance(request.body, Close) and not station.is_held_by(peer):
                self._send(peer, encode(Reply(request.number, None, Closed())))
                return
            self._require_fit(station, peer, request)
        except WireError as error:
            self._refuse(peer, error.number, error)
        except RadioError as error:
            self._refuse(peer, request.number, error)
        else:
            if isinstance(request.body, Open):
                station.lease = Lease(peer)
            lease = station.lease
            if lease is not None:
                lease.busy = True
                self._submit(Job(station, lease, request.body, request.number))

    def _station(self, name: str | None) -> Station:
        if name is None and len(self._stations) == 1:
            (name,) = self._stations
        if name not in self._stations:
            there = ", ".join(self._stations)
            raise RadioError(f"no radio {name or 'without a name'} is served here, but {there}")
        return self._stations[name]

    def _require_fit(self, station: Station, peer: Peer, request: Request) -> None:
        """RadioError where the radio is not this client's to ask, or not for that."""
        lease, body = station.lease, request.body
        if isinstance(body, Open):
            if lease is not None:
                raise RadioError(f"radio {station.name} is in use by another client; try later")
        elif lease is None or not station.is_held_by(peer):
            raise RadioError(f"radio {station.name} is not this client's; open it first")
        elif lease.busy:
            raise RadioError(f"radio {station.name} is at work; one request at a time")
        if isinstance(body, Receive) and body.n > MAX_SAMPLES:
            raise RadioError(f"{body.n} samples exceed the {MAX_SAMPLES} of a message; cut it")

    def _submit(self, job: Job) -> None:
        self._jobs[job.station.worker.submit(lambda: job.perform(self._max_wait_s))] = job

    def _finish_jobs(self) -> None:
        """Send the answers of jobs that are done."""
        with contextlib.suppress(BlockingIOError):
            self._bell.recv(4096)
        for future in [future for future in self._jobs if future.done()]:
            job = self._jobs.pop(future)
            station, lease = job.station, job.lease
            lease.busy = False
            error = future.exception()
            if error is not None:
                _log.error("radio %s failed", station.name, exc_info=error)
            if station.lease is lease:
                if isinstance(job.body, Close) or lease.radio is None:
                    station.lease = None
                elif error is not None:
                    self._take_back(station)
            if job.number is not None and error is None:
                self._send(lease.peer, future.result())
            elif job.number is not None:
                why = f"radio {station.name} failed and is closed: {type(error).__name__}: {error}"
                self._refuse(lease.peer, job.number, RadioError(why))

    def _see_off(self) -> None:
        """Take back the radios of clients whose connection has ended."""
        while _has_message(self._departures):
            event = parse_monitor_message(self._departures.recv_multipart())
            for station in self._stations.values():
                if station.lease and station.lease.peer.connection == int(event["value"]):
                    _log.warning("the client of radio %s has gone", station.name)
                    self._take_back(station)

    def _take_back(self, station: Station) -> None:
        """Close the radio after what it is doing; the next client's `Open` comes after that."""
        if station.lease is not None:
            self._submit(Job(station, station.lease, Close()))
            station.lease = None

    def _radio_of(self, future: Future[Frames]) -> Radio | None:
        return self._jobs[future].lease.radio

    def _refuse(self, peer: Peer, number: int | None, error: RadioError) -> None:
        self._send(peer, encode(Reply(number, None, Refused.of(error))))

    def _send(self, peer: Peer, frames: Frames) -> None:
        """To a client that has gone, or does not read, nothing is sent."""
        self._router.send_multipart([peer.identity, *frames], copy=False)

    def _ring(self) -> None:
        # A bell that is full has been rung, and one that is closed is nobody's.
        with contextlib.suppress(OSError):
            self._ringer.send(b"!")


def _has_message(socket: zmq.Socket[bytes]) -> bool:
    """As `socket.poll(0)`, but without making a poller for it, which takes time."""
    return bool(int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)


def _free_path(uri: RadioUri) -> Path | None:
    """The file that binding will make, after one that a dead server left is removed.

    Raises:
        RadioError: a living server is there, or a file that is no socket.
    """
    if uri.scheme != "zmq+ipc":
        return None
    path = Path(uri.address)
    if path.exists():
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise RadioError(f"{path} is a file already; serve the radio somewhere else")
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise RadioError(f"another server is at {uri} already; choose another path")
        path.unlink()
    return path
