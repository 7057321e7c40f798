"""Every estimator finds what was drawn, and knows how well: a sample of the benchmark."""

import pytest
from scipy import stats

from benchmarks.bench_calibration import COVERED, QUANTITIES, judged
from benchmarks.calibration_trials import TRIALS

# What nobody asked a figure for: three of the uncertainties that trials have at 10 dB.
WITHIN = {
    "small-signal gain": 0.1,
    "best back-off": 0.6,
    "least error": 0.4,
    "noise floor": 0.1,
    "noise figure": 0.4,
    "lateness, mean": 0.25,
    "lateness, deviation": 0.4,
    "lateness, 90 %": 0.8,
    "phase change": 1.2,
    "amplitude change": 0.2,
    "coherence time": 0.6,
    "reciprocity, gain": 0.05,
    "reciprocity, phase": 0.3,
}
CHEAP = ("tx_gain", "amplifier", "floor", "clocks", "starts", "mixers")


@pytest.mark.parametrize("snr_db", [10, 30])  # the benchmark's own test has 20
@pytest.mark.parametrize("name", TRIALS)
def test_the_truth_is_found(name, snr_db):
    outcomes = judged([name], [snr_db], trials=1)
    assert outcomes
    for (quantity, _), outcome in outcomes.items():
        column = QUANTITIES[quantity]
        if column.limit is None:
            assert outcome.most < WITHIN[quantity], quantity
        else:
            assert column.used(outcome.most) < 1, quantity


def test_stated_uncertainties_cover_the_truth():
    trials = 20
    # Fewer than this would be seen once in a thousand times if the least allowed share was covered.
    least = stats.binom.ppf(1e-3, trials, COVERED[0]) / trials
    for (quantity, _), outcome in judged(CHEAP, [20], trials).items():
        assert outcome.trials == trials, quantity
        assert outcome.covered >= least, quantity


def test_every_quantity_is_measured():
    assert set(WITHIN) == {name for name, column in QUANTITIES.items() if column.limit is None}
