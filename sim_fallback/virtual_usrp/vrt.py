"""Packets of samples between a USRP and its host: VITA Radio Transport (VITA 49), all big-endian.

The first word of a packet says what it is: bits 31 to 28 its kind, 25 and 24 begin and end of a
burst, 23 and 22 whether a word of whole seconds follows, 21 and 20 whether ticks do, 19 to 16 a
counter, 15 to 0 the number of its words.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim_fallback.codes import Samples

Packets = npt.NDArray[np.uint32]
"""Packets of one size, big-endian words [count, words]."""

WORDS = np.dtype(">u4")
HEAD_WORDS, TAIL_WORDS = 4, 1  # of a packet of received samples

RECEIVED, REPORT = 0x1410_0000, 0x5010_0000
TRAILER, TRAILER_END = 1 << 20, 1 << 8

LATE_COMMAND, BROKEN_CHAIN, OVERFLOW = 2, 4, 8
"""What a receiver reports."""

FLOW_CONTROL, BURST_ACK, UNDERFLOW, SEQUENCE_ERROR, LATE_BURST, SEQUENCE_ERROR_IN_BURST = (
    0, 1, 2, 4, 8, 32,
)  # fmt: skip
"""What a transmitter reports."""

REPORT_STREAM = 2  # that a transmitter's reports come in

WITH_STREAM, WITH_CLASS, WITH_TRAILER = 1 << 28, 1 << 27, 1 << 26
BEGIN, END, WITH_SECONDS, WITH_TICKS = 1 << 25, 1 << 24, 3 << 22, 3 << 20
KINDS = 0b111 << 29  # but for samples, with a stream or without
MASK = (1 << 32) - 1


def received(
    samples: Samples, size: int, stream: int, ticks: int, step: int, counter: int, ends: bool
) -> Packets:
    """Packets of received samples.

    Args:
        samples: int16 [count * size, 2].
        size: samples of each packet.
        stream: its id.
        ticks: device time of the first sample.
        step: ticks between two samples.
        counter: of the first packet; four bits of it are told.
        ends: whether a burst ends with these samples.

    Returns:
        Words [count, size + HEAD_WORDS + TAIL_WORDS].
    """
    count = len(samples) // size
    packets = np.empty((count, HEAD_WORDS + size + TAIL_WORDS), WORDS)
    numbers = np.arange(count, dtype=np.uint64)
    times = np.uint64(ticks & ((1 << 64) - 1)) + numbers * np.uint64(size * step)
    counters = (numbers + np.uint64(counter % 16)) % np.uint64(16)
    packets[:, 0] = (RECEIVED | packets.shape[1]) + (counters << np.uint64(16))
    packets[:, 1] = stream
    packets[:, 2] = times >> np.uint64(32)
    packets[:, 3] = times & np.uint64(MASK)
    halves = packets.view(">i2").reshape(count, -1)
    halves[:, 2 * HEAD_WORDS : -2 * TAIL_WORDS] = samples.reshape(count, -1)
    packets[:, -1] = TRAILER
    if ends:
        packets[-1, -1] |= TRAILER_END
    return packets


def receive_report(stream: int, ticks: int, code: int) -> Packets:
    """What went wrong with a stream of received samples, and when: one packet."""
    return _report([stream, ticks >> 32 & MASK, ticks & MASK, code])


def transmit_report(ticks: int, code: int, number: int, consumed: int) -> Packets:
    """What happened to packets of samples to send: one packet.

    Args:
        ticks: when.
        code: what.
        number: of the report.
        consumed: sequence number of the last packet that was used up.
    """
    word = (number & 0xFFFF) << 16 | code
    return _report([REPORT_STREAM, ticks >> 32 & MASK, ticks & MASK, word, consumed & MASK])


def _report(words: list[int]) -> Packets:
    return np.array([[REPORT | 1 + len(words), *words]], WORDS)


@dataclass(frozen=True)
class Sent:
    """A packet of samples to send.

    Attributes:
        sequence: its number.
        begins, ends: whether a burst begins and ends with it.
        ticks: device time of its first sample; None for as soon as possible.
        payload: its samples, big-endian I and Q of 16 bits.
    """

    sequence: int
    begins: bool
    ends: bool
    ticks: int | None
    payload: bytes

    @property
    def count(self) -> int:
        """How many samples it has."""
        return len(self.payload) // 4


def sent(datagram: bytes | memoryview) -> Sent | None:
    """The packet in a datagram from the host; None for anything else."""
    frame = memoryview(datagram)
    if len(frame) < 8:
        return None
    sequence, header = struct.unpack_from(">II", frame)
    end = 4 + 4 * (header & 0xFFFF)
    begin = 8
    begin += 4 * bool(header & WITH_STREAM) + 8 * bool(header & WITH_CLASS)
    begin += 4 * bool(header & WITH_SECONDS)
    ticks = None
    if header & WITH_TICKS:
        if len(frame) < begin + 8:
            return None
        (ticks,) = struct.unpack_from(">Q", frame, begin)
        begin += 8
    stop = end - 4 * bool(header & WITH_TRAILER)
    if header & KINDS or not begin <= stop or end > len(frame):
        return None
    return Sent(sequence, bool(header & BEGIN), bool(header & END), ticks, bytes(frame[begin:stop]))


def joined(packets: list[Sent]) -> Samples:
    """The samples of packets one after the other, int16 [n, 2]."""
    payload = b"".join(packet.payload for packet in packets)
    return np.frombuffer(payload, ">i2").astype(np.int16).reshape(-1, 2)
