"""What a USRP says of what it was to send, as messages out of a flowgraph."""

from __future__ import annotations

import zmq

from flowgraphs.tags import TagValue, message
from radio.api import RadioError

WRONG = {
    "time_error": "a burst came too late, and was not sent; leave more time",
    "underflow": "this host was too slow (underflow): there is a gap in what was sent",
    "underflow_in_packet": "this host was too slow (underflow): there is a gap in what was sent",
    "seq_error": "packets were lost on their way to the radio",
    "seq_error_in_burst": "packets were lost on their way to the radio",
}
"""By codes of UHD's asynchronous messages, as GNU Radio names them."""


class Reports:
    """Listens to a flowgraph's messages. Its radio's user asks, in one thread."""

    def __init__(self, name: str, address: str, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        """Of the flowgraph of this name, which publishes them there."""
        self._name = name
        self._socket = context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        self._socket.connect(address)

    def require_well(self) -> None:
        """RadioError where something went wrong since this was asked last; the next may not."""
        if faults := self._faults():
            raise RadioError(f"{self._name}: {'; '.join(faults)}")

    def forget(self) -> None:
        """What went wrong is known."""
        self._faults()

    def _faults(self) -> list[str]:
        codes: list[TagValue] = []
        while self._socket.poll(0):
            codes += codes_of(message(self._socket.recv()))
        return list(dict.fromkeys(WRONG[str(code)] for code in codes if str(code) in WRONG))


def codes_of(report: TagValue) -> list[TagValue]:
    """What a message is about: ``burst_ack``, ``time_error``; empty for other messages."""
    match report:
        case ("uhd_async_msg", tuple(told)):
            return [code for each in told for code in _codes(each)]
    return []


def _codes(entry: TagValue) -> list[TagValue]:
    match entry:
        case ("event_code", (code, rest)):
            return [code, *_codes(("event_code", rest))]
    return []
