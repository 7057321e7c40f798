"""What runs under the other interpreter for `radio.elsewhere`: a radio served, or a search.

``python -m radio.elsewhere_process PARENT serve SOCKET URI`` or ``PARENT find SCHEME ADDRESS...``
writes a line that says whether it can, and then what is logged. It ends when the parent does.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from radio.discovery import search
from radio.registry import RadioUri, driver_of, open_here
from radio.relayed_log import RelayHandler
from radio.remote import RadioServer

LOOK_EVERY_S = 0.1  # whether the parent is still there
GRACE_S = 4.0  # for a radio that is busy when all ends
MAX_WAIT_S = 3600.0  # for captures; whoever gives up ends the connection


def main(words: Sequence[str]) -> int:
    """Do what the parent asks."""
    parent, task, *rest = words
    logging.basicConfig(level=logging.INFO, handlers=[RelayHandler(sys.stdout)])
    if task == "serve":
        path, text = rest
        return _serve(int(parent), Path(path), RadioUri.parse(text))
    scheme, *addresses = rest
    if _is_there(scheme):
        _answer({"search": asdict(search(scheme, addresses))})
    return 0


def _serve(parent: int, path: Path, uri: RadioUri) -> int:
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    if not _is_there(uri.scheme):
        return 1
    try:
        radios = {"radio": partial(open_here, uri)}
        with RadioServer(
            radios, f"zmq+ipc://{path}", max_wait_s=MAX_WAIT_S, grace_s=GRACE_S
        ) as server:
            _answer({"ready": True})
            server.serve(lambda: bool(told) or os.getppid() != parent, LOOK_EVERY_S)
            # Before the radio is closed: of one that is gone, libuhd may crash this process.
            shutil.rmtree(path.parent)
    finally:
        if path.parent.exists():  # the parent may be killed before it removes it
            shutil.rmtree(path.parent)
    return 0


def _is_there(scheme: str) -> bool:
    """Whether this interpreter has what the driver needs; the answer, where not."""
    needs = driver_of(RadioUri(scheme)).needs
    missing = needs.fault() if needs is not None else None
    if missing:
        _answer({"missing": missing})
    return not missing


def _answer(told: dict[str, object]) -> None:
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
