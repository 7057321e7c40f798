"""What the radios of an experiment's virtual air are made of."""

from __future__ import annotations

import math
from dataclasses import replace

from fl_core.errors import InputError
from sim_fallback.presets import PRESETS, Preset
from sim_fallback.spread import Spread
from sim_fallback.temperature import WARMING_UP, Temperature
from testbed.config import ExperimentConfig
from testbed.on_air.link import Link


def preset_of(config: ExperimentConfig) -> Preset:
    """The preset with what the experiment changes in it; InputError for too wild clocks."""
    iq = config.iq
    preset = PRESETS[iq.preset]
    front_end = preset.front_end
    if config.channel.snr_db == math.inf:
        front_end = front_end.without("noise")
    elif front_end.noise_figure_db == -math.inf:  # the ideal radio, and noise is asked for
        front_end = replace(front_end, noise_figure_db=0.0)
    if iq.turnaround_s is not None:
        front_end = replace(front_end, turnaround_s=iq.turnaround_s)
    changes = {
        key: value
        for key in ("offset_ppm", "allan_deviation")
        if (value := getattr(iq, key)) is not None
    }
    warmth, temperature = iq.temperature, WARMING_UP
    if warmth.ramp_k is not None:
        temperature = Temperature.ramp(warmth.ramp_k, warmth.over_s, warmth.start_c)
    preset = replace(
        preset,
        front_end=replace(
            front_end,
            tx_gain_db_per_k=warmth.tx_gain_db_per_k,
            rx_gain_db_per_k=warmth.rx_gain_db_per_k,
        ),
        spread=Spread(**iq.spread.model_dump()),
        temperature=temperature,
        ppm_per_k=warmth.ppm_per_k,
        **changes,
    )
    off_ppm = preset.offset_ppm + preset.ppm_per_k * temperature.reach_k
    if off_ppm > Link.max_offset_ppm and not preset.shared_clock:
        raise InputError(
            f"iq.temperature.ppm_per_k = {warmth.ppm_per_k:g}: oscillators would be off by up to "
            f"{off_ppm:.0f} ppm, and receivers look for {Link.max_offset_ppm:g} at most; make "
            "it, iq.offset_ppm or the ramp smaller"
        )
    return preset
