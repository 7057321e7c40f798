"""The real libuhd finds, opens and controls virtual USRPs."""

import subprocess
import time
from itertools import combinations

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


@pytest.fixture(scope="module", autouse=True)
def libuhd():
    uhd_process.require("uhd_find_devices", "uhd_usrp_probe")
    uhd_process.require_binding()


@pytest.fixture(scope="module")
def bands():
    equipment = {name: PRESETS["usrp-octoclock"].equip(7, name) for name in NAMES}
    path = Path(TappedDelayLine(kind="awgn"))
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


def test_boards_aligned_by_the_pulse_agree_to_the_tick(usrps):
    told = asked(
        """
boards = [opened(host) for host in hosts]
for board in boards:
    board.set_clock_source("external")
    board.set_time_source("external")
before = boards[0].get_time_last_pps().get_real_secs()
while boards[0].get_time_last_pps().get_real_secs() == before:
    time.sleep(0.01)
for board in boards:
    board.set_time_next_pps(uhd.types.TimeSpec(1000.0))
time.sleep(2.1)
tell(
    pulses=[board.get_time_last_pps().get_real_secs() for board in boards],
    locked=[board.get_mboard_sensor("ref_locked").to_bool() for board in boards],
)
""",
        *(server.host for server in usrps),
    )
    assert len(set(told["pulses"])) == 1
    assert told["pulses"][0] >= 1001
    assert told["pulses"][0] % 1 == 0
    assert told["locked"] == [True] * 3
    timebases = [server.board.timebase for server in usrps]
    assert len({timebase.true_time_s(1010 * SECOND) for timebase in timebases}) == 1
    pulse_s = usrps[0].board.reference.next_pulse_s(timebases[0].true_time_s(1009 * SECOND + 9))
    assert timebases[0].true_time_s(1010 * SECOND) == pytest.approx(pulse_s, abs=1e-11)


def test_what_libuhd_says_it_has_set_is_set(usrps):
    wanted = [
        # (rate, carrier, offset of the synthesizer, gains)
        (1e6, 915e6, 0.0, 0.0, 31.5),
        (100e6 / 12, 2.4370123e9, 3e6, 10.5, 0.5),
        (2e6, 433.92e6, -1.5e6, 31.5, 20.0),
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
            assert told["gains"] == [way.gain_db for way in ways] == [received, sent]
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
