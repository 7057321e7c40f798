import os
import re
import tempfile
from pathlib import Path

import pytest
import yaml

from fl_core.errors import InputError
from radio.api import Range
from radio.limits import Limits
from testbed.bench_config import AirConfig, BenchConfig
from testbed.bench_file import BENCH, read, shipped

LIMITS = {
    "bands": [[902e6, 928e6]],
    "max_tx_gain_db": -10,
    "max_duty_cycle": 0.1,
    "window_s": 60,
    "max_burst_s": 1,
}
LOCAL = {
    "name": "mine",
    "coordinator": {"address": "ipc://{sockets}/control"},
    "receiver": {"name": "rx", "radio": "loopback://rx"},
    "devices": [{"name": f"d{n}", "radio": f"loopback://{n}"} for n in range(3)],
}
LIKE = {"count": 3, "name": "d{n}", "radio": "loopback://{n}"}


@pytest.fixture
def bench(tmp_path):
    """Write a bench with changes laid upon LOCAL, and read it."""

    def call(changes=None, *overrides, at="bench.yaml"):
        path = tmp_path / at
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(LOCAL | (changes or {})))
        return read(str(path), overrides)

    return call


@pytest.fixture
def lines(bench):
    """What is said of a bench that is refused, line by line, without the name of the file."""

    def call(changes, *overrides):
        with pytest.raises(InputError) as caught:
            bench(changes, *overrides)
        return [re.sub(r"^.*?bench\.yaml: ", "", line) for line in str(caught.value).splitlines()]

    return call


def node(**changes):
    return {"name": "rx", "radio": "loopback://rx"} | changes


def device(**changes):
    return [{"name": "d0", "radio": "loopback://0"} | changes, *LOCAL["devices"][1:]]


@pytest.mark.parametrize("name", shipped())
def test_shipped_benches_are_valid_and_described(name):
    found = read(name)
    assert found.config.name == name
    assert shipped()[name]


def test_the_virtual_bench():
    virtual = read("virtual")
    air = f"zmq+ipc://{virtual.sockets}/air"
    assert virtual.config.coordinator.address == f"ipc://{virtual.sockets}/control"
    assert virtual.config.coordinator.clock == f"{air}?name=clock"
    assert virtual.config.air == AirConfig(at=air)
    assert virtual.receiver.radio == f"{air}?name=rx"
    assert [d.name for d in virtual.devices] == [f"d{n}" for n in range(10)]
    assert [d.radio for d in virtual.devices] == [f"{air}?name=d{n}" for n in range(10)]
    assert virtual.nodes == (virtual.receiver, *virtual.devices)
    assert (virtual.config.retries, virtual.config.restarts) == (2, 3)
    assert virtual.config.deadlines.model_dump() == {
        "gather_s": 60, "compute_s": 60, "answer_s": 10, "recover_s": 60, "rejoin_s": 30,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["virtual-plutos", "gnuradio-plutos"])
def test_the_bench_of_virtual_plutos(name):
    found = read(name).config
    plutos = found.virtual_plutos()
    assert plutos["rx"] == "127.0.0.2"
    assert plutos["d9"] == "127.0.1.9"
    assert len(plutos) == 11
    assert read("virtual").config.virtual_plutos() == {}


PLUTOS = {
    "receiver": {"name": "rx", "radio": "pluto://ip:127.0.0.2"},
    "devices": [{"name": "d0", "radio": "pluto://ip:127.0.0.3:31000"}],
    "air": {"at": "zmq+ipc://{sockets}/air", "pace": 0.5},
}


def test_plutos_of_this_machine_are_virtual_where_there_is_an_air(bench):
    assert bench(PLUTOS).config.virtual_plutos() == {"rx": "127.0.0.2", "d0": "127.0.0.3:31000"}
    flowgraph = "gnuradio://device_tx+receiver_rx?sink=pluto&source=pluto&uri=ip:127.0.0.4"
    opened_by_one = PLUTOS | {"devices": [{"name": "d0", "radio": flowgraph}]}
    assert bench(opened_by_one).config.virtual_plutos()["d0"] == "127.0.0.4"
    without = {"receiver": PLUTOS["receiver"], "devices": PLUTOS["devices"]}
    assert bench(without).config.virtual_plutos() == {}


