"""Benches with virtual USRPs: where their radios are, and what they are made of."""

import pytest

from testbed import bench_file, experiment_file
from testbed.experiment import Experiment
from testbed.nodes.air_plan import AirPlan

EVERY_DEVICE = [f"d{n}" for n in range(10)]


def plan(bench, *overrides):
    quick = ("task.family=sinusoid", "model.name=mlp")  # to make, and nobody learns here
    config = experiment_file.read("lab").config([*bench.implied, *quick, *overrides])
    return AirPlan.of(Experiment(config), bench.config)


@pytest.mark.parametrize("name", ["virtual-usrps", "gnuradio-usrps"])
def test_usrps_are_at_hosts_of_their_own(name):
    bench = bench_file.read(name)
    hosts = bench.config.virtual_usrps()
    assert list(hosts) == ["rx", *EVERY_DEVICE]
    assert len(set(hosts.values())) == 11
    assert bench.config.virtual_plutos() == {}


def test_the_bench_says_what_its_radios_are_and_the_user_knows_better():
    bench = bench_file.read("virtual-usrps")
    assert plan(bench).virtual.preset.name == "usrp-octoclock"
    assert plan(bench).link.shared_clock
    assert plan(bench, "iq.preset=ideal").virtual.preset.name == "ideal"
    assert bench_file.read("virtual-plutos").implied == ()


def test_a_mixed_bench_has_both():
    config = bench_file.read("mixed").config
    assert list(config.virtual_plutos()) == EVERY_DEVICE[:5]
    assert list(config.virtual_usrps()) == ["rx", *EVERY_DEVICE[5:]]


def test_in_a_mixed_bench_each_is_what_it_is_and_all_arrive_alike():
    bench = bench_file.read("mixed")
    mixed = plan(bench)
    scene = mixed.virtual.scene()
    ends = {name: scene.radio(name).front_end for name in ("rx", *EVERY_DEVICE)}
    assert {ends[name].dac_bits for name in EVERY_DEVICE[:5]} == {12}
    assert {ends[name].dac_bits for name in ("rx", *EVERY_DEVICE[5:])} == {16}
    nodes = {node.name: mixed.settings_of(node) for node in bench.config.nodes()}
    arrive_dbm = [
        nodes[name].tx_gain_db + ends[name].tx_full_scale_dbm - scene.paths[name, "rx"].loss_db
        for name in EVERY_DEVICE
    ]
    assert arrive_dbm == pytest.approx([arrive_dbm[0]] * 10)
    oscillators = {name: scene.radio(name).oscillator for name in EVERY_DEVICE}
    assert oscillators["d5"] is oscillators["d9"]
    assert len({id(oscillators[name]) for name in EVERY_DEVICE}) == 6
    assert not mixed.link.shared_clock
