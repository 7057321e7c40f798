"""GNU Radio's blocks for AD936x radios at virtual Plutos, under the interpreter that has them.

Of the three kinds of block it is the one of complex floats: in GNU Radio 3.10.5 the other two, of
shorts, read and write beyond their streams, whatever radio they are given.
"""

import json
import os
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from benchmarks.pluto_process import plutos

FLOWGRAPH = Path(__file__).with_name("gnuradio_flowgraph.py")
RATE, PACE = 1_000_000, 0.25
CARRIER = 915_000_000
CHANNELS = [True, True, False, False]  # I and Q of the first of two
TX_GAIN_DB, RX_GAIN_DB = -5, 50
CYCLES, PERIOD = 100, 1024  # of the tone that is sent
TONE_HZ = CYCLES / PERIOD * RATE
APART_HZ = 2 * 20e-6 * CARRIER  # that two oscillators may be
# Half of full scale; 7 dBm leave the radio, the path takes 60 dB, and 6 dBm are full scale.
LEVEL_DB = 20 * np.log10(0.5) + TX_GAIN_DB + (7 - 6) - 60 + RX_GAIN_DB
PATIENCE_S = 60  # with a flowgraph that does not even do its work
SINK_ENDS_S = 10  # that it has for it
TAPS = "\n".join(["RX 3 GAIN 0 DEC 2", "TX 3 GAIN 0 INT 2", *["5,5"] * 64, ""])

SINK = [
    ("set_bandwidth", 800_000),
    ("set_frequency", CARRIER),
    ("set_samplerate", RATE),
    ("set_attenuation", 0, -TX_GAIN_DB),
]
SOURCE = [
    ("set_frequency", CARRIER),
    ("set_samplerate", RATE),
    ("set_gain_mode", 0, "manual"),
    ("set_gain", 0, RX_GAIN_DB),
]


@pytest.fixture(scope="module")
def paced():
    """URIs of two Plutos that hear each other at 60 dB."""
    with plutos(2, pace=PACE) as served:
        yield served.uris


@pytest.fixture
def tone(tmp_path):
    """A file with a tone of half of full scale."""
    wave = 0.5 * np.exp(2j * np.pi * CYCLES * np.arange(PERIOD) / PERIOD)
    wave.astype(np.complex64).tofile(tmp_path / "tone")
    return str(tmp_path / "tone")


