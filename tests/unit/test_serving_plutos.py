"""Which air is served to virtual PlutoSDRs and USRPs."""

from contextlib import contextmanager

import pytest

from fl_core.errors import InputError
from sim_fallback.clock import VirtualClock, WallClock
from testbed import serving
from testbed.experiment import Experiment
from testbed.experiment_file import read

HOSTS = serving.VirtualHosts(
    usrps={"rx": "127.0.0.2"}, plutos={"d0": "127.0.0.3:31000", "d1": "127.0.0.4"}
)


@pytest.fixture
def served(monkeypatch):
    """Calls `serving_virtual` without servers: the air that they would have had, and the clock."""
    calls = []

    @contextmanager
    def serve(bands, names, hosts, **how):
        calls.append((bands, names, hosts, how))
        yield []

    for name in ("serve_plutos", "serve_usrps"):
        monkeypatch.setattr(serving, name, serve)
    bench = Experiment(read("lab").config([])).bench

    def call(pace, cable_db=None, hosts=HOSTS):
        with serving.serving_virtual(bench, hosts, pace, cable_db) as radios:
            (bands, *usrps), (same, *plutos) = calls
            assert same is bands
            how = {"shared": hosts.reference, "own_ppm": serving.USRP_PPM}
            assert usrps == [list(hosts.usrps), list(hosts.usrps.values()), how]
            assert plutos == [list(hosts.plutos), list(hosts.plutos.values()), {}]
            with radios["clock"]() as clock:
                assert list(radios) == ["clock"]
                clock.now()
        return bands._first

    return call


def test_devices_hear_the_receiver_and_nobody_oneself(served):
    paths = served(0.5).scene.paths
    assert ("d0", "rx") in paths
    assert ("rx", "rx") not in paths


def test_a_cable_leads_from_each_output_to_its_own_input(served):
    paths = served(0.5, 40.0).scene.paths
    assert paths["rx", "rx"].loss_db == paths["d0", "d0"].loss_db == 40.0
    assert ("d2", "d2") not in paths
    assert ("d0", "rx") in paths


@pytest.mark.parametrize("reference", [True, False])
def test_usrps_share_a_reference_or_none(served, reference):
    served(0.5, hosts=serving.VirtualHosts(HOSTS.usrps, HOSTS.plutos, reference))


def test_time_passes_at_a_pace_or_as_fast_as_it_is_used(served):
    assert isinstance(served(0.5).clock, WallClock)


def test_without_a_pace_time_is_virtual(served):
    plutos = serving.VirtualHosts(plutos=HOSTS.plutos)
    assert isinstance(served(float("inf"), hosts=plutos).clock, VirtualClock)


def test_usrps_need_a_pace(served):
    with pytest.raises(InputError, match="pace should be a number"):
        served(float("inf"))


def test_where_they_are():
    assert HOSTS.uris == [
        "usrp://addr=127.0.0.2", "pluto://ip:127.0.0.3:31000", "pluto://ip:127.0.0.4"
    ]  # fmt: skip
