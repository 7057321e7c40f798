"""What a flowgraph ends at: the radio or file in it, and what GNU Radio's blocks for it permit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from radio.api import Range

PACED = ("blocks_throttle", "iio_", "uhd_", "soapy_")
"""What kinds of blocks begin with that have a pace of their own."""


@dataclass(frozen=True)
class End:
    """Something that a flowgraph sends to or receives from.

    Attributes:
        bits: of its converters.
        carrier_hz, sample_rate_hz, tx_gain_db, rx_gain_db: as in `RadioCaps`.
        begins_anew: settings that break its streams, which then begin anew.
        has_time: whether it knows the time of its samples. Such a radio is one process's.
    """

    bits: int
    carrier_hz: Range
    sample_rate_hz: Range
    tx_gain_db: Range
    rx_gain_db: Range
    begins_anew: frozenset[str]
    has_time: bool = False


NOTHING = End(
    bits=32,
    carrier_hz=Range(1e6, 6e9),
    sample_rate_hz=Range(1e3, 100e6),
    tx_gain_db=Range(-90.0, 0.0),
    rx_gain_db=Range(0.0, 60.0),
    begins_anew=frozenset(),
)
"""No radio: a loop, a null sink, a file."""

ENDS = {
    "pluto": End(
        bits=12,
        carrier_hz=Range(70e6, 6e9),
        sample_rate_hz=Range(521e3, 61.44e6),
        tx_gain_db=Range(-89.75, 0.0),
        rx_gain_db=Range(-1.0, 62.0),
        begins_anew=frozenset({"carrier_hz", "sample_rate_hz"}),
    ),
    "usrp": End(
        bits=14,
        carrier_hz=Range(1e6, 6e9),
        sample_rate_hz=Range(100e3, 61.44e6),
        tx_gain_db=Range(0.0, 90.0),
        rx_gain_db=Range(0.0, 76.0),
        begins_anew=frozenset({"sample_rate_hz"}),
        has_time=True,
    ),
}
"""By what `sink` or `source` is chosen."""


def has_pace(kinds: Iterable[str]) -> bool:
    """Whether something in a flowgraph of these kinds of blocks goes on in time by itself."""
    return any(kind.startswith(PACED) for kind in kinds)
