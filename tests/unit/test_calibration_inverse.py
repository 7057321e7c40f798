"""Faults of radios on the virtual air: measured, written down, corrected, and gone."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from scipy import signal

from calibration.correct.calibrated_radio import CalibratedRadio
from calibration.estimators.dc import receiver_dc, transmitter_dc
from calibration.estimators.delay import delay
from calibration.estimators.frequency import frequency
from calibration.estimators.iq_imbalance import receiver_imbalance, transmitter_imbalance
from calibration.estimators.tone import tone_lines
from calibration.probes import PREAMBLE_BACKOFF_DB, Beacons, ToneProbe
from calibration.profiles.profile import Profile
from calibration.profiles.profile_folder import ProfileFolder
from calibration.profiles.told import serial_of
from calibration.track import Track
from radio.api import RadioSettings, Range
from radio.waveform.numerology import Numerology
from sim_fallback.air import Air, Scene
from sim_fallback.front_end import THERMAL_DBM_PER_HZ, FrontEnd, IQImbalance
from sim_fallback.oscillator import Oscillator
from sim_fallback.path import Path
from sim_fallback.presets import PRESETS
from sim_fallback.sim_radio import SimRadio
from sim_fallback.tapped_delay import TappedDelayLine

CARRIER_HZ, RATE_HZ, MAX_CFO_HZ = 915e6, 1e6, 40e3
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
NUMEROLOGY = Numerology()
LEVEL_DB = -PREAMBLE_BACKOFF_DB  # of tones as of beacons, so that both have the same SNR
TONE = ToneProbe(NUMEROLOGY, levels_db=(LEVEL_DB,), step=1 << 17)
BEACONS = Beacons(NUMEROLOGY, count=20)
DEVICE = FrontEnd(tx_iq=IQImbalance(gain_db=0.4, phase_deg=2.0), tx_dc=0.02 - 0.01j)
RECEIVER = FrontEnd(rx_iq=IQImbalance(gain_db=-0.3, phase_deg=-1.5), rx_dc=-0.012 + 0.006j)
PPM = {"d": 12.0, "rx": -8.0, "ideal": 0.0}
DELAY = 12.37  # samples, of the device to itself
STEADY = slice(4000, 4000 + (1 << 16))  # well within the tone


def bench(snr_db):
    """Radios by name: a device that hears itself through a cable, a receiver, and an ideal one."""
    noise_figure_db = LEVEL_DB - snr_db - THERMAL_DBM_PER_HZ - 10 * math.log10(RATE_HZ)
    equipment = {
        name: replace(
            PRESETS["ideal"].equip(0, name),
            front_end=replace(front_end, noise_figure_db=noise_figure_db, clips=True),
            oscillator=Oscillator((0, len(name)), PPM[name], 0.0),
        )
        for name, front_end in (("d", DEVICE), ("rx", RECEIVER), ("ideal", FrontEnd()))
    }
    plain = TappedDelayLine(kind="awgn")
    paths = {
        ("d", "d"): Path(plain, delay_s=DELAY / RATE_HZ / (1 + 1e-6 * PPM["d"])),
        ("d", "rx"): Path(plain),
        ("d", "ideal"): Path(plain),
        ("ideal", "rx"): Path(plain),
    }
    air = Air(Scene(CARRIER_HZ, RATE_HZ, equipment, paths))
    return {name: SimRadio(air, name) for name in equipment}


def heard(sender, receiver, iq):
    """What a receiver hears of a burst, from 500 samples before it was sent on."""
    start = max(sender.now(), receiver.now()) + 1000
    sender.transmit(iq, at=start)
    return receiver.receive(iq.size + 2000, at=start - 500).iq


def tracked(sender, receiver):
    """The beacons that a receiver hears."""
    return Track.of(heard(sender, receiver, BEACONS.iq), BEACONS, MAX_CFO_HZ, first_sample=-500)


def measured(snr_db, folder):
    """Profiles of the device and the receiver, from what they heard in noise."""
    radios = bench(snr_db)
    device, receiver = radios["d"], radios["rx"]
    lines = tone_lines(heard(device, receiver, TONE.iq), TONE, MAX_CFO_HZ, CARRIER_HZ)
    leak, offset = transmitter_dc(lines, LEVEL_DB), receiver_dc(lines)
    bent, heard_bent = transmitter_imbalance(lines), receiver_imbalance(lines)
    scalars = {
        "d": {
            "cfo": frequency(tracked(device, radios["ideal"])).cfo,
            "delay": delay(tracked(device, device)).mean,
            "tx_dc_in_phase": leak.in_phase,
            "tx_dc_quadrature": leak.quadrature,
            "tx_iq_gain": bent.gain_db,
            "tx_iq_phase": bent.phase_deg,
        },
        "rx": {
            "rx_dc_in_phase": offset.in_phase,
            "rx_dc_quadrature": offset.quadrature,
            "rx_iq_gain": heard_bent.gain_db,
            "rx_iq_phase": heard_bent.phase_deg,
        },
    }
    for name, values in scalars.items():
        folder.write(
            Profile(
                serial=serial_of(radios[name]),
                model="sim",
                band=Range(902e6, 928e6),
                settings=RadioSettings(CARRIER_HZ, RATE_HZ),
                measured_at=NOW,
                valid_days=30.0,
                temperature_c=None,
                software="tests",
                reference="ideal, level assumed",
                scalars=values,
            )
        )


def line_db(iq, hertz):
    """Power of a line of a spectrum, with what is right beside it."""
    window = signal.windows.blackmanharris(iq.size, sym=False)  # -92 dB from 4 bins on
    power = np.abs(np.fft.fft(iq * window)) ** 2
    near = round(hertz / RATE_HZ * iq.size) + np.arange(-6, 7)
    return 10 * math.log10(power[near % iq.size].sum())


def sent_faults(sender, listener, tone_hz):
    """Leak and image of a sender over its tone, dB; where they lie, its oscillator alone says."""
    iq = heard(sender, listener, TONE.iq)[STEADY]
    lo_hz = CARRIER_HZ * PPM["d"] * 1e-6
    return [line_db(iq, at) - line_db(iq, tone_hz) for at in (lo_hz, 2 * lo_hz - tone_hz)]


def received_faults(sender, listener):
    """DC and image of a listener over the tone, dB."""
    iq = heard(sender, listener, TONE.iq)[STEADY]
    tone_hz = TONE.tone_hz - CARRIER_HZ * PPM["rx"] * 1e-6
    return [line_db(iq, at) - line_db(iq, tone_hz) for at in (0, -tone_hz)]


@pytest.mark.parametrize("snr_db", [10, 20, 30])
def test_faults_are_gone_after_correction(snr_db, tmp_path):
    folder = ProfileFolder(tmp_path)
    measured(snr_db, folder)
    # What is left is looked at without noise.
    radios = bench(math.inf)
    device, receiver, ideal = radios.values()
    mended, mended_receiver = (
        CalibratedRadio(radio, folder.find(serial_of(radio), CARRIER_HZ), NOW)
        for radio in (device, receiver)
    )
    limits = [-50, -45]
    before = sent_faults(device, ideal, TONE.tone_hz + CARRIER_HZ * PPM["d"] * 1e-6)
    before += received_faults(ideal, receiver)
    after = sent_faults(mended, ideal, TONE.tone_hz) + received_faults(ideal, mended_receiver)
    assert np.all(np.array(before) > [-35, -40, -35, -40])
    assert np.all(np.array(after) < limits + limits)
    assert abs(frequency(tracked(device, ideal)).cfo.value) > 10e3
    assert abs(frequency(tracked(mended, ideal)).cfo.value) < 1
    assert abs(delay(tracked(device, device)).mean.value - DELAY) < 1e-3
    assert abs(delay(tracked(mended, mended)).mean.value) < 0.05
