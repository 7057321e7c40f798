"""Radios on a virtual air, set up so that a device at |h| = 1 is heard with the wanted SNR."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.correct.calibrated_radio import CalibratedRadio
from calibration.power.plan import GainPlan
from calibration.power.planner import Aim
from radio.api import Radio, RadioError, RadioSettings
from radio.recording import RecordingRadio
from radio.registry import open_radio
from radio.waveform.numerology import Numerology
from sim_fallback.air import Air, Scene
from sim_fallback.airs import publish
from sim_fallback.clock import Clock
from sim_fallback.path import Path
from sim_fallback.presets import PRESETS, Preset
from sim_fallback.sim_radio import RX_GAIN_DB
from sim_fallback.tapped_delay import TappedDelayLine
from sim_fallback.temperature import Temperature
from testbed.bench import Bench
from testbed.calibrating.campaign import calibrate
from testbed.calibrating.lineup import Lineup
from testbed.config import ExperimentConfig, PresetName
from testbed.on_air.calibrated import PLAN, calibrated_today, gain_plan, hashes
from testbed.on_air.held_gains import HeldGains
from testbed.on_air.levels import Levels
from testbed.on_air.link import Link
from testbed.on_air.recordings import Keeper
from testbed.on_air.scoring import Scorer
from testbed.on_air.timeline import Timeline
from testbed.on_air.uplink import IQUplink
from testbed.on_air.virtual_preset import preset_of
from testbed.run_folder import CALIBRATION

RECEIVER = "rx"
CLOCK = "clock"  # a radio without faults that hears nobody; rounds are paced by its samples
SLOWEST = 1e-4  # by which a clock may be off
IN_ROUNDS = ("tx_gain", "rx_gain", "noise", "mixers", "path_gain")  # what rounds make use of
VALID_DAYS = 3660.0  # virtual radios do not age between a run and its resumption
SEARCH_S = 2e-3  # virtual clocks do not pass from look to look


class VirtualBench:
    """A receiver and n devices of one preset, each joined to the receiver by a path.

    Levels are those of a naive bench, which takes all radios for what the preset says, and all
    devices for as far away as the farthest: with a spread, nearer ones overdrive the receiver.

    The fading of a device in a round is the one that the symbol-level uplink draws, so that runs
    over symbols and over samples meet the same channels.

    Args:
        config: of the experiment.
        num_symbols: M.
        path_amplitudes: of the devices' mean paths, [num_devices], of mean square 1.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        num_symbols: int,
        path_amplitudes: npt.NDArray[np.float64],
    ) -> None:
        self._config = config
        self._num_symbols = num_symbols
        self._path_amplitudes = path_amplitudes
        self._numerology = Numerology()
        self.preset = preset_of(config)
        self._others: dict[str, Preset] = {}
        self.levels = Levels.of(
            self.preset.front_end,
            RX_GAIN_DB,
            config.channel.snr_db,
            config.iq.backoff_db,
            config.devices.num_active,
            self._numerology,
        )
        self.turnaround_s = self.preset.front_end.turnaround_s
        self.control_s = config.iq.control_s
        self.link = self._link()
        self.every_s, self.first_s = self._schedule()

    def with_radios(
        self, turnaround_s: float | None = None, control_s: float | None = None, **link: Any
    ) -> VirtualBench:
        """The same bench, of which others know better what its radios are like.

        Args:
            turnaround_s: of a device.
            control_s: from the last sounding to the data.
            link: fields of `Link`.
        """
        other = copy(self)
        other.turnaround_s = self.turnaround_s if turnaround_s is None else turnaround_s
        other.control_s = self.control_s if control_s is None else control_s
        other.link = replace(self.link, **link)
        other.every_s, other.first_s = other._schedule()
        return other

    def with_others(self, presets: Mapping[str, PresetName]) -> VirtualBench:
        """The same bench with some radios of other presets, by name, at the same places."""
        other = copy(self)
        for radio, name in presets.items():
            iq = self._config.iq.model_copy(update={"preset": name})
            other._others = other._others | {
                radio: preset_of(self._config.model_copy(update={"iq": iq}))
            }
        return other

    def planned(self, plan: GainPlan) -> VirtualBench:
        """The same bench, whose powers are planned: |h| = 1 is the target."""
        other = self.with_radios(reference_gain=10 ** (plan.reference_gain_db / 20))
        other.levels = replace(
            self.levels, rx_gain_db=plan.rx_gain_db, reference_db=plan.reference_gain_db
        )
        return other

    def of_run(self, folder: FilePath) -> VirtualBench:
        """The same bench, with the powers that were planned for a run into this folder, if any."""
        plan = self._plan(folder)
        return self if plan is None else self.planned(plan)

    def lineup(self, air: str) -> Lineup:
        """What there is to calibrate, on an air that was published under this name."""
        receiver, *devices = (f"sim://{air}?name={name}" for name in self.radios)
        return Lineup(
            dict(zip(self.radios[1:], devices, strict=True)),
            receiver,
            self._settings,
            max_cfo_hz=self.link.max_cfo_hz,
            search_s=SEARCH_S,
        )

    @property
    def radios(self) -> tuple[str, ...]:
        """Names of the receiver's radio, and of the devices'."""
        return (RECEIVER, *map(name_of, range(self._config.devices.num_devices)))

    def start_s(self, index: int) -> float:
        """True time at which a round may begin."""
        return self.first_s + index * self.every_s

    def timeline(self) -> Timeline:
        """The plan of every round."""
        return Timeline(
            self._numerology,
            self._config.devices.num_active,
            self._num_symbols,
            self.turnaround_s,
            self.control_s,
            shared_clock=self.link.shared_clock,
            sync_beacons=self._config.iq.sync_beacons,
            search=self.link.search,
        )

    def air(self, clock: Clock | None = None) -> Air:
        """A new air, at its beginning, in virtual time unless another clock is given."""
        # Scores are made after the data, of the sounding before the grants.
        longest = max(leg.length for leg in self.timeline().legs(self.link.sounding_life_s))
        return Air(self.scene(), clock, 0.5 + longest / self._numerology.sample_rate_hz)

    @contextmanager
    def open(self, folder: FilePath) -> Iterator[Bench]:
        """Set the air up and open its radios by URI; calibrate them first, if that is wanted."""
        if self._config.iq.calibrate and self._plan(folder) is None:
            self._calibrate(folder / CALIBRATION)
        with self.of_run(folder)._opened(folder) as bench:
            yield bench

    @contextmanager
    def _opened(self, folder: FilePath) -> Iterator[Bench]:
        air, plan = self.air(), self._plan(folder)
        with ExitStack() as stack:
            name = stack.enter_context(publish(air))

            def opened(radio: str) -> Radio:
                device = stack.enter_context(open_radio(f"sim://{name}?name={radio}"))
                device.configure(self._settings)
                if plan is None:
                    return device
                return calibrated_today(device, folder / CALIBRATION, self._settings)

            devices: dict[int, Radio] = {}

            def device(index: int) -> Radio:
                if index not in devices:
                    devices[index] = opened(name_of(index))
                    _require_turnaround(devices[index], self.turnaround_s)
                return devices[index]

            heard = opened(RECEIVER)
            corrected = heard.corrected if isinstance(heard, CalibratedRadio) else None
            scorer = Scorer(air, RECEIVER, name_of, self.levels.rx_gain_db, corrected)
            receiver = RecordingRadio(heard)
            uplink = IQUplink(
                receiver,
                device,
                self.link,
                self.timeline(),
                wait=lambda index: air.clock.wait_until(self.start_s(index)),
                scorer=scorer if self._config.iq.error_budget else None,
                gains=None
                if plan is None
                else HeldGains.of(plan, self._config, self._config.iq.hold_power),
                name_of=name_of,
            )
            keeper = Keeper(self._config, folder, receiver, uplink)
            with_what = {} if plan is None else hashes(folder / CALIBRATION)
            yield Bench(uplink, keeper.round, uplink, with_what)

    def _plan(self, folder: FilePath) -> GainPlan | None:
        """Of the powers, in the folder of a run that began with a calibration."""
        place = folder / CALIBRATION
        if not self._config.iq.calibrate or not (place / PLAN).exists():
            return None
        return gain_plan(place, self.radios[1:], self._config.iq.backoff_db)

    def _calibrate(self, folder: FilePath) -> None:
        """Measure all radios, on an air of its own before they warm up, and plan their powers."""
        config = self._config
        snr_db = None if config.channel.snr_db == math.inf else config.channel.snr_db
        aim = Aim(config.iq.backoff_db, num_active=config.devices.num_active, snr_db=snr_db)
        before = copy(self)
        first_c = self.preset.temperature.celsius[:1]
        before.preset = replace(self.preset, temperature=Temperature(celsius=first_c))
        with publish(before.air()) as air:
            calibrate(before.lineup(air), folder, aim, IN_ROUNDS, VALID_DAYS)

    @property
    def _settings(self) -> RadioSettings:
        return RadioSettings(
            carrier_hz=self.link.carrier_hz,
            sample_rate_hz=self._numerology.sample_rate_hz,
            rx_gain_db=self.levels.rx_gain_db,
        )

    def scene(self) -> Scene:
        """Who is there and what lies between them."""
        config, iq = self._config, self._config.iq
        fading = TappedDelayLine(
            delays_s=iq.delays_s,
            powers_db=iq.powers_db,
            kind=config.channel.fading,
            k_db=config.channel.rician_k_db,
            doppler_hz=iq.doppler_hz,
            block_s=self.every_s,
        )
        losses_db = self.levels.loss_db - 20 * np.log10(self._path_amplitudes)
        losses_db -= self.preset.spread.path_gains_db(config.seed, len(losses_db))
        presets = {name: self._others.get(name, self.preset) for name in self.radios}
        return Scene(
            carrier_hz=iq.carrier_hz,
            sample_rate_hz=self._numerology.sample_rate_hz,
            equipment={
                **{name: preset.equip(config.seed, name) for name, preset in presets.items()},
                CLOCK: PRESETS["ideal"].equip(config.seed, CLOCK),
            },
            paths={
                (name_of(i), RECEIVER): Path(fading, float(loss), seed=config.seed, index=i)
                for i, loss in enumerate(losses_db)
            },
        )

    def _link(self) -> Link:
        iq, preset = self._config.iq, self.preset
        return Link(
            self._numerology,
            iq.carrier_hz,
            backoff_db=iq.backoff_db,
            allan_deviation=iq.expected_allan_deviation,
            shared_clock=preset.shared_clock,
            sounding_life_s=iq.sounding_life_s,
            reference_gain=10 ** (self.levels.reference_db / 20),
        )

    def _schedule(self) -> tuple[float, float]:
        """Seconds of true time from round to round, and from there to its start.

        A channel stays for a round. Each one lies in the middle of its stretch, with room for a
        receiver whose clock is slow, or that begins late.
        """
        legs = self.timeline().legs(self.link.sounding_life_s)
        samples = sum(leg.length + self.link.lead for leg in legs)
        rounds_s = samples / self._numerology.sample_rate_hz
        room_s = max(0.01, 4 * self.link.search / self._numerology.sample_rate_hz)
        round_s = math.ceil(100 * (rounds_s * (1 + SLOWEST) + room_s)) / 100
        lead = (round_s - rounds_s) / 2 * self._numerology.sample_rate_hz
        return round_s, math.floor(lead) / self._numerology.sample_rate_hz


def _require_turnaround(radio: Radio, planned_s: float) -> None:
    if radio.caps.turnaround_s > planned_s:
        raise RadioError(
            f"{radio.caps.name} takes {radio.caps.turnaround_s:g} s to answer a beacon and the "
            f"frame leaves it {planned_s:g}; set iq.turnaround_s"
        )


def name_of(device: int) -> str:
    """Name of a device's radio on the air."""
    return f"d{device}"
