"""An IIOD server over a bare socket, with sense and without."""

import socket
from itertools import islice

import pytest

from benchmarks.fuzz_iiod import attacked, conversation, malformed
from sim_fallback.air import Air, Scene
from sim_fallback.presets import PRESETS
from sim_fallback.virtual_pluto.server import serve_plutos

ADC, DAC, PHY = "cf-ad9361-lpc", "cf-ad9361-dds-core-lpc", "ad9361-phy"


@pytest.fixture(scope="module")
def server():
    air = Air(Scene(915e6, 1e6, {"a": PRESETS["ideal"].equip(1, "a")}, {}))
    with serve_plutos(air, ["a"], ["127.0.0.1"], port=0) as (served,):
        yield served


@pytest.fixture
def ask(server):
    host, port = server.uri.removeprefix("ip:").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as link:
        answers = link.makefile("rb")

        def talk(text, payload=b""):
            link.sendall(text.encode() + b"\r\n" + payload)
            return answers.readline().decode().rstrip("\n")

        talk.read = answers.read
        talk.ends = lambda: answers.read() == b""
        yield talk
        answers.close()


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("VERSION", "0.24.v0.24  "),
        ("TIMEOUT 2500", "0"),
        ("ZPRINT", "-22"),
        ("BINARY", "-22"),
        ("NONSENSE", "-22"),
        ("READ nobody attr", "-19"),
        ("READ ad9361-phy INPUT voltage7 rssi", "-6"),
        ("READ ad9361-phy nothing", "-2"),
        ("READ", "-22"),
        ("READ ad9361-phy INPUT", "-22"),
        (f"GETTRIG {ADC}", "-2"),
        (f"OPEN {ADC} 100 3", "-22"),
        (f"OPEN {ADC} 100 00000000", "-22"),
        (f"OPEN {ADC} 100 00000007", "-22"),
        (f"OPEN {ADC} 0 00000003", "-22"),
        (f"OPEN {ADC} 2000000000 00000003", "-12"),
        (f"OPEN {ADC} 100 00000003 CYCLIC", "-1"),
        (f"OPEN {PHY} 100 00000001", "-19"),
        (f"READBUF {ADC} 400", "-9"),
        (f"WRITEBUF {DAC} 400", "-9"),
        (f"CLOSE {ADC}", "-9"),
        (f"SET {ADC} BUFFERS_COUNT 0", "-22"),
        (f"SET {PHY} BUFFERS_COUNT 4", "-19"),
        (f"SET {ADC} SOMETHING 4", "-22"),
    ],
)
def test_answers(ask, command, answer):
    assert ask(command) == answer


def test_values_end_with_a_zero_byte_that_counts(ask):
    assert ask("READ iio:device0 ensm_mode") == "4"
    assert ask.read(5) == b"fdd\0\n"
    assert ask(f"WRITE {PHY} ensm_mode 6", b"alert\0") == "6"
    assert ask(f"READ {PHY} ensm_mode") == "6"
    assert ask.read(7) == b"alert\0\n"
    assert ask(f"WRITE {PHY} ensm_mode 3", b"fdd") == "3"


def test_all_attributes_at_once(ask):
    size = int(ask(f"READ {DAC} OUTPUT altvoltage0"))
    blob = ask.read(size + 1)
    values = []
    while len(blob) > 1:
        length = int.from_bytes(blob[:4], "big", signed=True)
        values.append(blob[4 : 4 + length])
        blob = blob[4 + -(-length // 4) * 4 :]
    assert values == [b"0\0", b"0\0", b"0\0", b"0.000000\0"]


def test_blank_lines_are_no_commands_and_exit_wants_no_answer(ask):
    assert ask("\r\n\r\nVERSION").startswith("0.24")
    assert ask("\r\nEXIT") == ""
    assert ask.ends()


def test_a_read_is_cut_into_blocks_with_one_mask(ask):
    assert ask(f"OPEN {ADC} 10 00000003") == "0"
    assert ask(f"READBUF {ADC} 100") == "40"
    assert ask.read(9) == b"00000003\n"
    assert ask.read(40 + 3 + 40 + 3 + 20).count(b"\n") >= 2
    assert ask(f"OPEN {ADC} 10 00000003") == "-16"
    assert ask(f"SET {ADC} BUFFERS_COUNT 2") == "-16"
    assert ask(f"READBUF {ADC} 3") == "-22"
    assert ask(f"CLOSE {ADC}") == "0"


def test_a_value_that_is_too_long_is_swallowed(ask):
    assert ask(f"WRITE {PHY} filter_fir_config 100000", bytes(100_000)) == "-12"
    assert ask("VERSION").startswith("0.24")


def test_a_line_without_end_ends_the_conversation(server):
    host, port = server.uri.removeprefix("ip:").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as link:
        link.sendall(b"x" * 5000)
        assert link.recv(1) == b""


def test_a_server_leaves_no_thread_and_no_port_behind(server):
    air = Air(Scene(915e6, 1e6, {"a": PRESETS["ideal"].equip(1, "a")}, {}))
    with serve_plutos(air, ["a"], ["127.0.0.1"], port=0) as (other,):
        host, port = other.uri.removeprefix("ip:").split(":")
        link = socket.create_connection((host, int(port)), timeout=10)
        link.sendall(b"VERSION\r\n")
        assert link.recv(100)
    with link:
        assert link.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=10)
    with serve_plutos(air, ["a"], ["127.0.0.1"], port=int(port)):
        pass


def test_malformed_commands_do_no_harm():
    commands = malformed(seed=1)
    with attacked() as (send, check):
        for number in range(60):
            send(conversation(commands, number))
        check()
    first, second = (list(islice(malformed(seed=5), 20)) for _ in range(2))
    assert first == second
