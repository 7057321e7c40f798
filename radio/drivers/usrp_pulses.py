"""Boards that count the same seconds: each sets its time at a pulse that all of them get.

Which second a pulse begins has to be the same for all boards, each of which may be opened by
another process. The first one takes the second of the host's clock that is nearest, and notes it
in a file; later ones count pulses from there. Boards of several hosts agree where pulses come at
whole seconds of UTC, as from a GPS receiver, and the hosts keep UTC to a tenth of a second.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from pathlib import Path

import uhd

from radio.api import RadioError
from radio.drivers.usrp_clock import asking

FRESH_S = 600.0  # in which host and pulses do not drift apart by a part of a pulse
LOOK_EVERY_S = 0.01
LOST = 2.5  # pulses in which one should have come
TRIES = 3


class Pulses:
    """The pulses that a board gets."""

    def __init__(
        self, usrp: uhd.usrp.MultiUSRP, name: str, period_s: float, wire: str = "pps"
    ) -> None:
        """Pulses of a board.

        Args:
            usrp: the board.
            name: of it, for messages.
            period_s: seconds of the host between two of them: 1, but where air time goes slower.
            wire: a name for what gives them, where several do on one host.
        """
        self._usrp, self._name, self._period_s = usrp, name, period_s
        self._count = PulseCount(wire, period_s)

    def align(self) -> None:
        """Let the board count the seconds that all boards count.

        Raises:
            RadioError: no pulse comes, or they are not as far apart as they should be.
        """
        for _ in range(TRIES):
            second = self._count.second(self._await())
            if self._last() == (second, 0.0):
                return
            with asking(self._name, "does not take a time at the next pulse"):
                self._usrp.set_time_next_pps(uhd.types.TimeSpec(float(second + 1)))
            first_s = self._await()
            apart_s = self._await() - first_s
            if not 0.5 < apart_s / self._period_s < 1.5:
                raise RadioError(
                    f"{self._name}: pulses come every {apart_s:.2g} s of this host, not every "
                    f"{self._period_s:g} s; pulse_s says how far apart they are"
                )
            if self._last() == (second + 2, 0.0):
                return
        raise RadioError(f"{self._name} does not take the time of a pulse; it tells {self._last()}")

    def _await(self) -> float:
        """Wait for the next one; when it was seen, in seconds of the host."""
        before, until_s = self._last(), time.monotonic() + LOST * self._period_s
        while self._last() == before:
            if time.monotonic() > until_s:
                raise RadioError(
                    f"{self._name}: no pulse came for {LOST * self._period_s:g} s; is PPS "
                    "connected, and time= where it comes in?"
                )
            time.sleep(LOOK_EVERY_S)
        return time.time()

    def _last(self) -> tuple[int, float]:
        with asking(self._name, "does not tell of pulses"):
            last = self._usrp.get_time_last_pps(0)
        return int(last.get_full_secs()), float(last.get_frac_secs())


class PulseCount:
    """Which second a pulse begins, as all processes of this user have it."""

    def __init__(self, wire: str, period_s: float, folder: Path | None = None) -> None:
        self._period_s = period_s
        home = Path(tempfile.gettempdir()) if folder is None else folder
        self._path = home / f"airmeta-pulses-{os.getuid()}-{wire}.json"

    def second(self, seen_s: float) -> int:
        """The second that a pulse begins which was seen at this time of the host.

        Raises:
            RadioError: what other processes have noted cannot be read.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            file = os.fdopen(os.open(self._path, flags, 0o600), "r+")
        except OSError as error:
            raise RadioError(
                f"{self._path} cannot be opened ({error.strerror}), in which processes agree on "
                "seconds; remove it"
            ) from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            noted = _noted(file.read())
            if noted is not None and abs(seen_s - noted[0]) < FRESH_S:
                second = noted[1] + round((seen_s - noted[0]) / self._period_s)
            else:
                second = round(seen_s / self._period_s)
            file.seek(0)
            file.truncate()
            json.dump([seen_s, second], file)
        return second


def _noted(text: str) -> tuple[float, int] | None:
    """When a pulse was seen, and its second; None for anything else."""
    try:
        seen_s, second = json.loads(text)
        return float(seen_s), int(second)
    except (ValueError, TypeError):
        return None