@pytest.mark.parametrize(
    "radio",
    [
        "usrp://addr=127.0.0.5",
        "soapy://driver=uhd, addr=127.0.0.5",
        "gnuradio://receiver_rx?source=usrp&uri=addr=127.0.0.5",
    ],
)
def test_usrps_of_this_machine_are_virtual_too_and_may_be_among_plutos(bench, radio):
    mixed = bench(PLUTOS | {"receiver": {"name": "rx", "radio": radio}}).config
    assert mixed.virtual_usrps() == {"rx": "127.0.0.5"}
    assert mixed.virtual_plutos() == {"d0": "127.0.0.3:31000"}
    real = PLUTOS | {"receiver": {"name": "rx", "radio": "usrp://addr=192.168.10.2"}}
    with pytest.raises(InputError, match="should be a virtual PlutoSDR or USRP"):
        bench(real)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            PLUTOS | {"receiver": {"name": "rx", "radio": "loopback://"}},
            "receiver.radio: loopback:// should be a virtual PlutoSDR or USRP like the others",
        ),
        (
            PLUTOS | {"devices": [{"name": "d0", "radio": "pluto://ip:127.0.0.3:x"}]},
            "devices.0.radio: pluto://ip:127.0.0.3:x: the port should be 1 to 65535, not 'x'",
        ),
        (
            PLUTOS | {"devices": [{"name": "d0", "radio": "pluto://ip:127.0.0.300"}]},
            "devices.0.radio: pluto://ip:127.0.0.300: Octet 300 (> 255) not permitted",
        ),
        (
            {"air": {"at": "zmq+ipc://{sockets}/air", "pace": 0.5}},
            "air.pace: is for PlutoSDRs and USRPs, as pluto://ip:127.0.0.2; other radios wait",
        ),
        (PLUTOS | {"air": {"at": "zmq+ipc://{sockets}/air", "pace": 0}}, "air.pace: input should"),
        ({"link": {"turnaround_s": -1}}, "link.turnaround_s: input should be greater than or"),
        ({"link": {"lead": 0}}, "link.lead: input should be greater than or equal to 1"),
    ],
)
def test_an_air_of_plutos_is_one_of_plutos_only(lines, changes, message):
    (line,) = lines(changes)
    assert line.startswith(message)


def test_devices_have_numbers(bench):
    mine = bench()
    assert mine.device(1).name == "d1"
    assert mine.number_of("d2") == 2
    for number in (-1, 3):
        with pytest.raises(InputError, match=rf"bench\.yaml: devices: there is no device {number}"):
            mine.device(number)
    with pytest.raises(InputError, match="none is called 'rx'; there are d0, d1, d2"):
        mine.number_of("rx")


def test_a_template_is_the_list_it_stands_for(bench):
    listed, like = bench(), bench({"devices": LIKE})
    assert like.devices == listed.devices
    assert like.sha256 == listed.sha256
    assert len(bench({"devices": LIKE}, "devices.count=7").devices) == 7
    assert bench({"devices": {"count": 1, "name": "x", "radio": "loopback://"}}).devices[0].name


def test_sockets_are_this_users_and_this_files(bench, tmp_path, monkeypatch):
    mine = bench()
    assert re.fullmatch(r"[0-9a-f]{12}", mine.sockets.name)
    assert mine.sockets.parent == Path(tempfile.gettempdir()) / f"airmeta-{os.getuid()}"
    assert bench({"devices": LIKE}).sockets == mine.sockets
    assert bench(at="other.yaml").sockets != mine.sockets
    assert read("virtual").sockets not in {mine.sockets, read("five-machines").sockets}
    (tmp_path / "link.yaml").symlink_to(tmp_path / "bench.yaml")
    monkeypatch.chdir(tmp_path)
    assert read("./bench.yaml").sockets == read("link.yaml").sockets == mine.sockets
    assert not mine.sockets.exists()


