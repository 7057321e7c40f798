"""Procedures over virtual airs find what the airs were made of, and do no harm."""

import math
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from calibration.curve import Curve
from calibration.estimate import MeasurementError
from calibration.measured import Measured
from calibration.procedures.backoff import BackoffProcedure
from calibration.procedures.compression import CompressionProcedure
from calibration.procedures.delay import DelayProcedure
from calibration.procedures.findings import Findings
from calibration.procedures.frequency import FrequencyProcedure
from calibration.procedures.mixers import MixersProcedure
from calibration.procedures.noise import NoiseProcedure
from calibration.procedures.path_gain import PathGainProcedure
from calibration.procedures.reciprocity import ReciprocityProcedure
from calibration.procedures.registry import PROCEDURES, procedures_for
from calibration.procedures.rx_gain import RxGainProcedure
from calibration.procedures.setup import Setup
from calibration.procedures.stability import StabilityProcedure
from calibration.procedures.start_jitter import StartJitterProcedure
from calibration.procedures.tx_gain import TxGainProcedure
from calibration.profiles.quantity import CURVES, SCALARS
from radio.api import Capture, RadioError, RadioSettings, Range
from radio.limits import Limits, busiest_window
from radio.recording import RecordingRadio
from radio.registry import open_radio
from sim_fallback.air import Air, Scene
from sim_fallback.airs import publish
from sim_fallback.front_end import THERMAL_DBM_PER_HZ, FrontEnd, IQImbalance
from sim_fallback.gain_error import GainError
from sim_fallback.oscillator import Oscillator
from sim_fallback.path import Path
from sim_fallback.power_amplifier import PowerAmplifier
from sim_fallback.presets import Equipment
from sim_fallback.tapped_delay import TappedDelayLine

CARRIER_HZ, RATE_HZ = 915e6, 1e6
TX_DBM, RX_DBM = 7.0, 6.0  # of full scale
LOSS_DB, CABLE_DB, CABLE_S = 50.0, 40.0, 3.3e-6
SETTINGS = RadioSettings(tx_gain_db=-10.0, rx_gain_db=40.0)
FOUND = RadioSettings(tx_gain_db=-33.0, rx_gain_db=1.0)
PPM = {"d": 5.0, "rx": -3.0}
RATIO = (1 + 5e-6) / (1 - 3e-6)


def quietly(share):
    """Nobody looks at the progress."""


def air_of(snr_db=40.0, ppm=PPM, loss_db=LOSS_DB, allan=0.0, **front_ends):
    """Radios d and rx; at `SETTINGS` full scale arrives `snr_db` above the noise."""
    arriving_dbm = TX_DBM + SETTINGS.tx_gain_db - LOSS_DB
    noise_db = arriving_dbm - snr_db - THERMAL_DBM_PER_HZ - 10 * math.log10(RATE_HZ)
    plain = FrontEnd(TX_DBM, RX_DBM, noise_db, dac_bits=12, adc_bits=12, clips=True)
    equipment = {
        name: Equipment(
            Oscillator((1, k), ppm[name], allan),
            replace(plain, **front_ends.get(name, {})),
            *(0.3 * k, 1.1 * k),
            12_345 * k,
            (2, k),
        )
        for k, name in enumerate(("d", "rx"))
    }
    line = TappedDelayLine(kind="awgn")
    paths = {("d", "rx"): Path(line, loss_db), ("d", "d"): Path(line, CABLE_DB, CABLE_S)}
    return Air(Scene(CARRIER_HZ, RATE_HZ, equipment, paths))


@contextmanager
def bench(air, alone=False, wrap=lambda radio: radio, **more):
    """The setup of the two radios of an air, or of d alone."""
    with publish(air) as name:
        sender = wrap(open_radio(f"sim://{name}?name=d"))
        receiver = sender if alone else open_radio(f"sim://{name}?name=rx")
        with sender, receiver:
            for radio in (sender, receiver):
                radio.configure(FOUND)
            known = {"full_scale_dbm": RX_DBM, "search_s": 1e-3} | more
            setup = Setup(sender, receiver, SETTINGS, SETTINGS, **known)
            yield setup
            for radio in (sender, receiver):
                assert radio.settings == FOUND


