"""Between a client and a virtual Pluto: sees every byte, and freezes, cuts or unplugs the line."""

import contextlib
import re
import socket
import struct
import threading
import time

CHUNK = 1 << 16
AT_ONCE = struct.pack("ii", 1, 0)  # a close that is a reset


class TcpProxy:
    """A line that can break, until it is left as a context.

    Args:
        uri: of the Pluto behind it, as libiio takes it.

    Attributes:
        uri: of this end.
        delay_s: that all takes that passes.
    """

    def __init__(self, uri):
        self.lead_to(uri)
        self.delay_s = 0.0
        self._flows = threading.Event()
        self._flows.set()
        self._lock = threading.Lock()
        self._pairs = []
        self._said = []
        self._threads = []
        self._listener = None
        self._address = ("127.0.0.1", 0)
        self.plug()
        self.uri = "ip:{}:{}".format(*self._address)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self._listener.fileno() >= 0:  # it is plugged in
            self.unplug()
        for thread in self._threads:
            thread.join()

    def lead_to(self, uri):
        """What connects from now on reaches another server."""
        host, port = uri.removeprefix("ip:").split(":")
        self._target = host, int(port)

    def plug(self):
        """Answer again."""
        self._listener = socket.create_server(self._address)
        self._address = self._listener.getsockname()
        self._run(self._accept, self._listener)

    def unplug(self):
        """All connections are reset, others refused."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()
        self._flows.set()

    def reset(self):
        """All connections are reset, others work."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
                    end.shutdown(socket.SHUT_RDWR)
        for pair in pairs:
            for end in pair:
                end.close()

    def freeze(self):
        """Nothing passes; connections stay."""
        self._flows.clear()

    def thaw(self):
        """All that waited passes, and what follows."""
        self._flows.set()

    @property
    def said(self):
        """All that clients have said: one bytes each connection."""
        with self._lock:
            return [bytes(words) for words in self._said]

    def count(self, pattern):
        """How often clients have said what this regular expression finds."""
        return sum(len(re.findall(pattern, words)) for words in self.said)

    def _run(self, target, *args):
        thread = threading.Thread(target=target, args=args, name="tcp proxy")
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._flows.wait()
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            words = bytearray()
            with self._lock:
                self._pairs.append((client, server))
                self._said.append(words)
            self._run(self._pass, client, server, words)
            self._run(self._pass, server, client, None)

    def _pass(self, source, sink, words):
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                self._flows.wait()
                time.sleep(self.delay_s)
                if words is not None:
                    with self._lock:
                        words += data
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
