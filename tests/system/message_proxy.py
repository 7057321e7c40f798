"""Between a hub and its nodes: sees every message, and loses, repeats or delays some."""

import heapq
import threading
import time
from itertools import count
from pathlib import Path

import zmq

from testbed.nodes.coordinator_messages import TO_DEVICE, TO_RECEIVER
from testbed.nodes.device_messages import FROM_DEVICE
from testbed.nodes.messages import decode
from testbed.nodes.receiver_messages import FROM_RECEIVER

KINDS = TO_DEVICE | TO_RECEIVER | FROM_DEVICE | FROM_RECEIVER
PASS = (0.0,)


class Proxy:
    """A thread that passes messages on, until it is left as a context or the hub has gone.

    Args:
        front: address that nodes connect to.
        back: of the hub.
        rule: called with a node's name, a message and whether the hub hears it; gives the seconds
            after which it is passed on, once each: () loses it, (0, 0) says it twice.
    """

    def __init__(self, front, back, rule=lambda node, message, up: PASS):
        self.rule = rule
        self.errors = []
        self._back, self._hub = back, Path(back.removeprefix("ipc://"))
        self._context = zmq.Context()
        self._front = self._context.socket(zmq.ROUTER)
        self._front.router_mandatory = True
        self._front.linger = 0
        self._front.bind(front)
        self._path = Path(front.removeprefix("ipc://"))
        self._poller = zmq.Poller()
        self._poller.register(self._front, zmq.POLLIN)
        self._dealers, self._routes, self._names = {}, {}, {}
        self._later, self._order = [], count()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy")

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._stopped.set()
        self._thread.join()
        assert not self.errors, self.errors

    def _run(self):
        try:
            self._serve()
        finally:
            self._context.destroy(linger=0)
            self._path.unlink()

    def _serve(self):
        probe_s, is_there = 0.0, False
        while not self._stopped.is_set():
            for socket, _ in self._poller.poll(5):
                if socket is self._front:
                    route, data = self._front.recv_multipart()
                    self._take(route, data, up=True)
                else:
                    self._take(self._routes[socket], socket.recv(), up=False)
            while self._later and self._later[0][0] <= time.monotonic():
                _, _, route, data, up = heapq.heappop(self._later)
                self._pass(route, data, up)
            if time.monotonic() > probe_s:
                probe_s = time.monotonic() + 0.1
                for route in list(self._dealers):
                    self._pass(route, b"", up=False)
                is_there, was_there = self._hub.exists(), is_there
                if was_there and not is_there:
                    return

    def _take(self, route, data, up):
        if up and route not in self._dealers:
            dealer = self._context.socket(zmq.DEALER)
            dealer.linger = 0
            dealer.connect(self._back)
            self._poller.register(dealer, zmq.POLLIN)
            self._dealers[route], self._routes[dealer] = dealer, route
        if not data:
            return
        message = decode(data, KINDS)
        if up:
            self._names[route] = message.sender
        try:
            delays = self.rule(self._names[route], message, up)
        except Exception as error:  # noqa: BLE001 (raised again where the test sees it)
            self.errors.append(error)
            delays = PASS
        for delay_s in delays:
            if delay_s:
                due = time.monotonic() + delay_s
                heapq.heappush(self._later, (due, next(self._order), route, data, up))
            else:
                self._pass(route, data, up)

    def _pass(self, route, data, up):
        if route not in self._dealers:  # it left
            return
        try:
            if up:
                self._dealers[route].send(data, zmq.NOBLOCK)
            else:
                self._front.send_multipart([route, data], zmq.NOBLOCK)
        except zmq.Again:
            return
        except zmq.ZMQError:  # nobody is there any more: the hub shall see that too
            dealer = self._dealers.pop(route)
            del self._routes[dealer]
            self._poller.unregister(dealer)
            dealer.close()