class Mute(RecordingRadio):
    """A radio that only receives."""

    @property
    def caps(self):
        return replace(super().caps, can_transmit=False)


class Asked(RecordingRadio):
    """A radio that receives only what it is asked for."""

    @property
    def caps(self):
        return replace(super().caps, continuous=False)


class Watched(RecordingRadio):
    """A radio whose bursts are written down, and that does something before the one of a number."""

    def __init__(self, radio, number=None, act=None):
        super().__init__(radio)
        self.radio, self.number, self.act = radio, number, act
        self.sent = []

    def transmit(self, iq, at=None):
        if len(self.sent) == self.number:
            self.number = None
            self.act(self.radio)
        report = super().transmit(iq, at)
        self.sent.append((report.started_at, report.started_at + iq.size, report.applied_gain_db))
        return report


@pytest.mark.parametrize("snr_db", [10, 20, 30])
def test_clocks_delay_and_mixers(snr_db):
    faults = {
        "d": {"tx_iq": IQImbalance(0.3, 1.5), "tx_dc": 0.01 - 0.004j},
        "rx": {"rx_iq": IQImbalance(-0.2, -1.0), "rx_dc": -0.006 + 0.003j},
    }
    with bench(air_of(snr_db, **faults)) as setup:
        clocks = FrequencyProcedure(span_s=0.4).run(setup, quietly).sender.scalars
        assert abs(clocks["cfo"].value - (RATIO - 1) * CARRIER_HZ) < 1
        assert abs(clocks["skew"].value - 1e6 * (RATIO - 1)) < 0.1
        late = DelayProcedure(bursts=6).run(setup, quietly).sender.scalars
        assert late.keys() == {"delay_jitter"}
        assert late["delay_jitter"].value < 0.05
        found = MixersProcedure().run(setup, quietly)
    for end, measured, fault in (
        ("tx", found.sender, faults["d"]),
        ("rx", found.receiver, faults["rx"]),
    ):
        value = {name: estimate.value for name, estimate in measured.scalars.items()}
        dc = complex(value[f"{end}_dc_in_phase"], value[f"{end}_dc_quadrature"])
        assert 20 * math.log10(abs(dc - fault[f"{end}_dc"])) < -50
        factors = [
            10 ** (gain_db / 20) * np.exp(1j * math.radians(phase_deg))
            for gain_db, phase_deg in (
                (value[f"{end}_iq_gain"], value[f"{end}_iq_phase"]),
                (fault[f"{end}_iq"].gain_db, fault[f"{end}_iq"].phase_deg),
            )
        ]
        # Half of the difference is the image that a correction leaves.
        assert 20 * math.log10(abs(factors[0] - factors[1]) / 2) < -45
    with bench(air_of(snr_db), alone=True) as setup:
        late = DelayProcedure(bursts=6).run(setup, quietly).sender.scalars
        assert abs(late["delay"].value - 1e6 * CABLE_S) < 0.05


@pytest.mark.parametrize(("snr_db", "step_db"), [(10, 9.0), (20, 9.0), (30, 9.0), (60, 30.0)])
def test_gains_whose_steps_are_uneven(snr_db, step_db):
    tx, rx = GainError(0.8, 1.0), GainError(0.7, 0.0)
    coarse = {"step_db": step_db, "samples": 1 << 13}
    with bench(air_of(snr_db, d={"tx_gain": tx}, rx={"rx_gain": rx}), loss_db=LOSS_DB) as setup:
        found = RxGainProcedure(**coarse).run(setup, quietly)
        curve = found.receiver.curves["rx_gain"]
        assert curve.measured.high - curve.measured.low > 70
        for gain_db, level in zip(curve.settings, curve.values, strict=True):
            assert abs(level - (rx.gain_db(gain_db) - RX_DBM)) < 0.3
        setup.known = setup.known.joined(found)
        found = TxGainProcedure(**coarse).run(setup, quietly)
        curve = found.sender.curves["tx_power"]
        assert curve.measured.high - curve.measured.low > 30
        for gain_db, power_dbm in zip(curve.settings, curve.values, strict=True):
            assert abs(power_dbm - (TX_DBM + tx.gain_db(gain_db))) < 0.3


