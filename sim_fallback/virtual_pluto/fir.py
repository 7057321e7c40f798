"""The programmable filter of a PlutoSDR, as the attribute ``filter_fir_config`` takes it."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass

from sim_fallback.virtual_pluto.errors import IioError

FACTORS = (1, 2, 4)
GAINS_DB = (-12, -6, 0, 6)
MOST_TAPS = 128
TAP_LIMIT = 1 << 15

_HEADER = re.compile(r"(RX|TX)\s+[0-3]\s+GAIN\s+(-?\d+)\s+(?:DEC|INT)\s+(\d+)", re.IGNORECASE)
_TAPS = re.compile(r"(-?\d+)\s*,\s*(-?\d+)")


@dataclass(frozen=True)
class Fir:
    """A pair of filters. The virtual air is flat, so of them only rates and lengths act.

    Attributes:
        decimation, interpolation: 1, 2 or 4.
        taps: of both, a multiple of 16 up to 128.
    """

    decimation: int
    interpolation: int
    taps: int

    @classmethod
    def parse(cls, text: str) -> Fir:
        """Read lines ``RX 3 GAIN -6 DEC 4``, ``TX 3 GAIN 0 INT 4`` and one ``tx,rx`` per tap.

        Raises:
            IioError: EINVAL, where a line or a number is none of these.
        """
        factors: dict[str, int] = {}
        taps = 0
        for line in filter(None, (line.strip(" \t\r\0") for line in text.split("\n"))):
            if line.startswith("#") or re.match(r"(RTX|RRX|BWTX|BWRX)\b", line):
                continue
            if header := _HEADER.fullmatch(line):
                if int(header[2]) not in GAINS_DB or int(header[3]) not in FACTORS:
                    raise IioError(errno.EINVAL)
                factors[header[1].upper()] = int(header[3])
            elif (pair := _TAPS.fullmatch(line)) and all(
                -TAP_LIMIT <= int(tap) < TAP_LIMIT for tap in pair.groups()
            ):
                taps += 1
            else:
                raise IioError(errno.EINVAL)
        if set(factors) != {"RX", "TX"} or not 16 <= taps <= MOST_TAPS or taps % 16:
            raise IioError(errno.EINVAL)
        return cls(factors["RX"], factors["TX"], taps)

    def __str__(self) -> str:
        return f"FIR Rx: {self.taps},{self.decimation} Tx: {self.taps},{self.interpolation}"
