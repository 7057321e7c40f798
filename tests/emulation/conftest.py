"""Virtual PlutoSDRs and the vendor's own software that opens them."""

import gc
import os
import shutil
import subprocess

import numpy as np
import pytest

from benchmarks.pluto_process import plutos

TOOLS = ("iio_info", "iio_attr", "iio_readdev", "iio_writedev")


@pytest.fixture(scope="session")
def tool():
    """Run one of libiio's command line tools; gives its output."""
    if missing := [name for name in TOOLS if shutil.which(name) is None]:
        reason = f"no {', '.join(missing)}; on Debian: apt install libiio-utils"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)

    def run(*words, **options):
        words = [str(word) for word in words]
        done = subprocess.run(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
            **options,
        )
        return done.returncode, done.stdout

    return run


@pytest.fixture(scope="session")
def cabled():
    """URI of a Pluto in virtual time, whose transmitter leads to its receiver through 40 dB."""
    with plutos(1, cable_db=40.0) as served:
        yield served.uris[0]


@pytest.fixture
def opened(adi):
    """Open Plutos that are muted afterwards, before their buffers outlive them in a trace back."""
    radios = []

    def open_(uri, kind="Pluto"):
        radios.append(getattr(adi, kind)(uri))
        return radios[-1]

    yield open_
    gc.collect()  # buffers that are held by the trace backs of expected errors
    for sdr in radios:
        sdr.rx_destroy_buffer()
        sdr.tx_destroy_buffer()
        sdr.loopback = 0
        sdr.dds_scales = [0, 0, 0, 0]
        sdr._rxadc.set_kernel_buffers_count(4)


@pytest.fixture
def pluto(opened, cabled):
    """The cabled Pluto as pyadi-iio has it, set up."""
    sdr = opened(cabled)
    sdr.sample_rate = 4_000_000
    sdr.rx_lo = sdr.tx_lo = 1_000_000_000
    sdr.rx_buffer_size = 2**14
    sdr.gain_control_mode_chan0 = "manual"
    sdr.rx_hardwaregain_chan0 = 20
    sdr.tx_hardwaregain_chan0 = -10
    return sdr


@pytest.fixture
def listen():
    """Receive once what was there before is gone."""

    def receive(sdr):
        for _ in range(5):
            iq = sdr.rx()
        return iq

    return receive


@pytest.fixture
def spectrum():
    """Power by frequency, in dB over full scale: (frequencies, levels) of what was received."""

    def of(iq, rate_hz):
        window = np.blackman(len(iq))
        bins = np.fft.fft(iq * window) / window.sum() / 2**11
        levels = 20 * np.log10(np.abs(bins) + 1e-12)
        return np.fft.fftfreq(len(iq), 1 / rate_hz), levels

    return of
