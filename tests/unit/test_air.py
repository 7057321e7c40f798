import numpy as np
import pytest

from radio.api import RadioError
from sim_fallback.air import Air, Scene
from sim_fallback.front_end import FrontEnd
from sim_fallback.oscillator import Oscillator
from sim_fallback.path import Path
from sim_fallback.phase_noise import PhaseNoise
from sim_fallback.presets import PRESETS, Equipment
from sim_fallback.render import TILE
from sim_fallback.tapped_delay import TappedDelayLine

FS, CARRIER = 1e6, 915e6


def radio(ppm=0.0, epoch=0, seed=1, front_end=None):
    return Equipment(Oscillator((seed,), ppm, 0.0), front_end or FrontEnd(), 0, 0, epoch, (seed,))


def gain(loss_db=0.0, delay_s=0.0):
    return Path(TappedDelayLine(kind="awgn"), loss_db, delay_s)


def noise(n, seed=0):
    rng = np.random.default_rng(seed)
    return (0.2 * (rng.standard_normal(n) + 1j * rng.standard_normal(n))).astype(np.complex64)


def scene(equipment=None, paths=None):
    equipment = equipment or {"a": radio(), "b": radio(), "rx": radio(), "far": radio()}
    paths = paths or {("a", "rx"): gain(), ("rx", "b"): gain(6.0, 4e-6)}
    return Scene(CARRIER, FS, equipment, paths)


def test_an_ideal_air_only_delays_and_adds():
    air = Air(scene())
    one, two = noise(20_000), noise(30_000, 1)
    air.post("a", one, 100, 0.0)
    air.post("b", two, 5_000, -4.0)
    expected = np.zeros(40_000, complex)
    expected[100:20_100] += one
    expected[5_004:35_004] += two * 10 ** (-10 / 20)
    heard = air.window("rx", 0, 40_000, rx_gain_db=20.0)
    assert np.linalg.norm(heard - 10 * expected) <= 1e-6 * np.linalg.norm(10 * expected)


def test_radios_without_a_path_hear_nothing_and_nobody_hears_itself():
    air = Air(scene())
    air.post("a", noise(1_000), 0, 0.0)
    air.post("rx", noise(1_000, 1), 0, 0.0)
    assert not air.window("far", 0, 1_000).any()
    alone = air.window("rx", 0, 1_000, transmitters=["rx"])
    assert not alone.any()
    np.testing.assert_allclose(air.window("a", 0, 1_000), noise(1_000, 1), atol=1e-6)


def test_a_path_to_itself_is_what_a_radio_hears_of_its_own_transmitter():
    air = Air(scene(paths={("a", "a"): gain()}))
    air.post("a", noise(1_000), 0, 0.0)
    np.testing.assert_allclose(air.window("a", 0, 1_000), noise(1_000), atol=1e-6)
    assert not air.window("b", 0, 1_000).any()


def test_an_air_knows_whether_anybody_sends():
    air = Air(scene())
    assert air.is_silent
    assert air.incident("rx", 0) is None
    air.post("a", noise(1_000), 0, 0.0)
    assert not air.is_silent
    np.testing.assert_allclose(air.incident("rx", 0)[:1_000], noise(1_000), atol=1e-6)
    air.forget(10.0)
    assert air.is_silent


def test_what_was_heard_cannot_be_changed():
    air = Air(scene())
    air.capture("rx", 0, 1_000)
    with pytest.raises(RadioError, match="sample 999 of a has passed: rx has heard"):
        air.post("a", noise(10), 999, 0.0)
    air.post("a", noise(10), 1_000, 0.0)
    # 4 us away: what starts now is heard later.
    air.post("b", noise(10), 996, 0.0)
    with pytest.raises(RadioError, match="has passed"):
        air.post("b", noise(10), 900, 0.0)
    air.post("far", noise(10), 0, 0.0)


def test_scoring_moves_nothing():
    air = Air(scene())
    air.window("rx", 0, 1_000)
    air.window("rx", 0, 1_000, transmitters=["a"], scene=air.scene.without("noise"))
    assert air.present_s == 0
    air.post("a", noise(10), 0, 0.0)
    air.capture("rx", 500, 1_000)
    assert air.present_s == pytest.approx(1.5e-3)


