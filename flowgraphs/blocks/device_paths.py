"""As many devices as there are addresses: ZMQ inputs, each behind its path, and their sum."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from typing import Any

from gnuradio import blocks, gr, zeromq

POLL_MS = 1
CHUNK = 1 << 16  # samples that a source hands on at once


class DevicePaths(gr.hier_block2):  # type: ignore[misc]
    """The sum of all devices, each behind a copy of the same path.

    This is the loop that Companion cannot draw; what is inside it, it can: `device_path.grc`.
    """

    def __init__(
        self,
        path: Callable[..., Any],
        from_hosts: str,
        delays: str,
        cfos_hz: str,
        gains_db: str,
        phases_deg: str,
        dopplers_hz: str,
        samp_rate: float,
        seed: int,
    ) -> None:
        """All lists are text with commas, of one number for each device or one for all.

        Args:
            path: makes a block, given cfo_hz, delay, doppler_hz, gain, samp_rate, seed by name.
            from_hosts: addresses that PUSH sockets are bound to, whose messages begin with tags.
            delays: in samples.
            cfos_hz: carrier of the device minus that of the receiver.
            gains_db: from full scale to full scale.
            phases_deg: of what arrives.
            dopplers_hz: of Rayleigh fading; 0 for none.
            samp_rate: in Hz.
            seed: of the fading; each device has its own.

        Raises:
            ValueError: no address, or a list of another length.
        """
        size = gr.sizeof_gr_complex
        gr.hier_block2.__init__(
            self, "Devices and their paths", gr.io_signature(0, 0, 0), gr.io_signature(1, 1, size)
        )
        addresses = [address.strip() for address in from_hosts.split(",") if address.strip()]
        if not addresses:
            raise ValueError("from_hosts should be one ZMQ address for each device, with commas")
        columns = [
            numbers(name, told, len(addresses))
            for name, told in (
                ("delays", delays),
                ("cfos_hz", cfos_hz),
                ("gains_db", gains_db),
                ("phases_deg", phases_deg),
                ("dopplers_hz", dopplers_hz),
            )
        ]
        if bad := [delay for delay in columns[0] if delay < 0 or delay != int(delay)]:
            raise ValueError(f"delays should be whole samples, 0 or more, not {bad[0]:g}")
        self._paths = []  # GNU Radio crashes over Python's blocks that only a connection holds
        rows = zip(addresses, *columns, strict=True)
        sum_ = blocks.add_cc() if len(addresses) > 1 else blocks.copy(size)
        # Where one input has more than another, an adder goes by eights and keeps the rest.
        sum_.set_output_multiple(1)
        for i, (address, delay, cfo_hz, gain_db, phase_deg, doppler_hz) in enumerate(rows):
            source = zeromq.pull_source(size, 1, address, POLL_MS, True)
            # Without it the scheduler sleeps for 250 ms after each poll that found nothing.
            source.set_blkd_input_timer_value(POLL_MS)
            source.set_min_output_buffer(2 * CHUNK)
            gain = cmath.rect(10 ** (gain_db / 20), math.radians(phase_deg))
            behind = path(
                delay=int(delay),
                cfo_hz=cfo_hz,
                gain=gain,
                doppler_hz=doppler_hz,
                samp_rate=samp_rate,
                seed=seed + i,
            )
            self._paths.append(behind)
            self.connect(source, behind, (sum_, i))
        self.connect(sum_, self)


def numbers(name: str, told: str, count: int) -> list[float]:
    """A list with commas, of `count` numbers or of one for all; ValueError for anything else."""
    try:
        values = [float(value) for value in told.split(",")]
    except ValueError:
        raise ValueError(f"{name} should be numbers with commas, not {told!r}") from None
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"{name} should be finite, not {told!r}")
    if len(values) not in (1, count):
        raise ValueError(f"{name} has {len(values)} numbers for {count} devices; give one for each")
    return values * count if len(values) == 1 else values
