"""Who a node is: CURVE key pairs in files, and the public keys of those it believes.

A node is whatever has a name and talks over ZMQ: a node of a bench, a radio server, its client. A
folder of keys holds NAME.secret for the nodes of this machine and NAME.public for every node that
is allowed. Only public files travel; adding one is allowing a node, deleting it is the end of that
from the next start on. Keys are Z85 text, as ZMQ prints them.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.utils import z85

from radio.api import RadioError

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
SECRET, PUBLIC = ".secret", ".public"
_KEY_BYTES = 32


@dataclass(frozen=True)
class Keys:
    """What a node needs to know to be known.

    Attributes:
        name: of the node.
        secret: its secret key, never printed.
        allowed: public keys of all nodes it believes, by name.
    """

    name: str
    secret: str = field(repr=False)
    allowed: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> Keys:
        """The keys of the node whose file NAME.secret this is, and of all that it believes.

        Raises:
            RadioError: it is no such file, others can read it, or one beside it is damaged.
        """
        if path.suffix != SECRET:
            raise RadioError(f"{path}: should be the file NAME{SECRET} of a node")
        folder, name = path.parent, require_name(path.stem)
        try:
            mode = path.stat().st_mode
        except FileNotFoundError as error:
            make = f"airmeta keys new {name} --out {folder}"
            raise RadioError(f"{path}: is missing; `{make}`") from error
        except OSError as error:
            raise RadioError(f"{path}: cannot be read ({error})") from error
        if mode & 0o077:
            raise RadioError(f"{path}: others can read this secret; chmod 600 {path}")
        keys = cls(name, _read_key(path), read_allowed(folder))
        if keys.allowed.get(name) not in (None, keys.public):
            raise RadioError(f"{path.with_suffix(PUBLIC)}: does not belong to {path}")
        return keys

    @property
    def public(self) -> str:
        """The public key."""
        return zmq.curve_public(self.secret.encode()).decode()

    def introduce(self, socket: zmq.Socket[bytes], server: str) -> None:
        """Make a socket, not connected yet, one of this node that believes only this server.

        Raises:
            RadioError: the server's public key is not among the allowed ones.
        """
        if server not in self.allowed:
            raise RadioError(
                f"{server}: its public key is not among those {self.name} allows; get it from "
                f"its host and run `airmeta keys allow {server}{PUBLIC} DIR`"
            )
        socket.setsockopt(zmq.CURVE_SERVERKEY, self.allowed[server].encode())
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.public.encode())
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.secret.encode())


def new_pairs(folder: Path, names: Sequence[str]) -> dict[str, tuple[Path, Path]]:
    """Make pairs, and the folder if it is new; all of them or none.

    Returns:
        By name, the secret file, which only its owner can read, and the public one.

    Raises:
        RadioError: a name has keys already, or they cannot be written.
    """
    paths = {
        require_name(name): (folder / f"{name}{SECRET}", folder / f"{name}{PUBLIC}")
        for name in names
    }
    for name, pair in paths.items():
        for path in pair:
            if path.exists():
                raise RadioError(f"{path}: exists; delete both files of {name} to make new ones")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for secret_path, public_path in paths.values():
            public, secret = zmq.curve_keypair()
            _write_new(secret_path, secret, 0o600)
            _write_new(public_path, public, 0o644)
    except OSError as error:
        raise RadioError(f"{folder}: keys cannot be written ({error})") from error
    return paths


def allow(folder: Path, public_file: Path) -> str:
    """Believe the node whose public file this is, from now on.

    Returns:
        Its name.

    Raises:
        RadioError: it is no public file, or the name or the key belongs to another node.
    """
    if public_file.suffix != PUBLIC:
        raise RadioError(f"{public_file}: should be the file NAME{PUBLIC} of a node")
    name = require_name(public_file.stem)
    key = _read_key(public_file)
    before = read_allowed(folder)
    if before.get(name) == key:
        return name
    if name in before:
        raise RadioError(f"{folder / name}{PUBLIC}: is another key of {name}; delete it first")
    if key in before.values():
        owner = next(n for n, k in before.items() if k == key)
        raise RadioError(f"{public_file}: {owner} has this key already; one key is one node")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_new(folder / f"{name}{PUBLIC}", key.encode(), 0o644)
    except OSError as error:
        raise RadioError(f"{folder}: keys cannot be written ({error})") from error
    return name


def read_allowed(folder: Path) -> dict[str, str]:
    """Public keys in a folder by name; RadioError when one is damaged or two nodes share one."""
    allowed: dict[str, str] = {}
    owners: dict[str, str] = {}
    for path in sorted(folder.glob(f"*{PUBLIC}")):
        name, key = require_name(path.stem), _read_key(path)
        if key in owners:
            raise RadioError(f"{path}: {owners[key]} has this key already; one key is one node")
        allowed[name], owners[key] = key, name
    return allowed


def secrets_in(folder: Path) -> list[str]:
    """Names whose secret lies in a folder."""
    return sorted(path.stem for path in folder.glob(f"*{SECRET}"))


def require_name(name: str) -> str:
    """The name, if it is one; RadioError otherwise."""
    if not re.fullmatch(NAME, name):
        raise RadioError(f"{name!r}: is no name of a node; 64 of A-Z a-z 0-9 . _ - at most")
    return name


def _read_key(path: Path) -> str:
    try:
        key = path.read_text("ascii").strip()
        whole = len(z85.decode(key)) == _KEY_BYTES
    except OSError as error:
        raise RadioError(f"{path}: cannot be read ({error})") from error
    except (ValueError, KeyError, struct.error):  # what decoding makes of what is no Z85
        whole = False
    if not whole:
        raise RadioError(f"{path}: is no key; it should be 40 characters of Z85")
    return key


def _write_new(path: Path, key: bytes, mode: int) -> None:
    """Write all or nothing, readable to nobody else at any time; never over another file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(key + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # unlike a rename, refuses when the path exists
    finally:
        temporary.unlink()
