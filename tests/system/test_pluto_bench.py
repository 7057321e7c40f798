"""Rounds over virtual PlutoSDRs, which every node opens with the real libiio and pyadi-iio."""

import pytest
from accounts import Accounts
from benches import PlutoLab

pytest.importorskip("iio", exc_type=(ImportError, OSError))

QUIET = {"coordinator": {"clock": None}}


def finished(lab, nodes):
    assert nodes.pop("coordinator").ended() == 0
    air = nodes.pop("air")
    assert {name: node.ended() for name, node in nodes.items()} == dict.fromkeys(nodes, 0)
    air.kill(2)
    lab.assert_nothing_left()
    accounts = Accounts(lab)
    accounts.assert_exact()
    return accounts


def test_rounds_over_plutos(tmp_path):
    with PlutoLab(tmp_path) as lab:
        finished(lab, lab.all_nodes())
        rounds = lab.rounds()
        assert [row["round"] for row in rounds] == list(range(6))
        print(rounds)
