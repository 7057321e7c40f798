"""libiio's own command line tools at a virtual Pluto."""

import signal
import subprocess

import numpy as np
import pytest


@pytest.fixture
def uri(cabled):
    return ("-u", cabled)


@pytest.fixture
def attr(tool, uri):
    def run(*words):
        code, output = tool("iio_attr", *uri, *words)
        return code, output.decode().strip()

    return run


def test_iio_info_prints_the_whole_context_without_complaints(tool, uri, attr):
    code, output = tool("iio_info", *uri)
    text = output.decode()
    assert code == 0
    for name in ("ad9361-phy", "cf-ad9361-lpc", "cf-ad9361-dds-core-lpc", "TX1_Q_F2", "RX_LO"):
        assert name in text
    assert "ERROR" not in text
    assert "virtual PlutoSDR" in text


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("-c", "-o", "ad9361-phy", "RX_LO", "frequency"), "2000000000"),
        (("-c", "-i", "ad9361-phy", "voltage0", "gain_control_mode"), "fast_attack"),
        (("-d", "ad9361-phy", "calib_mode"), "manual"),
        (("-D", "ad9361-phy", "loopback"), "1"),
    ],
)
def test_iio_attr_reads_and_writes_attributes_of_each_kind(attr, where, value):
    code, before = attr(*where)
    assert code == 0
    assert before != value
    assert attr(*where, value)[0] == 0
    assert attr(*where) == (0, value)
    attr(*where, before)


def test_what_iio_attr_is_refused_stays_as_it_was(attr):
    where = ("-c", "-o", "ad9361-phy", "TX_LO", "frequency")
    before = attr(*where)
    code, complaint = attr(*where, "1")
    assert code == 1
    assert "Invalid argument" in complaint
    assert attr(*where) == before


def test_iio_readdev_gets_as_many_samples_as_it_asks_for(tool, uri):
    code, output = tool("iio_readdev", *uri, "-b", "4096", "-s", "10000", "cf-ad9361-lpc")
    assert code == 0
    assert len(output) == 4 * 10_000


def test_iio_readdev_of_one_channel(tool, uri):
    code, output = tool(
        "iio_readdev", *uri, "-b", "1024", "-s", "5000", "cf-ad9361-lpc", "voltage1"
    )
    assert code == 0
    assert len(output) == 2 * 5000


def test_iio_writedev_streams_a_file(tool, uri):
    samples = np.zeros((4096, 2), "<i2")
    samples[:, 0] = 1000
    code, _ = tool(
        "iio_writedev",
        *uri,
        "-b",
        "1024",
        "-s",
        "4096",
        "cf-ad9361-dds-core-lpc",
        input=samples.tobytes(),
    )
    assert code == 0


def test_iio_writedev_plays_a_cyclic_buffer_until_it_is_ended(adi, tool, uri, pluto, listen):
    pluto.loopback = 1
    counts = (np.arange(1024, dtype="<i2") << 4).repeat(2)
    words = ["iio_writedev", *uri, "-c", "-b", "1024", "-s", "1024", "cf-ad9361-dds-core-lpc"]
    player = subprocess.Popen(words, stdin=subprocess.PIPE)
    player.stdin.write(counts.tobytes())
    player.stdin.close()
    try:
        until = 1000
        while not listen(pluto).any() and until:
            until -= 1
        heard = listen(pluto)
        start = int(np.flatnonzero(heard.real == 0)[0])
        assert heard.real[start + 1023] == 1023
        np.testing.assert_array_equal(heard.real, heard.imag)
    finally:
        player.send_signal(signal.SIGINT)
        player.wait(20)
    until = 1000
    while listen(pluto).any() and until:
        until -= 1
    assert not listen(pluto).any()
