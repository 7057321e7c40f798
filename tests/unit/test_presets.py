import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from sim_fallback.front_end import FrontEnd
from sim_fallback.presets import PRESETS

NAMES = [f"d{i}" for i in range(300)]


def test_there_are_the_four_benches():
    assert list(PRESETS) == ["ideal", "cabled-shared-clock", "usrp-octoclock", "pluto-tcxo"]
    assert all(preset.name == name for name, preset in PRESETS.items())


def test_ideal_equipment_has_no_impairment_at_all():
    radio = PRESETS["ideal"].equip(4, "d1")
    assert radio.front_end == FrontEnd()
    assert (radio.tx_lo_rad, radio.rx_lo_rad, radio.epoch) == (0, 0, 0)
    assert not np.any(radio.oscillator.time_error_s(np.array([0.0, 5.0, 1e4])))


@pytest.mark.parametrize("name", PRESETS)
def test_equipment_follows_from_seed_and_name_alone(name):
    preset = PRESETS[name]
    one = preset.equip(7, "receiver")
    preset.equip(7, "d1")
    again = replace(preset).equip(7, "receiver")
    assert one == again
    assert one.oscillator is again.oscillator
    assert one.key != preset.equip(7, "d1").key != preset.equip(8, "d1").key


def test_a_shared_clock_is_one_oscillator_and_others_are_their_own():
    for name, preset in PRESETS.items():
        oscillators = {id(preset.equip(3, radio).oscillator) for radio in NAMES}
        assert len(oscillators) == (len(NAMES) if name == "pluto-tcxo" else 1)
        assert preset.equip(3, "d0").oscillator.allan_deviation == preset.allan_deviation


def test_radios_are_spread_as_the_preset_says():
    radios = [PRESETS["pluto-tcxo"].equip(5, name) for name in NAMES]
    spreads = {
        "ppm": ([radio.oscillator.offset_ppm for radio in radios], stats.uniform(-20, 40)),
        "tx": ([radio.tx_lo_rad for radio in radios], stats.uniform(0, 2 * math.pi)),
        "rx": ([radio.rx_lo_rad for radio in radios], stats.uniform(0, 2 * math.pi)),
        "epoch": ([radio.epoch for radio in radios], stats.uniform(0, 1e6)),
    }
    for values, law in spreads.values():
        assert stats.kstest(values, law.cdf).pvalue > 0.01
    columns = np.corrcoef([values for values, _ in spreads.values()])
    assert np.abs(columns - np.eye(4)).max() < 4 / math.sqrt(len(NAMES))


def test_what_the_air_was_designed_with():
    usrp, pluto = PRESETS["usrp-octoclock"], PRESETS["pluto-tcxo"]
    for preset in (usrp, pluto):
        assert preset.front_end.tx_phase_noise.rms_deg == 0.86
        assert preset.front_end.rx_phase_noise.rms_deg == 0.86
    assert pluto.allan_deviation == 1e-10
    assert (pluto.front_end.dac_bits, pluto.front_end.adc_bits) == (12, 12)
    assert pluto.front_end.turnaround_s == 0.02
    # A peak at full scale comes back below the noise of a strong link, with back-off far below.
    assert pluto.front_end.pa.compression_point_db() > 6
    assert pluto.front_end.tx_iq.image_rejection_db > 50


def test_what_makes_no_preset():
    for change, message in (({"offset_ppm": -1.0}, "offset_ppm"), ({"epoch_spread": -1}, "epoch")):
        with pytest.raises(ValueError, match=message):
            replace(PRESETS["ideal"], **change)
