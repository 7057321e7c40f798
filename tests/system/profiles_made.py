"""Profiles of a plausible radio, from a model of it that has nothing of `calibration` in it."""

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from calibration.curve import Curve
from calibration.estimate import Estimate
from calibration.profiles.profile import Profile
from calibration.profiles.profile_folder import ProfileFolder
from calibration.profiles.quantity import SCALARS
from radio.api import RadioSettings, Range

BAND = Range(902e6, 928e6)
MEASURED = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)


def made_profile(serial="1044734c9605", seed=0, level_db=0.0, **other):
    """A PlutoSDR measured at 30 °C three days ago, unless otherwise stated."""
    rng = np.random.default_rng(seed)
    gains = np.arange(-60.0, 1.0, 4.0)
    power = 7.0 + level_db + gains - 0.6 * np.exp(gains / 2) + rng.normal(0, 0.06, gains.size)
    rx = np.arange(0.0, 72.0, 6.0)
    level = rx - 6.0 + rng.normal(0, 0.05, rx.size)
    drive = np.arange(-30.0, 0.5, 1.5)
    # Rapp's amplifier of smoothness 1, which loses 1 dB where the drive is 5.9 dB below saturation.
    saturation = 2.5 + rng.normal(0, 0.4)
    gain = -10 * np.log10(1 + 10 ** ((drive - saturation) / 10)) + rng.normal(0, 0.01, drive.size)
    compression = saturation + 10 * np.log10(10**0.1 - 1)
    scalars = {
        "tx_dc_in_phase": (0.0030, 2e-5),
        "tx_dc_quadrature": (0.0002, 2e-5),
        "rx_dc_in_phase": (0.0010, 2e-5),
        "rx_dc_quadrature": (-0.0004, 2e-5),
        "tx_iq_gain": (0.017, 0.004),
        "tx_iq_phase": (0.2, 0.03),
        "rx_iq_gain": (0.017, 0.004),
        "rx_iq_phase": (0.2, 0.03),
        "tx_gain_error": (level_db, 0.05),
        "tx_compression": (compression, 0.05),
        "best_backoff": (9.0, 0.4),
        "noise_floor": (-98.6, 0.1),
        "cfo": (1830.0 + rng.normal(0, 300), 0.3),
        "skew": (2.0, 0.01),
        "allan_deviation": (1.1e-10, 1e-11),
        "path_gain": (-44.0 + rng.normal(0, 6) + level_db, 0.05),
    }
    curves = {
        "tx_power": Curve(*_columns(gains, power, 0.05), "dBm", Range(-56.0, -4.0)),
        "rx_gain": Curve(*_columns(rx, level, 0.05), "dB", Range(0.0, 66.0)),
        "backoff_nmse": Curve.through(
            (4.0, 6.0, 8.0, 10.0, 12.0), [Estimate(v, 0.2, "dB") for v in (-24, -31, -36, -37, -36)]
        ),
        "allan": Curve.through(
            (0.0125, 0.05, 0.1, 0.2),
            [Estimate(v, v / 8, "") for v in (9e-11, 8e-11, 1e-10, 1.4e-10)],
        ),
        "tx_drive": Curve(*_columns(drive, gain, 0.02), "dB", Range(-30.0, -15.0)),
    }
    profile = Profile(
        serial=serial,
        model="Analog Devices PlutoSDR",
        band=BAND,
        settings=RadioSettings(915e6, 1e6, -20.0, 40.0),
        measured_at=MEASURED,
        valid_days=30,
        temperature_c=30.0,
        software="airmeta 0.1.0",
        reference="sim rx, full scale assumed to be 0 dBm",
        scalars={n: Estimate(v, u, SCALARS[n].unit) for n, (v, u) in scalars.items()},
        curves=curves,
    )
    return dataclasses.replace(profile, **other)


def kept_profile(folder, serial="1044734c9605", **other):
    """The same on disk; its path."""
    return Path(ProfileFolder(folder).write(made_profile(serial, **other)).source)


def _columns(settings, values, uncertainty):
    return tuple(settings), tuple(values), (uncertainty,) * len(settings)
