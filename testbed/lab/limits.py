"""The limits that somebody states on the command line before a radio sends."""

from __future__ import annotations

from fl_core.errors import InputError
from radio.api import Range
from radio.limits import Limits
from testbed import bench_file

ROUNDING_DB = 0.5  # a radio takes the nearest of its steps


def stated_limits(band: str | None, bench: str | None, gain_db: float, seconds: float) -> Limits:
    """Limits by one of two ways to state them.

    Args:
        band: that may be used, as ``902e6:928e6``; then gain and time are the most, as stated.
        bench: a shipped bench or its file, whose limits hold.
        gain_db: transmit gain.
        seconds: on the air.

    Raises:
        InputError: neither is given or both, or it states none.
    """
    if (band is None) == (bench is None):
        raise InputError(
            "nothing is sent without limits; state either --band LOW:HIGH, the band in Hz that you "
            "may use, such as 902e6:928e6, or --bench BENCH, a bench that has limits"
        )
    if bench is not None:
        file = bench_file.read(bench)
        if file.config.limits is None:
            raise InputError(f"{file.source}: has no limits; state them there, or give --band")
        return file.config.limits.limits()
    low, colon, high = str(band).partition(":")
    try:
        if not colon:
            raise ValueError("should be LOW:HIGH in Hz, such as 902e6:928e6")
        span = Range(float(low), float(high))
        return Limits((span,), gain_db + ROUNDING_DB, 1.0, window_s=seconds, max_burst_s=seconds)
    except ValueError as error:
        raise InputError(f"--band {band}: {error}") from error
