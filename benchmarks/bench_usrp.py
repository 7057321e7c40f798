"""Samples a second from and to a virtual USRP through the real libuhd, beside bare datagrams."""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from dataclasses import dataclass
from subprocess import PIPE, Popen

from benchmarks.pluto_process import ROOT, line, tell
from benchmarks.table import Table
from benchmarks.usrp_process import DEBIAN_PYTHON, addresses, usrps
from sim_fallback.virtual_usrp.data_ports import MOST_SEGMENTS, UDP_SEGMENT

PACKET_BYTES, PACKET_SAMPLES = 1472, 363  # of libuhd on a network of 1500 bytes
CASES = (
    # (receives, sends, MS/s each, whether there is a tone to receive)
    (True, False, 10.0, False),
    (True, False, 5.0, True),
    (True, False, 25.0, False),
    (False, True, 5.0, False),
    (False, True, 10.0, False),
    (True, True, 5.0, False),
)

# Streams for some seconds; then says how many samples each way had, how many errors were told, and
# how long it computed.
CLIENT = """
import sys, threading, time
import numpy as np
import uhd

host, rate, seconds, receives, sends = sys.argv[1], *map(float, sys.argv[2:])
board = uhd.usrp.MultiUSRP(f"addr={host}")
board.set_rx_rate(rate)
board.set_tx_rate(rate)
board.set_rx_freq(uhd.types.TuneRequest(915e6))
board.set_tx_freq(uhd.types.TuneRequest(915e6))
board.set_rx_gain(20)
form = uhd.usrp.StreamArgs("sc16", "sc16")
faults, counts = [], {"rx": 0.0, "tx": 0.0}

def receive():
    stream, seen = board.get_rx_stream(form), uhd.types.RXMetadata()
    block = np.empty((1, 1 << 16), np.uint32)
    stream.issue_stream_cmd(uhd.types.StreamCMD(uhd.types.StreamMode.start_cont))
    stream.recv(block, seen, 1.0)
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        counts["rx"] += stream.recv(block, seen, 1.0) / rate
        if seen.error_code != uhd.types.RXMetadataErrorCode.none:
            faults.append(seen.strerror())
    stream.issue_stream_cmd(uhd.types.StreamCMD(uhd.types.StreamMode.stop_cont))
    counts["rx"] /= time.monotonic() - began

def send():
    stream, told = board.get_tx_stream(form), uhd.types.TXMetadata()
    noise = np.random.default_rng(1).integers(0, 1 << 12, (1, 1 << 18)).astype(np.uint32)
    block = noise[:, : 1 << 16]
    told.has_time_spec, told.time_spec = True, board.get_time_now() + uhd.types.TimeSpec(0.2)
    stream.send(block, told, 1.0)
    told.has_time_spec = False
    began = time.monotonic() + 0.2
    while time.monotonic() < began + seconds:
        counts["tx"] += stream.send(block, told, 1.0) / rate
    counts["tx"] /= time.monotonic() - began
    told.end_of_burst = True
    stream.send(block[:, :1], told, 1.0)
    seen = uhd.types.TXAsyncMetadata()
    while stream.recv_async_msg(seen, 0.2):
        if seen.event_code != uhd.types.TXMetadataEventCode.burst_ack:
            faults.append(str(seen.event_code))

threads = [threading.Thread(target=way) for way, on in ((receive, receives), (send, sends)) if on]
print("ready", flush=True)
sys.stdin.readline()
began, computed = time.monotonic(), time.process_time()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
took = time.monotonic() - began
busy = (time.process_time() - computed) / took
print(counts["rx"], counts["tx"], len(faults), busy, flush=True)
"""

# Takes datagrams and asks for more after each batch, until an empty one comes.
BARE = """
import socket, sys
port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
port.bind(("127.0.0.1", 0))
print(port.getsockname()[1], flush=True)
buffer, batch, taken = bytearray(1 << 16), int(sys.argv[1]), 0
while True:
    size, peer = port.recvfrom_into(buffer)
    if not size:
        break
    taken += 1
    if taken % batch == 0:
        port.sendto(b"!", peer)
"""
WINDOW = 8  # batches that are on their way


