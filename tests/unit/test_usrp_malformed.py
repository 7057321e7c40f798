"""A few of the malformed datagrams of `make fuzz`."""

from benchmarks.fuzz_usrp import PORTS, attacked, malformed


def test_malformed_datagrams_harm_neither_the_usrp_nor_its_neighbour():
    with attacked() as (send, check):
        for port in PORTS:
            send(port, malformed(port, seed=2), 400)
        check()