@pytest.mark.parametrize("snr_db", [10, 20, 30])
def test_path_gain_and_that_gains_do_not_matter(snr_db):
    power = Curve((-40.0, 0.0), (TX_DBM - 40, TX_DBM), (0.0, 0.0), "dBm", Range(-40.0, 0.0))
    known = Findings(sender=Measured(curves={"tx_power": power}))
    with bench(air_of(snr_db), known=known) as setup:
        found = PathGainProcedure().run(setup, quietly).sender.scalars["path_gain"]
    assert abs(found.value + LOSS_DB) < 0.3


def test_compression_and_the_back_off_that_it_takes():
    amplifier = PowerAmplifier(smoothness=2.0, saturation_db=-1.0)
    with bench(air_of(45, d={"pa": amplifier})) as setup:
        found = CompressionProcedure(samples=1 << 12).run(setup, quietly).sender
        point = found.scalars["tx_compression"]
        assert abs(point.value - amplifier.compression_point_db()) < 0.5
        assert abs(found.curves["tx_drive"].at(-20.0).value) < 0.1
        best = BackoffProcedure().run(setup, quietly).sender.scalars["best_backoff"]
        # Without amplifier the converter alone would ask for 8 to 9 dB at such a noise.
        assert 9 < best.value < 14
    with bench(air_of(40)) as setup:
        found = CompressionProcedure(samples=1 << 12).run(setup, quietly).sender
        assert found.scalars == {}  # full scale compresses nothing


def test_a_gain_that_suits_a_beacon_leaves_room_for_stronger_symbols():
    with bench(air_of(45)) as setup:
        # Where a beacon, whose I and Q peak at 0.72, arrives with 0.64: 2 dB too loud.
        setup.receiver_settings = replace(SETTINGS, rx_gain_db=58.0)
        assert "backoff_nmse" in BackoffProcedure().run(setup, quietly).sender.curves


def test_noise_of_the_receiver():
    with bench(air_of(40, rx={"noise_figure_db": 6.0})) as setup:
        setup.receiver_settings = replace(SETTINGS, rx_gain_db=60.0)
        found = NoiseProcedure().run(setup, quietly).receiver.scalars
    assert abs(found["noise_figure"].value - 6.0) < 0.3
    thermal_dbm = THERMAL_DBM_PER_HZ + 10 * math.log10(RATE_HZ)
    floor_dbfs = thermal_dbm + 6.0 + 60.0 - RX_DBM
    assert abs(found["noise_floor"].value - floor_dbfs) < 0.3


def test_what_two_ends_differ_by_and_how_long_they_stay():
    ends = {"d": {"tx_full_scale_dbm": 9.5}, "rx": {"rx_full_scale_dbm": RX_DBM - 2.0}}
    up_over_down_db = (9.5 - (RX_DBM - 2.0)) - (TX_DBM - RX_DBM)
    same = dict.fromkeys(PPM, 2.0)
    with bench(air_of(30, ppm=same, **ends)) as setup:
        found = ReciprocityProcedure(pairs=8).run(setup, quietly).sender.scalars
        assert abs(found["reciprocity_gain"].value - up_over_down_db) < 0.3
        # Up turns by d's transmitter less rx's receiver, down by the opposite pair.
        degrees = math.degrees((0.0 - 1.1) - (0.3 - 0.0))
        apart = math.remainder(found["reciprocity_phase"].value - degrees, 360)
        assert abs(apart) < 5
    with bench(air_of(30, **ends)) as setup:
        found = ReciprocityProcedure(pairs=8).run(setup, quietly).sender.scalars
        assert found.keys() == {"reciprocity_gain"}  # free-running oscillators
        assert abs(found["reciprocity_gain"].value - up_over_down_db) < 0.3
    with bench(air_of(30, allan=2e-10)) as setup:
        found = StabilityProcedure(span_s=0.81).run(setup, quietly).sender.scalars
    # A line taken off, and a random walk of frequency: some 10 degrees within 0.1 s.
    assert 1 < found["phase_stability"].value < 60
    assert found["amplitude_stability"].value < 0.3