def measure(quick: bool = False) -> list[Table]:
    """One table: what is streamed without a fault, and what bare datagrams carry meanwhile."""
    seconds, attempts = (1.0, 1) if quick else (2.0, 6)
    rows = []
    for receives, sends, mega, tone in CASES[:1] if quick else CASES:
        bare = max(_bare(seconds / 8) for _ in range(attempts))
        tried: list[Streamed] = []
        while len(tried) < attempts and not any(each.faults == 0 for each in tried):
            tried.append(_streamed(receives, sends, 1e6 * mega, tone, seconds))
        best = min(tried, key=lambda each: each.faults)
        ways = " and ".join(way for way, on in (("RX", receives), ("TX", sends)) if on)
        rows.append(
            (
                ways + (", a tone" if tone else ""),
                f"{mega:g}",
                " and ".join(f"{mega * share:.2f}" for share in best.shares if share),
                f"{best.faults}",
                f"{len(tried)}",
                f"{best.device:.2f}",
                f"{best.host:.2f}",
                f"{bare / 1e6:.0f}",
                f"{mega * (receives + sends) * 1e6 / bare:.1%}",
            )
        )
    return [
        Table(
            name="usrp",
            title="A virtual USRP through libuhd",
            header=(
                "stream",
                "MS/s each way",
                "seen",
                "faults",
                "attempts",
                "cores of the device",
                "cores of the host",
                "bare datagrams, MS/s",
                "share of them",
            ),
            rows=tuple(rows),
            note=f"Each for {seconds:g} s, air and world at one pace. The client has Python's "
            "binding of libuhd, as the samples are on the wire (sc16), in packets of "
            f"{PACKET_SAMPLES} samples; the virtual USRP is a process of its own. Faults are "
            "overflows, lost packets, underflows and late packets. What is received is noise, or "
            "another radio's tone and noise; what is sent nobody hears. Bare datagrams of the same "
            "size go from one Python process to another before each row, many to a system call. A "
            f"row is the first of up to {attempts} attempts without a fault, or the best of them.",
        )
    ]


@dataclass(frozen=True)
class Streamed:
    """What came of an attempt.

    Attributes:
        shares: samples received and sent over those that were due.
        faults: that libuhd told of.
        device, host: cores that each of both took.
    """

    shares: tuple[float, float]
    faults: int
    device: float
    host: float


def _streamed(receives: bool, sends: bool, rate_hz: float, tone: bool, seconds: float) -> Streamed:
    """Stream for some seconds."""
    (host,) = addresses(1)
    words = [host, *map(str, (rate_hz, seconds, int(receives), int(sends)))]
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    quiet = {"UHD_LOG_CONSOLE_LEVEL": "error", "UHD_LOG_FASTPATH_DISABLE": "1"}
    with usrps([host], rate_hz=rate_hz, tone=tone) as served:
        client = Popen(
            [DEBIAN_PYTHON, "-c", CLIENT, *words],
            cwd=ROOT,
            env=plain | quiet,
            text=True,
            stdin=PIPE,
            stdout=PIPE,
        )
        line(client)
        began, computed = time.monotonic(), served.computed_s()
        tell(client, "go")
        received, sent, faults, busy = (float(word) for word in line(client).split())
        device = (served.computed_s() - computed) / (time.monotonic() - began)
        client.communicate()
    return Streamed((received, sent), int(faults), device, busy)


def _bare(seconds: float) -> float:
    """Samples a second in datagrams from one process to another, many to a system call."""
    batch = min(MOST_SEGMENTS, 65_000 // PACKET_BYTES)
    receiver = Popen([sys.executable, "-c", BARE, str(batch)], text=True, stdout=PIPE)
    peer = ("127.0.0.1", int(line(receiver)))
    segments = (socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", PACKET_BYTES))
    packets = bytes(batch * PACKET_BYTES)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        for _ in range(WINDOW):
            port.sendmsg([packets], [segments], 0, peer)
        batches, began = 0, time.monotonic()
        while time.monotonic() < began + seconds:
            port.recv(1)
            batches += 1
            port.sendmsg([packets], [segments], 0, peer)
        took = time.monotonic() - began
        port.sendto(b"", peer)
    receiver.communicate()
    return batches * batch * PACKET_SAMPLES / took


if __name__ == "__main__":
    for table in measure():
        print(table.markdown())
