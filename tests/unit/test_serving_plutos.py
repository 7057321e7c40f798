"""Which air is served to virtual PlutoSDRs."""

from contextlib import contextmanager

import pytest

from sim_fallback.clock import VirtualClock, WallClock
from testbed import serving
from testbed.experiment import Experiment
from testbed.experiment_file import read

HOSTS = {"rx": "127.0.0.2", "d0": "127.0.0.3:31000"}


@pytest.fixture
def served(monkeypatch):
    """Calls `serving_plutos` without servers: the air that they would have had, and the clock."""
    calls = []

    @contextmanager
    def serve(air, names, hosts):
        calls.append((air, names, hosts))
        yield []

    monkeypatch.setattr(serving, "serve_plutos", serve)
    bench = Experiment(read("lab").config([])).bench

    def call(*how):
        with serving.serving_plutos(bench, HOSTS, *how) as radios:
            ((air, names, hosts),) = calls
            assert (names, hosts) == (list(HOSTS), list(HOSTS.values()))
            with radios["clock"]() as clock:
                assert list(radios) == ["clock"]
                clock.now()
        return air

    return call


def test_devices_hear_the_receiver_and_nobody_oneself(served):
    paths = served(0.5).scene.paths
    assert ("d0", "rx") in paths
    assert ("rx", "rx") not in paths


def test_a_cable_leads_from_each_output_to_its_own_input(served):
    paths = served(0.5, 40.0).scene.paths
    assert paths["rx", "rx"].loss_db == paths["d0", "d0"].loss_db == 40.0
    assert ("d1", "d1") not in paths
    assert ("d0", "rx") in paths


def test_time_passes_at_a_pace_or_as_fast_as_it_is_used(served):
    assert isinstance(served(0.5).clock, WallClock)


def test_without_a_pace_time_is_virtual(served):
    assert isinstance(served(float("inf")).clock, VirtualClock)
