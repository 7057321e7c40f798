"""A virtual USRP does what reaches its ports in the order in which the host has sent it."""

import socket
import struct
import time

from uhd_process import address

from sim_fallback.air import Air, Scene
from sim_fallback.clock import WallClock
from sim_fallback.presets import PRESETS
from sim_fallback.virtual_usrp.server import serve_usrps

FIFO, TX = 49159, 49157
TX_CONTROL, POKE = 144, 0x100
BURST = struct.pack(">II", 0, 3 << 24 | 2) + bytes(4)  # the first packet, a burst of one sample
HELLO = bytes(8)
BURST_ACK = 1


def test_a_packet_does_not_overtake_the_command_before_it():
    scene = Scene(915e6, 1e6, {"u": PRESETS["ideal"].equip(7, "u")}, {})
    air = Air(scene, WallClock(time.monotonic, time.sleep))
    clear = struct.pack(">IIII", 0, 3, POKE | TX_CONTROL, 1)
    with (
        serve_usrps(air, ["u"], [address(70)]) as (server,),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as commands,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as samples,
    ):
        commands.connect((server.host, FIFO))
        samples.connect((server.host, TX))
        samples.settimeout(20)
        samples.send(HELLO)
        codes = []
        for _ in range(200):  # after each of which numbers begin anew
            commands.send(clear)
            samples.send(BURST)
            (word,) = struct.unpack_from(">I", samples.recv(100), 16)
            codes.append(word & 0xFFFF)
    assert codes == [BURST_ACK] * 200
