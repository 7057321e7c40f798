"""Which code a node runs: nodes of different code must not meet in a run."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import import_module
from pathlib import Path

PACKAGES = ("fl_core", "radio", "sim_fallback", "testbed")


@cache
def code_sha256() -> str:
    """SHA-256 of all modules, wherever they are installed."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        (folder,) = import_module(package).__path__
        for path in sorted(Path(folder).rglob("*.py")):
            name = f"{package}/{path.relative_to(folder).as_posix()}"
            content = path.read_bytes()
            digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()
