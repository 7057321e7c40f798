"""The real libuhd finds, opens and controls virtual USRPs."""

import subprocess
import time
from itertools import combinations

import numpy as np
import pytest
import uhd_process
from uhd_process import Client, address, asked

from sim_fallback.air import Air, Scene
from sim_fallback.bands import Bands
from sim_fallback.clock import WallClock
from sim_fallback.path import Path
from sim_fallback.presets import PRESETS
from sim_fallback.tapped_delay import TappedDelayLine
from sim_fallback.virtual_usrp.board import Board
from sim_fallback.virtual_usrp.eeprom import short_serial
from sim_fallback.virtual_usrp.server import UsrpServer, serve_usrps

NAMES = ("rx", "d0", "d1")
SECOND = 100_000_000
LOSS_DB = 10.0


@pytest.fixture(scope="module", autouse=True)
def libuhd():
    uhd_process.require("uhd_find_devices", "uhd_usrp_probe")
    uhd_process.require_binding()


@pytest.fixture(scope="module")
def bands():
    equipment = {name: PRESETS["ideal"].equip(7, name) for name in NAMES}
    path = Path(TappedDelayLine(kind="awgn"), LOSS_DB)
    scene = Scene(915e6, 1e6, equipment, dict.fromkeys(combinations(NAMES, 2), path))
    return Bands(Air(scene, WallClock(time.monotonic, time.sleep)))


@pytest.fixture(scope="module")
def usrps(bands):
    """Three that share reference and pulses."""
    with serve_usrps(bands, NAMES, [address(number) for number in (2, 3, 4)]) as servers:
        yield servers


def output_of(*words):
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_uhd_find_devices_finds_it_by_its_address(usrps):
    found = output_of("uhd_find_devices", "--args", f"addr={usrps[1].host}")
    serial = short_serial(usrps[1].board.bands.equipment("d0").serial("d0"))
    for line in (
        f"serial: {serial}",
        f"addr: {usrps[1].host}",
        "name: airmeta-7-d0",
        "type: usrp2",
    ):
        assert line in found
    assert found.count("UHD Device") == 1


def test_uhd_usrp_probe_prints_an_n210_with_an_sbx(usrps):
    found = output_of("uhd_usrp_probe", "--args", f"addr={usrps[0].host}")
    for text in (
        "Mboard: N210r4", "name: airmeta-7-rx", f"ip-addr: {usrps[0].host}", "FPGA Version: 11.1",
        "ID: SBX (0x0054)", "ID: SBX (0x0055)", "gpsdo: none", "400.000 to 4400.000 MHz",
    ):  # fmt: skip
        assert text in found


ALIGNED_BURSTS = """
import threading
import numpy as np

boards = [opened(host) for host in hosts]
request, spec = uhd.types.TuneRequest(915e6), uhd.types.TimeSpec
for board in boards:
    board.set_clock_source("external")
    board.set_time_source("external")
    board.set_rx_rate(1e6)
    board.set_tx_rate(1e6)
    board.set_rx_freq(request)
    board.set_tx_freq(request)
    board.set_tx_gain(10)
before = boards[0].get_time_last_pps().get_real_secs()
while boards[0].get_time_last_pps().get_real_secs() == before:
    time.sleep(0.01)
for board in boards:
    board.set_time_next_pps(spec(1000.0))
time.sleep(2.1)
tell(
    pulses=[board.get_time_last_pps().get_real_secs() for board in boards],
    locked=[board.get_mboard_sensor("ref_locked").to_bool() for board in boards],
)
args = uhd.usrp.StreamArgs("fc32", "sc16")
receiver, *senders = [
    board.get_tx_stream(args) if number else board.get_rx_stream(args)
    for number, board in enumerate(boards)
]
start = spec(round(boards[0].get_time_now().get_real_secs() + 0.5, 3))
told = []

def send(sender, number):
    burst = np.load(f"{folder}/{number}.npy")
    about = uhd.types.TXMetadata()
    about.has_time_spec = about.start_of_burst = about.end_of_burst = True
    about.time_spec = start + spec(1e-6 * (700 + 311 * number))
    sender.send(burst, about)
    report = uhd.types.TXAsyncMetadata()
    sender.recv_async_msg(report, 10.0)
    told.append(str(report.event_code))

want = uhd.types.StreamCMD(uhd.types.StreamMode.num_done)
want.num_samps, want.stream_now, want.time_spec = 5000, False, start
receiver.issue_stream_cmd(want)
sending = [threading.Thread(target=send, args=(sender, n)) for n, sender in enumerate(senders)]
for thread in sending:
    thread.start()
heard, found, about, first = np.zeros(5000, np.complex64), 0, uhd.types.RXMetadata(), None
while found < 5000:
    part = np.zeros((1, 5000 - found), np.complex64)
    count = receiver.recv(part, about, 10.0)
    if about.error_code != uhd.types.RXMetadataErrorCode.none:
        raise SystemExit(str(about.error_code))
    first = first or about.time_spec
    heard[found : found + count] = part[0, :count]
    found += count
for thread in sending:
    thread.join()
np.save(f"{folder}/heard.npy", heard)
tell(late=(first - start).get_real_secs(), ends=about.end_of_burst, reports=told)
"""


