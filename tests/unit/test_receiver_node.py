"""The receiver's shell on a radio of a virtual air, told what a coordinator tells."""

from functools import partial

import numpy as np
import pytest

from sim_fallback.airs import publish
from testbed import bench_file
from testbed.config import ExperimentConfig
from testbed.experiment import Experiment
from testbed.nodes import receiver
from testbed.nodes.coordinator_messages import Begin, SendBeacon, SendSync
from testbed.nodes.receiver_messages import Begun, Sent
from testbed.nodes.receiver_node import ReceiverNode
from testbed.on_air.virtual_bench import RECEIVER
from testbed.run_folder import as_yaml

CONFIG = ExperimentConfig.model_validate(
    {
        "name": "heard",
        "uplink": "iq",
        "model": {"name": "mlp", "width": 8},
        "task": {"family": "sinusoid"},
        "devices": {"num_devices": 3, "num_active": 3, "num_new": 2},
    }
)
DEVICES = np.arange(3)


@pytest.fixture
def node(tmp_path):
    """Makes a receiver in the run; a second one has the disk of the first."""
    air = Experiment(CONFIG).bench.air()
    bench = bench_file.read("virtual").config
    with publish(air):
        nodes = []

        def make():
            while nodes:
                nodes.pop().close()
            nodes.append(ReceiverNode(None, partial(air.open, RECEIVER), bench, tmp_path))
            prepared = nodes[-1].perform(receiver.Prepare("r-1", as_yaml(CONFIG)))
            assert isinstance(prepared, receiver.Prepared)
            return nodes[-1]

        yield make
        nodes[-1].close()


def begin(call):
    return Begin(call, 0, DEVICES, 40)


def test_beacons_of_a_call_that_failed_are_not_in_the_way_of_the_next(node):
    rx, starts = node(), []
    for call in range(3):
        (begun,) = rx.perform(receiver.Do(0, begin(call))).say
        assert isinstance(begun, Begun)
        starts.append(begun.start)
        for told in (SendBeacon(call), SendSync(call, 0, 20_000), SendSync(call, 1, 40_000)):
            done = rx.perform(receiver.Do(0, told))
            assert isinstance(done, receiver.Done), done
            assert isinstance(done.say[0], Sent)
    assert np.all(np.diff(starts) > 40_000)


def test_a_round_that_is_done_is_done_once(node):
    rx = node()
    assert isinstance(rx.perform(receiver.Do(4, begin(0))), receiver.Done)
    rx.perform(receiver.Finish(4))
    for one in (rx, node()):  # the second has only what is on the disk
        for index in (3, 4):
            refused = one.perform(receiver.Do(index, begin(1)))
            assert isinstance(refused, receiver.Failed)
            assert f"round {index} is done, and 4 was the last" in refused.status.trouble
    assert isinstance(node().perform(receiver.Do(5, begin(0))), receiver.Done)
