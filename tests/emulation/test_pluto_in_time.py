"""Virtual Plutos that keep pace with the world: late is late, and what nobody reads is lost."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.pluto_process import plutos

ROOT = Path(__file__).parents[2]
STATUS, OVERFLOW, UNDERFLOW = 0x80000088, 1 << 2, 1 << 0
RATE = 1_000_000
PACE = 0.25

# Sends a tone and says so; then does as it is told.
CLIENT = """
import sys
import adi
import numpy as np

sdr = adi.Pluto(sys.argv[1])
sdr.sample_rate = 1_000_000
sdr.tx_lo = 915_000_000
sdr.tx_hardwaregain_chan0 = 0
sdr.tx_cyclic_buffer = sys.argv[2] == "cyclic"
wave = 2**14 * np.exp(2j * np.pi * np.arange(2**14) / 16)
sdr.tx(wave)
print("sent", flush=True)
while sys.argv[2] == "streamed":
    sdr.tx(wave)
if sys.stdin.readline() == "raise\\n":
    raise RuntimeError("on purpose")
"""


@pytest.fixture(scope="module")
def paced():
    """URIs of two Plutos on an air four times slower than the world."""
    with plutos(2, pace=PACE, cable_db=50.0) as served:
        yield served.uris


@pytest.fixture
def radio(opened, paced):
    """The first of them."""
    sdr = opened(paced[0])
    sdr.sample_rate = RATE
    sdr.rx_lo = sdr.tx_lo = 915_000_000
    sdr.gain_control_mode_chan0 = "manual"
    sdr.rx_hardwaregain_chan0 = 40
    sdr.rx_buffer_size = 2**14
    return sdr


def cleared(device):
    device.reg_write(STATUS, OVERFLOW | UNDERFLOW)
    return device.reg_read(STATUS)


def test_overflow_rises_when_the_host_stalls_and_not_while_it_reads(radio):
    for _ in range(4):
        radio.rx()
    assert cleared(radio._rxadc) == 0
    for _ in range(6):
        radio.rx()
    assert radio._rxadc.reg_read(STATUS) == 0
    time.sleep(5 * 2**14 / RATE / PACE)
    assert radio._rxadc.reg_read(STATUS) == OVERFLOW
    for _ in range(5):  # the stale ones, until there is room again
        radio.rx()
    assert cleared(radio._rxadc) == 0
    radio.rx()
    assert radio._rxadc.reg_read(STATUS) == 0


def test_underflow_rises_when_the_host_stalls_and_not_while_it_writes(radio):
    block = np.full(2**14, 1000 + 0j)
    for _ in range(4):
        radio.tx(block)
    assert cleared(radio._txdac) == 0
    for _ in range(6):
        radio.tx(block)
    assert radio._txdac.reg_read(STATUS) == 0
    time.sleep(5 * 2**14 / RATE / PACE)
    assert radio._txdac.reg_read(STATUS) == UNDERFLOW
    for _ in range(4):
        radio.tx(block)
    assert cleared(radio._txdac) == 0


def test_a_stream_goes_on_while_its_gain_is_turned(radio):
    block = np.full(2**12, 2000 + 0j)
    for gain_db in range(-60, -10):
        radio.tx(block)
        radio.tx_hardwaregain_chan0 = gain_db
    assert radio.tx_hardwaregain_chan0 == -11
    assert radio.rx().any()


def test_the_first_buffers_are_stale_unless_there_is_only_one(radio):
    radio.loopback = 1
    radio.tx_cyclic_buffer = True
    radio.rx()
    time.sleep(5 * 2**14 / RATE / PACE)
    radio.tx(np.full(1024, (100 << 4) + 0j))
    assert not radio.rx().any()  # from before
    radio.rx_destroy_buffer()
    radio._rxadc.set_kernel_buffers_count(1)
    radio.rx()
    radio.tx_destroy_buffer()
    radio.tx(np.full(1024, (200 << 4) + 0j))
    time.sleep(0.1)
    assert radio.rx().real[-1] == 200


def test_time_passes_at_the_pace_that_was_asked_for(radio):
    radio.rx()
    started = time.monotonic()
    for _ in range(20):
        radio.rx()
    # Never faster: samples cannot be read before they were received, but for those of the ring.
    assert time.monotonic() - started > 15 * 2**14 / RATE / PACE


def test_a_silent_device_times_out(opened, paced):
    sdr = opened(paced[0])
    sdr.ctx.set_timeout(1000)
    sdr.sample_rate = RATE
    sdr.rx_buffer_size = 2**21
    with pytest.raises(OSError) as late:
        sdr.rx()
    assert late.value.errno == 110
    sdr.ctx.set_timeout(5000)


def test_a_second_reader_breaks_the_stream_of_the_first(opened, paced, radio):
    radio.loopback = 1
    radio.tx_cyclic_buffer = True
    radio.rx_buffer_size = 2**12
    radio.tx(np.arange(2**11) * 16 + 0j)
    for _ in range(8):
        first = radio.rx().real
    assert set(np.diff(first)) <= {1.0, 1.0 - 2**11}
    other = opened(paced[0])
    other.rx_buffer_size = 2**12
    steps = []
    for _ in range(6):
        steps.append(np.diff(np.concatenate([first[-1:], radio.rx().real])))
        first = radio.rx().real
        other.rx()
    assert len(set(np.concatenate(steps))) >= 2
    assert other.rx().any()
    other.rx_destroy_buffer()


@pytest.mark.parametrize(
    ("how", "end"),
    [
        ("cyclic", "return"),
        ("cyclic", "raise"),
        ("cyclic", signal.SIGINT),
        ("cyclic", signal.SIGTERM),
        ("cyclic", signal.SIGKILL),
        ("streamed", signal.SIGINT),
        ("streamed", signal.SIGTERM),
        ("streamed", signal.SIGKILL),
    ],
)
def test_the_antenna_is_silent_when_the_client_has_gone(radio, paced, how, end):
    radio.rx_hardwaregain_chan0 = 50
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, paced[1], how],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert client.stdout.readline() == "sent\n"
    assert heard(radio, 0.1)
    if isinstance(end, signal.Signals):
        client.send_signal(end)
    else:
        client.stdin.write(f"{end}\n")
    client.communicate(timeout=30)
    assert not heard(radio, 0.1, wanted=False)


def heard(radio, level, wanted=True):
    """Whether more than a level arrives, as soon as it is as wanted or after many tries."""
    for _ in range(60):
        loud = np.sqrt(np.mean(np.abs(radio.rx()) ** 2)) / 2**11 > level
        if loud == wanted:
            return loud
    return not wanted


def test_a_client_that_vanishes_in_the_middle_of_a_block_leaves_nothing(radio, paced):
    host, port = paced[1].removeprefix("ip:").split(":")
    with socket.create_connection((host, int(port))) as link:
        link.sendall(b"OPEN cf-ad9361-dds-core-lpc 1024 00000003\r\n")
        assert link.recv(16) == b"0\n"
        link.sendall(b"WRITEBUF cf-ad9361-dds-core-lpc 4096\r\n")
        assert link.recv(16) == b"0\n"
        link.sendall(bytes(100))
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with socket.create_connection((host, int(port))) as link:
            link.sendall(b"OPEN cf-ad9361-dds-core-lpc 1024 00000003 CYCLIC\r\n")
            if link.recv(16) == b"0\n":
                return
    raise AssertionError("the buffer is still open")


def test_plutos_hear_each_other_with_the_offset_of_their_oscillators(
    opened, paced, radio, spectrum
):
    other = opened(paced[1])
    other.sample_rate = RATE
    other.tx_lo = 915_000_000
    other.tx_hardwaregain_chan0 = 0
    other.tx_cyclic_buffer = True
    other.tx(2**14 * np.exp(2j * np.pi * np.arange(1024) * 100 / 1024))
    radio.rx_hardwaregain_chan0 = 50
    assert heard(radio, 0.1)
    frequencies, levels = spectrum(radio.rx(), RATE)
    offset_hz = frequencies[np.argmax(levels)] - 100 / 1024 * RATE
    assert 100 < abs(offset_hz) < 2 * 20e-6 * 915e6
    assert levels.max() == pytest.approx(20 * np.log10(0.5) + 7 - 6 - 60 + 50, abs=1)
    correction = round(40e6 * (1 - offset_hz / 915e6))
    radio._set_iio_dev_attr_str("xo_correction", correction)
    radio.rx_destroy_buffer()
    for _ in range(3):
        iq = radio.rx()
    frequencies, levels = spectrum(iq, RATE)
    left_hz = frequencies[np.argmax(levels)] - 100 / 1024 * RATE
    assert abs(left_hz) < 80
    radio._set_iio_dev_attr_str("xo_correction", 40_000_000)
    other.tx_destroy_buffer()


def test_an_lo_that_moves_far_sends_a_burst_unless_calibration_is_manual(opened, paced, radio):
    other = opened(paced[1])
    other.sample_rate = RATE
    other.tx_hardwaregain_chan0 = -80
    radio.rx_hardwaregain_chan0 = 50
    loud = {}
    for mode in ("manual", "auto"):
        other._set_iio_dev_attr_str("calib_mode", mode)
        other.tx_lo = 2_000_000_000
        radio.rx_destroy_buffer()
        radio.rx()
        other.tx_lo = 915_000_000
        loud[mode] = max(np.abs(radio.rx()).max() for _ in range(8)) / 2**11
    assert loud["manual"] < 0.05
    assert loud["auto"] > 0.3


def test_antenna_to_antenna_sends_on_what_arrives(opened, paced, radio):
    echo = opened(paced[1])
    echo.sample_rate = RATE
    echo.rx_lo = 915_000_000
    echo.tx_lo = 916_000_000 - 600_000
    echo.gain_control_mode_chan0 = "slow_attack"
    echo.tx_hardwaregain_chan0 = 0
    radio.tx_hardwaregain_chan0 = 0
    radio.tx_cyclic_buffer = True
    radio.tx(2**14 * np.exp(2j * np.pi * np.arange(1024) * -205 / 1024))
    radio.rx_lo = 915_400_000
    radio.rx_hardwaregain_chan0 = 60
    own_hz, echo_hz = -200_195 - 400_000, -200_195
    assert own_hz < -RATE / 2 < echo_hz  # of which only the echo is in the band
    assert not heard(radio, 0.1, wanted=False)
    echo.loopback = 2
    assert heard(radio, 0.1)
    echo.loopback = 0
    assert not heard(radio, 0.1, wanted=False)