def test_boards_aligned_by_the_pulse_agree_to_the_tick_and_their_bursts_to_the_sample(
    usrps, tmp_path
):
    rng = np.random.default_rng(4)
    bursts = 0.1 * rng.standard_normal((2, 3000, 2)).astype(np.float32).view(np.complex64)[..., 0]
    for number, burst in enumerate(bursts):
        np.save(tmp_path / f"{number}.npy", burst)
    script = f"folder = {str(tmp_path)!r}\n{ALIGNED_BURSTS}"
    with Client(script, *(server.host for server in usrps)) as client:
        aligned, done = client.told(), client.told()
    assert len(set(aligned["pulses"])) == 1
    assert aligned["pulses"][0] >= 1001
    assert aligned["pulses"][0] % 1 == 0
    assert aligned["locked"] == [True] * 3
    timebases = [server.board.timebase for server in usrps]
    assert len({timebase.true_time_s(1010 * SECOND) for timebase in timebases}) == 1
    pulse_s = usrps[0].board.reference.next_pulse_s(timebases[0].true_time_s(1009 * SECOND + 9))
    assert timebases[0].true_time_s(1010 * SECOND) == pytest.approx(pulse_s, abs=1e-11)

    assert done["late"] == pytest.approx(0, abs=1e-12)
    assert done["ends"]
    assert done["reports"] == ["tx_metadata_event_code.burst_ack"] * 2
    wanted = np.zeros(5000, np.complex128)
    for number, burst in enumerate(bursts):
        wanted[700 + 311 * number :][:3000] += burst * 10 ** ((10 - LOSS_DB) / 20)
    error = np.load(tmp_path / "heard.npy") - wanted
    assert np.sum(np.abs(error) ** 2) < 1e-6 * np.sum(np.abs(wanted) ** 2)


def test_what_libuhd_says_it_has_set_is_set(usrps):
    wanted = [
        # (rate, carrier, offset of the synthesizer, gains)
        (1e6, 915e6, 0.0, 0.0, 31.5),
        (100e6 / 12, 2.4370123e9, 3e6, 10.5, 0.5),
        (2e6, 433.92e6, -1.5e6, 36.3, 20.0),
        (195312.5, 4.2e9, 0.0, 7.0, 12.5),
    ]
    board = usrps[0].board
    with Client(
        f"""
board = opened(hosts[0])
for rate, carrier, away, received, sent in {wanted!r}:
    request = uhd.types.TuneRequest(carrier, away)
    board.set_rx_rate(rate)
    board.set_tx_rate(rate)
    board.set_rx_gain(received)
    board.set_tx_gain(sent)
    board.set_rx_freq(request)
    board.set_tx_freq(request)
    tell(
        rates=[board.get_rx_rate(), board.get_tx_rate()],
        carriers=[board.get_rx_freq(), board.get_tx_freq()],
        gains=[board.get_rx_gain(), board.get_tx_gain()],
        locked=[board.get_rx_sensor("lo_locked").to_bool()],
    )
    sys.stdin.readline()
""",
        usrps[0].host,
    ) as client:
        for rate, carrier, _, received, sent in wanted:
            told = client.told()
            ways = board.rx(0), board.tx()
            assert told["rates"] == pytest.approx([rate, rate])
            assert told["rates"] == pytest.approx([way.place.rate_hz for way in ways], rel=1e-12)
            assert told["carriers"] == pytest.approx([carrier, carrier], abs=0.1)
            assert told["carriers"] == pytest.approx([way.place.lo_hz for way in ways], abs=1e-3)
            assert told["gains"] == pytest.approx([received, sent])
            assert [way.gain_db for way in ways] == pytest.approx([received, sent])
            assert [way.scale for way in ways] == pytest.approx([1, 1], rel=1e-4)
            assert all(way.on for way in ways)
            assert told["locked"] == [True]
            client.go_on()


