"""Who may talk to whom: key pairs of CURVE, and the gate that knows whose keys are welcome."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import zmq
import zmq.auth
from zmq.utils import z85

from radio.api import RadioError

_log = logging.getLogger(__name__)

ZAP = "inproc://zeromq.zap.01"  # where libzmq asks; ZeroMQ RFC 27


@dataclass(frozen=True)
class Keys:
    """A pair of CURVE keys, each 40 characters of z85.

    Attributes:
        public: given to others.
        secret: kept.
    """

    public: str
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        require_key(self.public)
        require_key(self.secret)
        if zmq.curve_public(self.secret.encode()).decode() != self.public:
            raise ValueError("the public key does not belong to the secret one")

    @classmethod
    def make(cls) -> Keys:
        """A new pair, from the system's random numbers."""
        public, secret = zmq.curve_keypair()
        return cls(public.decode(), secret.decode())


def require_key(key: str) -> None:
    """ValueError unless this is a key."""
    try:
        good = len(z85.decode(key.encode("ascii"))) == 32
    except (ValueError, KeyError, UnicodeEncodeError, OverflowError):
        good = False
    if not good:
        raise ValueError("a key is 40 characters of z85")


def read_keys(path: Path) -> Keys:
    """The pair in a ``.key_secret`` file, as `zmq.auth.create_certificates` writes it.

    Raises:
        RadioError: there is no such file, or no pair in it.
    """
    public, secret = _certificate(path)
    if secret is None:
        raise RadioError(f"{path} holds no secret key; give the file that ends in .key_secret")
    try:
        return Keys(public, secret)
    except ValueError as error:
        raise RadioError(f"{path}: {error}") from error


def read_public_key(path: Path) -> str:
    """The public key in a ``.key`` or ``.key_secret`` file; RadioError where there is none."""
    public, _ = _certificate(path)
    try:
        require_key(public)
    except ValueError as error:
        raise RadioError(f"{path}: {error}") from error
    return public


def _certificate(path: Path) -> tuple[str, str | None]:
    try:
        public, secret = zmq.auth.load_certificate(path)
    except (OSError, ValueError) as error:
        raise RadioError(f"no keys can be read from {path}: {error}") from error
    decoded = None if secret is None else secret.decode("ascii", "replace")
    return public.decode("ascii", "replace"), decoded


class Gate:
    """Admits clients by their public keys and logs those that it turns away.

    It answers what libzmq asks while a client connects (ZAP, ZeroMQ RFC 27), so whoever polls
    the server's sockets polls `socket` too and calls `admit`.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], welcome: Collection[str]) -> None:
        for key in welcome:
            require_key(key)
        self._welcome = frozenset(welcome)
        self.socket = context.socket(zmq.REP)
        self.socket.bind(ZAP)

    def guard(self, server: zmq.Socket[bytes], keys: Keys) -> None:
        """Make a socket, not bound yet, a server with these keys behind this gate."""
        server.setsockopt(zmq.CURVE_SERVER, 1)
        server.setsockopt(zmq.CURVE_SECRETKEY, keys.secret.encode())
        server.setsockopt(zmq.CURVE_PUBLICKEY, keys.public.encode())
        server.setsockopt(zmq.ZAP_DOMAIN, b"airmeta")

    def admit(self) -> None:
        """Answer all that is asked."""
        while self.socket.poll(0):
            version, number, _, address, _, mechanism, *credentials = self.socket.recv_multipart()
            key = z85.encode(credentials[0]).decode() if mechanism == b"CURVE" else ""
            welcome = key in self._welcome
            if not welcome:
                _log.warning("turned away %s with key %s", address.decode(), key or "none")
            code, text = (b"200", b"OK") if welcome else (b"400", b"not a known key")
            self.socket.send_multipart([version, number, code, text, b"", b""])

    def close(self) -> None:
        """Nobody is admitted any more."""
        self.socket.close(0)
