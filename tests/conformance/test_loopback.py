"""What only a cable does: every sample that was sent comes back, at a known time and level."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radio.api import RadioError, RadioSettings
from radio.drivers.loopback import MAX_PENDING, LoopbackRadio
from radio.registry import open_radio


def noise(n, seed=0):
    rng = np.random.default_rng(seed)
    return (0.1 * (rng.standard_normal(n) + 1j * rng.standard_normal(n))).astype(np.complex64)


@pytest.mark.parametrize("delay", [0, 1, 100])
def test_samples_come_back_later(delay):
    iq = noise(300)
    with open_radio(f"loopback://?delay={delay}") as radio:
        radio.receive(17)
        assert radio.transmit(iq).started_at == 17
        heard = radio.receive(1_000).iq
    np.testing.assert_array_equal(heard[delay : delay + 300], iq)
    assert not heard[:delay].any()
    assert not heard[delay + 300 :].any()


@given(
    delay=st.integers(0, 50),
    bursts=st.lists(st.tuples(st.integers(0, 200), st.integers(1, 60)), max_size=5),
    cuts=st.lists(st.integers(1, 90), min_size=1, max_size=12),
)
def test_any_way_of_receiving_hears_the_bursts(delay, bursts, cuts):
    n = sum(cuts)
    expected = np.zeros(400 + n, np.complex64)
    with LoopbackRadio(delay) as radio:
        for seed, (at, length) in enumerate(bursts):
            place = expected[at + delay : at + delay + length]
            if place.any():
                with pytest.raises(RadioError, match="would overlap"):
                    radio.transmit(noise(length, seed), at=at)
            else:
                radio.transmit(noise(length, seed), at=at)
                place[:] = noise(length, seed)
        heard = np.concatenate([radio.receive(cut).iq for cut in cuts])
    np.testing.assert_array_equal(heard, expected[:n])


def test_skipped_time_is_not_heard():
    with LoopbackRadio() as radio:
        radio.transmit(noise(300))
        np.testing.assert_array_equal(radio.receive(100, at=250).iq[:50], noise(300)[250:])
        assert radio.now() == 350


def test_gains_of_cable_and_radio_add():
    with open_radio("loopback://?gain_db=-6") as radio:
        radio.configure(RadioSettings(tx_gain_db=-20.0, rx_gain_db=14.0))
        report = radio.transmit(noise(100))
        assert report.applied_gain_db == -20.0
        heard = radio.receive(100).iq
    np.testing.assert_allclose(heard, noise(100) * 10 ** (-12 / 20), rtol=1e-6)


def test_both_converters_clip():
    with LoopbackRadio() as radio:
        radio.configure(RadioSettings(tx_gain_db=-6.0, rx_gain_db=20.0))
        assert radio.transmit(np.array([3.0 - 0.1j, 0.01j], np.complex64)).clipped == 1
        heard = radio.receive(2).iq
    gain = 10 ** (14 / 20)
    np.testing.assert_allclose(heard, [1.0 - 0.1j * gain, 0.01j * gain], rtol=1e-6)


def test_a_change_of_gain_leaves_what_was_sent():
    with LoopbackRadio() as radio:
        radio.transmit(noise(100))
        radio.configure(RadioSettings(tx_gain_db=-60.0))
        np.testing.assert_array_equal(radio.receive(100).iq, noise(100))


def test_a_burst_is_as_it_was_when_it_was_sent():
    with LoopbackRadio() as radio:
        iq = noise(100)
        radio.transmit(iq)
        iq[:] = 0
        np.testing.assert_array_equal(radio.receive(100).iq, noise(100))


def test_a_refused_burst_sends_nothing():
    with LoopbackRadio() as radio:
        iq = noise(100)
        iq[99] = np.nan
        with pytest.raises(RadioError):
            radio.transmit(iq)
        assert not radio.receive(200).iq.any()


def test_memory_is_bounded():
    most = LoopbackRadio().caps.max_burst
    with LoopbackRadio() as radio:
        silence = np.zeros(most, np.complex64)
        for i in range(MAX_PENDING // most):
            radio.transmit(silence, at=i * most)
        with pytest.raises(RadioError, match=f"{MAX_PENDING} samples wait"):
            radio.transmit(silence[:1])
        radio.receive(10, at=most - 10)
        radio.transmit(silence)


@pytest.mark.parametrize("options", ["delay=-1", "delay=1.5", "gain_db=loud", "gain_db=nan"])
def test_wrong_options_are_refused(options):
    with pytest.raises(RadioError, match=options.partition("=")[0]):
        open_radio(f"loopback://?{options}")
