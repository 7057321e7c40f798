"""The end of a transport that everybody connects to."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping

import zmq

from fl_core.errors import InputError
from radio.address import require_address
from radio.gate import Gate
from radio.keys import Keys
from testbed.nodes.coordinator_messages import Refused
from testbed.nodes.messages import NO_RUN, Body, Kinds, decode, encode, largest
from testbed.nodes.rules import MessageError
from testbed.nodes.transport import (
    HEARTBEAT_S,
    Lost,
    SocketFile,
    Transport,
    change,
    require_own,
)

_FAILED = zmq.Event.HANDSHAKE_FAILED_PROTOCOL | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL


class Hub(Transport):
    """Who is connected, by name. Events: messages, and `Lost`.

    Args:
        address: to bind, `ipc://PATH` or `tcp://HOST:PORT`; port `*` takes a free one.
        name: of this node.
        peers: what each node may say, by its name; nobody else is listened to.
        keys: of this node. Without them only loopback and ipc can be bound.
        heartbeat_s: between two looks at who is still connected.
        most_bytes: of a message that comes in, where less will do than the schema permits.
        first_number: of the messages sent; differs from start to start of a node.
        clock: monotonic, s.

    Attributes:
        address: bound, with its port.

    Raises:
        RadioError: the address is none, or needs keys.
        InputError: it cannot be bound, or the keys are another node's.
    """

    def __init__(
        self,
        address: str,
        name: str,
        peers: Mapping[str, Kinds],
        keys: Keys | None = None,
        heartbeat_s: float = HEARTBEAT_S,
        most_bytes: int | None = None,
        first_number: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        require_address(address, keys is not None)
        require_own(keys, name)
        super().__init__(heartbeat_s, first_number, clock)
        self._name = name
        self._peers = peers
        self._everything: Kinds = frozenset().union(*peers.values())
        self._routes: dict[str, bytes] = {}
        self._names: dict[bytes, str] = {}
        self._next_probe = clock() + heartbeat_s
        self._keyed = keys is not None
        self._router = self._socket(zmq.ROUTER, most_bytes or largest(self._everything))
        self._router.router_mandatory = True
        self._failures = self._monitor(self._router, _FAILED)
        self._gate: Gate | None = None
        if keys is not None:
            self._gate = Gate(self._context, keys, peers, lambda line: self._refuse("key", line))
            self._gate.guard(self._router)
            self._sockets.append(self._gate.socket)
            self._poller.register(self._gate.socket, zmq.POLLIN)
        self._file = SocketFile(address)
        try:
            self._file.require_free()
            self._router.ipv6 = "[" in address
            self._router.bind(address)
            self._file.bound()
        except zmq.ZMQError as error:
            self.close()
            raise InputError(f"{address}: cannot be bound ({error})") from error
        except InputError:
            self.close()
            raise
        self.address = self._router.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")

    @property
    def connected(self) -> frozenset[str]:
        """Names of the nodes that have spoken and whose connection stands."""
        return frozenset(self._routes)

    def send(self, to: str, body: Body, run: str, round_index: int) -> bool:
        """Say something to a node.

        Returns:
            Whether it is on its way: False when the node is not connected or does not read.

        Raises:
            MessageError: it cannot be said.
        """
        message = self._envelope(body, self._name, run, round_index)
        route = self._routes.get(to)
        return route is not None and self._pass(route, encode(message))

    def close(self) -> None:
        """Close all sockets and remove the file of an ipc address."""
        super().close()
        self._file.remove()

    def _serve(self, ready: set[zmq.Socket[bytes]]) -> None:
        if self._gate is not None and self._gate.socket in ready:
            self._gate.admit()
        if self._failures in ready:
            self._refuse("handshake", change(self._failures)[1])
        if self._router in ready:
            route, *parts = self._router.recv_multipart(copy=False)
            self._take(route.bytes, parts)
        if self._clock() >= self._next_probe:
            self._next_probe = self._clock() + self._heartbeat_s
            for route_of_peer in list(self._names):
                self._pass(route_of_peer, b"")

    def _take(self, route: bytes, parts: list[zmq.Frame]) -> None:
        """One message from outside."""
        owner = self._names.get(route)
        if len(parts) != 1:
            self._refuse("malformed", f"{_peer(owner)}: {len(parts)} parts, should be 1")
            return
        if self._keyed:
            owner = str(parts[0].get("User-Id"))
        kinds = self._everything if owner is None else self._peers[owner]
        try:
            message = decode(parts[0].bytes, kinds)
        except MessageError as error:
            self._refuse("malformed", f"{_peer(owner)}: {error}")
            return
        sender = message.sender
        if owner is not None and sender != owner:
            self._refuse("impersonation", f"{owner} speaks as {sender}")
        elif sender not in self._peers:
            self._turn_away(route, "stranger", f"no node of this bench is called {sender}")
        elif type(message.body) not in self._peers[sender]:
            self._refuse("malformed", f"{sender} does not say {type(message.body).__name__}")
        elif not self._is_route_of(sender, route):
            self._turn_away(route, "rival", f"another node is connected as {sender}")
        else:
            self._accept(message)

    def _is_route_of(self, name: str, route: bytes) -> bool:
        """Whether a node speaks over this route; over a new one only when its last is gone."""
        last = self._routes.get(name)
        if last is not None and last != route:
            self._pass(last, b"")  # forgets it when it is gone
        if self._routes.setdefault(name, route) != route:
            return False
        self._names[route] = name
        return True

    def _turn_away(self, route: bytes, reason: str, line: str) -> None:
        self._refuse(reason, line)
        refusal = self._envelope(Refused(line), self._name, NO_RUN, 0)
        self._pass(route, encode(refusal))

    def _pass(self, route: bytes, data: bytes) -> bool:
        """Queue for a connection; False when it is gone, which is an event, or full."""
        try:
            self._router.send_multipart([route, data], zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                raise
            self._forget(route)
            return False
        return True

    def _forget(self, route: bytes) -> None:
        name = self._names.pop(route, None)
        if name is not None:
            del self._routes[name]
            self._events.append(Lost(name))


def _peer(name: str | None) -> str:
    """Who sent something, as far as that is known."""
    return name or "a node that has not said its name"
