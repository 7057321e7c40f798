"""What goes wrong with the streams of a virtual USRP, as the real libuhd tells it."""

import time
from itertools import pairwise

import pytest
import uhd_process
from uhd_process import address, asked

from sim_fallback.air import Air, Scene
from sim_fallback.clock import WallClock
from sim_fallback.path import Path
from sim_fallback.presets import PRESETS
from sim_fallback.tapped_delay import TappedDelayLine
from sim_fallback.virtual_usrp.server import serve_usrps

RATE, PACE = 2e6, 0.5
BEFORE = f"""
import numpy as np
board, rate = opened(hosts[0]), {RATE}
board.set_rx_rate(rate)
board.set_tx_rate(rate)
board.set_rx_freq(uhd.types.TuneRequest(915e6))
board.set_tx_freq(uhd.types.TuneRequest(915e6))
form = uhd.usrp.StreamArgs("fc32", "sc16")
Mode, Code = uhd.types.StreamMode, uhd.types.RXMetadataErrorCode
Event = uhd.types.TXMetadataEventCode

def command(mode, count=0, lead_s=None):
    word = uhd.types.StreamCMD(mode)
    word.num_samps, word.stream_now = count, lead_s is None
    if lead_s is not None:
        word.time_spec = board.get_time_now() + uhd.types.TimeSpec(lead_s)
    return word

def ticks(seen):
    return seen.time_spec.to_ticks(rate)
"""


@pytest.fixture(scope="module", autouse=True)
def libuhd():
    uhd_process.require_binding()


@pytest.fixture
def usrp(request):
    """Address of one that hears itself; the test's marker says what is wrong with it."""
    cable = Path(TappedDelayLine(kind="awgn"), 30.0)
    scene = Scene(915e6, RATE, {"u": PRESETS["ideal"].equip(7, "u")}, {("u", "u"): cable})
    air = Air(scene, WallClock.paced(PACE, time.monotonic, time.sleep))
    with serve_usrps(air, ["u"], [address(60)], **getattr(request, "param", {})) as (server,):
        yield server.host


def test_a_host_that_does_not_read_overflows_and_receives_again_when_it_asks_again(usrp):
    told = asked(
        BEFORE
        + """
stream, seen = board.get_rx_stream(form), uhd.types.RXMetadata()
block = np.empty((1, 100_000), np.complex64)
stream.issue_stream_cmd(command(Mode.start_cont))
stream.recv(block, seen, 5.0)
first = next_one = ticks(seen)
next_one += 100_000
time.sleep(1.5)
gaps, count = 0, 0
while True:
    got = stream.recv(block, seen, 5.0)
    if seen.error_code != Code.none:
        break
    gaps += ticks(seen) != next_one
    next_one += got
overflow, silent = str(seen.error_code), stream.recv(block, seen, 0.3)
stream.issue_stream_cmd(command(Mode.num_done, 50_000, 0.3))
again = stream.recv(block, seen, 5.0)
tell(gaps=gaps, overflow=overflow, silent=silent, again=again, error=str(seen.error_code),
     ended=seen.end_of_burst)
""",
        f"{usrp},recv_buff_size=500000",
    )
    assert told == {
        "gaps": 0,
        "overflow": "rx_metadata_error_code.overflow",
        "silent": 0,
        "again": 50_000,
        "error": "rx_metadata_error_code.none",
        "ended": True,
    }


@pytest.mark.parametrize("usrp", [{"lost": 0.02}], indirect=True)
def test_lost_datagrams_are_gaps_that_libuhd_tells(usrp):
    told = asked(
        BEFORE
        + """
stream, seen = board.get_rx_stream(form), uhd.types.RXMetadata()
block = np.empty((1, 400_000), np.complex64)
stream.issue_stream_cmd(command(Mode.num_done, 400_000, 0.3))
start, spans, sequence = None, [], 0
while not seen.end_of_burst:
    got = stream.recv(block, seen, 3.0)
    if seen.error_code == Code.timeout:
        break  # the last packet was lost
    sequence += seen.error_code == Code.overflow and seen.out_of_sequence
    if got:
        spans.append((ticks(seen), got))
sender, data, event = board.get_tx_stream(form), uhd.types.TXMetadata(), uhd.types.TXAsyncMetadata()
data.start_of_burst = data.has_time_spec = True
data.time_spec = board.get_time_now() + uhd.types.TimeSpec(0.3)
sent = sender.send(np.full((1, 200_000), 0.1, np.complex64), data, 3.0)
events = []
while sender.recv_async_msg(event, 1.0):
    events.append(str(event.event_code))
tell(spans=spans, sequence=sequence, sent=sent, events=events)
""",
        usrp,
    )
    spans = told["spans"]
    lost = sum(after[0] - before[0] - before[1] for before, after in pairwise(spans))
    received = sum(count for _, count in spans)
    assert told["sequence"] > 0
    assert lost % 363 == 0
    assert 0.005 < lost / (lost + received) < 0.05
    assert told["sent"] == 200_000
    assert "tx_metadata_event_code.seq_error_in_packet" in told["events"]
    assert "tx_metadata_event_code.underflow" in told["events"]  # nobody has ended the burst


def test_both_receivers_of_a_board_hear_its_burst_at_the_same_sample(usrp):
    told = asked(
        BEFORE
        + """
board.set_rx_subdev_spec(uhd.usrp.SubdevSpec("A:0 A:0"))
for channel in range(2):
    board.set_rx_rate(rate, channel)
    board.set_rx_freq(uhd.types.TuneRequest(915e6), channel)
form.channels = [0, 1]
stream, seen = board.get_rx_stream(form), uhd.types.RXMetadata()
sender, data = board.get_tx_stream(uhd.usrp.StreamArgs("fc32", "sc16")), uhd.types.TXMetadata()
start = board.get_time_now() + uhd.types.TimeSpec(0.5)
word = command(Mode.num_done, 20_000)
word.stream_now, word.time_spec = False, start
stream.issue_stream_cmd(word)
data.start_of_burst = data.end_of_burst = data.has_time_spec = True
data.time_spec = start + uhd.types.TimeSpec(5_000 / rate)
sent = np.exp(2j * np.pi * np.arange(4_000) ** 2 / 8_000).astype(np.complex64) * 0.5
sender.send(sent[None], data, 3.0)
block = np.empty((2, 20_000), np.complex64)
got = stream.recv(block, seen, 5.0)
peaks = [np.abs(np.correlate(way, sent, "valid")) for way in block]
tell(got=got, at=[int(peak.argmax()) for peak in peaks], same=bool((block[0] == block[1]).all()))
""",
        usrp,
    )
    assert told == {"got": 20_000, "at": [5_000, 5_000], "same": True}
