"""UHD's own example programs run clean against virtual USRPs, each against one of its own."""

import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path as FilePath
from subprocess import PIPE, STDOUT

import numpy as np
import pytest
import uhd_process
from uhd_process import address

from sim_fallback.air import Air, Scene
from sim_fallback.clock import WallClock
from sim_fallback.path import Path
from sim_fallback.presets import PRESETS
from sim_fallback.tapped_delay import TappedDelayLine
from sim_fallback.virtual_usrp.server import serve_usrps

EXAMPLES = FilePath("/usr/libexec/uhd/examples")
RATE = 2e6
LEAD_S, MESSAGES = 1, 12
RUNS = {
    # Examples wait in the time of the world for what they time by the device's.
    "rx_timed_samples": ("--secs", LEAD_S, "--rate", RATE),
    "tx_timed_samples": ("--secs", LEAD_S, "--rate", RATE),
    "test_timed_commands": (),
    "test_pps_input": ("--source", "external"),
    "test_messages": ("--ntests", MESSAGES, "--test-chain"),
    "latency_test": ("--nruns", 40, "--rtt", 0.05, "--rate", RATE),
    "benchmark_rate": ("--rx_rate", RATE, "--tx_rate", RATE, "--duration", 2),
}
SLOW = {"benchmark_rate": 0.25}
"""Paces of the air, where the example keeps pace with it."""

CLEAN = {
    "rx_timed_samples": (r"Done!",),
    "tx_timed_samples": (r"Waiting for async burst ACK\.\.\. success",),
    "test_timed_commands": (
        r"Difference of response time 1: 0\.000000 us",
        r"Difference of response time 2: 0\.000000 us",
        r"Received packet: 100 samples",
        r"Difference between stream time and first packet: 0\.000000 us",
    ),
    "test_pps_input": (r"Success!",),
    "test_messages": (r"Done!",),
    "latency_test": (
        r"ACKs received: +40/40",
        r"Underruns: +0\n",
        r"Late packets: +0\n",
        r"Other errors: +0\n",
    ),
    "benchmark_rate": (
        r"Num received samples: +[1-9]\d+",
        r"Num transmitted samples: +[1-9]\d+",
        r"Num dropped samples: +0\n",
        r"Num overruns detected: +0\n",
        r"Num underruns detected: +0\n",
        r"Num sequence errors \(Tx\): +0\n",
        r"Num sequence errors \(Rx\): +0\n",
        r"Num late commands: +0\n",
        r"Num timeouts \(Tx\): +0\n",
        r"Num timeouts \(Rx\): +0\n",
    ),
}
"""What it says when all went well."""

ATTEMPTS = 3  # of whoever works beside others on one machine


@pytest.fixture(scope="module")
def outputs():
    """What each example says in the end; all run at once, because most of their time they wait."""
    uhd_process.require(*(str(EXAMPLES / name) for name in RUNS))
    with ExitStack() as stack:
        hosts = [stack.enter_context(usrp(name, 20 + k)) for k, name in enumerate(RUNS)]
        with ThreadPoolExecutor(len(RUNS)) as pool:
            yield dict(zip(RUNS, pool.map(content, RUNS, hosts), strict=True))


@contextmanager
def usrp(name, number):
    """A USRP that hears itself; gives its address."""
    equipment = {name: PRESETS["usrp-octoclock"].equip(7, name)}
    cable = Path(TappedDelayLine(kind="awgn"), 30.0)
    clock = WallClock.paced(SLOW.get(name, 1.0), time.monotonic, time.sleep)
    air = Air(Scene(915e6, RATE, equipment, {(name, name): cable}), clock)
    with serve_usrps(air, [name], [address(number)]) as (server,):
        yield server.host


def content(name, host):
    """Output of an example, of the last attempt where it was not content."""
    words = [EXAMPLES / name, "--args", f"addr={host}", *map(str, RUNS[name])]
    for _ in range(ATTEMPTS):
        done = subprocess.run(words, stdout=PIPE, stderr=STDOUT, text=True, timeout=60, check=False)
        output = f"{done.stdout}\nended with {done.returncode}\n"
        if not missing(name, output):
            break
    return output


def missing(name, output):
    """What it should have said and has not."""
    return [
        wanted for wanted in (*CLEAN[name], r"ended with 0\n") if re.search(wanted, output) is None
    ]


@pytest.mark.parametrize("name", RUNS)
def test_example_runs_clean(outputs, name):
    assert not missing(name, outputs[name]), outputs[name]


def test_samples_are_received_at_the_time_that_was_asked_for(outputs):
    packets = re.findall(
        r"Received packet: (\d+) samples, (\d+) full secs, ([\d.]+) frac secs",
        outputs["rx_timed_samples"],
    )
    sizes = [int(size) for size, *_ in packets]
    times = [int(whole) + float(rest) for _, whole, rest in packets]
    assert sum(sizes) == 10_000
    starts = LEAD_S + np.cumsum((0, *sizes[:-1])) / RATE
    np.testing.assert_allclose(times, starts, atol=1e-6)


def test_messages_are_those_that_were_provoked(outputs):
    rows = re.findall(r"-> +(\d+) successes, +(\d+) failures", outputs["test_messages"])
    successes, failures = np.array(rows, int).T
    assert successes.sum() == MESSAGES
    assert not failures.any()