def test_a_tile_that_was_kept_hears_a_later_burst():
    air = Air(scene())
    first = air.capture("rx", 0, 1_000)
    air.post("a", noise(500), 1_500, 0.0)
    assert not first.any()
    np.testing.assert_allclose(air.capture("rx", 1_500, 500), noise(500), atol=1e-6)
    air.cancel("a", 1_600)
    np.testing.assert_allclose(air.window("rx", 1_700, 100), 0, atol=1e-6)


def test_one_ledger_in_another_scene():
    faulty = FrontEnd(noise_figure_db=60.0, adc_bits=4, tx_phase_noise=PhaseNoise(3.0), clips=True)
    radios = {"a": radio(front_end=faulty), "rx": radio(front_end=faulty, seed=2)}
    air = Air(scene(radios, {("a", "rx"): gain()}))
    air.post("a", noise(5_000), 0, 0.0)
    heard = air.window("rx", 0, 5_000)
    clean = air.window(
        "rx", 0, 5_000, scene=air.scene.without("noise", "quantisation", "phase_noise", "clipping")
    )
    np.testing.assert_allclose(clean, noise(5_000), atol=1e-6)
    assert np.linalg.norm(heard - clean) > 0.05 * np.linalg.norm(clean)
    np.testing.assert_array_equal(air.window("rx", 0, 5_000), heard)


def test_devices_heard_alone_add_up_to_all():
    paths = {(name, "rx"): gain(3.0) for name in ("a", "b", "far")}
    air = Air(scene(paths=paths))
    for k, name in enumerate(("a", "b", "far")):
        air.post(name, noise(3_000, k), 100 * k, 0.0)
    alone = [air.window("rx", 0, 4_000, transmitters={name}) for name in ("a", "b", "far")]
    np.testing.assert_allclose(sum(alone), air.window("rx", 0, 4_000), atol=1e-6)


def test_old_bursts_are_forgotten_and_old_windows_refused():
    air = Air(scene(), history_s=0.1)
    air.post("a", noise(1_000), 0, 0.0)
    air.capture("rx", 90_000, 100)
    assert air.window("rx", 0, 1_000).any()
    air.capture("rx", 300_000, 100)
    assert not air.window("rx", 0, 1_000).any()
    with pytest.raises(RadioError, match=r"the air remembers 0\.1 s"):
        air.capture("rx", 0, 1_000)


def test_names_that_do_not_exist():
    air = Air(scene())
    for call in (
        lambda: air.window("rz", 0, 1),
        lambda: air.post("rz", noise(1), 0, 0.0),
        lambda: air.open("rz"),
    ):
        with pytest.raises(RadioError, match="no radio 'rz' on this air; there are a, b, rx, far"):
            call()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"carrier_hz": 0.0}, "carrier_hz must be positive"),
        ({"sample_rate_hz": float("nan")}, "sample_rate_hz must be positive"),
        ({"paths": {("a", "x"): gain()}}, "leads to 'x', which has no equipment"),
        ({"paths": {("a", "b"): gain(), ("b", "a"): gain()}}, "two paths between 'a' and 'b'"),
    ],
)
def test_scenes_that_make_no_sense(changes, why):
    fields = {"carrier_hz": CARRIER, "sample_rate_hz": FS, "paths": {}}
    equipment = {"a": radio(), "b": radio()}
    with pytest.raises(ValueError, match=why):
        Scene(equipment=equipment, **(fields | changes))


def test_every_preset_carries_a_burst():
    for preset in PRESETS.values():
        names = ("d0", "rx")
        equipment = {name: preset.equip(4, name) for name in names}
        loss_db = preset.front_end.tx_full_scale_dbm - preset.front_end.rx_full_scale_dbm
        air = Air(Scene(CARRIER, FS, equipment, {names: gain(loss_db)}))
        tone = np.full(TILE, 0.5, np.complex64)
        start = air.scene.sample_at("d0", 1e-3)
        air.post("d0", tone, start, 0.0)
        heard = air.window("rx", air.scene.sample_at("rx", 5e-3), 4_000)
        assert np.sqrt(np.mean(np.abs(heard) ** 2)) == pytest.approx(0.5, rel=0.05), preset.name