@pytest.fixture
def flowgraph(gnuradio, tmp_path):
    """Run a flowgraph until the context is left."""
    (tmp_path / "home").mkdir()
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    @contextmanager
    def run(block, args, calls, samples, **told):
        told |= {"block": block, "args": args, "calls": calls, "samples": str(samples)}
        process = subprocess.Popen(
            [gnuradio, str(FLOWGRAPH), json.dumps(told)],
            env=environ | {"HOME": str(tmp_path / "home")},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        watchdog = threading.Timer(PATIENCE_S, process.kill)
        watchdog.start()
        try:
            yield process
            # A source waits for ever for a thread of its own where its flowgraph ran for less than
            # a second (GNU Radio 3.10): it has done its work, and is killed. A sink ends mostly.
            process.communicate(timeout=0 if "count" in told else SINK_ENDS_S)
        except subprocess.TimeoutExpired:
            print(f"killed, because it did not end by itself: {block}")
        finally:
            watchdog.cancel()
            process.kill()
            process.communicate()

    return run


def said(process, word):
    """Skip what GNU Radio prints, until the flowgraph says a word of its own."""
    before = []
    for line in process.stdout:
        if line == f"{word}\n":
            return
        before.append(line)
    raise AssertionError(f"the flowgraph ended before it said {word!r}, but said {before}")


@pytest.fixture
def receiver(opened, paced, spectrum):
    """Receive with the first Pluto until the level of its peak is as wanted: (frequency, level)."""
    radio = opened(paced[0])
    radio.sample_rate = RATE
    radio.rx_lo = CARRIER
    radio.gain_control_mode_chan0 = "manual"
    radio.rx_hardwaregain_chan0 = RX_GAIN_DB
    radio.rx_buffer_size = 2**13

    def receive(wanted):
        for _ in range(100):
            frequencies, levels = spectrum(radio.rx(), RATE)
            if wanted(levels.max()):
                break
        return frequencies[levels.argmax()], levels.max()

    return receive


def test_a_source_hears_a_tone_at_its_frequency_and_level(
    flowgraph, cabled, pluto, spectrum, tmp_path
):
    pluto.dds_single_tone(250_000, 0.25)
    calls = [*SOURCE[:1], ("set_samplerate", 4_000_000), *SOURCE[2:3], ("set_gain", 0, 20)]
    pluto.tx_lo = CARRIER
    samples = tmp_path / "samples"
    args = [cabled, CHANNELS, 2**13]
    with flowgraph("fmcomms2_source_fc32", args, calls, samples, count=2**16) as process:
        said(process, "done")
    iq = np.fromfile(samples, np.complex64)
    assert iq.shape == (2**16,)
    frequencies, levels = spectrum(2**11 * iq[-(2**14) :], 4e6)
    assert frequencies[levels.argmax()] == pytest.approx(250_000, abs=4e6 / 2**13)
    # 7 dBm at 0 dB leave the radio, 40 dB the cable takes, 6 dBm are full scale.
    assert levels.max() == pytest.approx(20 * np.log10(0.25) - 10 + (7 - 6) - 40 + 20, abs=0.3)


@pytest.mark.parametrize("cyclic", [False, True])
def test_a_sink_is_heard_by_another_radio(flowgraph, tone, paced, receiver, cyclic):
    args = [paced[1], CHANNELS, 16 * PERIOD, cyclic]
    with flowgraph("fmcomms2_sink_fc32", args, SINK, tone) as process:
        said(process, "started")
        receiver(lambda level_db: level_db > LEVEL_DB - 1)
        for _ in range(4):  # and goes on without a gap, of which the level would tell
            frequency_hz, level_db = receiver(lambda _: True)
            assert level_db == pytest.approx(LEVEL_DB, abs=1)
            assert abs(frequency_hz - TONE_HZ) < APART_HZ
    assert receiver(lambda level_db: level_db < LEVEL_DB - 30)[1] < LEVEL_DB - 30


def test_one_flowgraph_hears_another(flowgraph, tone, paced, spectrum, tmp_path):
    samples = tmp_path / "samples"
    sink, source = [paced[1], CHANNELS, 16 * PERIOD, False], [paced[0], CHANNELS, 2**13]
    with flowgraph("fmcomms2_sink_fc32", sink, SINK, tone) as sender:
        said(sender, "started")
        count = 2**17
        with flowgraph("fmcomms2_source_fc32", source, SOURCE, samples, count=count) as receiver:
            said(receiver, "done")
    iq = np.fromfile(samples, np.complex64)
    assert iq.shape == (count,)
    frequencies, levels = spectrum(2**11 * iq[-(2**13) :], RATE)
    assert levels.max() == pytest.approx(LEVEL_DB, abs=1)
    assert abs(frequencies[levels.argmax()] - TONE_HZ) < APART_HZ


@pytest.mark.parametrize(
    ("filter_", "taps"),
    [
        (("Off", "", 0.0, 0.0), None),
        (("Auto", "", 0.0, 0.0), "FIR Rx: 128,4 Tx: 128,4"),
        (("Design", "", 1e6, 1.25e6), "FIR Rx: 128,4 Tx: 128,4"),
        (("File", "lowpass.ftr", 0.0, 0.0), "FIR Rx: 64,2 Tx: 64,2"),
    ],
)
def test_what_a_source_sets_is_set(flowgraph, cabled, pluto, tmp_path, filter_, taps):
    (tmp_path / "lowpass.ftr").write_text(TAPS)
    kind, file, *edges = filter_
    calls = [
        *SOURCE,
        ("set_samplerate", 3_000_000),
        ("set_filter_params", kind, file and str(tmp_path / file), *edges),
        ("set_quadrature", False),
        ("set_rfdc", False),
        ("set_bbdc", False),
    ]
    args = [cabled, CHANNELS, 4096]
    with flowgraph("fmcomms2_source_fc32", args, calls, tmp_path / "samples", count=1) as process:
        said(process, "set up")
        assert abs(pluto.rx_lo - CARRIER) <= 3
        assert pluto.sample_rate == 3_000_000
        assert pluto.gain_control_mode_chan0 == "manual"
        assert pluto.rx_hardwaregain_chan0 == RX_GAIN_DB
        for name in ("quadrature", "rf_dc_offset", "bb_dc_offset"):
            assert pluto._get_iio_attr("voltage0", f"{name}_tracking_en", False) == 0
        assert pluto._get_iio_attr("out", "voltage_filter_fir_en", False) == (taps is not None)
        assert taps in (None, pluto._get_iio_dev_attr_str("filter_fir_config"))


@pytest.mark.parametrize("mode", ["slow_attack", "fast_attack", "hybrid"])
def test_a_source_lets_the_gain_turn_by_itself(flowgraph, cabled, pluto, tmp_path, mode):
    calls = 2 * [("set_gain_mode", 0, mode)]  # the block sets what it was told the time before
    args = [cabled, CHANNELS, 4096]
    with flowgraph("fmcomms2_source_fc32", args, calls, tmp_path / "samples", count=1) as process:
        said(process, "set up")
        assert pluto.gain_control_mode_chan0 == mode


def test_a_rate_below_the_transceivers_takes_the_stage_behind_it(
    flowgraph, cabled, pluto, tmp_path
):
    args = [cabled, CHANNELS, 4096]
    calls = [("set_samplerate", 300_000)]
    with flowgraph("fmcomms2_source_fc32", args, calls, tmp_path / "samples", count=1) as process:
        said(process, "set up")
        assert pluto.sample_rate == 8 * 300_000
        assert pluto._get_iio_attr("voltage0", "sampling_frequency", False, pluto._rxadc) == 300_000
    pluto.rx_dec8_filter_en = False


def test_what_a_sink_sets_is_set(flowgraph, tone, cabled, pluto):
    """Also at a radio that has run dry before, of which the block prints a letter."""
    for _ in range(2):
        pluto.tx(np.zeros(PERIOD))
        pluto.rx()
        pluto.rx()
    pluto.tx_destroy_buffer()
    args = [cabled, CHANNELS, PERIOD, True]
    with flowgraph("fmcomms2_sink_fc32", args, SINK, tone) as process:
        said(process, "set up")
        assert abs(pluto.tx_lo - CARRIER) <= 3
        assert pluto.sample_rate == RATE
        assert pluto.tx_rf_bandwidth == 800_000
        assert pluto.tx_hardwaregain_chan0 == TX_GAIN_DB