def test_paths_are_meant_from_where_the_file_is(bench, tmp_path, monkeypatch):
    changes = {
        "keys": "keys",
        "calibration": "../profiles",
    }
    bench(changes, at="lab/bench.yaml")
    monkeypatch.chdir(tmp_path)
    mine = read("lab/bench.yaml")
    assert mine.config.keys == tmp_path / "lab" / "keys"
    assert mine.config.calibration.folder == tmp_path / "lab" / ".." / "profiles"
    assert mine.config.calibration.hold
    held = bench({"calibration": {"folder": "/etc/profiles", "hold": False}})
    assert held.config.calibration.folder == Path("/etc/profiles")
    assert not held.config.calibration.hold
    assert read("five-machines").config.keys == tmp_path / "keys"


def test_the_hash_is_of_what_the_file_says_wherever_it_lies(bench, monkeypatch, tmp_path):
    changes = {"keys": "keys", "calibration": "profiles"}
    first = bench(changes)
    assert bench(changes, at="moved/bench.yaml").sha256 == first.sha256
    monkeypatch.setattr(tempfile, "tempdir", "/elsewhere")
    assert bench(changes).sha256 == first.sha256
    assert bench(changes).sockets != first.sockets
    assert bench(changes | {"retries": 2, "description": "new"}).sha256 == first.sha256
    assert re.fullmatch(r"[0-9a-f]{64}", first.sha256)
    others = [
        bench(changes, "retries=1"),
        bench(changes | {"keys": "others"}),
        bench(changes | {"calibration": "others"}),
        bench(changes | {"devices": list(reversed(device()))}),
    ]
    assert len({first.sha256, *(other.sha256 for other in others)}) == 5


def test_limits_are_those_that_radios_take(bench):
    assert bench().config.limits is None
    limits = bench({"limits": LIMITS}).config.limits.limits()
    assert limits == Limits((Range(902e6, 928e6),), -10.0, 0.1, 60.0, 1.0)


def test_link_says_nothing_unless_it_is_told(bench):
    assert set(bench().config.link.model_dump().values()) == {None}
    link = bench({"link": {"shared_clock": True, "search": 900}}).config.link
    assert (link.shared_clock, link.search, link.rx_gain_db) == (True, 900, None)


@pytest.mark.parametrize("name", ["", "-d", "a b", "ä", "d" * 65, "d/0", "d\n"])
def test_names_are_those_of_nodes(lines, name):
    (line,) = lines({"devices": device(name=name)})
    assert line.startswith("devices.0.name: string should match pattern")


def test_no_node_is_called_as_the_coordinator(lines):
    what = "coordinator is the name of another node; choose one of its own"
    assert lines({"receiver": node(name="coordinator")}) == [f"receiver.name: {what}"]
    assert lines({"devices": LIKE | {"count": 1, "name": "coordinator"}}) == [
        f"devices.name: {what}"
    ]


def test_two_nodes_share_neither_name_nor_radio(lines):
    assert lines({"devices": device(name="rx", radio="loopback://2")}) == [
        "devices.0.name: rx is the name of receiver too",
        "devices.2.radio: loopback://2 is devices.0.radio too; each node has its own radio",
    ]
    assert lines({"devices": LIKE, "receiver": node(name="d2", radio="loopback://1")}) == [
        "devices.name: d2 is the name of receiver too",
        "devices.radio: loopback://1 is receiver.radio too; each node has its own radio",
    ]


def test_the_clock_is_a_radio_of_its_own(lines, bench):
    clock = {"address": "ipc://{sockets}/control", "clock": "loopback://%72x"}
    (line,) = lines({"coordinator": clock})
    assert line.startswith("receiver.radio: loopback://rx is coordinator.clock too")
    assert bench({"coordinator": clock | {"clock": None}}).config.coordinator.clock is None


