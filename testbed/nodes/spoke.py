"""The end of a transport that connects to a hub."""

from __future__ import annotations

import time
from collections.abc import Callable

import zmq

from fl_core.errors import InputError
from radio.address import require_address
from radio.api import RadioError
from radio.keys import Keys
from testbed.nodes.messages import Body, Kinds, decode, encode, largest
from testbed.nodes.rules import MessageError
from testbed.nodes.transport import (
    HEARTBEAT_S,
    Denied,
    Joined,
    Lost,
    Transport,
    change,
    require_own,
)

_CHANGES = (
    zmq.Event.HANDSHAKE_SUCCEEDED
    | zmq.Event.HANDSHAKE_FAILED_AUTH
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.DISCONNECTED
)


class Spoke(Transport):
    """One connection, made again whenever it breaks. Events: messages, `Joined`, `Lost`, `Denied`.

    Args:
        address: of the hub.
        name: of this node.
        hub: name of the node at the other end.
        kinds: that it may say.
        keys: of this node; the hub's public key has to be among the allowed ones.
        heartbeat_s: of the connection.
        most_bytes: of a message that comes in, where less will do than the schema permits.
        first_number: of the messages sent; differs from start to start of a node.
        clock: monotonic, s.

    Raises:
        RadioError: the address is none or needs keys, or the hub's key is missing.
        InputError: the keys are another node's, or the address cannot be connected to.
    """

    def __init__(
        self,
        address: str,
        name: str,
        hub: str,
        kinds: Kinds,
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
        self._hub = hub
        self._kinds = kinds
        self._joined = False
        self._dealer = self._socket(zmq.DEALER, most_bytes or largest(kinds))
        self._dealer.immediate = True  # nothing is kept for a connection to come
        self._dealer.reconnect_ivl, self._dealer.reconnect_ivl_max = 100, 2000  # ms
        self._changes = self._monitor(self._dealer, _CHANGES)
        try:
            if keys is not None:
                keys.introduce(self._dealer, hub)
            self._dealer.ipv6 = "[" in address
            self._dealer.connect(address)
        except zmq.ZMQError as error:
            self.close()
            raise InputError(f"{address}: cannot be connected to ({error})") from error
        except RadioError:
            self.close()
            raise

    def send(self, body: Body, run: str, round_index: int) -> bool:
        """Say something to the hub.

        Returns:
            Whether it is on its way: False when the hub is not connected or does not read.

        Raises:
            MessageError: it cannot be said.
        """
        data = encode(self._envelope(body, self._name, run, round_index))
        try:
            self._dealer.send(data, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _serve(self, ready: set[zmq.Socket[bytes]]) -> None:
        if self._changes in ready:
            self._change()
        elif self._dealer in ready:
            self._take(self._dealer.recv_multipart())

    def _change(self) -> None:
        event, meaning = change(self._changes)
        if event == zmq.Event.HANDSHAKE_SUCCEEDED:
            self._joined = True
            self._events.append(Joined(self._hub))
        elif event == zmq.Event.DISCONNECTED:
            if self._joined:
                self._events.append(Lost(self._hub))
            self._joined = False
        else:
            self._refuse("handshake", f"{self._hub}: {meaning}")
            final = event != zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
            self._events.append(Denied(self._hub, meaning, final))

    def _take(self, parts: list[bytes]) -> None:
        if parts == [b""]:  # the hub looks whether anybody is here
            return
        if len(parts) != 1:
            self._refuse("malformed", f"{self._hub}: {len(parts)} parts, should be 1")
            return
        try:
            message = decode(parts[0], self._kinds)
        except MessageError as error:
            self._refuse("malformed", f"{self._hub}: {error}")
            return
        if message.sender != self._hub:
            self._refuse("impersonation", f"{self._hub} speaks as {message.sender}")
        else:
            self._accept(message)
