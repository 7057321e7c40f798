"""The testbed's own blocks for GNU Radio: what they make is what `radio.waveform` makes."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowgraphs.compiler import BLOCKS, environment
from flowgraphs.grc_file import shipped
from flowgraphs.runner import Flowgraph
from radio.api import RadioError
from radio.waveform.numerology import Numerology
from radio.waveform.ofdm import demodulate, modulate
from radio.waveform.preamble import Preamble
from radio.waveform.sync import correlation

pytestmark = pytest.mark.usefixtures("in_gnuradio_home")

LOAD = """
import sys
from gnuradio import gr
from gnuradio.grc.core import Messages
from gnuradio.grc.core.platform import Platform
said = []
Messages.register_messenger(said.append)
parts = gr.major_version(), gr.api_version(), gr.minor_version()
platform = Platform(name="test", prefs=gr.prefs(), version=gr.version(), version_parts=parts)
platform.build_library()
for path in sys.argv[1:]:
    graph = platform.make_flow_graph(path)
    graph.validate()
    said += [f"{path}: {error}" for error in graph.iter_error_messages()]
print("".join(line for line in said if line.strip()), end="")
"""
MAP = """
import sys
import numpy as np
from gnuradio import blocks, gr
from flowgraphs.blocks.ofdm import OfdmDemapper, OfdmMapper
from radio.waveform.numerology import Numerology
n = Numerology()
values, iq = (np.fromfile(path, np.complex64) for path in sys.argv[1:3])
graph = gr.top_block()
sent, heard = blocks.vector_sink_c(n.symbol_length), blocks.vector_sink_c(n.used_carriers)
mapper, demapper = OfdmMapper(n, 0.5), OfdmDemapper(n, 16)
graph.connect(blocks.vector_source_c(values, False, n.used_carriers), mapper, sent)
graph.connect(blocks.vector_source_c(iq, False, n.symbol_length), demapper, heard)
graph.run()
np.array(sent.data(), np.complex64).tofile(sys.argv[3])
np.array(heard.data(), np.complex64).tofile(sys.argv[4])
"""
DETECT = """
import json, sys
import numpy as np
import pmt
from gnuradio import blocks, gr
from flowgraphs.blocks.preamble_detector import PreambleDetector
from radio.waveform.numerology import Numerology
iq = np.fromfile(sys.argv[1], np.complex64)
graph, detector = gr.top_block(), PreambleDetector(Numerology())
told, points = blocks.message_debug(), blocks.message_debug()
samples, fit = blocks.vector_sink_c(), blocks.vector_sink_f()
mark = [gr.tag_utils.python_to_tag((100, pmt.intern("mine"), pmt.PMT_T, pmt.PMT_F))]
# Uneven pieces: work is called with whatever there is.
source = blocks.vector_source_c(iq, False, 1, mark)
graph.connect(source, detector, samples)
graph.connect((detector, 1), fit)
graph.msg_connect(detector, "arrivals", told, "store")
graph.msg_connect(detector, "constellation", points, "store")
graph.run(4099)
np.array(samples.data(), np.complex64).tofile(sys.argv[2])
np.array(fit.data(), np.float32).tofile(sys.argv[3])
last = pmt.c32vector_elements(pmt.cdr(points.get_message(points.num_messages() - 1)))
tags = [[t.offset, pmt.symbol_to_string(t.key), pmt.to_python(t.value)] for t in samples.tags()]
arrivals = [pmt.to_python(told.get_message(i)) for i in range(told.num_messages())]
points = [[z.real, z.imag] for z in last]
print(json.dumps({"tags": tags, "arrivals": arrivals, "delay": detector.delay, "points": points}))
"""
KEEP = """
import gc, os, sys, time
import numpy as np
import zmq
from gnuradio import blocks, gr
from flowgraphs.blocks.device_paths import DevicePaths
from flowgraphs.tags import encoded

class Twice(gr.sync_block):
    def __init__(self, **told):
        gr.sync_block.__init__(self, "Twice", [np.complex64], [np.complex64])

    def work(self, input_items, output_items):
        output_items[0][:] = 2 * input_items[0]
        return len(output_items[0])

addresses = [f"ipc://{sys.argv[1]}/{i}" for i in range(2)]
context = zmq.Context()
sockets = [context.socket(zmq.PUSH) for address in addresses]
for socket, address in zip(sockets, addresses):
    socket.bind(address)
paths = DevicePaths(Twice, ",".join(addresses), "0", "0", "0", "0", "0", 1e6, 0)
gc.collect()
graph, heard = gr.top_block(), blocks.vector_sink_c()
graph.connect(paths, heard)
graph.start()
for socket in sockets:
    socket.send(encoded(0, []) + np.ones(5, np.complex64).tobytes())
while len(heard.data()) < 5:
    time.sleep(0.01)