def test_order_of_options_makes_no_other_radio(lines):
    (line,) = lines(
        {
            "receiver": node(radio="sim://a?name=x&seed=1"),
            "devices": device(radio="sim://a?seed=1&name=x"),
        }
    )
    assert line.startswith("devices.0.radio: sim://a?seed=1&name=x is receiver.radio too")


@pytest.mark.parametrize(
    ("radio", "message"),
    [
        ("rx", "'rx' is no radio URI; one looks like sim://air?name=d3"),
        ("sim://air?name", "'sim://air?name': option 'name' should read name=value"),
        ("loopbock://x", "no radio has the scheme 'loopbock'; the nearest is 'loopback'; there"),
        ("loopback://{socket}", "'loopback://{socket}' has braces that nothing fills; there are"),
        ("loopback://{n}", "has braces that nothing fills"),
        ("zmq+tcp://127.0.0.1", "should be zmq+ipc://PATH or zmq+tcp://HOST:PORT"),
        ("zmq+tcp://127.0.0.1:*?name=x", "should name a host, and a port of 1 to 65535"),
        ("zmq+ipc://air?name=x", "the path 'air' should be absolute, as in ipc://{sockets}/"),
        (3, "input should be a valid string, got 3"),
    ],
)
def test_radios_are_known_uris(lines, radio, message):
    (line,) = lines({"receiver": node(radio=radio)})
    assert line.startswith("receiver.radio: ")
    assert message in line
    (line,) = lines({"coordinator": LOCAL["coordinator"] | {"clock": radio}})
    assert line.startswith("coordinator.clock: ")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("control", "control: should be ipc://PATH or tcp://HOST:PORT"),
        ("udp://127.0.0.1:1", "should be ipc://PATH or tcp://HOST:PORT"),
        ("tcp://127.0.0.1:*", "should name a host, and a port of 1 to 65535"),
        ("tcp://127.0.0.1:0", "port of 1 to 65535"),
        ("tcp://127.0.0.1:65536", "port of 1 to 65535"),
        ("tcp://:5600", "should be ipc://PATH or tcp://HOST:PORT"),
        ("tcp://*:5600", "should name a host"),
        ("ipc://control", "the path 'control' should be absolute"),
        ("ipc://", "should be ipc://PATH or tcp://HOST:PORT"),
        ("ipc://{sokets}/control", "braces that nothing fills"),
    ],
)
def test_addresses_can_be_connected_to(lines, address, message):
    (line,) = lines({"coordinator": {"address": address}})
    assert line.startswith("coordinator.address: ")
    assert message in line


def test_paths_of_sockets_fit(bench, lines, monkeypatch):
    longest = "/" + 99 * "x"
    assert bench({"coordinator": {"address": f"ipc://{longest}"}})
    assert lines({"coordinator": {"address": f"ipc://{longest}x"}})[0].startswith(
        f"coordinator.address: the path '{longest}x' has 101 bytes, a socket's at most 100"
    )
    (line,) = lines({"receiver": node(radio=f"zmq+ipc:///{50 * 'ä'}?name=rx")})
    assert "has 101 bytes" in line
    monkeypatch.setattr(tempfile, "tempdir", "/" + 80 * "t")
    (line,) = lines({})
    assert line.startswith("coordinator.address: the path '/tttt")
    assert line.endswith("use a shorter one, or a shorter TMPDIR for {sockets}")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "localhost", "[::1]"])
def test_loopback_needs_no_keys(bench, host):
    address = f"tcp://{host}:5600"
    assert bench({"coordinator": {"address": address}}).config.coordinator.address == address


