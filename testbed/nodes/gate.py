"""Who may connect: answers ZMQ's question whose key this is (ZAP, rfc.zeromq.org/spec/27).

libzmq asks once a connection, through a socket that its owner polls beside the others. A key that
is allowed gets the name of its node as user id, which every message of the connection then bears.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import zmq
from zmq.utils import z85

DOMAIN = b"airmeta"


class Gate:
    """Admits the nodes of a bench by their public keys.

    Args:
        context: of the server's socket.
        allowed: names of nodes by public key, Z85.
        refuse: called with a line about every key that is refused.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        allowed: Mapping[str, str],
        refuse: Callable[[str], None],
    ) -> None:
        self._allowed = allowed
        self._refuse = refuse
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind("inproc://zeromq.zap.01")

    def answer(self) -> None:
        """Answer one question."""
        version, request, domain, address, _, mechanism, *credentials = self.socket.recv_multipart()
        name = None
        if domain == DOMAIN and mechanism == b"CURVE" and len(credentials) == 1:
            key = z85.encode(credentials[0]).decode()
            name = self._allowed.get(key)
            if name is None:
                self._refuse(f"key {key} from {address.decode(errors='replace')} is not allowed")
        status, text = (b"200", b"OK") if name is not None else (b"400", b"not allowed")
        self.socket.send_multipart([version, request, status, text, (name or "").encode(), b""])

    def close(self) -> None:
        """Admit nobody any more."""
        self.socket.close()
