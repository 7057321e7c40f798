"""A USRP that goes on receiving behind each capture: the next one may be asked for late."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from usrp_process import usrps

from radio.api import RadioError, RadioSettings
from radio.registry import open_radio

PACE = 1.0
LOSS_DB = 10.0
RATE = 1e6
MEMORY = 100_000


@pytest.fixture(scope="module")
def radios(uhd):
    """One that sends and one that remembers, on a common reference; times as they were set."""
    with usrps(2, pace=PACE, preset="ideal", loss_db=LOSS_DB) as served:
        common = f"clock=external&time=external&lead_s=0.1&align=pps&pulse_s={1 / PACE}"
        common += f"&wire=memory-{served.process.pid}"
        uris = [f"{uri}?{common}&memory_s={memory}" for uri, memory in zip(
            served.uris, (0, MEMORY / RATE), strict=True
        )]  # fmt: skip
        with ThreadPoolExecutor(2) as pool:
            sender, listener = pool.map(open_radio, uris)
        with sender, listener:
            for radio in (sender, listener):
                radio.configure(RadioSettings(915e6, RATE, LOSS_DB, 0.0))
            yield sender, listener


def wait_until(radio, sample):
    while radio.now() < sample:
        time.sleep(0.01)


def test_what_came_behind_a_capture_can_be_asked_for_later(radios):
    sender, listener = radios
    drawn = 0.1 * np.random.default_rng(3).standard_normal((60_000, 2))
    burst = drawn.astype(np.float32).view(np.complex64)[:, 0]
    at = sender.now() + 800_000
    sender.transmit(burst, at=at)

    def heard(first, n):
        capture = listener.receive(n, at=at + first)
        assert (capture.first_sample, capture.overflows) == (at + first, 0)
        return capture.iq

    np.testing.assert_allclose(heard(0, 1000), burst[:1000], atol=1e-4)
    wait_until(listener, at + 50_000)
    for first, n in ((1000, 500), (20_000, 3000), (40_000, 7000)):
        np.testing.assert_allclose(heard(first, n), burst[first : first + n], atol=1e-4)
    with pytest.raises(RadioError, match="has passed"):
        listener.receive(10, at=at + 46_990)
    # Beyond what is remembered it has to be asked for in time, and then is as any other.
    wait_until(listener, at + 47_000 + 2 * MEMORY)
    with pytest.raises(RadioError):
        listener.receive(10, at=listener.now() - 1000)
    at = sender.now() + 800_000
    sender.transmit(burst, at=at)
    np.testing.assert_allclose(heard(100, 30_000), burst[100:30_100], atol=1e-4)


def test_without_a_memory_what_has_passed_is_gone(radios):
    forgetful, _ = radios
    at = forgetful.now() + 200_000
    forgetful.receive(1000, at=at)
    with pytest.raises(RadioError, match="has passed"):
        forgetful.receive(1000, at=at + 1000)
