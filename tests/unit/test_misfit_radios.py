"""Nodes whose radio is not the one that the bench was calibrated with do not begin to send."""

from functools import partial

import numpy as np
import pytest

from calibration.power.plan import GainPlan, Planned
from calibration.power.plan_file import write_plan
from calibration.profiles.told import serial_of
from radio.api import Range
from testbed import bench_file
from testbed.bench_config import CalibrationConfig
from testbed.config import ExperimentConfig
from testbed.experiment import Experiment
from testbed.nodes import device, receiver
from testbed.nodes.coordinator_messages import Begin
from testbed.nodes.device_node import DeviceNode
from testbed.nodes.receiver_node import ReceiverNode
from testbed.on_air.virtual_bench import RECEIVER, name_of
from testbed.run_folder import as_yaml

CONFIG = ExperimentConfig.model_validate(
    {
        "name": "misfit",
        "uplink": "iq",
        "model": {"name": "mlp", "width": 8},
        "task": {"family": "sinusoid"},
        "devices": {"num_devices": 2, "num_active": 2, "num_new": 2},
    }
)


@pytest.fixture
def bench(tmp_path):
    """The bench `virtual` with a plan for these radios."""
    config = bench_file.read("virtual").config
    names = [node.name for node in config.nodes()[:2]]
    (tmp_path / "power").mkdir()

    def made(receiver, *devices):
        gains = (-20.0, 20.0, Range(-60.0, 0.0), 0.25, -40.0, 0.1, "meets", 0.0)
        planned = tuple(Planned(n, d, *gains) for n, d in zip(names, devices, strict=True))
        plan = GainPlan(receiver, 20.0, 10.0, -40.0, -20.0, 20.0, 12.0, planned, ())
        write_plan(tmp_path / "power" / "plan.json", plan)
        return config.model_copy(update={"calibration": CalibrationConfig(folder=tmp_path)})

    return made


def test_devices_in_each_others_places(bench, tmp_path):
    radios = Experiment(CONFIG).bench.air()
    serials = []
    for number in range(2):
        with radios.open(name_of(number)) as radio:
            serials.append(serial_of(radio))
    for planned, fits in ((serials, True), (serials[::-1], False)):
        opened = partial(radios.open, name_of(0))
        node = DeviceNode(None, opened, bench("rx", *planned), tmp_path / str(fits))
        assert isinstance(node.perform(device.Prepare("r-1", as_yaml(CONFIG), 0)), device.Prepared)
        refusal = node.perform(device.MakeReady())
        node.close()
        if fits:
            assert refusal is None
        else:
            assert (refusal.final, refusal.misfit) == (True, True)
            assert f"{serials[0]}, which is planned for" in refusal.reason


def test_another_receiver(bench, tmp_path):
    opened = partial(Experiment(CONFIG).bench.air().open, RECEIVER)
    node = ReceiverNode(None, opened, bench("another", "d0", "d1"), tmp_path / "state")
    node.perform(receiver.Prepare("r-1", as_yaml(CONFIG)))
    failed = node.perform(receiver.Do(0, Begin(0, 0, np.arange(2), 40)))
    node.close()
    assert isinstance(failed, receiver.Failed)
    assert failed.final