def test_reciprocity_of_radios_that_move():
    air = air_of(30, ppm=dict.fromkeys(PPM, 2.0))
    line = TappedDelayLine(kind="rician", k_db=40.0, doppler_hz=5.0)
    air.scene = replace(air.scene, paths={("d", "rx"): Path(line, LOSS_DB)})
    with bench(air) as setup:
        found = ReciprocityProcedure(pairs=8).run(setup, quietly).sender.scalars
    degrees = math.degrees((0.0 - 1.1) - (0.3 - 0.0))
    # The path turns by a degree between up and down.
    assert abs(math.remainder(found["reciprocity_phase"].value - degrees, 360)) < 0.3


def test_start_jitter_of_a_radio_that_is_never_late():
    with bench(air_of(30)) as setup:
        found = StartJitterProcedure(starts=20).run(setup, quietly).sender.scalars
    assert found["start_jitter"].value < 2e-6


class Forgetful(RecordingRadio):
    """A receiver that hears nothing between its captures, as one that is told when to."""

    def receive(self, n, at=None):
        return super().receive(n, self.now() + 1000 if at is None else at)


def test_start_jitter_takes_a_receiver_that_goes_on_receiving():
    with (
        bench(air_of(30), alone=True, wrap=Forgetful) as setup,
        pytest.raises(MeasurementError, match="began to receive after a burst was asked for"),
    ):
        StartJitterProcedure().run(setup, quietly)


def test_durations_names_and_units_are_as_said():
    names = [procedure.name for procedure in PROCEDURES]
    assert len(set(names)) == len(names) == 12
    air = air_of(30)
    with bench(air, limits=Limits((Range(902e6, 928e6),), -5.0, 1.0, 60.0, 1.0)) as setup:
        for procedure in (TxGainProcedure(step_db=15), DelayProcedure(), StabilityProcedure(0.3)):
            shares, begun_s = [], air.present_s
            found = procedure.run(setup, shares.append)
            took_s, said_s = air.present_s - begun_s, procedure.duration_s(setup)
            assert said_s / 2 < took_s < 2 * said_s + 0.2
            assert shares == sorted(shares)
            for end in (found.sender, found.receiver):
                for known, measured in ((SCALARS, end.scalars), (CURVES, end.curves)):
                    for name, one in measured.items():
                        assert one.unit == known[name].unit
    with bench(air_of(30), alone=True) as setup:
        left = {"frequency", "mixers", "reciprocity"}
        assert {one.name for one in procedures_for(setup)} == set(names) - left
    with bench(air_of(30)) as setup:
        setup.receiver = Mute(setup.receiver)
        assert {one.name for one in procedures_for(setup)} == set(names) - {"reciprocity"}
    with bench(air_of(30)) as setup:
        setup.receiver = Asked(setup.receiver)
        assert {one.name for one in procedures_for(setup)} == set(names) - {"start_jitter"}


