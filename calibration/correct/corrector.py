"""A profile applied to samples: mended before they are sent, and after they were received."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from calibration.correct.advance import Advance
from calibration.correct.mixer import Mixer
from calibration.correct.turn import Turn
from calibration.estimate import Estimate
from calibration.profiles.profile import AnyProfile, Profile, ProfileError
from radio.api import IQ, RadioSettings

MOST_ERROR_DB = 20.0  # of a gain that is known at all


@dataclass(frozen=True)
class Corrector:
    """What one radio's samples need.

    Sent: advanced by the radio's delay, lowered where it is too strong, turned against its carrier
    offset, then bent the way that its mixer will undo, LO leakage included. Received: the inverse
    order, which is DC and imbalance off, level, turn. The delay of both directions together is made
    up for when sending.

    **Level.** A transmitter is only ever lowered: samples may use all of full scale, and raised
    ones would be cut off by the converter. One that is too weak is raised by its gain setting,
    which `calibration.power` plans. The level changes by a constant, never from burst to burst:
    sums over the air take the weight of each device from it. Received samples are raised and
    lowered alike. Mending a mixer leaves the level that it has: that is in the curves and path
    gains, which were measured with it.

    **Full scale.** Samples to send that come within a few percent of it may exceed it once they
    are bent or turned; the radio cuts them off and counts them, as always. Received ones may exceed
    it, too.

    Attributes:
        advance: of bursts.
        sender, receiver: the mixers.
        sent_amplitude, received_amplitude: factors on samples.
        sent_turn, received_turn: against the carrier offset; one is the opposite of the other.
    """

    advance: Advance
    sender: Mixer
    receiver: Mixer
    sent_amplitude: float
    received_amplitude: float
    sent_turn: Turn
    received_turn: Turn

    @classmethod
    def of(cls, profile: AnyProfile, settings: RadioSettings | None = None) -> Corrector:
        """From a profile; what that does not tell is left as it is.

        Args:
            profile: of the radio.
            settings: of the radio; those of the profile unless given. The carrier offset goes with
                the carrier.

        Raises:
            ProfileError: the profile does not hold there, or tells of faults beyond correction.
        """
        known, cycles = profile.scalars, 0.0
        if isinstance(profile, Profile):
            now = profile.settings if settings is None else settings
            profile.require_covers(now)
            cfo_hz = _value(known, "cfo") * now.carrier_hz / profile.settings.carrier_hz
            cycles = cfo_hz / now.sample_rate_hz
        try:
            sender, receiver = _mixer(known, "tx"), _mixer(known, "rx")
            too_strong_db = max(_value(known, "tx_gain_error"), 0.0)
            return cls(
                advance=Advance(_value(known, "delay")),
                sender=sender,
                receiver=receiver,
                sent_amplitude=sender.level * _amplitude(too_strong_db),
                received_amplitude=receiver.level * _amplitude(_value(known, "rx_gain_error")),
                sent_turn=Turn(-cycles),
                received_turn=Turn(cycles),
            )
        except ValueError as error:
            raise ProfileError(f"{profile.source}: is beyond correction: {error}") from error

    def sent(self, iq: IQ, first_sample: int) -> tuple[IQ, int]:
        """What to send so that these samples leave, or are heard, as they are at their time.

        Args:
            iq: complex64 [n], left as it is.
            first_sample: at which iq[0] should be heard, on the radio's own clock.

        Returns:
            complex64 [n + advance.growth], and the sample of the radio's clock at which its first
            one has to be sent. Without a fractional delay a burst cut into calls becomes the same
            samples as the whole; with one, its parts overlap.
        """
        burst, first = self.advance.apply(iq), first_sample - self.advance.lead
        self._bend(burst, first)
        return burst, first

    def sent_untimed(self, iq: IQ, first_sample: int) -> IQ:
        """As `sent`, for a burst whose time does not matter: it is not advanced.

        Args:
            iq: complex64 [n], left as it is.
            first_sample: at which it will leave, as far as that is known.
        """
        burst = iq.copy()
        self._bend(burst, first_sample)
        return burst

    def received(self, iq: IQ, first_sample: int) -> IQ:
        """What these samples would be, had a radio without faults received them.

        Args:
            iq: complex64 [n], left as it is.
            first_sample: of iq on the radio's own clock.

        Returns:
            complex64 [n], the same for a sample however the capture is cut into calls.
        """
        mended = iq.copy()
        self.receiver.mend(mended)
        if self.received_amplitude != 1:
            mended *= np.float32(self.received_amplitude)
        self.received_turn.apply(mended, first_sample)
        return mended

    def _bend(self, burst: IQ, first_sample: int) -> None:
        if self.sent_amplitude != 1:
            burst *= np.float32(self.sent_amplitude)
        self.sent_turn.apply(burst, first_sample)
        self.sender.mend(burst)


def _mixer(known: Mapping[str, Estimate], end: str) -> Mixer:
    return Mixer(
        dc=complex(_value(known, f"{end}_dc_in_phase"), _value(known, f"{end}_dc_quadrature")),
        gain_db=_value(known, f"{end}_iq_gain"),
        phase_deg=_value(known, f"{end}_iq_phase"),
    )


def _amplitude(error_db: float) -> float:
    """That takes a gain error off."""
    if not abs(error_db) <= MOST_ERROR_DB:
        raise ValueError(f"a gain error should be within {MOST_ERROR_DB:g} dB, not {error_db:g}")
    return float(10 ** (-error_db / 20))


def _value(known: Mapping[str, Estimate], name: str) -> float:
    """In the unit that the profile vouches for; 0 for what was not measured."""
    return known[name].value if name in known else 0.0
