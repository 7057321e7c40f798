"""Whether a virtual USRP knows how much its host can take."""

import contextlib
import socket
import sys

import pytest

from sim_fallback.virtual_usrp.host_queue import ANY, HostQueue

SIZE = 1472


def bound(host):
    port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    port.bind((host, 0))
    return port


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
@pytest.mark.parametrize("connected", [False, True])
def test_nothing_is_dropped_by_a_host_that_is_asked_before(connected):
    queue = HostQueue()
    with bound("127.0.0.1") as host, bound("127.77.0.9") as device, contextlib.closing(queue):
        if connected:
            host.connect(device.getsockname())
        where = host.getsockname(), device.getsockname()
        sent = 0
        while 0 < (room := queue.room(*where, SIZE)) < ANY:
            for _ in range(room):
                device.sendto(bytes(SIZE), where[0])
            sent += room
        assert room == 0
        assert sent > 10
        host.setblocking(False)
        for _ in range(sent):
            assert len(host.recv(SIZE + 1)) == SIZE
        assert queue.room(*where, SIZE) > 10


def test_of_a_host_that_is_elsewhere_nothing_is_known():
    queue = HostQueue()
    with bound("127.77.0.9") as device, contextlib.closing(queue):
        assert queue.room(("192.0.2.1", 9), device.getsockname(), SIZE) == ANY


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_of_a_kernel_that_does_not_tell_nothing_is_known(monkeypatch):
    class Refused(socket.socket):
        def __init__(self, family, *rest):
            if family == socket.AF_NETLINK:
                raise OSError("no such protocol")
            super().__init__(family, *rest)

    with bound("127.0.0.1") as host, bound("127.77.0.9") as device:
        where = host.getsockname(), device.getsockname()
        with contextlib.closing(HostQueue()) as told:
            assert told.room(*where, SIZE) < ANY
            told._link.close()
            assert told.room(*where, SIZE) == ANY
        monkeypatch.setattr(socket, "socket", Refused)
        with contextlib.closing(HostQueue()) as silent:
            assert silent.room(*where, SIZE) == ANY
