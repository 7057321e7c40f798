"""A virtual PlutoSDR behind GNU Radio's iio blocks: two flowgraphs are a radio that keeps times."""

import os
import signal

import numpy as np
import pytest

from benchmarks.pluto_process import plutos
from radio.api import RadioError, RadioSettings
from radio.registry import open_radio

pytestmark = pytest.mark.usefixtures("in_gnuradio_home")

BURST, AROUND = 4096, 100
BOTH = "gnuradio://device_tx+receiver_rx?sink=pluto&source=pluto&uri="


def sent_and_heard(radio, seed):
    """By how many samples a burst is heard later than it was sent, and how alike it is."""
    rng = np.random.default_rng(seed)
    iq = (0.2 * (rng.standard_normal(BURST) + 1j * rng.standard_normal(BURST))).astype("c8")
    lead = round(1.2 * radio.caps.turnaround_s * radio.settings.sample_rate_hz)
    at = radio.now() + lead
    assert radio.transmit(iq, at=at).started_at == at
    heard = radio.receive(BURST + 2 * AROUND, at=at - AROUND)
    assert heard.first_sample == at - AROUND
    match = np.abs(np.correlate(heard.iq, iq))
    place = int(match.argmax())
    energy = np.vdot(iq, iq).real * np.vdot(*2 * [heard.iq[place : place + BURST]]).real
    return place - AROUND, match[place] / np.sqrt(energy)


@pytest.fixture
def looped():
    """URI of a Pluto at a quarter of real time, whose transmitter leads to its receiver."""
    with plutos(1, pace=0.25, cable_db=40.0) as served:
        yield served.uris[0]


def test_a_burst_is_on_the_air_at_its_time(looped, opened):
    with open_radio(f"{BOTH}{looped}&tx_gain_db=-10&rx_gain_db=40") as radio:
        assert radio.caps.timed
        delay, likeness = sent_and_heard(radio, 1)
        assert likeness > 0.99
        before = radio.now()
        # What streams anew is measured anew.
        radio.configure(RadioSettings(carrier_hz=916e6, tx_gain_db=-12.0, rx_gain_db=40.0))
        assert radio.now() >= before
        assert sent_and_heard(radio, 2)[0] == delay
        # Of the analog parts, which the digital loopback leaves out.
        assert abs(delay) < 16
        sdr = opened(looped)
        assert (sdr.tx_lo, sdr.tx_hardwaregain_chan0, sdr.loopback) == (916e6, -12.0, 0)
        with pytest.raises(RadioError, match="carrier_hz"):
            radio.configure(RadioSettings(carrier_hz=1e6))
        (sends,) = (graph for graph in radio._graphs if graph.name == "device_tx")
        os.kill(sends.pid, signal.SIGSTOP)
        with pytest.raises(RadioError, match="had nothing to send for a while"):
            radio.receive(1 << 20)
        os.kill(sends.pid, signal.SIGCONT)
        radio._environ = {**os.environ, "GR_PYTHON": "/nowhere"}
        with pytest.raises(RadioError, match="GNU Radio is not there"):
            radio.configure(RadioSettings(carrier_hz=917e6))
        with pytest.raises(RadioError, match="is closed"):
            radio.transmit(np.ones(8, np.complex64))
    assert sdr.tx_hardwaregain_chan0 == -89.75
