import numpy as np
import pytest

from radio.api import RadioError
from sim_fallback.front_end import FrontEnd
from sim_fallback.ledger import CHUNK, Ledger
from sim_fallback.phase_noise import PhaseNoise

FS = 1e6
KEY = (3, 1)
IDEAL = FrontEnd()


def ramp(n, first=1.0):
    return (first + np.arange(n)).astype(np.complex64)


def sent(ledger, first, count, front_end=IDEAL, name="a"):
    return ledger.sent(name, first, count, front_end, KEY, FS)


def test_bursts_lie_where_they_were_posted_between_zeros():
    ledger = Ledger()
    ledger.post("a", ramp(3), 10, 0.0)
    ledger.post("a", ramp(2), -5, 20.0)
    expected = np.zeros(20, np.complex64)
    expected[[0, 1]] = 10, 20
    expected[15:18] = 1, 2, 3
    np.testing.assert_array_equal(sent(ledger, -5, 20), expected)
    np.testing.assert_array_equal(sent(ledger, 11, 1), [2])


def test_silence_is_nothing():
    ledger = Ledger()
    ledger.post("a", ramp(3), 10, 0.0)
    assert sent(ledger, 0, 10) is None
    assert sent(ledger, 13, 100) is None
    assert sent(ledger, 10, 3, name="b") is None
    assert ledger.transmitters() == ["a"]


@pytest.mark.parametrize("at", [8, 10, 12, 9])
def test_overlapping_bursts_are_refused(at):
    ledger = Ledger()
    ledger.post("a", ramp(3), 10, 0.0)
    before = ledger.version
    with pytest.raises(RadioError, match="a already sends from sample 10 to 12"):
        ledger.post("a", ramp(3), at, 0.0)
    assert ledger.version == before
    ledger.post("b", ramp(3), at, 0.0)


def test_neighbours_touch_without_overlap():
    ledger = Ledger()
    ledger.post("a", ramp(3), 10, 0.0)
    ledger.post("a", ramp(3, 4), 13, 0.0)
    ledger.post("a", ramp(3, -2), 7, 0.0)
    np.testing.assert_array_equal(sent(ledger, 7, 9), np.arange(-2, 7))
    assert ledger.free_from("a", 0) == 16
    assert ledger.free_from("a", 20) == 20
    assert ledger.free_from("b", 5) == 5


def test_a_cyclic_burst_goes_on_until_it_is_cancelled():
    ledger = Ledger()
    ledger.post("a", ramp(3), 5, 0.0, cyclic=True)
    far = 10 * CHUNK + 1
    expected = np.arange(far - 5, far + 15) % 3 + 1
    np.testing.assert_array_equal(sent(ledger, far, 20), expected)
    np.testing.assert_array_equal(sent(ledger, 3, 5), [0, 0, 1, 2, 3])
    with pytest.raises(RadioError, match="until cancelled"):
        ledger.post("a", ramp(1), far, 0.0)
    ledger.cancel("a", 7)
    np.testing.assert_array_equal(sent(ledger, 5, 5), [1, 2, 0, 0, 0])
    ledger.post("a", ramp(1), far, 0.0)


def test_cancelling_ends_what_runs_and_drops_what_is_to_come():
    ledger = Ledger()
    for at in (0, 10, 20):
        ledger.post("a", ramp(5), at, 0.0)
    ledger.cancel("a", 12)
    np.testing.assert_array_equal(sent(ledger, 9, 20)[:5], [0, 1, 2, 0, 0])
    assert not sent(ledger, 0, 100)[12:].any()
    assert sent(ledger, 0, 5) is not None


def test_old_bursts_are_forgotten():
    ledger = Ledger()
    ledger.post("a", ramp(5), 0, 0.0)
    ledger.post("a", ramp(5, 6), 5, 0.0)
    np.testing.assert_array_equal(sent(ledger, 0, 10), np.arange(1, 11))
    ledger.forget("a", 5)
    np.testing.assert_array_equal(sent(ledger, 0, 10), [0] * 5 + list(range(6, 11)))
    ledger.forget("a", 10)
    assert sent(ledger, 0, 10) is None
    assert ledger.transmitters() == []


def test_the_samples_are_the_ledgers_own():
    ledger, iq = Ledger(), ramp(3)
    ledger.post("a", iq, 0, 0.0)
    iq[:] = 9
    np.testing.assert_array_equal(sent(ledger, 0, 3), [1, 2, 3])


def test_a_long_burst_passes_the_front_end_as_one():
    rng = np.random.default_rng(0)
    n = 3 * CHUNK + 17
    iq = (rng.standard_normal(n) + 1j * rng.standard_normal(n)).astype(np.complex64)
    front_end = FrontEnd(dac_bits=8, clips=True, tx_phase_noise=PhaseNoise(1.0))
    ledger = Ledger()
    burst = ledger.post("a", iq, 1_000, 0.0)
    whole, clipped = front_end.sent(iq, KEY, 1_000, FS)
    np.testing.assert_allclose(sent(ledger, 1_000, n, front_end), whole, atol=1e-6)
    np.testing.assert_array_equal(sent(ledger, 1_000, n), iq)
    assert ledger.clipped(burst, front_end, KEY, FS) == clipped > 0


def test_clipping_of_a_cyclic_burst_is_that_of_a_period():
    ledger, clips = Ledger(), FrontEnd(clips=True)
    burst = ledger.post("a", ramp(3), 7, 0.0, cyclic=True)
    assert ledger.clipped(burst, clips, KEY, FS) == 2
    np.testing.assert_array_equal(sent(ledger, 7, 6, clips), [1] * 6)


def test_each_burst_meets_the_front_end_once(monkeypatch):
    calls = []
    plain = FrontEnd.sent
    monkeypatch.setattr(
        FrontEnd, "sent", lambda self, *args: calls.append(args[2]) or plain(self, *args)
    )
    ledger = Ledger()
    ledger.post("a", ramp(100), 0, 0.0)
    ledger.post("a", ramp(100), 200, 0.0)
    for first in (0, 10, 150, 0):
        sent(ledger, first, 200)
    assert calls == [0, 200]
    sent(ledger, 0, 200, FrontEnd(dac_bits=4))
    assert calls == [0, 200, 0]
