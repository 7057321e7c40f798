"""What a sender has had on the air, and when its limits permit more."""

from __future__ import annotations

from collections.abc import Sequence

from radio.api import RadioError
from radio.limits import Interval, Limits, joined


class Airtime:
    """Of one sender. Times are samples of its clock.

    Attributes:
        limits: of the bench; None permits everything.
    """

    def __init__(self, limits: Limits | None) -> None:
        self.limits = limits
        self._on_air: list[Interval] = []

    @property
    def end(self) -> int | None:
        """Of the last burst; None before the first."""
        return self._on_air[-1][1] if self._on_air else None

    def add(self, start: int, n: int) -> None:
        """A burst was sent."""
        self._on_air = joined(self._on_air, start, start + n)

    def resume(self, now: int) -> None:
        """The clock stands here, and may have been set back, or run at another rate.

        What was sent before counts as if it had ended right now.
        """
        if self._on_air:
            shift = now - self._on_air[-1][1]
            self._on_air = [(start + shift, end + shift) for start, end in self._on_air]

    def require_allowed(self, n: int, offsets: Sequence[int], sample_rate_hz: float) -> None:
        """RadioError where bursts of n samples at these offsets are never permitted."""
        if self.limits is not None:
            alone = [(offset, offset + n) for offset in offsets]
            self.limits.require_airtime(alone, sample_rate_hz)

    def refusal(
        self, n: int, offsets: Sequence[int], start: int, sample_rate_hz: float
    ) -> RadioError | None:
        """Why such bursts are not permitted from `start` on; None where they are."""
        if self.limits is None:
            return None
        on_air = self._on_air
        for offset in offsets:
            on_air = joined(on_air, start + offset, start + offset + n)
        try:
            self.limits.require_airtime(on_air, sample_rate_hz)
        except RadioError as error:
            return error
        return None