def test_timed_commands_take_effect_in_their_time(usrps):
    told = asked(
        """
board = opened(hosts[0])
start = board.get_time_now()
seen = []
for number in range(1, 4):
    board.set_command_time(start + uhd.types.TimeSpec(0.2 * number))
    seen.append((board.get_time_now() - start).get_real_secs())
board.clear_command_time()
tell(seen=seen, after=(board.get_time_now() - start).get_real_secs())
""",
        usrps[1].host,
    )
    assert told["seen"] == pytest.approx([0.2, 0.4, 0.6], abs=1e-8)
    assert told["after"] > 0.6


def test_missing_pulses_and_a_reference_out_of_lock_are_seen(bands):
    with serve_usrps(bands, ["d0"], [address(10)], locked=False, pps=False) as (server,):
        told = asked(
            """
board = opened(hosts[0])
board.set_clock_source("external")
locked = board.get_mboard_sensor("ref_locked").to_bool()
try:
    board.set_time_unknown_pps(uhd.types.TimeSpec(0.0))
    told = ""
except RuntimeError as error:
    told = str(error)
tell(locked=locked, told=told)
""",
            server.host,
        )
    assert not told["locked"]
    assert "may not be getting a PPS signal" in told["told"]


def test_lost_datagrams_are_missed_by_their_numbers(bands):
    with serve_usrps(bands, ["d0"], [address(12)], lost=0.1) as (server,):
        told = asked(
            """
import numpy as np

board = opened(hosts[0])
board.set_rx_rate(1e6)
receiver = board.get_rx_stream(uhd.usrp.StreamArgs("fc32", "sc16"))
want = uhd.types.StreamCMD(uhd.types.StreamMode.num_done)
want.num_samps = 100 * receiver.get_max_num_samps()
want.stream_now = True
receiver.issue_stream_cmd(want)
samples, about = np.zeros((1, receiver.get_max_num_samps()), np.complex64), uhd.types.RXMetadata()
found = missed = 0
codes = uhd.types.RXMetadataErrorCode
while about.error_code != codes.timeout and not about.end_of_burst:
    found += receiver.recv(samples, about, 2.0)
    missed += about.error_code == codes.overflow and about.out_of_sequence
tell(found=found / receiver.get_max_num_samps(), missed=missed)
""",
            server.host,
        )
    # 10 of 100, give or take four standard deviations; of some that follow each other one is told.
    assert 78 <= told["found"] <= 98
    assert 2 <= told["missed"] <= 22


def test_a_device_that_goes_is_missed_and_is_there_again_when_it_is_back(bands):
    with UsrpServer(Board(bands, "d1"), address(11)) as server:
        host = server.host
        with Client(
            """
board = opened(hosts[0])
tell(name=board.get_usrp_rx_info()["mboard_name"])
sys.stdin.readline()
try:
    board.get_mboard_sensor("ref_locked")
    tell(failed="")
except RuntimeError as error:
    tell(failed=str(error))
sys.stdin.readline()
tell(locked=board.get_mboard_sensor("ref_locked").to_bool())
""",
            host,
        ) as client:
            assert client.told()["name"] == "airmeta-7-d1"
            server.close()
            client.go_on()
            assert "timed out looking for acks" in client.told()["failed"]
            with UsrpServer(Board(bands, "d1"), host):
                client.go_on()
                assert client.told()["locked"]
