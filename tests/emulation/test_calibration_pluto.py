"""The procedures over `pluto://`, through the real pyadi-iio and libiio, find what is known."""

from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import pytest

from benchmarks.pluto_process import plutos
from calibration.procedures.compression import CompressionProcedure
from calibration.procedures.delay import DelayProcedure
from calibration.procedures.frequency import FrequencyProcedure
from calibration.procedures.mixers import MixersProcedure
from calibration.procedures.path_gain import PathGainProcedure
from calibration.procedures.rx_gain import RxGainProcedure
from calibration.procedures.session import Session
from calibration.procedures.setup import Setup
from calibration.procedures.tx_gain import TxGainProcedure
from radio.api import RadioError, RadioSettings
from radio.registry import open_radio
from radio.sigmf import read_sigmf
from sim_fallback.presets import PRESETS
from sim_fallback.virtual_pluto.receiver import LOOPBACK_DELAY
from tests.emulation.tcp_proxy import TcpProxy

PACE = 0.5  # of real time: a busy machine looks at two clocks 0.1 s apart
OPTIONS = "?buffer=4096&kernel_buffers=16"  # short transfers, so that little time is waited
LOSS_DB, CABLE_DB = 40.0, 50.0
SETTINGS = RadioSettings(tx_gain_db=-10.0, rx_gain_db=31.0)
PROCEDURES = (
    RxGainProcedure(step_db=31.0, samples=1 << 12),
    TxGainProcedure(span_db=20.0, step_db=10.0, samples=1 << 12),
    CompressionProcedure(samples=1 << 11),
    FrequencyProcedure(span_s=0.2),
    MixersProcedure(samples=1 << 15),
    PathGainProcedure(beacons=6),
)
EQUIPMENT = [PRESETS["pluto-tcxo"].equip(7, name) for name in ("p0", "p1")]
FRONT_END = EQUIPMENT[0].front_end


@pytest.fixture(scope="module")
def two(adi):
    """Two radios that hear each other, and themselves through a cable."""
    with plutos(2, pace=PACE, loss_db=LOSS_DB, cable_db=CABLE_DB) as served:
        radios = [open_radio(f"pluto://{uri}{OPTIONS}") for uri in served.uris]
        with radios[0], radios[1]:
            yield radios


def test_a_session_over_two_plutos(two, tmp_path):
    found = [radio.settings for radio in two]
    setup = Setup(*two, SETTINGS, SETTINGS, LOSS_DB, FRONT_END.rx_full_scale_dbm)
    session = Session(setup, PROCEDURES, tmp_path, "airmeta 1", lambda: datetime.now(UTC))
    material = session.run(lambda status: None)
    assert [radio.settings for radio in two] == found
    assert (material.sender.serial, material.receiver.serial) == ("airmeta-7-p0", "airmeta-7-p1")
    for path in material.captures:
        assert read_sigmf(path).segments

    sender, receiver = material.findings.sender, material.findings.receiver
    offset_ppm, other_ppm = (each.oscillator.offset_ppm for each in EQUIPMENT)
    ratio = (1 + 1e-6 * offset_ppm) / (1 + 1e-6 * other_ppm)
    # Oscillators have wandered since they began: 1e-10 at 0.1 s is 1.3 Hz rms after 10 s.
    assert abs(sender.scalars["cfo"].value - (ratio - 1) * SETTINGS.carrier_hz) < 6
    assert sender.scalars["cfo"].uncertainty < 0.5
    assert abs(sender.scalars["skew"].value - 1e6 * (ratio - 1)) < 0.1
    assert abs(sender.scalars["path_gain"].value + LOSS_DB) < 0.3
    curve = sender.curves["tx_power"]
    assert curve.settings == (-20.0, -10.0, 0.0)
    for gain_db, power_dbm in zip(curve.settings, curve.values, strict=True):
        assert abs(power_dbm - (FRONT_END.tx_full_scale_dbm + gain_db)) < 0.3
    curve = receiver.curves["rx_gain"]
    assert curve.settings == (0.0, 31.0, 62.0)
    for gain_db, level_db in zip(curve.settings, curve.values, strict=True):
        assert abs(level_db - (gain_db - FRONT_END.rx_full_scale_dbm)) < 0.3
    # The amplifier of this radio does not reach its compression point, and bends by 0.27 dB.
    assert "tx_compression" not in sender.scalars
    assert abs(sender.curves["tx_drive"].values[-1] + 0.27) < 0.1
    for end, measured in (("tx", sender.scalars), ("rx", receiver.scalars)):
        imbalance = getattr(FRONT_END, f"{end}_iq")
        assert abs(measured[f"{end}_dc_in_phase"].value - getattr(FRONT_END, f"{end}_dc")) < 1e-3
        assert abs(measured[f"{end}_iq_gain"].value - imbalance.gain_db) < 0.05
        assert abs(measured[f"{end}_iq_phase"].value - imbalance.phase_deg) < 0.3


def test_a_pluto_alone_knows_its_delay(two):
    setup = Setup(two[0], two[0], SETTINGS, SETTINGS)
    found = DelayProcedure(bursts=6).run(setup, lambda share: None).sender.scalars
    # Its digital loopback, by which it counts, takes longer than its cable.
    assert abs(found["delay"].value + LOOPBACK_DELAY) < 0.05
    assert found["delay_jitter"].value < 0.05


def test_a_receiver_that_is_unplugged_in_a_procedure(adi, tmp_path):
    """The sender is left as it was found, and the session goes on when the other one is back."""
    sweep = TxGainProcedure(span_db=20.0, step_db=10.0, samples=1 << 12)
    procedures = (PathGainProcedure(beacons=6), sweep)

    def session(radios):
        setup = Setup(*radios, SETTINGS, SETTINGS, LOSS_DB)
        return Session(setup, procedures, tmp_path, "airmeta 1", lambda: datetime.now(UTC))

    with plutos(2, pace=PACE, loss_db=LOSS_DB) as served, TcpProxy(served.uris[1]) as proxy:
        uris = [served.uris[0], proxy.uri]

        @contextmanager
        def opened():
            with ExitStack() as stack:
                yield [
                    stack.enter_context(open_radio(f"pluto://{uri}{OPTIONS}&timeout_s=1"))
                    for uri in uris
                ]

        seen = []

        def unplug(status):
            seen.append(status.name)
            if seen.count("tx_gain") == 2:  # after its first gain
                proxy.unplug()

        with opened() as radios:
            found = radios[0].configure(RadioSettings(tx_gain_db=-33.0, rx_gain_db=11.0))
            with pytest.raises(
                RadioError, match=r"tx_gain: .*Done, and kept .*: path_gain;"
            ) as gone:
                session(radios).run(unplug)
            assert "a radio was not left as it was found: " in str(gone.value)
            assert radios[0].settings == found
        proxy.plug()
        with opened() as radios:
            again = session(radios)
            assert again.resumed == ("path_gain",)
            sender = again.run(lambda status: None).findings.sender
        assert "path_gain" in sender.scalars
        assert "tx_power" in sender.curves
