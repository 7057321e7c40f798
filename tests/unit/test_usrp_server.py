"""The threads of a virtual USRP's server, in the moments in which they might miss each other."""

import select
import socket
import struct
import threading
import time

import pytest
import usrp_on_air

from sim_fallback.air import Air, Scene
from sim_fallback.bands import Bands
from sim_fallback.clock import WallClock
from sim_fallback.presets import PRESETS
from sim_fallback.virtual_usrp import fifo
from sim_fallback.virtual_usrp.board import Board
from sim_fallback.virtual_usrp.server import UsrpServer

HOST = "127.77.1.9"
PATIENCE_S = 5.0


@pytest.fixture
def server():
    """A radio without an air around it, that is served."""
    equipment = {"a": PRESETS["usrp-octoclock"].equip(3, "a")}
    clock = WallClock.paced(1.0, time.monotonic, time.sleep)
    scene = Scene(usrp_on_air.CARRIER, usrp_on_air.RATE, equipment, {})
    with UsrpServer(Board(Bands(Air(scene, clock)), "a", None), HOST) as served:
        yield served


def test_it_ends_although_its_threads_were_just_woken(server):
    class Slow(threading.Event):
        def clear(self):
            time.sleep(0.05)
            super().clear()

    for reception in server.board._receptions:
        before, reception.poked = reception.poked, Slow()
        before.set()  # the thread goes on to the slow one
    time.sleep(0.02)
    closing = threading.Thread(target=server.close, daemon=True)
    closing.start()
    closing.join(PATIENCE_S)
    assert not closing.is_alive()


def test_a_timed_command_that_another_thread_took_is_done_in_its_time(server, monkeypatch):
    """Taken between the look whether one waits and the wait for what arrives."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
        host.bind(("127.0.0.1", 0))
        host.settimeout(PATIENCE_S)
        missed, wait = threading.Event(), select.select

        def seldom(*about):
            if threading.current_thread() is server._thread and not missed.is_set():
                missed.set()
                ticks = server.board.timebase.now() + 20_000_000
                request = struct.pack(">IIQII", 1, fifo.TIMED, ticks, 0, 0)
                host.sendto(request, (HOST, fifo.PORT))
                server.settle()
            return wait(*about)

        monkeypatch.setattr(select, "select", seldom)
        host.sendto(struct.pack(">IIII", 0, 0, 0, 0), (HOST, fifo.PORT))  # wakes it
        begun = time.monotonic()
        answers = [host.recv(64), host.recv(64)]
        assert [len(answer) for answer in answers] == [fifo.ANSWER.size] * 2
        assert 0.15 < time.monotonic() - begun < PATIENCE_S
