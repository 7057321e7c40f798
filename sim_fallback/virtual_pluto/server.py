"""Virtual PlutoSDRs as IIOD servers, which libiio opens as ``ip:HOST`` or ``ip:HOST:PORT``."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from sim_fallback.air import Air
from sim_fallback.bands import Bands
from sim_fallback.virtual_pluto import context
from sim_fallback.virtual_pluto.connection import Connection, Timeout
from sim_fallback.virtual_pluto.latency import HostLatency
from sim_fallback.virtual_pluto.link import Link
from sim_fallback.virtual_pluto.pluto import Pluto
from sim_fallback.virtual_pluto.tdd import SyncWire

PORT = 30431
MOST_CLIENTS = 64
LOOK_EVERY_S, ECHO_EVERY_S = 0.05, 0.002  # for a loopback, and while there is one

_log = logging.getLogger(__name__)


class PlutoServer:
    """One radio at one address. Leaving its context ends all conversations and threads."""

    def __init__(self, pluto: Pluto, host: str, port: int = PORT) -> None:
        """Listen; port 0 takes any that is free.

        Raises:
            OSError: the address cannot be had.
        """
        self.pluto = pluto
        self._xml = context.xml(
            {
                "hw_model": "AirMeta virtual PlutoSDR (AD9363)",
                "hw_serial": pluto.bands.equipment(pluto.name).serial(pluto.name),
                "fw_version": "virtual",
                "ad9361-phy,model": "ad9363a",
                "ip,ip-addr": host,
            },
            context.DEVICES if pluto.tdd is None else context.NEWER_DEVICES,
        )
        self._timeout = Timeout()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._links: dict[socket.socket, threading.Thread] = {}
        self._listener = socket.create_server((host, port), backlog=MOST_CLIENTS)
        self._threads = [
            threading.Thread(target=target, name=f"{pluto.name} {target.__name__}", daemon=True)
            for target in (self._accept, self._echo)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def uri(self) -> str:
        """As libiio takes it."""
        host, port = self._listener.getsockname()
        return f"ip:{host}:{port}"

    def close(self) -> None:
        """End all conversations; closing twice is fine."""
        if self._stop.is_set():
            return
        self._stop.set()
        with contextlib.suppress(OSError):  # macOS refuses it for a listening socket
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            links = dict(self._links)
        for link in links:
            with contextlib.suppress(OSError):  # the client was faster
                link.shutdown(socket.SHUT_RDWR)
        for thread in (*links.values(), *self._threads):
            thread.join()

    def __enter__(self) -> PlutoServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                link, _ = self._listener.accept()
            except OSError:
                if not self._stop.is_set():
                    _log.exception("%s no longer answers", self.uri)
                return
            with self._lock:
                if self._stop.is_set() or len(self._links) >= MOST_CLIENTS:
                    link.close()
                    continue
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                thread = threading.Thread(target=self._serve, args=(link,), daemon=True)
                self._links[link] = thread
                thread.start()

    def _serve(self, link: socket.socket) -> None:
        connection = Connection(Link(link), self.pluto, self._xml, self._timeout, self._stop.is_set)
        try:
            connection.serve()
        finally:
            connection.close()
            with self._lock:
                del self._links[link]
            link.close()

    def _echo(self) -> None:
        looped = False
        while not self._stop.wait(ECHO_EVERY_S if looped else LOOK_EVERY_S):
            looped = self.pluto.echo()


@contextmanager
def serve_plutos(
    air: Air | Bands,
    names: Sequence[str],
    hosts: Sequence[str],
    port: int = PORT,
    latency: HostLatency | None = None,
    tdd: bool = False,
) -> Iterator[list[PlutoServer]]:
    """Serve radios of an air as PlutoSDRs, each at its own host.

    Air time is that of `air.clock`: a `VirtualClock` runs free, so that samples come as fast as
    clients read them, and a `WallClock` keeps pace, also more slowly than the world.

    Args:
        air: shared; its carrier and rate are where it can be heard by others than Plutos. Or its
            bands, where virtual radios of another kind share them.
        names: of its radios.
        hosts: one for each, as 127.0.0.2, or 127.0.0.2:31000 with a port of its own; the same one
            for several needs port 0.
        port: of all others.
        latency: of the host sides.
        tdd: whether they have the TDD engine of newer firmware; their output pins are wired to all
            of their trigger inputs then.

    Yields:
        The servers, in the order of the names.

    Raises:
        RadioError: the air has no such radio.
        OSError: an address cannot be had.
    """
    bands, wire = air if isinstance(air, Bands) else Bands(air), SyncWire() if tdd else None
    with ExitStack() as stack:
        servers = []
        for name, where in zip(names, hosts, strict=True):
            host, _, own = where.partition(":")
            server = PlutoServer(Pluto(bands, name, latency, wire), host, int(own or port))
            servers.append(stack.enter_context(server))
        yield servers
