"""The procedures over `usrp://`, through the real libuhd, find what is known."""

from datetime import UTC, datetime

import pytest

from calibration.procedures.backoff import BackoffProcedure
from calibration.procedures.compression import CompressionProcedure
from calibration.procedures.delay import DelayProcedure
from calibration.procedures.frequency import FrequencyProcedure
from calibration.procedures.mixers import MixersProcedure
from calibration.procedures.noise import NoiseProcedure
from calibration.procedures.path_gain import PathGainProcedure
from calibration.procedures.reciprocity import ReciprocityProcedure
from calibration.procedures.registry import PROCEDURES
from calibration.procedures.rx_gain import RxGainProcedure
from calibration.procedures.session import Session
from calibration.procedures.setup import Setup
from calibration.procedures.stability import StabilityProcedure
from calibration.procedures.start_jitter import StartJitterProcedure
from calibration.procedures.tx_gain import TxGainProcedure
from radio.api import RadioSettings
from radio.registry import open_radio
from sim_fallback.presets import PRESETS
from sim_fallback.virtual_usrp.eeprom import short_serial
from tests.emulation.uhd_process import require_binding
from tests.emulation.usrp_process import usrps

LOSS_DB = 30.0
SETTINGS = RadioSettings(tx_gain_db=20.0, rx_gain_db=10.0)
SHORT = (
    RxGainProcedure(step_db=19.0, samples=1 << 12),
    TxGainProcedure(span_db=30.0, step_db=15.0, samples=1 << 12),
    CompressionProcedure(step_db=6.0, samples=1 << 11),
    BackoffProcedure(),
    NoiseProcedure(samples=1 << 15),
    FrequencyProcedure(span_s=0.2),
    DelayProcedure(bursts=6),
    StartJitterProcedure(starts=20),
    MixersProcedure(samples=1 << 14),
    StabilityProcedure(span_s=0.81),
    ReciprocityProcedure(pairs=8),
    PathGainProcedure(beacons=6),
)
EQUIPMENT = [PRESETS["usrp-octoclock"].equip(7, name) for name in ("u0", "u1")]
FRONT_END = EQUIPMENT[0].front_end


@pytest.fixture(scope="module")
def two():
    """Two radios that hear each other, at half of real time."""
    require_binding()
    with usrps(2, loss_db=LOSS_DB) as served:
        radios = [open_radio(f"{uri}?memory_s=0.5") for uri in served.uris]
        with radios[0], radios[1]:
            yield radios


def test_a_session_over_two_usrps(two, tmp_path):
    found = [radio.settings for radio in two]
    setup = Setup(*two, SETTINGS, SETTINGS, LOSS_DB, FRONT_END.rx_full_scale_dbm)
    assert [each.name for each in SHORT] == [each.name for each in PROCEDURES]
    session = Session(setup, SHORT, tmp_path, "airmeta 1", lambda: datetime.now(UTC))
    material = session.run(lambda status: None)
    assert [radio.settings for radio in two] == found
    serials = [short_serial(each.serial(f"u{n}")) for n, each in enumerate(EQUIPMENT)]
    assert [material.sender.serial, material.receiver.serial] == serials

    sender, receiver = material.findings.sender, material.findings.receiver
    # They share a reference: what the carriers are apart is no more than what was not measured.
    assert abs(sender.scalars["cfo"].value) < 0.5
    assert abs(sender.scalars["skew"].value) < 0.02
    assert abs(sender.scalars["path_gain"].value + LOSS_DB) < 0.5
    curve = sender.curves["tx_power"]
    assert curve.settings == (1.5, 16.5, 31.5)
    for gain_db, power_dbm in zip(curve.settings, curve.values, strict=True):
        assert abs(power_dbm - (FRONT_END.tx_full_scale_dbm + gain_db)) < 0.1
    # The last 6.5 dB are digital, in the converter.
    curve = receiver.curves["rx_gain"]
    assert curve.settings == (0.0, 19.0, 38.0)
    for gain_db, level_db in zip(curve.settings, curve.values, strict=True):
        assert abs(level_db - (gain_db - FRONT_END.rx_full_scale_dbm)) < 0.1

    # At the highest gain 1.6 steps of the converter are noise; its rounding adds 0.13 dB.
    assert abs(receiver.scalars["noise_figure"].value - FRONT_END.noise_figure_db) < 0.4
    # Nothing of it has an amplifier, or mixers with faults.
    assert "tx_compression" not in sender.scalars
    assert abs(sender.curves["tx_drive"].values[-1]) < 0.1
    for end, measured in (("tx", sender.scalars), ("rx", receiver.scalars)):
        assert abs(measured[f"{end}_iq_gain"].value) < 0.05
        assert abs(measured[f"{end}_iq_phase"].value) < 0.3
    assert 7 < sender.scalars["best_backoff"].value < 15  # by how much noise there is
    assert abs(sender.scalars["reciprocity_gain"].value) < 0.1
    assert sender.scalars["phase_stability"].value < 1
    # Bursts leave at their time, whatever else the host does, and without one when it gets to it.
    assert sender.scalars["delay_jitter"].value < 0.01
    assert 0 < sender.scalars["start_jitter"].value < 0.1