@pytest.mark.parametrize("host", ["192.168.7.1", "0.0.0.0", "lab", "[fe80::1]", "127.lab"])
def test_what_other_machines_reach_needs_keys(bench, lines, host):
    address = f"{host}:5600"
    changes = {
        "coordinator": {"address": f"tcp://{address}", "clock": f"zmq+tcp://{address}?name=clock"},
        "receiver": node(radio=f"zmq+tcp://{address}?name=rx"),
        "air": f"zmq+tcp://{address}",
    }
    what = f"tcp://{address}: can be reached from other hosts and needs keys; make them with"
    keys = ["coordinator.address", "coordinator.clock", "receiver.radio", "air"]
    found = lines(changes)
    assert [line.partition(what)[0] for line in found] == [f"{key}: " for key in keys]
    assert all(line.endswith("; set keys: to that folder") for line in found)
    assert bench(changes | {"keys": "keys"})


def test_a_radio_may_have_keys_of_its_own(bench):
    assert bench({"receiver": node(radio="zmq+tcp://lab:1?keys=me.key_secret&server=it.key")})


@pytest.mark.parametrize(
    ("air", "message"),
    [
        ("sim://air", "'sim://air' should be zmq+ipc://PATH or zmq+tcp://HOST:PORT, no more"),
        ("zmq+ipc://{sockets}/air?name=rx", "should be zmq+ipc://PATH or zmq+tcp://HOST:PORT"),
        ("zmq+ipc://air", "should be absolute"),
    ],
)
def test_an_air_is_where_radios_are_served(lines, air, message):
    (line,) = lines({"air": air})
    assert line.startswith("air.at: ")
    assert message in line


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ([], "devices: should be a list of nodes, or count, name and radio of like ones"),
        (None, "devices: should be a list of nodes"),
        ("d0", "devices: should be a list of nodes"),
        (device(name=b"d0"), "devices.0.name: input should be a valid string, got b'd0'"),
        ([3], "devices.0: input should be a valid dictionary"),
        (LIKE | {"count": 0}, "devices.count: input should be greater than or equal to 1, got 0"),
        (LIKE | {"count": 10**9}, "devices.count: input should be less than or equal to 1000"),
        (LIKE | {"count": True}, "devices.count: input should be a valid integer, got True"),
        (LIKE | {"radio": "loopback://"}, "devices.radio: should hold {n}, the number of the"),
        (LIKE | {"name": "d"}, "devices.name: should hold {n}, the number of the device"),
        (LIKE | {"name": "{n} d"}, "devices.name: string should match pattern"),
        (LIKE | {"name": 62 * "d" + "{n}", "count": 101}, "devices.name: string should match"),
        (LIKE | {"radio": "loopbock://{n}"}, "devices.radio: no radio has the scheme 'loopbock'"),
        (LIKE | {"radio": "loopback://{n}{m}"}, "devices.radio: 'loopback://2{m}' has braces"),
        ({"count": 2}, "devices.radio: field required"),
    ],
)
def test_devices(lines, devices, message):
    (line,) = lines({"devices": devices})
    assert line.startswith(message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coordinater": {}}, "coordinater: unknown key; did you mean coordinator?"),
        ({"devices": device(rado="x")}, "devices.0.rado: unknown key; did you mean devices.0."),
        ({"devices": LIKE | {"cuont": 1}}, "devices.cuont: unknown key; did you mean devices.c"),
        ({"limits": LIMITS | {"max_tx_gain": 1}}, "did you mean limits.max_tx_gain_db?"),
        ({"gather_s": 3}, "gather_s: unknown key; did you mean deadlines.gather_s?"),
        ({"base": "virtual"}, "base: unknown key"),
        ({"name": "../up"}, "name: string should match pattern"),
        ({"limits": LIMITS | {"bands": []}}, "limits: limits without a band allow nothing"),
        ({"limits": LIMITS | {"bands": [[2, 1]]}}, "limits: a band goes up from above 0 Hz"),
        ({"limits": LIMITS | {"bands": [[1]]}}, "limits.bands.0.1: field required"),
        ({"limits": LIMITS | {"bands": 3}}, "limits.bands: input should be a valid tuple"),
        ({"limits": LIMITS | {"max_duty_cycle": 2}}, "limits: max_duty_cycle must be in (0, 1]"),
        ({"limits": LIMITS | {"window_s": 0}}, "limits: window_s must be above 0 s, not 0"),
        ({"limits": LIMITS | {"max_burst_s": float("nan")}}, "limits: max_burst_s must be above"),
        ({"limits": LIMITS | {"max_tx_gain_db": "x"}}, "limits.max_tx_gain_db: input should be"),
        ({"link": {"max_offset_ppm": 26}}, "link.max_offset_ppm: input should be less than"),
        ({"link": {"allan_deviation": -1}}, "link.allan_deviation: input should be greater"),
        ({"link": {"shared_clock": 1}}, "link.shared_clock: input should be a valid boolean"),
        ({"link": {"rx_gain_db": float("inf")}}, "link.rx_gain_db: input should be less than"),
        ({"link": {"search": 0}}, "link.search: input should be greater than or equal to 1"),
        ({"deadlines": {"gather_s": 0}}, "deadlines.gather_s: input should be greater than 0"),
        ({"deadlines": {"answer_s": float("inf")}}, "deadlines.answer_s: input should be a fin"),
        ({"deadlines": {"rejoin_s": float("nan")}}, "deadlines.rejoin_s: input should be"),
        ({"retries": -1}, "retries: input should be greater than or equal to 0, got -1"),
        ({"restarts": 1.5}, "restarts: input should be a valid integer, got 1.5"),
        ({"keys": 3}, "keys: "),
        ({"receiver": node(calibration="profiles")}, "receiver.calibration: unknown"),
        ({"calibration": 3}, "calibration: "),
        ({"calibration": {"hold": True}}, "calibration.folder: "),
        (
            {"calibration": "profiles", "link": {"rx_gain_db": 3.0}},
            "link.rx_gain_db: is what the plan of calibration.folder says",
        ),
        (
            {"limits": LIMITS, "link": {"tx_gain_db": -9.5}},
            "link.tx_gain_db: -9.5 exceeds limits.max_tx_gain_db = -10",
        ),
    ],
)
def test_wrong_settings(lines, changes, message):
    (line,) = lines(changes)
    assert message in line


