"""``zmq+ipc://PATH?name=d3``, ``zmq+tcp://HOST:PORT?name=d3``: a radio that `radio.remote` serves.

Options: ``name`` where several radios are served there, ``timeout_s`` (10), and for a server with
keys ``keys=DIR/NAME.secret``, one's own, and ``server``, the name of the server, whose public key
lies beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import TypeVar

import zmq
from zmq.utils.monitor import parse_monitor_message

from radio.address import endpoint, require_address
from radio.api import (
    IQ,
    Capture,
    Radio,
    RadioCaps,
    RadioError,
    RadioSettings,
    TxReport,
    require_burst,
    require_count,
    require_settings,
)
from radio.keys import Keys
from radio.registry import RadioUri
from radio.wire import (
    MAX_SAMPLES,
    SAMPLE,
    Answer,
    Ask,
    Clock,
    Close,
    Closed,
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
    encode,
)

Kind = TypeVar("Kind", bound=Answer)
HEARTBEAT_S = 1.0
TIMEOUT_S = 10.0
LATE_S = 1.0  # by which a fault may be noticed later, in place of asking for the time


class RemoteRadio(Radio):
    """A radio of another process, host or interpreter, this client's alone while it is open.

    Not for several threads. A server that is gone, or that does not answer `timeout_s` after the
    answer is due, ends the connection, whereupon the server mutes and closes the radio: nothing
    is ever sent twice, and after a fault one opens the radio again.
    """

    def __init__(
        self,
        uri: RadioUri,
        name: str | None = None,
        keys: Keys | None = None,
        server: str | None = None,
        timeout_s: float = TIMEOUT_S,
        opening_s: float | None = None,
        called: str | None = None,
    ) -> None:
        """Connect and open the radio.

        Args:
            uri: where it is served.
            name: of the radio; None for the only one.
            keys: of this client, for a server with keys.
            server: name of the server, whose public key is among those that `keys` allow.
            timeout_s: of every answer, on top of how long a capture lasts.
            opening_s: of the first answer; None for the same.
            called: what messages call the radio; None for its URI.

        Raises:
            RadioError: a bad address, one that needs keys, nobody answers, no such radio, or
                another client has it.
        """
        if not 0 < timeout_s < math.inf:
            raise RadioError(f"{uri}: timeout_s should be above 0, not {timeout_s:g}")
        if (keys is None) != (server is None):
            raise RadioError(f"{uri}: a server with keys needs both keys and server")
        address = endpoint(uri)
        require_address(address, keys is not None)
        self._where, self._name = called or str(uri), name
        self._timeout_s = timeout_s
        self._numbers = count(1)
        self._passed = 0  # sample that the clock has reached, at least
        self._fault: str | None = None
        self._is_open = True
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._events = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._events, zmq.POLLIN)
        try:
            self._connect(address, keys, server)
            reply = self._request(Open(), opening_s or timeout_s)
            self._caps = self._expect(Opened, reply).caps
            if reply.settings is None:
                raise WireError(f"{self._where} opened the radio without telling its settings")
        except BaseException:
            self._disconnect()
            raise
        self._settings = reply.settings

    @property
    def caps(self) -> RadioCaps:
        """Of the radio served, as it was when it was opened."""
        return self._caps

    @property
    def settings(self) -> RadioSettings:
        """In force after the last answer."""
        return self._settings

    def configure(self, want: RadioSettings) -> RadioSettings:
        """Apply settings and return what was applied."""
        self._require_open()
        require_settings(want, self._caps)
        return self._ask(Configured, Configure(want)).applied

    def now(self) -> int:
        """The sample clock, as it was when the server asked for it."""
        self._require_open()
        self._passed = self._ask(Clock, Now()).sample
        return self._passed

    def transmit(self, iq: IQ, at: int | None = None) -> TxReport:
        """Send a burst; RadioError as every radio, and where the server does not answer."""
        if self._caps.can_transmit:
            self._require_open()
        require_burst(iq, self._caps)
        return self._ask(TxReport, Transmit(iq, at))

    def receive(self, n: int, at: int | None = None) -> Capture:
        """Capture n samples; RadioError as every radio, and where the server does not answer."""
        self._require_open()
        require_count(n)
        capture = self._ask(Capture, Receive(n, at), self._takes_s(n, at))
        if capture.iq.size != n:
            raise self._gone(f"sent {capture.iq.size} samples where {n} were asked for")
        self._passed = max(self._passed, capture.first_sample + n)
        return capture

    def close(self) -> None:
        """Close the radio there; RadioError where the server does not confirm it."""
        if self._is_open:
            try:
                self._ask(Closed, Close())
            finally:
                self._disconnect()

    def describe(self) -> Mapping[str, str]:
        """Of the radio served."""
        self._require_open()
        answer = self._ask(Described, Describe())
        return dict(zip(answer.names, answer.texts, strict=False))

    def _connect(self, address: str, keys: Keys | None, server: str | None) -> None:
        options = {
            zmq.LINGER: 0,
            zmq.MAXMSGSIZE: MAX_SAMPLES * SAMPLE.itemsize,
            zmq.HEARTBEAT_IVL: int(1e3 * HEARTBEAT_S),
            zmq.HEARTBEAT_TIMEOUT: int(3e3 * HEARTBEAT_S),
            zmq.RECONNECT_IVL: 20,
            zmq.IPV6: 1,
        }
        for option, value in options.items():
            self._socket.setsockopt(option, value)
        if keys is not None and server is not None:
            keys.introduce(self._socket, server)
        try:
            self._socket.connect(address)
        except zmq.ZMQError as error:
            raise RadioError(f"{self._where} is no address to connect to: {error}") from error

    def _takes_s(self, n: int, at: int | None) -> float:
        """How long a capture takes, which decides how long to wait for it; or up to LATE_S more."""
        rate = self._settings.sample_rate_hz
        ahead = 0 if at is None else max(0, at - self._passed)
        if at is not None and ahead > LATE_S * rate:
            ahead = max(0, at - self.now())
        return (ahead + n) / rate

    def _ask(self, kind: type[Kind], body: Ask, takes_s: float = 0.0) -> Kind:
        """Ask, and keep the settings that come with the answer, refusals included."""
        reply = self._request(body, self._timeout_s + takes_s)
        if reply.settings is not None:
            self._settings = reply.settings
        return self._expect(kind, reply)

    def _expect(self, kind: type[Kind], reply: Reply) -> Kind:
        if isinstance(reply.body, Refused):
            raise reply.body.error()
        if not isinstance(reply.body, kind):
            raise self._gone(f"answered {type(reply.body).__name__}, not {kind.__name__}")
        return reply.body

    def _request(self, body: Ask, patience_s: float) -> Reply:
        """Send a request and wait for its reply."""
        number = next(self._numbers)
        frames = encode(Request(number, self._name, body))
        try:
            if self._events.poll(0):
                raise self._lost()
            self._socket.send_multipart(frames, zmq.DONTWAIT, copy=False)
            ready = dict(self._poller.poll(math.ceil(1e3 * patience_s)))
            if not ready:
                raise self._gone(f"does not answer within {patience_s:.3g} s")
            # What the server said before it went still counts.
            if self._socket not in ready:
                raise self._lost()
            received = self._socket.recv_multipart(copy=False)
            reply = decode_reply([frame.buffer for frame in received])
            if reply.number != number:
                raise self._gone(f"answered request {reply.number}, not {number}")
            return reply
        except WireError as error:
            raise self._gone(f"sent what is no message: {error}") from error
        except BaseException:
            # Interrupted between question and answer, a later answer would be taken for another's.
            self._disconnect()
            raise

    def _lost(self) -> RadioError:
        parse_monitor_message(self._events.recv_multipart())
        return self._gone("is gone, or does not accept this client's keys")

    def _gone(self, what: str) -> RadioError:
        """Give the connection up; the server takes that for a close."""
        self._fault = f"the radio server at {self._where} {what}"
        self._disconnect()
        return RadioError(self._fault)

    def _disconnect(self) -> None:
        if self._is_open:
            self._is_open = False
            self._socket.disable_monitor()
            self._events.close(0)
            self._socket.close(0)
            self._context.term()

    def _require_open(self) -> None:
        if not self._is_open:
            why = f" ({self._fault})" if self._fault else ""
            raise RadioError(f"the radio at {self._where} is closed{why}; open it again")


def open_remote(uri: RadioUri) -> RemoteRadio:
    """The radio served at the URI's address."""
    uri.require_options("name", "keys", "server", "timeout_s")
    return RemoteRadio(
        uri,
        uri.option("name", str, None),
        uri.option("keys", lambda text: Keys.read(Path(text)), None),
        uri.option("server", str, None),
        uri.option("timeout_s", float, TIMEOUT_S),
    )
