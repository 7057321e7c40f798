import os
import signal

import numpy as np
import pytest
import torch

from fl_core.evaluation import Adaptation
from fl_core.models import build_model
from fl_core.tasks import build_family
from testbed.workers import Desk, Learner, WorkerLostError, Workers


@pytest.fixture(scope="module")
def desk():
    family = build_family(
        "sinusoid", num_devices=20, num_new_devices=5, ways=2, shots=5, queries=5, seed=0
    )
    model = build_model("mlp", family, width=16)
    return Desk(family, model, Learner("exact", 0.01, 2, 2), run_seed=3, device="cpu")


@pytest.fixture(scope="module")
def params(desk):
    return desk.model.init(torch.Generator().manual_seed(0)).numpy()


def test_processes_and_this_process_give_the_same_bytes(desk, params):
    devices = [0, 3, 4, 7, 8, 11, 19]
    with Workers(desk, 1, 10) as alone, Workers(desk, 3, 10) as several:
        for call in (
            lambda w: w.updates(params, 5, devices, 0.1)[0],
            lambda w: w.updates(params, 5, devices, 0.1)[1],
        ):
            assert np.array_equal(call(alone), call(several))
        adaptation = Adaptation(0.01, 1)
        assert alone.scores(params, 120, adaptation) == several.scores(params, 120, adaptation)


@pytest.mark.parametrize("count", [1, 2])
def test_every_call_starts_from_the_parameters_it_is_given(desk, params, count):
    devices = [0, 3, 4]
    with Workers(desk, count, 10) as workers:
        for theta in (params, 2 * params):
            wanted, losses = desk.update(theta, 5, devices, 0.1)
            got = workers.updates(theta, 5, devices, 0.1)
            np.testing.assert_array_equal(got[0], wanted)
            np.testing.assert_array_equal(got[1], losses)


def test_a_device_learns_the_same_whoever_else_is_active(desk, params):
    # Five devices a chunk: device 7 stands in another chunk, at another place.
    with Workers(desk, 1, 10) as workers:
        among_many = workers.updates(params, 0, [0, 1, 2, 3, 4, 5, 7], 0.1)[0][-1].copy()
        alone = workers.updates(params, 0, [7], 0.1)[0][0]
    assert np.allclose(among_many, alone, rtol=1e-4, atol=1e-7)


def test_a_killed_worker_is_reported_and_the_others_end(desk, params):
    with pytest.raises(WorkerLostError, match="-9"), Workers(desk, 2, 10) as workers:
        workers.updates(params, 0, list(range(10)), 0.1)
        os.kill(workers._processes[0].pid, signal.SIGKILL)
        workers._processes[0].join()
        workers.updates(params, 1, list(range(10)), 0.1)
    assert not any(process.is_alive() for process in workers._processes)
