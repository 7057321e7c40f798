"""Virtual USRPs behind GNU Radio's uhd blocks: flowgraphs are radios that keep the USRP's time."""

from contextlib import suppress

import numpy as np
import pytest

from radio.api import RadioError, RadioSettings
from radio.registry import open_radio
from tests.emulation.uhd_process import require_binding
from tests.emulation.usrp_process import usrps

pytestmark = pytest.mark.usefixtures("in_gnuradio_home")

BURST = 4096
LONG = 200_000
LEAD_S = 0.2  # of a burst; a machine that is busy takes a part of it
BOTH = "gnuradio://device_tx+receiver_rx?sink=usrp&source=usrp&clock_source=external&uri="
SETTINGS = RadioSettings(tx_gain_db=20.0, rx_gain_db=20.0)


@pytest.fixture(scope="module")
def served():
    """Two USRPs on one reference, at half of real time, that hear each other."""
    require_binding()
    with usrps(2, loss_db=20.0) as both:
        yield both


def noise(seed, size=BURST):
    rng = np.random.default_rng(seed)
    pairs = rng.standard_normal((size, 2)).astype(np.float32)
    return 0.2 * pairs.view(np.complex64)[:, 0]


def place_of(iq, heard):
    """Where a burst begins in what was heard, and how alike it is there."""
    match = np.abs(np.correlate(heard, iq))
    place = int(match.argmax())
    energy = np.vdot(iq, iq).real * np.vdot(*2 * [heard[place : place + iq.size]]).real
    return place, match[place] / np.sqrt(energy)


def ahead(radio):
    return radio.now() + round(LEAD_S * radio.settings.sample_rate_hz)


def offset(sender, receiver, seed):
    """Receiver's time less sender's, by a burst whose times both tell."""
    iq, at = noise(seed), ahead(sender)
    # A flowgraph keeps what it received before, and begins with that.
    first = receiver.now() if "flowgraph" in receiver.caps.name else None
    assert sender.transmit(iq, at=at).started_at == at
    heard = receiver.receive(round(2 * LEAD_S * receiver.settings.sample_rate_hz), at=first)
    place, likeness = place_of(iq, heard.iq)
    assert likeness > 0.99
    return heard.first_sample + place - at


def tell_late(radio):
    """Tell a burst of the next sample, which has gone for long when it gets there."""
    for _ in range(100):
        with suppress(RadioError):  # it has gone already, as seen from here
            return radio.transmit(noise(6), at=radio.now() + 1)
    raise AssertionError("the present was over before it could be told of")


def test_both_directions_keep_the_time_of_the_board(served):
    one, other = (uri.removeprefix("usrp://") for uri in served.uris)
    with open_radio(f"{BOTH}{one}") as flow, open_radio(f"usrp://{other}?clock=external") as usrp:
        assert flow.caps.timed
        flow.configure(SETTINGS)
        usrp.configure(SETTINGS)
        apart = {offset(flow, usrp, 1), -offset(usrp, flow, 2)}
        # Both boards count samples of one reference, and the air between them takes no time.
        assert len(apart) == 1
        # Another carrier breaks no stream.
        before = flow.now()
        flow.configure(RadioSettings(carrier_hz=916e6, tx_gain_db=20.0, rx_gain_db=20.0))
        usrp.configure(RadioSettings(carrier_hz=916e6, tx_gain_db=20.0, rx_gain_db=20.0))
        assert flow.now() > before
        assert offset(flow, usrp, 3) in apart

        # What was told too late is told, once, and the next burst is one like any other.
        tell_late(flow)
        flow.receive(BURST, at=ahead(flow))
        with pytest.raises(RadioError, match="a burst came too late, and was not sent"):
            flow.receive(BURST)
        assert offset(flow, usrp, 7) in apart

        # Samples that are lost are zeros in their place, and counted; time goes on as it was.
        iq, at = noise(8, LONG), ahead(usrp)
        usrp.transmit(iq, at=at)
        served.set(received=50)
        heard = flow.receive(LONG, at=at - apart.pop())
        served.set(received=0)
        lost = heard.iq == 0
        assert 0 < heard.overflows < LONG / 10
        assert abs(lost.sum() - heard.overflows) < 10
        assert place_of(iq[~lost], heard.iq[~lost]) == (0, pytest.approx(1, abs=0.01))


def test_one_direction_alone(served):
    one, other = (uri.removeprefix("usrp://") for uri in served.uris)
    sends = f"gnuradio://device_tx?sink=usrp&uri={one}&tx_gain_db=20"
    hears = f"gnuradio://receiver_rx?source=usrp&uri={other}&rx_gain_db=20&subdev=A:0"
    with open_radio(sends) as sender, open_radio(hears) as receiver:
        assert not receiver.caps.can_transmit
        assert len({offset(sender, receiver, seed) for seed in range(2)}) == 1


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("rx_antenna=J1", "J1 is not a valid sbx rx antenna name"),
        ("subdev=B:3", "B:3"),
        ("clock_source=sundial", "sundial"),
        ("carrier_hz=72e6", "reaches 380000000 Hz in place of 72000000"),
        ("sample_rate_hz=1.1e6", "there is no rate 1.1e.06 Hz; the next one is 1098901"),
    ],
)
def test_what_a_usrp_does_not_have(served, options, why):
    one = served.uris[0].removeprefix("usrp://")
    with pytest.raises(RadioError, match=why):
        open_radio(f"gnuradio://receiver_rx?source=usrp&uri={one}&{options}")


def test_settings_are_those_that_the_usrp_took(served):
    one = served.uris[0].removeprefix("usrp://")
    with open_radio(f"gnuradio://receiver_rx?source=usrp&uri={one}&rx_gain_db=50") as radio:
        assert radio.settings.rx_gain_db == 38
        assert radio.configure(RadioSettings(rx_gain_db=45)).rx_gain_db == 38
        assert radio.configure(RadioSettings(rx_gain_db=20)).rx_gain_db == 20
        with pytest.raises(RadioError, match="reaches 380000000 Hz in place of 72000000"):
            radio.configure(RadioSettings(carrier_hz=72e6, rx_gain_db=10))
        # It is as it was before.
        assert radio.settings == RadioSettings(rx_gain_db=20)
        assert radio.configure(RadioSettings(rx_gain_db=20)) == radio.settings
        assert not radio.receive(BURST).overflows


def test_a_reference_that_is_not_there(served):
    one = served.uris[0].removeprefix("usrp://")
    served.set(locked=False)
    try:
        with pytest.raises(RadioError, match="does not lock to its reference"):
            open_radio(f"{BOTH}{one}")
    finally:
        served.set(locked=True)
