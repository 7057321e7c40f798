"""The channel that is a flowgraph: exact, as noisy as it was told, and like the virtual air."""

from contextlib import ExitStack

import numpy as np
import pytest

from benchmarks.bench_mac_channel import Comparable
from flowgraphs.mac_channel import DevicePath, MacChannel
from radio.api import RadioError
from sim_fallback.air import Air

pytestmark = pytest.mark.usefixtures("gnuradio", "in_gnuradio_home")

PATHS = [
    DevicePath(delay=3, cfo_hz=812.5, gain=0.5 * np.exp(0.7j)),
    DevicePath(delay=0, cfo_hz=-440.0, gain=0.9),
    DevicePath(delay=17, cfo_hz=0.0, gain=-0.1j),
]


def noise(n, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(2 * n, np.float32) / 4).view(np.complex64)


def through(path, iq, start, first, n, opposite=False):
    """The definition, in double precision: what a path makes of a burst."""
    stream = np.zeros(first + n, np.complex128)
    begin = start + path.delay
    stream[begin : begin + iq.size] = iq[: max(first + n - begin, 0)]
    turn = -1 if opposite else 1
    stream *= np.exp(turn * 2j * np.pi * path.cfo_hz / 1e6 * np.arange(first + n)) * path.gain
    return stream[first:]


def test_the_sum_is_exact_to_the_sample_however_it_is_asked_for():
    bursts = [(noise(5_000, 1), 40), (noise(1, 2), 700), (noise(70_000, 3), 0)]
    with MacChannel(PATHS, 0.0) as channel:
        for device, (iq, start) in zip(channel.devices, bursts, strict=True):
            assert device.transmit(iq, at=start).started_at == start
        first = 0
        for n in (1, 1, 6, 700, 66_000, 5_001):
            heard = channel.receiver.receive(n)
            assert heard.first_sample == first
            wanted = sum(
                through(path, iq, start, first, n)
                for path, (iq, start) in zip(PATHS, bursts, strict=True)
            )
            # GNU Radio's rotator multiplies on and on in single precision.
            np.testing.assert_allclose(heard.iq, wanted, atol=3e-4)
            first += n
        with pytest.raises(RadioError, match="has passed"):
            channel.devices[0].transmit(noise(10), at=first - 1)


def test_a_device_hears_the_receiver_by_the_same_numbers():
    with MacChannel(PATHS, 0.0) as channel:
        channel.receiver.transmit(noise(300), at=100)
        for device, path in zip(channel.devices, PATHS, strict=True):
            heard = device.receive(450, at=50)
            np.testing.assert_allclose(
                heard.iq, through(path, noise(300), 100, 50, 450, opposite=True), atol=1e-6
            )
        assert channel.receiver.now() == 0


def test_noise_is_white_and_as_loud_as_told():
    with MacChannel([DevicePath()], 1e-3, seed=1) as channel:
        heard = channel.receiver.receive(200_000).iq
        far = channel.devices[0].receive(200_000).iq
    for iq in (heard, far):
        assert np.mean(np.abs(iq) ** 2) == pytest.approx(1e-3, rel=0.01)
        assert abs(np.mean(iq**2)) < 2e-5
        assert abs(np.vdot(iq[:-1], iq[1:])) / iq.size < 2e-5


def test_fading_has_the_mean_power_of_the_path_and_comes_and_goes():
    path = DevicePath(gain=0.5, doppler_hz=2_000.0)
    with MacChannel([path, DevicePath()], 0.0) as channel:
        channel.devices[0].transmit(np.ones(400_000, np.complex64), at=0)
        power = np.abs(channel.receiver.receive(400_000).iq) ** 2
    assert power.mean() == pytest.approx(0.25, rel=0.25)
    # Of a Rayleigh channel a share of 1 - exp(-x) lies below x times the mean.
    for share in (0.1, 1.0):
        assert np.mean(power < share * power.mean()) == pytest.approx(1 - np.exp(-share), abs=0.08)


def test_samples_through_gnu_radio_are_samples_through_the_virtual_air():
    # Rounds do not tell of delays and phases, which devices measure and take back.
    bench = Comparable.of(devices=4, dim=2_000, snr_db=60.0)
    assert len({path.delay for path in bench.paths}) > 2
    heard = []
    with ExitStack() as stack:
        air = Air(bench.scene)
        simulated = [stack.enter_context(air.open(name)) for name in bench.bench.radios]
        channel = stack.enter_context(MacChannel(bench.paths, bench.noise_var, bench.settings))
        for receiver, *devices in (simulated, [channel.receiver, *channel.devices]):
            receiver.configure(bench.settings)
            for i, device in enumerate(devices):
                device.configure(bench.settings)
                device.transmit(noise(3_000, i) / 2, at=1_000 + 700 * i)
            heard.append(receiver.receive(8_000, at=500).iq)
    apart = np.mean(np.abs(heard[0] - heard[1]) ** 2)
    assert apart == pytest.approx(2 * bench.noise_var, rel=0.05)
    assert np.mean(np.abs(heard[0]) ** 2) > 1e4 * apart


def test_rounds_through_gnu_radio_are_rounds_through_the_virtual_air():
    bench = Comparable.of(devices=4, dim=12_000, snr_db=30.0)
    assert max(abs(path.cfo_hz) for path in bench.paths) > 100
    assert max(path.delay for path in bench.paths) > 2
    air, flowgraph = bench.over_air(4), bench.over_gnuradio(4)
    assert np.mean(flowgraph) == pytest.approx(np.mean(air), abs=0.5)
    assert np.mean(bench.over_gnuradio(4, noisier=1.5)) > np.mean(air) + 0.5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"delay": -1}, "delay should be 0"),
        ({"gain": 0}, "gain should be finite"),
        ({"doppler_hz": -1.0}, "doppler_hz finite"),
    ],
)
def test_a_path_that_cannot_be(changes, said):
    with pytest.raises(ValueError, match=said):
        DevicePath(**changes)