print(heard.data(), flush=True)
os._exit(0)  # nothing ends its sources
"""


@pytest.fixture
def under_gnuradio(gnuradio):
    """Run a script under GNU Radio's interpreter; what it prints."""

    def run(script, *words):
        done = subprocess.run(
            [gnuradio, "-c", script, *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=environment(os.environ),
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def noise(n, power, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(2 * n, np.float32).view(np.complex64)
    return values * np.float32(np.sqrt(power / 2))


@pytest.fixture(scope="module")
def beacons(tmp_path_factory):
    """A file with three beacons in noise, and where they begin."""
    iq, beacon = noise(60_000, 1e-4), Preamble(Numerology(), repeats=8).iq
    turn = np.exp(2j * np.pi * 1500e-6 * np.arange(beacon.size))
    # The second one lies across two hops, the third begins on the edge of one.
    starts = [1_000, 12_000, 6 * 4160]
    for start in starts:
        iq[start : start + beacon.size] += (0.1 * beacon * turn).astype(np.complex64)
    path = tmp_path_factory.mktemp("beacons") / "iq"
    iq.tofile(path)
    return path, iq, starts


def test_all_files_load_without_an_error_or_a_warning(under_gnuradio):
    paths = [*shipped().values(), *sorted(Path(BLOCKS).glob("*.grc"))]
    assert {"mac_channel.grc", "monitor.grc", "device_path.grc"} <= {path.name for path in paths}
    assert under_gnuradio(LOAD, *paths) == ""


def test_mapper_and_demapper_are_the_waveforms_own(under_gnuradio, tmp_path):
    numerology = Numerology()
    values = noise(300 * 200, 1.0, 1)
    iq = noise(300 * 288, 1.0, 2)
    values.tofile(tmp_path / "values")
    iq.tofile(tmp_path / "iq")
    under_gnuradio(MAP, *(tmp_path / name for name in ("values", "iq", "sent", "heard")))
    sent, heard = (np.fromfile(tmp_path / name, np.complex64) for name in ("sent", "heard"))
    wanted = 0.5 * modulate(values.reshape(-1, 200), numerology)
    np.testing.assert_allclose(sent, wanted, atol=1e-5)
    np.testing.assert_allclose(heard, demodulate(iq, numerology, 16).ravel(), atol=1e-4)


def test_the_detector_marks_each_beacon_once_and_delays_all_alike(
    under_gnuradio, beacons, tmp_path
):
    path, iq, starts = beacons
    told = json.loads(under_gnuradio(DETECT, path, tmp_path / "iq", tmp_path / "fit"))
    samples = np.fromfile(tmp_path / "iq", np.complex64)
    fit = np.fromfile(tmp_path / "fit", np.float32)
    delay = told["delay"]
    assert samples.size == fit.size == iq.size
    np.testing.assert_array_equal(samples[delay:], iq[: iq.size - delay])
    assert not samples[:delay].any()
    preambles = [tag for tag in told["tags"] if tag[1] == "preamble"]
    assert [tag[0] for tag in preambles] == [start + delay for start in starts]
    assert [[100 + delay, "mine", True]] == [tag for tag in told["tags"] if tag[1] == "mine"]
    for _, _, value in preambles:
        assert abs(value["start"]) < 0.1
        assert value["cfo_hz"] == pytest.approx(1500, abs=5)
        assert value["gain"] == pytest.approx(0.1, rel=0.02)
        assert value["snr_db"] == pytest.approx(20, abs=1)
    assert [arrival["sample"] for arrival in told["arrivals"]] == starts
    wanted = correlation(iq, Preamble(Numerology(), repeats=8), told["arrivals"][-1]["cfo_hz"])
    last = slice(starts[-1], starts[-1] + 5_000)
    np.testing.assert_allclose(fit[delay:][last], wanted[last], atol=2e-3)
    points = np.array(told["points"]) @ [1, 1j]
    corners = np.exp(1j * np.pi * (np.round(np.angle(points) / (np.pi / 2) - 0.5) / 2 + 0.25))
    assert points.size == 200
    assert np.mean(np.abs(points - corners) ** 2) == pytest.approx(1e-2 / 8, rel=0.5)


def test_a_block_of_python_in_the_path_of_a_device_stays(under_gnuradio, tmp_path):
    assert under_gnuradio(KEEP, tmp_path).endswith(f"{5 * [4 + 0j]}\n")


def test_the_monitor_without_a_display_draws_what_it_hears(beacons, tmp_path):
    values = {"source": "file", "path": beacons[0], "folder": tmp_path, "seconds": 0.1}
    with Flowgraph("monitor_headless", values) as graph:
        assert graph.wait(30)
    for name in ("spectrum", "waterfall", "constellation", "preamble"):
        with Image.open(tmp_path / f"{name}.png") as image:
            pixels = np.asarray(image.convert("RGB"), np.float64)
        assert pixels.shape[1] == 770
        assert np.ptp(pixels) > 200
    with Image.open(tmp_path / "waterfall.png") as image:
        rows = np.asarray(image.convert("L"), np.float64)[20:380, 200:600].mean(axis=1)
    bright = (rows > (np.median(rows) + rows.max()) / 2).astype(int)
    assert np.count_nonzero(np.diff(bright) == 1) == len(beacons[2])


def test_the_monitor_is_a_window(beacons, monkeypatch):
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    values = {"source": "file", "path": beacons[0]}
    with Flowgraph("monitor", values) as graph:
        graph.wait(0.5)
        for _ in range(20):  # while it draws
            graph.set(sample_rate_hz=2e6)
            graph.set(sample_rate_hz=1e6)
        graph.require_running()
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RadioError, match="there is no display"):
        Flowgraph("monitor", values)