def test_what_must_be_there(tmp_path):
    path = tmp_path / "b.yaml"
    path.write_text("description: nothing else\n")
    with pytest.raises(InputError) as caught:
        read(str(path))
    assert str(caught.value).splitlines() == [
        f"{path}: {key}: field required" for key in ("name", "coordinator", "receiver", "devices")
    ]


def test_every_mistake_is_named_at_once(lines):
    found = lines(
        {
            "coordinator": {"address": "here"},
            "receiver": node(radio="nope://"),
            "devices": device(name="a b", radio="x"),
            "retries": -1,
            "deadlines": {"gather_s": 0},
            "nodes": 3,
        }
    )
    assert [line.partition(":")[0] for line in found] == [
        "coordinator.address", "receiver.radio", "devices.0.name", "devices.0.radio",
        "deadlines.gather_s", "retries", "nodes",
    ]  # fmt: skip


def test_mistakes_of_the_command_line_are_told_as_such(bench):
    with pytest.raises(InputError) as caught:
        bench({"retries": -1}, "restarts=-1", "link.serch=3")
    found = str(caught.value).splitlines()
    assert found[0].startswith("command line: link.serch: unknown key; did you mean link.search?")
    assert re.match(r".*bench\.yaml: retries: ", found[1])
    assert found[2].startswith("command line: restarts: ")


def test_unknown_bench_names_the_nearest(tmp_path):
    with pytest.raises(InputError, match=r"bench 'virtul': there is none; did you mean virtual\?"):
        read("virtul")
    with pytest.raises(InputError, match="cannot be read as a bench"):
        read(str(tmp_path / "none.yaml"))


def test_configuration_is_frozen_and_complete(bench):
    config = bench().config
    with pytest.raises(ValueError, match="frozen"):
        config.retries = 3
    assert BenchConfig.model_validate(config.model_dump()) == config
    assert {"coordinator.clock", "devices.count", "limits.bands", "link.search"} <= set(
        BENCH.all_keys()
    )
