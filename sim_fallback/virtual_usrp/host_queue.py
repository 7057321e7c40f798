"""How much a host on this machine can take: what Ethernet's pause frames tell a real USRP.

The kernel drops what does not fit into the receive queue of a socket, and tells nobody. Asked
through a netlink socket (``man 7 sock_diag``), it says how full the queue of another socket is.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

SOCK_DIAG, BY_FAMILY, REQUEST = 4, 20, 1
MEMORY = 7
"""Of the attributes of a socket: bytes in its receive queue, bytes this may have, and others."""

HEADER = struct.Struct("=IHHII")
SOCKET_ID = struct.Struct("=16s16sIII")
MESSAGE_BYTES = HEADER.size + 72  # before the attributes of an answer
ATTRIBUTE = struct.Struct("=HH")
ANSWER_BYTES = 4096

PACKET_BYTES = 1024
"""That the kernel needs for a packet beside its bytes; half as many were seen."""

ANY = 1 << 20
"""Packets; where nobody knows better."""


class HostQueue:
    """The receive queues of sockets that are sent to. For one thread."""

    def __init__(self) -> None:
        """Ask the kernel, where there is one that answers: Linux, but not in every sandbox."""
        self._link: socket.socket | None = None
        if hasattr(socket, "AF_NETLINK"):
            with suppress(OSError):
                self._link = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, SOCK_DIAG)

    def close(self) -> None:
        """Ask no more."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def room(self, peer: tuple[str, int], own: tuple[str, int], size: int) -> int:
        """Packets of `size` bytes that the peer of our socket `own` can take.

        Half of its queue is left free: what it holds takes more than its bytes. Of a host elsewhere
        nothing is known, which leaves it to the network.
        """
        if self._link is None:
            return ANY
        # The socket is asked for as a datagram to it has its addresses, not as it has its own.
        source, destination = (socket.inet_aton(host) for host, _ in (own, peer))
        ports = struct.pack("!HH", own[1], peer[1])
        identity = ports + SOCKET_ID.pack(source, destination, 0, *[(1 << 32) - 1] * 2)
        wanted = 1 << (MEMORY - 1)
        every = (1 << 32) - 1  # state of the socket
        body = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_UDP, wanted, 0, every)
        size_all = HEADER.size + len(body) + len(identity)
        try:
            self._link.send(HEADER.pack(size_all, BY_FAMILY, REQUEST, 0, 0) + body + identity)
            memory = _memory(self._link.recv(ANSWER_BYTES))
        except OSError:
            return ANY
        if memory is None:
            return ANY
        used, allowed = memory
        return max(0, allowed // 2 - used) // (size + PACKET_BYTES)


def _memory(answer: bytes) -> tuple[int, int] | None:
    """Bytes in the receive queue and bytes it may have; None where there is no such socket."""
    (_, kind, *_) = HEADER.unpack_from(answer)
    rest = answer[MESSAGE_BYTES:] if kind == BY_FAMILY else b""
    while len(rest) >= ATTRIBUTE.size:
        length, attribute = ATTRIBUTE.unpack_from(rest)
        if attribute == MEMORY:
            used, allowed = struct.unpack_from("=II", rest, ATTRIBUTE.size)
            return used, allowed
        rest = rest[max(ATTRIBUTE.size, length + 3 & ~3) :]
    return None
