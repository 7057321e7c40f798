"""Rounds over virtual USRPs and a PlutoSDR that share an air, opened by the real libraries."""

import numpy as np
from accounts import Accounts
from benches import LINK, PlutoLab, requires_libiio

requires_libiio()

ROUNDS = 2
BOTH = {
    "rounds": ROUNDS,
    "devices": {"num_devices": 2, "num_active": 2, "num_new": 4},
    "channel": {"fading": "awgn", "snr_db": 19},
    "iq": {"preset": "usrp-octoclock", "error_budget": False},
    "task": {"family": "glyphs"},
    "model": {"width": 32},
    "learner": {"adapt_lr": 0.4, "meta_lr": 0.3},
    "sparsifier": {"density": 0.04},
    "compression": {"ratio": 0.4},
}
USRP_LINK = LINK | {"rx_gain_db": 31.5, "shared_clock": False}  # the PlutoSDR runs free
CYCLIC_PREFIX = 32
RECOVERY_DB = -9.9
"""Error less what noise there is, of simulated radios in this experiment: -10.2 to -9.3 dB in
twelve rounds. What a receiver predicts of so small a model scatters by several dB."""


class MixedLab(PlutoLab):
    """The first device has a PlutoSDR; the other one and the receiver have USRPs."""

    def _with(self, uris):
        written = super()._with(uris)
        for node in (written["receiver"], *written["devices"][1:]):
            host = node["radio"].removeprefix("pluto://ip:")
            node["radio"] = f"usrp://addr={host}?clock=external&memory_s=0.25"
        return written


def test_usrps_and_a_pluto_add_up_on_the_air(tmp_path, uhd):
    """benchmarks/README.md has twenty rounds of ten devices, beside simulated radios."""
    with MixedLab(tmp_path, BOTH, pace=0.15, link=USRP_LINK) as lab:
        up = lab.up()
        assert up.ended() == 0, up.said
        lab.assert_nothing_left()
        accounts = Accounts(lab)
        accounts.assert_exact()
        rows = lab.rounds()
        assert [row["round"] for row in rows] == list(range(ROUNDS))
        assert max(row["participation"] for row in rows) == 1.0
        for index, row in enumerate(rows):
            assert not row["failed"]
            assert row["delay_samples"] < CYCLIC_PREFIX
            assert row["late_samples"] < 1
            error_db = 20 * np.log10(accounts.error(index))
            assert error_db + row["snr_db"] < RECOVERY_DB + 1.5
            assert error_db < -24