def test_limits_cut_the_sweep_and_spread_what_is_sent():
    limits = Limits((Range(902e6, 928e6),), -9.0, 0.1, window_s=0.5, max_burst_s=0.05)
    with bench(air_of(30), wrap=Watched, limits=limits) as setup:
        curve = (
            TxGainProcedure(step_db=6.0, samples=1 << 13)
            .run(setup, quietly)
            .sender.curves["tx_power"]
        )
        assert curve.settings[-1] == -9.0
        PathGainProcedure().run(setup, quietly)
        sent = setup.sender.sent
        assert len(sent) > 20
        assert max(gain_db for *_, gain_db in sent) <= -9.0
        on_air = [(start, end) for start, end, _ in sent]
        assert busiest_window(on_air, 0.5 * RATE_HZ) <= 0.05 * RATE_HZ + 0.5
        before = len(sent)
        with pytest.raises(RadioError, match="without a pause"):
            MixersProcedure(samples=1 << 16).run(setup, quietly)
        assert len(setup.sender.sent) == before
        settings = setup.sender.settings
        with pytest.raises(RadioError, match="exceeds the bench"):
            setup.set_tx_gain(-8.5)
        assert setup.sender.settings == settings  # not even while it is silent
    with (
        pytest.raises(RadioError, match="exceeds the bench"),
        bench(air_of(), limits=replace(limits, max_tx_gain_db=-20.0)),
    ):
        pass


def test_time_that_goes_on_by_itself():
    uri = "sim://paced?preset=pluto-tcxo&clock=wall&name="
    with open_radio(uri + "d0") as sender, open_radio(uri + "rx") as receiver:
        setup = Setup(sender, receiver, SETTINGS, SETTINGS, search_s=0.05)
        found = PathGainProcedure(beacons=4).run(setup, quietly).sender.scalars["path_gain"]
        # Full scale arrives as full scale there, and nobody states another.
        assert abs(found.value) < 0.3


@pytest.mark.parametrize(
    ("loss_db", "alone", "procedure", "said"),
    [
        (-60.0, False, PathGainProcedure(), "saturated at its gain of -20 dB"),
        (-100.0, False, RxGainProcedure(step_db=20), "the receiver is saturated"),
        (190.0, False, PathGainProcedure(), "deaf: it hears no probe at its gain of 7"),
        (220.0, False, TxGainProcedure(step_db=20), "the receiver is deaf"),
        (LOSS_DB, True, MixersProcedure(), "name the one end"),
    ],
)
def test_saturated_deaf_or_not_to_be_told_apart(loss_db, alone, procedure, said):
    # Leaving the bench sees that the radios are as they were found.
    with (
        bench(air_of(30, loss_db=loss_db), alone=alone) as setup,
        pytest.raises(MeasurementError, match=said),
    ):
        procedure.run(setup, quietly)


class Lossy(Watched):
    """A receiver whose host loses samples of some captures."""

    losses = 2

    def receive(self, n, at=None):
        capture = super().receive(n, at)
        self.losses -= 1
        return Capture(capture.iq, capture.first_sample, 7 if self.losses >= 0 else 0)


def test_captures_with_lost_samples_are_taken_again_but_not_for_ever():
    with bench(air_of(30), alone=True, wrap=Lossy) as setup:
        assert setup.listen(1000).overflows == 0
        setup.receiver.losses = 100
        with pytest.raises(MeasurementError, match="lost 7 samples, 3 times in a row"):
            setup.listen(1000)


@pytest.mark.parametrize("number", [2, 5])
def test_a_radio_whose_clock_is_void_is_set_up_again(number):
    """Also between bursts of one try, of which some are sent when the next one begins."""

    def void(radio):
        raise RadioError("the clock is void")

    with bench(air_of(30), wrap=lambda radio: Watched(radio, number, void)) as setup:
        found = PathGainProcedure().run(setup, quietly)
    assert "path_gain" in found.sender.scalars


def test_setups_that_make_no_sense():
    with bench(air_of()) as setup:
        for change, said in (
            ({"sender_settings": replace(SETTINGS, carrier_hz=900e6)}, "same carrier_hz"),
            ({"search_s": 0.0}, "search_s should be above 0"),
            ({"sender": setup.receiver, "receiver_settings": FOUND}, "a radio alone"),
        ):
            with pytest.raises(ValueError, match=said):
                replace(setup, **change)
        with pytest.raises(RadioError, match="outside"):
            replace(setup, sender_settings=replace(SETTINGS, tx_gain_db=99.0))
