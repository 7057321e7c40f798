"""The procedures there are, in the order in which one builds upon the other."""

from __future__ import annotations

from calibration.procedures.backoff import BackoffProcedure
from calibration.procedures.compression import CompressionProcedure
from calibration.procedures.delay import DelayProcedure
from calibration.procedures.frequency import FrequencyProcedure
from calibration.procedures.mixers import MixersProcedure
from calibration.procedures.noise import NoiseProcedure
from calibration.procedures.path_gain import PathGainProcedure
from calibration.procedures.procedure import Procedure
from calibration.procedures.reciprocity import ReciprocityProcedure
from calibration.procedures.rx_gain import RxGainProcedure
from calibration.procedures.setup import Setup
from calibration.procedures.stability import StabilityProcedure
from calibration.procedures.start_jitter import StartJitterProcedure
from calibration.procedures.tx_gain import TxGainProcedure

PROCEDURES: tuple[Procedure, ...] = (
    RxGainProcedure(),
    TxGainProcedure(),
    CompressionProcedure(),
    BackoffProcedure(),
    NoiseProcedure(),
    FrequencyProcedure(),
    DelayProcedure(),
    StartJitterProcedure(),
    MixersProcedure(),
    StabilityProcedure(),
    ReciprocityProcedure(),
    PathGainProcedure(),
)


def procedures_for(setup: Setup) -> tuple[Procedure, ...]:
    """Those that a setup permits.

    Not those that take two radios where there is one, nor those in which the receiver sends where
    it cannot, or has to have begun before anybody knew when it would be sent to.
    """
    receiver = setup.receiver.caps
    return tuple(
        each
        for each in PROCEDURES
        if not (each.needs_two and setup.is_alone)
        and (receiver.can_transmit or not each.both_ways)
        and (receiver.continuous or not isinstance(each, StartJitterProcedure))
    )
