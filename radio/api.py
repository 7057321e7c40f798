"""What a radio is: complex64 samples in and out at known times of the radio's own clock.

Every driver and every wrapper implements `Radio` and is reached by URI through `radio.registry`.
IQ is complex64 with full scale 1.0; times are sample indices of the radio's own clock. A radio
returns what happened, not what was asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

IQ = npt.NDArray[np.complex64]

MAX_CAPTURE = 1 << 28  # samples of one capture: 2 GiB
LATEST = 1 << 62  # sample of a clock; what comes from it still fits 64 bits


class RadioError(Exception):
    """A radio refuses: what is wrong, where, and what would be right."""


@dataclass(frozen=True)
class Range:
    """A closed interval of a setting."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class RadioSettings:
    """What `Radio.configure` sets.

    Attributes:
        carrier_hz: of both directions.
        sample_rate_hz: of both directions.
        tx_gain_db: as the radio counts it; 0 or less where it has an attenuator.
        rx_gain_db: manual gain; rounds need it constant.
    """

    carrier_hz: float = 915e6
    sample_rate_hz: float = 1e6
    tx_gain_db: float = 0.0
    rx_gain_db: float = 0.0


@dataclass(frozen=True)
class RadioCaps:
    """What a radio can do; readable before it is configured and after it is closed.

    Attributes:
        name: of the model, for people.
        can_transmit: whether `transmit` works at all.
        timed: whether `at` is honoured to the sample.
        full_duplex: whether it receives while it transmits.
        bits: of its converters.
        carrier_hz, sample_rate_hz, tx_gain_db, rx_gain_db: ranges of the settings.
        max_burst: samples of the longest `transmit`.
        turnaround_s: from the last sample of a capture until what was computed from it can be on
            the air. Frames are planned from it.
        trigger: whether its clock can begin with a pulse at an input, at once with that of others.
        continuous: whether it receives between captures, so that one without a time goes on where
            the last one ended.
    """

    name: str
    can_transmit: bool
    timed: bool
    full_duplex: bool
    bits: int
    carrier_hz: Range
    sample_rate_hz: Range
    tx_gain_db: Range
    rx_gain_db: Range
    max_burst: int
    turnaround_s: float
    trigger: bool = False
    continuous: bool = True


@dataclass(frozen=True)
class TxReport:
    """What a transmission was.

    Attributes:
        applied_gain_db: transmit gain in force.
        clipped: samples that were beyond full scale in I or Q and were cut off.
        started_at: first sample, on the radio's own clock.
    """

    applied_gain_db: float
    clipped: int
    started_at: int


@dataclass(frozen=True)
class Capture:
    """What was received.

    Attributes:
        iq: complex64 [n].
        first_sample: of iq, on the radio's own clock.
        overflows: samples lost right before or inside; 0 for a capture to be trusted.
    """

    iq: IQ
    first_sample: int
    overflows: int


class Radio(Protocol):
    """One radio. Use as a context manager: leaving mutes the transmitter, however it happens.

    Drivers and wrappers derive from it, so that type checking tells what they lack.
    """

    @property
    def caps(self) -> RadioCaps:
        """What it can do."""

    @property
    def settings(self) -> RadioSettings:
        """The settings in force."""

    def configure(self, want: RadioSettings) -> RadioSettings:
        """Apply settings and return what was applied; RadioError where the radio cannot."""

    def now(self) -> int:
        """The sample clock."""

    def transmit(self, iq: IQ, at: int | None = None) -> TxReport:
        """Send a burst from sample `at` on, or as soon as all earlier ones are over.

        Raises:
            RadioError: not finite or not complex64 [n], empty, longer than `caps.max_burst`, `at`
                in the past or within another burst, or the radio is closed or only receives.
                Nothing is sent then.
        """

    def receive(self, n: int, at: int | None = None) -> Capture:
        """Capture n samples from sample `at` on, or from now on.

        Raises:
            RadioError: n < 1, `at` in the past, or the radio is closed.
        """

    def close(self) -> None:
        """Transmitter off, settings restored; closing twice is fine."""

    def describe(self) -> Mapping[str, str]:
        """What else it tells of itself, for people: serial number, firmware, temperature."""
        return {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def require_burst(iq: IQ, caps: RadioCaps) -> None:
    """RadioError unless these samples can be sent in one burst."""
    if not caps.can_transmit:
        raise RadioError(f"{caps.name} only receives; open a radio that can transmit")
    if not isinstance(iq, np.ndarray) or iq.dtype != np.complex64 or iq.ndim != 1:
        found = f"{iq.dtype} {iq.shape}" if isinstance(iq, np.ndarray) else type(iq).__name__
        raise RadioError(f"IQ to transmit should be a complex64 vector, not {found}")
    if iq.size == 0:
        raise RadioError("there is no sample to transmit")
    if iq.size > caps.max_burst:
        raise RadioError(
            f"a burst of {iq.size} samples exceeds the {caps.max_burst} of {caps.name}; cut it"
        )
    if not np.isfinite(iq).all():
        raise RadioError("IQ to transmit holds infinite or undefined samples")


def require_count(n: int) -> None:
    """RadioError unless n samples can be captured."""
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or not 1 <= n <= MAX_CAPTURE:
        raise RadioError(f"a capture has 1 to {MAX_CAPTURE} samples, a whole number, not {n!r}")


def require_future(at: int, present: int) -> None:
    """RadioError where `at` is no sample of a clock, or has passed already."""
    if isinstance(at, bool) or not isinstance(at, (int, np.integer)) or abs(at) > LATEST:
        raise RadioError(f"a time is a sample of the radio's clock, a whole number, not {at!r}")
    if at < present:
        raise RadioError(
            f"sample {at} has passed: the radio's clock stands at {present}; ask for a later one"
        )


def require_settings(want: RadioSettings, caps: RadioCaps) -> None:
    """RadioError where a setting is outside the radio's range."""
    for name in ("carrier_hz", "sample_rate_hz", "tx_gain_db", "rx_gain_db"):
        value, allowed = getattr(want, name), getattr(caps, name)
        if value not in allowed:
            raise RadioError(f"{name} = {value:g} is outside {allowed} of {caps.name}")
