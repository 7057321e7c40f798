"""What happens to radios in a lab: rounds are marked, radios healed or named as lost."""

import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager

from accounts import Accounts
from benches import PlutoLab, requires_libiio, wait_for
from tcp_proxy import TcpProxy

requires_libiio()

PACE = 0.5
NO_CLOCK = {"coordinator": {"clock": None}}  # which would end with the air


def applied(lab, name):
    return lab.status()["nodes"][name]["applied"]


def faults(lab, name):
    return lab.faults(name).get("radio", 0)


def takes_part_again(lab, name, count=2):
    before = applied(lab, name)
    wait_for(lambda: applied(lab, name) >= before + count)


def ended(lab, nodes, code=0, lost=()):
    """All processes have ended, the run with this code, and each update counts once."""
    assert nodes.pop("coordinator").ended() == code
    nodes.pop("air").kill(signal.SIGTERM)
    ends = {name: node.ended() for name, node in nodes.items()}
    assert ends == {name: 1 if name in lost else 0 for name in nodes}
    lab.assert_nothing_left()
    Accounts(lab).assert_exact()


@contextmanager
def behind_a_line(lab, name):
    """A node whose radio is at the other end of a line that can break."""
    with TcpProxy(f"{lab.uris[name]}:30431") as line:
        lab.redirect(name, line.uri)
        yield line


def test_radios_that_restart_in_a_round_are_opened_again(tmp_path):
    with PlutoLab(tmp_path, {"rounds": 9}, PACE, **NO_CLOCK) as lab:
        nodes = lab.all_nodes()
        wait_for(lambda: len(lab.rounds()) >= 2)
        nodes["air"].kill()
        nodes["air"].ended()
        nodes["air"] = lab.air()
        ended(lab, nodes)
        rows = lab.rounds()
        assert [row["round"] for row in rows] == list(range(9))
        assert rows[-1]["participation"] == 1.0
        assert all(faults(lab, name) for name in ("rx", *lab.devices))
        assert all(lab.status()["nodes"][name]["applied"] >= 5 for name in lab.devices)


def test_a_radio_is_healed_from_whatever_befalls_it(tmp_path):
    """A stalled host, another program, a line that hangs or is cut: one after the other."""

    def stall(lab, node, line):
        node.kill(signal.SIGSTOP)
        time.sleep(0.5 / PACE)
        node.kill(signal.SIGCONT)

    def other_rate(lab, node, line):
        attribute = ["-c", "ad9361-phy", "voltage0", "sampling_frequency", "2500000"]
        subprocess.run(["iio_attr", "-q", "-u", lab.uris["d1"], *attribute], check=True)

    def other_reader(lab, node, line):
        read = ["iio_readdev", "-u", lab.uris["d1"], "-s", "4096", "-b", "1024", "cf-ad9361-lpc"]
        subprocess.run(read, check=True, stdout=subprocess.DEVNULL)

    def hang(lab, node, line):
        line.freeze()
        time.sleep(1 / PACE)
        line.thaw()

    def unplug(lab, node, line):
        line.unplug()
        time.sleep(2)
        line.plug()

    with ExitStack() as stack:
        lab = stack.enter_context(PlutoLab(tmp_path, {"rounds": 1000}, PACE))
        nodes = {"air": lab.air()}
        line = stack.enter_context(behind_a_line(lab, "d1"))
        nodes |= lab.all_nodes_but_air()
        wait_for(lambda: len(lab.rounds()) >= 1)
        for befall in (stall, other_rate, other_reader, hang, unplug):
            before = faults(lab, "d1")
            befall(lab, nodes["d1"], line)
            wait_for(lambda before=before: faults(lab, "d1") > before)
            takes_part_again(lab, "d1")
        assert lab.start("stop", "run").ended() == 0
        ended(lab, nodes, 130)


def test_a_radio_that_stays_away_is_named_and_the_run_goes_on(tmp_path):
    with ExitStack() as stack:
        lab = stack.enter_context(
            PlutoLab(tmp_path, {"rounds": 8}, PACE, deadlines={"rejoin_s": 3.0})
        )
        nodes = {"air": lab.air()}
        line = stack.enter_context(behind_a_line(lab, "d1"))
        nodes |= lab.all_nodes_but_air()
        wait_for(lambda: len(lab.rounds()) >= 1)
        line.unplug()
        lost, coordinator = nodes["d1"], nodes["coordinator"]
        ended(lab, nodes, lost=("d1",))
        assert "d1 is gone" in coordinator.said
        assert lost.said.splitlines()[-1].startswith(line.uri)
        rows = lab.rounds()
        assert [row["round"] for row in rows] == list(range(8))
        assert rows[-1]["participation"] == 0.75
