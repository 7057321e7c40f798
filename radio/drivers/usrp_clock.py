"""Device time of a USRP as a clock of samples, and where reference and pulses come from."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import uhd

from radio.api import RadioError, require_future

LOCKING_S = 2.0  # in which a reference is locked to
LOOK_EVERY_S = 0.02
NEAR_S = 0.1  # before its time a command is given


@contextmanager
def asking(name: str, what: str) -> Iterator[None]:
    """What libuhd raises, as what a radio raises."""
    try:
        yield
    except (RuntimeError, LookupError, ValueError) as error:
        raise RadioError(f"{name} {what}: {' '.join(str(error).split())}") from error


class UsrpClock:
    """The time of a board, counted in samples.

    Attributes:
        rate_hz: of the samples.
    """

    def __init__(self, usrp: uhd.usrp.MultiUSRP, name: str, rate_hz: float) -> None:
        self._usrp, self._name = usrp, name
        self.rate_hz = rate_hz

    def now(self) -> int:
        """The sample of the present; RadioError where the board does not answer."""
        with asking(self._name, "does not tell its time; open it again"):
            return self.sample(self._usrp.get_time_now())

    def sample(self, spec: uhd.types.TimeSpec) -> int:
        """The sample next to a time."""
        return int(spec.to_ticks(self.rate_hz))

    def spec(self, sample: int) -> uhd.types.TimeSpec:
        """The time of a sample."""
        return uhd.types.TimeSpec.from_ticks(int(sample), self.rate_hz)

    @contextmanager
    def commanding(self, at: int) -> Iterator[None]:
        """What is set within takes effect at sample `at`.

        The board answers nothing else from the command until then, so it is given shortly before.

        Raises:
            RadioError: the time has passed.
        """
        ahead_s = self._ahead_s(at)
        while ahead_s > NEAR_S:
            time.sleep(min(ahead_s - NEAR_S, LOOK_EVERY_S))
            ahead_s = self._ahead_s(at)
        with asking(self._name, "takes no command for later"):
            self._usrp.set_command_time(self.spec(at))
        try:
            yield
        finally:
            with asking(self._name, "takes no command"):
                self._usrp.clear_command_time()

    def _ahead_s(self, at: int) -> float:
        now = self.now()
        require_future(at, now)
        return (at - now) / self.rate_hz


def set_sources(usrp: uhd.usrp.MultiUSRP, name: str, clock: str | None, pulses: str | None) -> None:
    """Take reference and pulses from where they come; None leaves each as it is.

    Raises:
        RadioError: there is no such source, or the reference is not locked to.
    """
    for want, kind, there, setter in (
        (clock, "clock", usrp.get_clock_sources(0), usrp.set_clock_source),
        (pulses, "time", usrp.get_time_sources(0), usrp.set_time_source),
    ):
        if want is not None:
            _require_source(name, kind, want, there)
            with asking(name, f"does not take {kind}={want}"):
                setter(want)
    if clock is None:
        return
    until_s = time.monotonic() + LOCKING_S
    while not is_locked(usrp, name):
        if time.monotonic() > until_s:
            raise RadioError(
                f"{name} does not lock to its reference, clock={clock}; is 10 MHz connected, at a "
                "level it takes?"
            )
        time.sleep(LOOK_EVERY_S)


def is_locked(usrp: uhd.usrp.MultiUSRP, name: str) -> bool:
    """Whether it has locked to its reference, as far as it can tell."""
    with asking(name, "does not tell of its reference"):
        return "ref_locked" not in usrp.get_mboard_sensor_names(0) or bool(
            usrp.get_mboard_sensor("ref_locked", 0).to_bool()
        )


def _require_source(name: str, kind: str, want: str, there: Sequence[str]) -> None:
    if want not in there:
        named = ", ".join(source for source in there if not source.startswith("_"))
        raise RadioError(f"{name} has no {kind}={want}; there are {named}")
