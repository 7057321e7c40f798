"""Who may connect: answers ZMQ's question whose key this is (ZAP, rfc.zeromq.org/spec/27).

libzmq asks once a connection, through a socket that its owner polls beside the others. A key that
is allowed gets the name of its node as user id, which every message of the connection then bears.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import zmq
from zmq.utils import z85

from radio.keys import Keys

_DOMAIN = b"airmeta"


class Gate:
    """Admits nodes by their public keys to the server that it guards.

    Args:
        context: of the server's socket.
        keys: of the server, and of those that it believes.
        welcome: names of those that may come, if they are believed.
        refuse: called with a line about every key that is refused.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        keys: Keys,
        welcome: Collection[str],
        refuse: Callable[[str], None],
    ) -> None:
        self._secret = keys.secret
        self._names = {key: name for name, key in keys.allowed.items() if name in welcome}
        self._refuse = refuse
        self.socket = context.socket(zmq.REP)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind("inproc://zeromq.zap.01")

    def guard(self, server: zmq.Socket[bytes]) -> None:
        """Let nobody to this socket, not bound yet, but through this gate."""
        server.setsockopt(zmq.CURVE_SERVER, 1)
        server.setsockopt(zmq.CURVE_SECRETKEY, self._secret.encode())
        server.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN)

    def admit(self) -> None:
        """Answer all that is asked."""
        while self.socket.poll(0):
            self._answer(*self.socket.recv_multipart())

    def _answer(
        self,
        version: bytes,
        request: bytes,
        domain: bytes,
        address: bytes,
        _: bytes,
        mechanism: bytes,
        *credentials: bytes,
    ) -> None:
        name = None
        if domain == _DOMAIN and mechanism == b"CURVE" and len(credentials) == 1:
            key = z85.encode(credentials[0]).decode()
            name = self._names.get(key)
            if name is None:
                self._refuse(f"key {key} from {address.decode(errors='replace')} is not allowed")
        status, text = (b"200", b"OK") if name is not None else (b"400", b"not allowed")
        self.socket.send_multipart([version, request, status, text, (name or "").encode(), b""])
