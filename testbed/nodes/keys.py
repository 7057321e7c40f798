"""Who a node is: CURVE key pairs in files, and the public keys of those it believes.

A folder of keys holds NAME.secret for the nodes of this machine and NAME.public for every node
that is allowed. Only public files travel; adding one is allowing a node, deleting it is the end of
that from the next start on. Keys are Z85 text, as ZMQ prints them.
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

from fl_core.errors import InputError
from testbed.nodes.messages import NAME

SECRET, PUBLIC = ".secret", ".public"
_KEY_BYTES = 32


@dataclass(frozen=True)
class Keys:
    """What a node needs to know to be known.

    Attributes:
        name: of the node.
        public: its public key.
        secret: its secret key, never printed.
        allowed: public keys of all nodes it believes, by name.
    """

    name: str
    public: str
    secret: str = field(repr=False)
    allowed: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path, name: str) -> Keys:
        """The keys of a node and all that it believes.

        Raises:
            InputError: there is no such pair, others can read its secret, or a file is damaged.
        """
        require_name(name)
        path = folder / f"{name}{SECRET}"
        if not path.exists():
            raise InputError(f"{path}: is missing; `airmeta keys new {name} --out {folder}`")
        if path.stat().st_mode & 0o077:
            raise InputError(f"{path}: others can read this secret; chmod 600 {path}")
        secret, allowed = _read_key(path), read_allowed(folder)
        public = zmq.curve_public(secret.encode()).decode()
        if allowed.get(name) not in (None, public):
            raise InputError(f"{folder / name}{PUBLIC}: does not belong to {path}")
        return cls(name, public, secret, allowed)


def new_pairs(folder: Path, names: Sequence[str]) -> dict[str, tuple[Path, Path]]:
    """Make pairs, and the folder if it is new; all of them or none.

    Returns:
        By name, the secret file, which only its owner can read, and the public one.

    Raises:
        InputError: a name has keys already, or they cannot be written.
    """
    paths = {
        require_name(name): (folder / f"{name}{SECRET}", folder / f"{name}{PUBLIC}")
        for name in names
    }
    for name, pair in paths.items():
        for path in pair:
            if path.exists():
                raise InputError(f"{path}: exists; delete both files of {name} to make new ones")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for secret_path, public_path in paths.values():
            public, secret = zmq.curve_keypair()
            _write_new(secret_path, secret, 0o600)
            _write_new(public_path, public, 0o644)
    except OSError as error:
        raise InputError(f"{folder}: keys cannot be written ({error})") from error
    return paths


def allow(folder: Path, public_file: Path) -> str:
    """Believe the node whose public file this is, from now on.

    Returns:
        Its name.

    Raises:
        InputError: it is no public file, or the name or the key belongs to another node.
    """
    if public_file.suffix != PUBLIC:
        raise InputError(f"{public_file}: should be the file NAME{PUBLIC} of a node")
    name = require_name(public_file.stem)
    key = _read_key(public_file)
    before = read_allowed(folder)
    if before.get(name) == key:
        return name
    if name in before:
        raise InputError(f"{folder / name}{PUBLIC}: is another key of {name}; delete it first")
    if key in before.values():
        owner = next(n for n, k in before.items() if k == key)
        raise InputError(f"{public_file}: {owner} has this key already; one key is one node")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_new(folder / f"{name}{PUBLIC}", key.encode(), 0o644)
    except OSError as error:
        raise InputError(f"{folder}: keys cannot be written ({error})") from error
    return name


def read_allowed(folder: Path) -> dict[str, str]:
    """Public keys in a folder by name; InputError when one is damaged or two nodes share one."""
    allowed: dict[str, str] = {}
    owners: dict[str, str] = {}
    for path in sorted(folder.glob(f"*{PUBLIC}")):
        name, key = require_name(path.stem), _read_key(path)
        if key in owners:
            raise InputError(f"{path}: {owners[key]} has this key already; one key is one node")
        allowed[name], owners[key] = key, name
    return allowed


def secrets_in(folder: Path) -> list[str]:
    """Names whose secret lies in a folder."""
    return sorted(path.stem for path in folder.glob(f"*{SECRET}"))


def require_name(name: str) -> str:
    """The name, if it is one; InputError otherwise."""
    if not re.fullmatch(NAME, name):
        raise InputError(f"{name!r}: is no name of a node; 64 of A-Z a-z 0-9 . _ - at most")
    return name


def _read_key(path: Path) -> str:
    try:
        key = path.read_text("ascii").strip()
        whole = len(z85.decode(key)) == _KEY_BYTES
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    except (ValueError, KeyError, struct.error):  # what decoding makes of what is no Z85
        whole = False
    if not whole:
        raise InputError(f"{path}: is no key; it should be 40 characters of Z85")
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
