"""One channel, two implementations: the virtual air, and the blocks of GNU Radio."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from benchmarks.table import Table
from flowgraphs.mac_channel import DevicePath, MacChannel
from radio.api import Radio, RadioSettings
from sim_fallback.air import Air, Scene
from sim_fallback.front_end import FrontEnd
from sim_fallback.presets import Preset
from testbed.config import ExperimentConfig
from testbed.on_air.link import ComplexArray
from testbed.on_air.receiver import Heard
from testbed.on_air.scoring import CAUSES, Score
from testbed.on_air.uplink import IQUplink, RoundOnAir
from testbed.on_air.virtual_bench import RECEIVER, VirtualBench, name_of
from testbed.schemes import build_scheme, symbol_uplink

DEVICES, ROUNDS, DIM = 10, 20, 28_485
DENSITY = 0.01
SNRS_DB = (10.0, 20.0, 30.0, 40.0)
CARRIER_HZ = 1e12
CFO_HZ = 1000.0
LONGEST = 6  # samples of delay
# All oscillators stand, but for their offset. At such a carrier it leaves the sample clocks alone:
# GNU Radio's rotator turns a carrier and leaves the clock, and so must the air, to be comparable.
PRESET = Preset(
    "comparable",
    offset_ppm=1e6 * CFO_HZ / CARRIER_HZ / 2,
    allan_deviation=0.0,
    shared_clock=False,
    front_end=FrontEnd(),
    epoch_spread=0,
)


class KnownGains:
    """Scores rounds by the amplitudes of the paths, which whoever made the channel knows."""

    def __init__(self, gains: npt.NDArray[np.float64]) -> None:
        self._gains = gains

    def score(
        self, now: RoundOnAir, burst: int, heard: Heard, packed: Mapping[int, ComplexArray]
    ) -> Score:
        layout = now.timeline.layouts[burst]
        sent = [self._gains[int(i)] if row in packed else 0 for row, i in enumerate(now.devices)]
        return Score(
            np.array(sent),
            dict.fromkeys(CAUSES, 0.0),
            layout.capacity,
            np.zeros(0, np.complex64),
            np.zeros((len(sent), layout.data_symbols)),
        )


@dataclass(frozen=True)
class Comparable:
    """A bench that both channels can be.

    Attributes:
        dim: of the updates.
        bench: of the virtual air.
        scene: of its radios, with whole samples of delay.
        settings: of all radios.
        gains: amplitudes at which symbols arrive, relative to |h| = 1, float64 [devices].
    """

    config: ExperimentConfig
    dim: int
    bench: VirtualBench
    scene: Scene
    settings: RadioSettings
    gains: npt.NDArray[np.float64]

    @classmethod
    def of(
        cls, devices: int = DEVICES, dim: int = DIM, snr_db: float = 20.0, seed: int = 0
    ) -> Comparable:
        config = ExperimentConfig.model_validate(
            {
                "name": "bench",
                "seed": seed,
                "uplink": "iq",
                "devices": {"num_devices": devices, "num_active": devices},
                # So sparse that what is wrong with the sum is all the channel's doing.
                "iq": {"preset": "ideal"},
                "sparsifier": {"density": DENSITY},
                "channel": {"snr_db": snr_db, "fading": "awgn", "path_loss_spread_db": 3.0},
            }
        )
        amplitudes = symbol_uplink(config).path_amplitudes
        bench = VirtualBench(config, config.compression.symbols(dim), amplitudes)
        bench.preset = replace(PRESET, front_end=bench.preset.front_end)
        # What devices expect of oscillators scales with the carrier, as offsets do.
        bench = bench.with_radios(
            turnaround_s=0.0,
            carrier_hz=CARRIER_HZ,
            max_offset_ppm=2 * PRESET.offset_ppm,
            allan_deviation=config.iq.expected_allan_deviation * 915e6 / CARRIER_HZ,
            shared_clock=False,
        )
        scene = bench.scene()
        rate = scene.sample_rate_hz
        late = np.random.default_rng(seed).integers(0, LONGEST + 1, devices)
        paths = {
            (name_of(i), RECEIVER): replace(
                scene.paths[name_of(i), RECEIVER], delay_s=int(late[i]) / rate
            )
            for i in range(devices)
        }
        settings = RadioSettings(CARRIER_HZ, rate, rx_gain_db=bench.levels.rx_gain_db)
        scene = replace(scene, carrier_hz=CARRIER_HZ, paths=paths)
        return cls(config, dim, bench, scene, settings, np.asarray(amplitudes))

    @property
    def paths(self) -> list[DevicePath]:
        """For GNU Radio, what the virtual air has between its radios."""
        hears, rate = self.scene.radio(RECEIVER), self.scene.sample_rate_hz
        paths = []
        for i in range(len(self.gains)):
            sends, between = self.scene.radio(name_of(i)), self.scene.paths[name_of(i), RECEIVER]
            apart_ppm = sends.oscillator.offset_ppm - hears.oscillator.offset_ppm
            level_db = self.settings.rx_gain_db - between.loss_db
            turn = np.exp(1j * (sends.tx_lo_rad - hears.rx_lo_rad))
            paths.append(
                DevicePath(
                    delay=round(between.delay_s * rate),
                    cfo_hz=apart_ppm / 1e6 * CARRIER_HZ,
                    gain=complex(10 ** (level_db / 20) * turn),
                )
            )
        return paths

    @property
    def noise_var(self) -> float:
        front_end = self.scene.radio(RECEIVER).front_end
        return front_end.noise_var(self.settings.sample_rate_hz, self.settings.rx_gain_db)

    def over_air(self, rounds: int) -> list[float]:
        """NMSE in dB of rounds on the virtual air."""
        air = Air(self.scene)
        with ExitStack() as stack:
            radios = {name: stack.enter_context(air.open(name)) for name in self.bench.radios}
            for radio in radios.values():
                radio.configure(self.settings)
            uplink = self._uplink(radios[RECEIVER], [radios[n] for n in self.bench.radios[1:]])
            return self._play(uplink, rounds)

    def over_gnuradio(self, rounds: int, noisier: float = 1.0) -> list[float]:
        """NMSE in dB of rounds through the flowgraph, with so much more noise."""
        noise_var, seed = noisier * self.noise_var, self.config.seed
        with MacChannel(self.paths, noise_var, self.settings, seed) as channel:
            return self._play(self._uplink(channel.receiver, channel.devices), rounds)

    def _uplink(self, receiver: Radio, devices: Sequence[Radio]) -> IQUplink:
        return IQUplink(
            receiver,
            devices.__getitem__,
            self.bench.link,
            self.bench.timeline(),
            scorer=KnownGains(self.gains),  # type: ignore[arg-type]
        )

    def _play(self, uplink: IQUplink, rounds: int) -> list[float]:
        scheme = build_scheme(self.config, self.dim, uplink)
        who, shape = np.arange(len(self.gains)), (len(self.gains), self.dim)
        errors = []
        for index in range(rounds):
            rng = np.random.default_rng([self.config.seed, index])
            updates = rng.standard_normal(shape, np.float32)
            record = scheme.combine(index, who, updates, {}, lambda stage: None).record
            if record["participation"] != 1:
                raise RuntimeError(f"not all devices were heard in round {index}")
            errors.append(float(record["nmse_db"]))  # type: ignore[arg-type]
        return errors


def measure(quick: bool = False) -> list[Table]:
    """Both channels over the SNR."""
    rows = []
    for snr_db in SNRS_DB[1:2] if quick else SNRS_DB:
        bench = Comparable.of(snr_db=snr_db)
        begin = time.perf_counter()
        air = bench.over_air(3 if quick else ROUNDS)
        between = time.perf_counter()
        flowgraph = bench.over_gnuradio(3 if quick else ROUNDS)
        end = time.perf_counter()
        apart = np.mean(flowgraph) - np.mean(air)
        rows.append(
            (
                f"{snr_db:.0f}",
                f"{np.mean(air):.2f} ± {np.std(air):.2f}",
                f"{np.mean(flowgraph):.2f} ± {np.std(flowgraph):.2f}",
                f"{apart:+.2f}",
                f"{(between - begin) / len(air):.2f}",
                f"{(end - between) / len(flowgraph):.2f}",
            )
        )
    return [
        Table(
            "mac_channel",
            "One channel, two implementations",
            (
                "SNR [dB]",
                "virtual air [dB]",
                "GNU Radio [dB]",
                "apart [dB]",
                "air, s a round",
                "GNU Radio, s a round",
            ),
            tuple(rows),
            f"NMSE of the recovered sum, mean and deviation of {ROUNDS} rounds of uplink=iq over "
            "the virtual air and over flowgraphs/mac_channel.grc, made of GNU Radio's own blocks; "
            f"{DEVICES} devices, d = {DIM:,}, k/d = {DENSITY:g}, M/d = 0.4. Both have the same "
            f"gains (a deviation of 3 dB), phases, CFOs (of up to {CFO_HZ:g} Hz), delays (0 "
            f"to {LONGEST} whole samples) and noise power, but noise of their own; both are "
            "scored by the gains that were set. Beacons reach devices by the same numbers: the air "
            "renders them, for the flowgraph they are computed beside it. At most 0.5 dB apart is "
            "allowed.",
        )
    ]


if __name__ == "__main__":
    for table in measure():
        print(table.markdown())
